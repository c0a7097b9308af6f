#!/bin/sh
# Makes newer crun binaries than the distribution's own, and one more peer, in DIR, beside the system and without touching it:
#   DIR/crun-new      the newest that Debian ships (sid), dynamic, with the libraries it was built for
#   DIR/crun-static   built from the newest source package that can be had, linked statically
#   DIR/nucleus-container   the front-end before this one, 0.4.0 from crates.io
# Usage: peers.sh DIR. Needs root for the build dependencies, apt and Debian's keyring. One that cannot be
# made is reported and left out.
set -eu

dir=$(mkdir -p "$1" && cd "$1" && pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# The mirror is this machine's own.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
[ -n "$mirror" ] || { echo "peers.sh: apt knows no Debian mirror" >&2; exit 1; }

# apt's configuration for one other suite, with lists and caches of its own.
suite() {
	suite_dir=$dir/apt-$1
	mkdir -p "$suite_dir/lists/partial" "$suite_dir/cache/archives/partial" "$suite_dir/source"
	printf 'deb [signed-by=%s] %s %s main\ndeb-src [signed-by=%s] %s %s main\n' \
		$keyring "$mirror" "$1" $keyring "$mirror" "$1" >"$suite_dir/sources.list"
	cat >"$suite_dir/apt.conf" <<-EOF
		Dir::Etc::sourcelist "$suite_dir/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::State::lists "$suite_dir/lists";
		Dir::Cache "$suite_dir/cache";
		APT::Sandbox::User "root";
	EOF
	export APT_CONFIG="$suite_dir/apt.conf"
	apt-get update -qq || true
}

dynamic() {
	suite sid
	root=$dir/sid-root
	mkdir -p "$root" "$suite_dir/debs"
	(cd "$suite_dir/debs" && apt-get download -qq crun libc6 libblake3-0 libcap2 libjson-c5 libseccomp2 libsystemd0)
	for deb in "$suite_dir"/debs/*.deb; do
		dpkg-deb -x "$deb" "$root"
	done
	libraries=$root/usr/lib/x86_64-linux-gnu
	cp "$root/usr/bin/crun" "$dir/crun-new"
	patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --set-rpath "$libraries" "$dir/crun-new"
	"$dir/crun-new" --version | head -n 1
}

static() {
	for name in sid trixie; do
		suite $name
		# A mirror may hold the upstream tarball without Debian's part, which is not needed.
		(cd "$suite_dir/source" && apt-get source -qq --download-only crun) || true
		tarball=$(find "$suite_dir/source" -name 'crun_*.orig.tar.gz' | head -n 1)
		[ -z "$tarball" ] || break
	done
	[ -n "$tarball" ] || return 1
	build=$dir/crun-source
	rm -rf "$build"
	mkdir "$build"
	tar -xf "$tarball" -C "$build" --strip-components=1
	cd "$build"
	./configure --quiet --disable-systemd --disable-dl --disable-criu --enable-embedded-yajl CFLAGS=-O2
	make --silent git-version.h
	nice make --silent -j2 LDFLAGS=-all-static
	cp crun "$dir/crun-static"
	strip "$dir/crun-static"
	"$dir/crun-static" --version | head -n 1
}

predecessor() {
	# Away from this workspace's settings.
	cd /
	nice cargo install --quiet --locked --root "$dir/cargo" --target-dir "$dir/cargo-target" \
		nucleus-container --version 0.4.0
	cp "$dir/cargo/bin/nucleus" "$dir/nucleus-container"
	rm -rf "$dir/cargo-target"
}

apt-get install -y -qq --no-install-recommends gcc make libc6-dev libcap-dev libseccomp-dev libyajl-dev \
	libjson-c-dev pkgconf autoconf automake libtool gperf python3 patchelf dpkg-dev >/dev/null
# Not as a condition: that would switch `set -e` off inside.
set +e
[ -x "$dir/crun-new" ] || (set -e; dynamic)
[ $? -eq 0 ] || echo "peers.sh: no crun-new" >&2
[ -x "$dir/nucleus-container" ] || (set -e; predecessor)
[ $? -eq 0 ] || echo "peers.sh: no nucleus-container" >&2
[ -x "$dir/crun-static" ] || (set -e; static) 2>"$dir/static.log"
[ $? -eq 0 ] || echo "peers.sh: no crun-static, see $dir/static.log" >&2
