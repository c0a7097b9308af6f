# The text of a unit as NixOS writes it, for the options that the module sets.
service:
let
  inherit (builtins)
    attrNames
    concatStringsSep
    isBool
    isList
    ;
  word =
    value:
    if isBool value then
      (if value then "true" else "false")
    else
      toString value;
  setting =
    key: value:
    concatStringsSep "" (map (one: "${key}=${word one}\n") (if isList value then value else [ value ]));
  section = name: settings: "[${name}]\n${concatStringsSep "" (map (key: setting key settings.${key}) (attrNames settings))}";
  joined = key: words: if words == [ ] then { } else { ${key} = concatStringsSep " " words; };
in
section "Unit" (
  { Description = service.description; }
  // joined "After" service.after
  // joined "Wants" service.wants
  // service.unitConfig
)
+ "\n"
+ section "Service" service.serviceConfig
+ "\n"
+ section "Install" (joined "WantedBy" service.wantedBy)
