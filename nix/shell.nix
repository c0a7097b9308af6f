# What it takes to build and test by hand; ./test says what else it would like.
{ pkgs }:
pkgs.mkShell {
  packages = [
    pkgs.cargo
    pkgs.rustc
    pkgs.clippy
    pkgs.rustfmt
    pkgs.pkg-config
    pkgs.libseccomp
    pkgs.strace
  ];
  buildInputs = [ pkgs.glibc.static ];
}
