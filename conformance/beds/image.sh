#!/bin/sh
# image.sh SUITE MIRROR KEYRING PACKAGES OUTPUT FILES: makes OUTPUT/root (a Debian with systemd), OUTPUT/root.ext4
# and OUTPUT/vmlinuz. The kernel is Debian's for clouds: NVMe, ext4 and virtio-console are built in, so it needs
# no initramfs. As root; called by beds/image.rs.
set -eu
suite=$1 mirror=$2 keyring=$3 packages=$4 output=$5 files=$6
root=$output/root
printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$output/sources.list"
# apt-get runs outside with the configuration for inside: what reaches the mirror here reaches it there.
cat >"$output/kernel" <<'K'
set -eu
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
mkdir "$1/kernel"
cd "$1/kernel"
apt-get -q -q download "$name"
dpkg-deb -x ./*.deb .
mv boot/vmlinuz-* "$OUTPUT/vmlinuz"
modules=lib/modules
[ -e $modules ] || modules=usr/lib/modules
mkdir -p "$1/usr/lib/modules"
version=$(ls $modules)
mv "$modules/$version" "$1/usr/lib/modules/"
rm -f "$1/usr/lib/modules/$version/build" "$1/usr/lib/modules/$version/source"
cd /
rm -r "$1/kernel"
chroot "$1" depmod "$version"
K
OUTPUT=$output mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$packages" \
    --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
    --customize-hook="sh '$output/kernel' \"\$1\"" \
    "$suite" "$root" "$output/sources.list"
rm -f "$output/kernel" "$output/sources.list"
echo bed >"$root/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
: >"$root/etc/fstab"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/bed.conf"
echo 'user:x:1000:1000::/home/user:/bin/sh' >>"$root/etc/passwd"
echo 'user:x:1000:' >>"$root/etc/group"
echo 'user:*:20000:0:99999:7:::' >>"$root/etc/shadow"
for file in subuid subgid; do echo 'user:100000:65536' >"$root/etc/$file"; done
install -d -o 1000 -g 1000 "$root/home/user"
# What nothing here needs; half of the boot.
for unit in getty@tty1.service serial-getty@ttyS0.service getty.target apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service \
    systemd-networkd.service ldconfig.service systemd-hwdb-update.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-pcrphase.service systemd-random-seed.service \
    systemd-journal-catalog-update.service systemd-tmpfiles-clean.timer dev-hugepages.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount modprobe@drm.service modprobe@configfs.service \
    modprobe@dm_mod.service modprobe@efi_pstore.service modprobe@loop.service modprobe@fuse.service \
    systemd-repart.service systemd-firstboot.service systemd-sysusers.service systemd-machine-id-commit.service \
    systemd-pstore.service systemd-ask-password-wall.path systemd-ask-password-console.path; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
install -m 755 "$files/bed" "$root/usr/local/sbin/bed"
install -m 644 "$files/bed.service" "$root/etc/systemd/system/bed.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../bed.service "$root/etc/systemd/system/multi-user.target.wants/bed.service"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
truncate -s "$(($(du -sm "$root" | cut -f1) + 300))M" "$output/root.ext4"
mke2fs -q -t ext4 -O ^has_journal -m0 -d "$root" "$output/root.ext4"
