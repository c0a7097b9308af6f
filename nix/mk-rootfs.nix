# A root file system from the closures of packages, with the manifest that `nucleus attest verify` compares it with.
#
# Of `pkgs` it uses runCommand, closureInfo, coreutils and findutils; the script is POSIX sh, with what GNU's tools and
# busybox's have in common. `nucleus` is a package of this project: its program makes the manifest.
{
  pkgs,
  nucleus,
  packages ? [ ],
  name ? "nucleus-rootfs",
  # Text files, absolute path = text.
  files ? { },
  # Symbolic links, absolute path = target.
  links ? { },
  # Empty directories where something is mounted: the root itself is read-only.
  mountPoints ? [ ],
}:
let
  inherit (builtins) concatStringsSep attrNames replaceStrings;
  quote = text: "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
  each = f: set: concatStringsSep "\n" (map (path: f path set.${path}) (attrNames set));
  # What a sandbox of nucleus mounts over, beside /nix/store.
  usual = [
    "/dev"
    "/etc"
    "/home/agent"
    "/home/user"
    "/proc"
    "/run"
    "/sys"
    "/tmp"
    "/var/tmp"
    "/workspace"
    "/context"
  ];
  accounts = {
    "/etc/passwd" = "root:x:0:0:root:/:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
    "/etc/group" = "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n";
    "/etc/hosts" = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n";
    "/etc/nsswitch.conf" = "passwd: files\ngroup: files\nhosts: files dns\n";
    "/etc/resolv.conf" = "";
  };
in
pkgs.runCommand name
  {
    nativeBuildInputs = [
      pkgs.coreutils
      pkgs.findutils
      nucleus
    ];
    closure = pkgs.closureInfo { rootPaths = packages; };
    roots = packages;
    # What is attested is built here, not fetched: it is cheap.
    allowSubstitutes = false;
    preferLocalBuild = true;
  }
  ''
    mkdir -p "$out/nix/store" "$out/bin"
    while IFS= read -r path; do
      cp -RP "$path" "$out/nix/store/"
    done < "$closure/store-paths"
    # What a copy has from a store is read-only, directories too.
    chmod -R u+w "$out"

    for root in $roots; do
      if [ -d "$root/bin" ]; then
        for program in "$root"/bin/*; do
          link="$out/bin/''${program##*/}"
          if [ -e "$link" ] || [ -L "$link" ]; then
            echo "mkRootfs: two packages have bin/''${program##*/}: $root and $(readlink "$link")" >&2
            exit 1
          fi
          ln -s "$program" "$link"
        done
      fi
    done

    for directory in ${concatStringsSep " " (map quote (usual ++ mountPoints))}; do
      mkdir -p "$out$directory"
    done
    ${each (path: text: ''
      mkdir -p "$out"${quote (dirOf path)}
      printf %s ${quote text} > "$out"${quote path}
    '') (accounts // files)}
    ${each (path: target: ''
      mkdir -p "$out"${quote (dirOf path)}
      ln -s ${quote target} "$out"${quote path}
    '') links}

    # The store takes set-id and write bits away; they would not be in the manifest.
    nucleus attest create --store-modes "$out"
  ''
