# A root file system for agents: a shell, Git, compilers and the usual tools, with /bin/sh and /usr/bin/env, which
# scripts expect.
{
  pkgs,
  nucleus,
  packages ? [ ],
  name ? "nucleus-agent-toolchain",
  ...
}@arguments:
import ./mk-rootfs.nix (
  removeAttrs arguments [ "packages" ]
  // {
    inherit name;
    packages = [
      pkgs.bashInteractive
      pkgs.coreutils
      pkgs.findutils
      pkgs.gnugrep
      pkgs.gnused
      pkgs.gawk
      pkgs.diffutils
      pkgs.gnutar
      pkgs.gzip
      pkgs.gnumake
      pkgs.gitMinimal
      pkgs.gcc
      pkgs.python3Minimal
      pkgs.cacert
    ]
    ++ packages;
    links = {
      "/usr/bin/env" = "${pkgs.coreutils}/bin/env";
      # One that every shell script finds; bin/sh is bash's own link where there is one.
      "/etc/ssl/certs/ca-certificates.crt" = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
    }
    // arguments.links or { };
  }
)
