# The options of NixOS that the module writes to.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  list = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  anything = mkOption {
    type = types.attrsOf types.anything;
    default = { };
  };
  service = types.submodule {
    options = {
      description = mkOption {
        type = types.str;
        default = "";
      };
      after = list;
      wants = list;
      wantedBy = list;
      path = mkOption {
        type = types.listOf types.anything;
        default = [ ];
      };
      unitConfig = anything;
      serviceConfig = anything;
    };
  };
in
{
  options = {
    assertions = mkOption {
      type = types.listOf types.anything;
      default = [ ];
    };
    systemd.tmpfiles.rules = list;
    systemd.services = mkOption {
      type = types.attrsOf service;
      default = { };
    };
  };
}
