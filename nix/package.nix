# Both programs, static. Of `pkgs` it uses rustPlatform.buildRustPackage and glibc.static.
{ pkgs, src }:
pkgs.rustPlatform.buildRustPackage {
  pname = "nucleus";
  version = "0.1.0";
  inherit src;
  cargoLock.lockFile = src + "/Cargo.lock";
  cargoBuildFlags = [
    "-p"
    "nucleus"
    "-p"
    "nucleus-runtime"
  ];
  buildInputs = [ pkgs.glibc.static ];
  # They need root, namespaces and control groups: ./test runs them.
  doCheck = false;
  meta = {
    description = "Runs untrusted commands in sandboxes made from pinned policies";
    license = [
      "MIT"
      "Apache-2.0"
    ];
    platforms = [ "x86_64-linux" ];
    mainProgram = "nucleus";
  };
}
