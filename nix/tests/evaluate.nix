# What the module makes of services.nucleus: units, rules, launch configurations, and the messages of failed assertions.
{
  pkgs,
  nucleus,
  containers,
  package ? nucleus,
}:
let
  lib = import ./lib.nix;
  inherit
    (lib.evalModules {
      modules = [
        ./nixos.nix
        ../module.nix
        { services.nucleus = { inherit package containers; }; }
      ];
      specialArgs = { inherit pkgs; };
    })
    config
    ;
in
{
  units = builtins.mapAttrs (_: import ./render.nix) config.systemd.services;
  rules = config.systemd.tmpfiles.rules;
  failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
}
