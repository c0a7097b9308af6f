# Everything that the flake exports. `src` is the project, `pkgsFor` gives the packages of a system.
{ src, pkgsFor }:
let
  systems = [ "x86_64-linux" ];
  each =
    f:
    builtins.listToAttrs (
      map (system: {
        name = system;
        value = f (pkgsFor system);
      }) systems
    );
  package = pkgs: import ./package.nix { inherit pkgs src; };
  # The project's own package, unless the caller has another.
  with' = file: arguments: import file ({ nucleus = package arguments.pkgs; } // arguments);
in
{
  lib = {
    mkRootfs = with' ./mk-rootfs.nix;
    mkAgentToolchainRootfs = with' ./mk-agent-toolchain-rootfs.nix;
    mkBundle = with' ./mk-bundle.nix;
  };
  packages = each (pkgs: {
    default = package pkgs;
  });
  devShells = each (pkgs: {
    default = import ./shell.nix { inherit pkgs; };
  });
  nixosModules.default = import ./module.nix;
  checks = each (pkgs: {
    rootfs = import ./mk-rootfs.nix {
      inherit pkgs;
      nucleus = package pkgs;
      name = "nucleus-rootfs-hello";
      packages = [ pkgs.hello ];
    };
  });
}
