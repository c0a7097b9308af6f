# A whole OCI bundle at build time: config.json as `nucleus bundle` decides it for root on any host, a root file system
# from mkRootfs, and the pins of both. `nucleus-runtime run --bundle B --config-sha256 $(cat B/config-sha256)` runs it.
#
# `request` has the fields of a launch configuration (`nucleus schema`), but secrets and host paths: a build has
# neither. A policy is `{ file = ./seccomp.json; sha256 = "..."; }`; the pin is compared while this is built.
{
  pkgs,
  nucleus,
  rootfs,
  name ? "nucleus-bundle",
  container ? name,
  request ? { },
  seccomp ? null,
  capabilities ? null,
  landlock ? null,
}:
let
  inherit (builtins) filter hasAttr throw toJSON;
  # What would be looked up on the machine that builds.
  ofTheHost = [
    "context"
    "workspace"
    "home"
    "provider-config-ro"
    "provider-config-rw"
    "secret"
    "volume"
    "runtime"
  ];
  refused = filter (field: hasAttr field request) ofTheHost;
  policy =
    word: choice:
    if choice == null then
      { }
    else
      {
        ${word} = "${choice.file}";
        "${word}-sha256" = choice.sha256;
      };
  whole = {
    name = container;
    rootfs = "${rootfs}";
    mode = "production";
    # Below the control group of the service that runs it (systemd.exec(5), DelegateSubgroup=).
    cgroups-path = "sandbox-${container}";
  }
  // request
  // policy "seccomp-profile" seccomp
  // policy "caps-policy" capabilities
  // policy "landlock-policy" landlock;
in
if refused != [ ] then
  throw "mkBundle: ${builtins.head refused}: a bundle that is built has nothing of a host; services.nucleus with direct = false has"
else
  pkgs.runCommand name
    {
      nativeBuildInputs = [
        pkgs.coreutils
        nucleus
      ];
      request = toJSON whole;
      passAsFile = [ "request" ];
      inherit rootfs;
      allowSubstitutes = false;
      preferLocalBuild = true;
    }
    ''
      pin=$(sha256sum "$rootfs/.nucleus-rootfs-sha256")
      nucleus bundle --for-root --output "$out" --config "$requestPath" --rootfs-manifest-sha256 "''${pin%% *}"
      ln -s "$rootfs" "$out/rootfs"
      pin_of_config=$(sha256sum "$out/config.json")
      printf '%s\n' "''${pin_of_config%% *}" > "$out/config-sha256"
      printf '%s\n' "''${pin%% *}" > "$out/rootfs-manifest-sha256"
    ''
