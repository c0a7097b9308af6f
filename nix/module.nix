# services.nucleus.containers.<name> becomes the systemd service nucleus-<name>.
#
# Of `lib` it uses the option functions and types, mkIf, mapAttrs', nameValuePair, filterAttrs, optional
# and optionalAttrs; of `pkgs` writeText.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (builtins)
    attrNames
    attrValues
    concatLists
    concatMap
    elem
    filter
    hashFile
    map
    match
    replaceStrings
    toJSON
    ;
  cfg = config.services.nucleus;
  enabled = lib.filterAttrs (_: container: container.enable) cfg.containers;

  # A word of a unit's setting: quoted, and safe from the expansion of %specifiers.
  word =
    text:
    let
      escaped =
        replaceStrings
          [
            "\\"
            "\""
            "%"
            "\n"
          ]
          [
            "\\\\"
            "\\\""
            "%%"
            "\\n"
          ]
          text;
    in
    "\"${escaped}\"";
  # One argument of ExecStart, where $VARIABLES are expanded as well.
  argument = text: replaceStrings [ "$" ] [ "$$" ] (word text);
  literal = replaceStrings [ "%" ] [ "%%" ];
  line = arguments: builtins.concatStringsSep " " (map argument arguments);

  set = lib.filterAttrs (_: value: value != null && value != [ ]);

  policy =
    field: choice:
    lib.optionalAttrs (choice != null) {
      ${field} = "${choice.file}";
      "${field}-sha256" = choice.sha256;
    };

  volume =
    destination: volume:
    "${volume.hostPath}:${destination}${if volume.readOnly then ":ro" else ""}";

  # The launch configuration: commands and values are text in a file, which nothing expands.
  request =
    name: container:
    set (
      {
        inherit name;
        inherit (container)
          command
          mode
          user
          group
          memory
          cpus
          pids
          network
          dns
          publish
          ;
        egress-allow = container.egressAllow;
        egress-domain = container.egressDomains;
        egress-tcp-port = container.egressTcpPorts;
        egress-udp-port = container.egressUdpPorts;
        credential-broker = container.credentialBroker;
        cgroups-path = "sandbox-${name}";
        hostname = container.hostName;
        workdir = container.workingDirectory;
        rootfs = if container.rootfs == null then null else "${container.rootfs}";
        rootfs-manifest-sha256 = container.rootfsManifestSha256;
        env = map (variable: "${variable}=${container.environment.${variable}}") (attrNames container.environment);
        volume = map (destination: volume destination container.volumes.${destination}) (attrNames container.volumes);
        secret = map (destination: "${container.secrets.${destination}}:${destination}") (attrNames container.secrets);
        allow-host-network = if container.network == "host" then true else null;
      }
      // policy "seccomp-profile" container.seccomp
      // policy "caps-policy" container.capabilities
      // policy "landlock-policy" container.landlock
    );

  # The options that are set and that a bridge alone can hold.
  egress =
    container:
    attrNames (set {
      inherit (container)
        egressAllow
        egressDomains
        egressTcpPorts
        egressUdpPorts
        dns
        credentialBroker
        publish
        ;
    });

  credentialIds = container: attrNames container.credentials ++ attrNames container.encryptedCredentials;

  # %d is the directory of the unit's credentials: systemd is to expand it.
  credential = id: ''--secret "%d/${id}:/run/secrets/${id}"'';

  start =
    name: container:
    if container.direct then
      line [
        "${cfg.package}/bin/nucleus-runtime"
        "run"
        "--bundle"
        "${container.bundle}"
        "--config-sha256"
        "${toString container.configSha256}"
        name
      ]
    else
      builtins.concatStringsSep " " (
        [
          (line [
            "${cfg.package}/bin/nucleus"
            "run"
            "--config"
            "${pkgs.writeText "nucleus-${name}.json" (toJSON (request name container))}"
          ])
        ]
        ++ map credential (credentialIds container)
      );

  # Before the bundle is used: its root file system against its manifest.
  verify =
    container:
    line (
      [
        "${cfg.package}/bin/nucleus"
        "attest"
        "verify"
      ]
      ++ (
        if container.rootfsManifestSha256 == null then
          [ ]
        else
          [
            "--manifest-sha256"
            container.rootfsManifestSha256
          ]
      )
      ++ [ "${container.bundle}/rootfs" ]
    );

  hardening = {
    # What sets namespaces, mounts and control groups up must not be taken from it.
    NoNewPrivileges = true;
    KeyringMode = "private";
    LockPersonality = true;
    RestrictRealtime = true;
    SystemCallArchitectures = "native";
    UMask = "0077";
    CapabilityBoundingSet = "~CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_BOOT CAP_SYS_TIME CAP_WAKE_ALARM CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_SYSLOG";
  };

  service = name: container: {
    inherit (container) description wantedBy after;
    wants = container.after;
    unitConfig = lib.optionalAttrs (container.volumes != { }) {
      RequiresMountsFor = map (volume: word volume.hostPath) (
        attrValues container.volumes
      );
    };
    serviceConfig = {
      Type = if container.readiness == "notify" then "notify" else "exec";
      ExecStart = start name container;
      Restart = container.restart;
      RestartSec = container.restartSec;
      TimeoutStopSec = container.stopTimeout;
      # SIGTERM for our own process, which passes it on; SIGKILL for what is left.
      KillMode = "mixed";
      # The sandbox's control group is below the service's, beside our own processes: so the journal knows whose
      # lines they are, and limits and numbers of the service are the sandbox's too.
      Delegate = true;
      DelegateSubgroup = "supervisor";
      StandardOutput = "journal";
      StandardError = "journal";
      SyslogIdentifier = "nucleus-${name}";
    }
    # The program's word comes through the runtime, which is not always the service's main process.
    // lib.optionalAttrs (container.readiness == "notify") { NotifyAccess = "all"; }
    // lib.optionalAttrs (container.credentials != { }) {
      LoadCredential = map (id: "${id}:${literal container.credentials.${id}}") (attrNames container.credentials);
    }
    // lib.optionalAttrs (container.encryptedCredentials != { }) {
      LoadCredentialEncrypted = map (id: "${id}:${literal container.encryptedCredentials.${id}}") (
        attrNames container.encryptedCredentials
      );
    }
    // lib.optionalAttrs container.direct {
      ExecStartPre = verify container;
      # What a killed runtime has left is taken away here.
      ExecStopPost = "-${
        line [
          "${cfg.package}/bin/nucleus-runtime"
          "delete"
          "--force"
          name
        ]
      }";
    }
    // lib.optionalAttrs container.hardening hardening;
  };

  # `d` makes a directory if it is missing, and leaves its content alone.
  directories =
    container:
    map (
      volume: "d ${word volume.hostPath} ${volume.hostMode} ${volume.hostUser} ${volume.hostGroup} -"
    ) (filter (volume: volume.createHostPath) (attrValues container.volumes));

  # What a bundle has decided already.
  decided = container: {
    command = container.command != [ ];
    rootfs = container.rootfs != null;
    volumes = container.volumes != { };
    secrets = container.secrets != { };
    credentials = container.credentials != { };
    encryptedCredentials = container.encryptedCredentials != { };
    environment = container.environment != { };
    seccomp = container.seccomp != null;
    capabilities = container.capabilities != null;
    landlock = container.landlock != null;
    memory = container.memory != null;
    cpus = container.cpus != null;
    pids = container.pids != null;
    user = container.user != null;
    group = container.group != null;
  };

  assertions =
    name: container:
    let
      at = "services.nucleus.containers.${name}";
      check = assertion: message: {
        inherit assertion;
        message = "${at}: ${message}";
      };
      production = container.mode == "production";
      beside = filter (field: (decided container).${field}) (attrNames (decided container));
      pinned =
        field: choice:
        let
          actual = hashFile "sha256" choice.file;
        in
        lib.optional (choice != null) (
          check (actual == choice.sha256)
            "${field}.sha256 is ${choice.sha256}, and ${toString choice.file} has ${actual}: review the file, then set the pin to that"
        );
      colonless = text: match "[^:]*" text != null;
      plain = id: match "[A-Za-z0-9_.-]+" id != null;
      paths =
        attrNames container.volumes
        ++ map (volume: volume.hostPath) (attrValues container.volumes)
        ++ attrNames container.secrets
        ++ attrValues container.secrets;
      ids = credentialIds container;
    in
    [
      (check (match "[A-Za-z0-9][A-Za-z0-9_.-]*" name != null)
        "a name of letters, digits, '_', '.' and '-' is needed: it names the service and the sandbox"
      )
    ]
    ++ (
      if container.direct then
        [
          (check (container.bundle != null) "direct needs bundle: build one with lib.mkBundle")
          (check (container.configSha256 != null)
            "direct needs configSha256: the pin of the bundle's config.json, which lib.mkBundle leaves in its file config-sha256"
          )
          (check (beside == [ ])
            "${builtins.concatStringsSep ", " beside}: in a direct service the bundle decides that: give it to lib.mkBundle, or set direct = false"
          )
        ]
      else
        [
          (check (container.bundle == null && container.configSha256 == null)
            "bundle and configSha256 are for direct = true"
          )
          (check (container.command != [ ]) "command is needed: the program's absolute path and its arguments")
          (check (!production || container.rootfs != null)
            "production mode needs rootfs: build one with lib.mkRootfs"
          )
          (check (!production || container.user != null) "production mode needs user: the workload's user id in the sandbox, such as 1000")
          (check (!production || container.memory != null) "production mode needs memory, such as \"512M\"")
          (check (container.network != "host" || container.mode == "agent")
            "only agent mode has the host's network: use network = \"none\", or mode = \"agent\""
          )
          (check (container.network == "bridge" || egress container == [ ])
            "${builtins.concatStringsSep ", " (egress container)}: only network = \"bridge\" holds it"
          )
          (check (container.rootfsManifestSha256 == null || container.rootfs != null)
            "rootfsManifestSha256 is the pin of a rootfs: set rootfs too"
          )
        ]
    )
    ++ pinned "seccomp" container.seccomp
    ++ pinned "capabilities" container.capabilities
    ++ pinned "landlock" container.landlock
    ++ [
      (check (builtins.all colonless paths) "paths of volumes and secrets cannot have a ':' in them")
      (check (builtins.all plain ids) "credentials are named with letters, digits, '_', '.' and '-'")
      (check (filter (id: elem id (attrNames container.encryptedCredentials)) (attrNames container.credentials) == [ ])
        "a credential is either in credentials or in encryptedCredentials"
      )
    ];
in
{
  options.services.nucleus = import ./options.nix { inherit lib; };

  config = lib.mkIf (enabled != { }) {
    assertions = [
      {
        assertion = cfg.package != null;
        message = "services.nucleus.package is needed: the package with nucleus and nucleus-runtime, such as the flake's packages.x86_64-linux.default";
      }
    ]
    ++ concatLists (attrValues (builtins.mapAttrs assertions enabled));
    systemd.services = lib.mapAttrs' (
      name: container: lib.nameValuePair "nucleus-${name}" (service name container)
    ) enabled;
    systemd.tmpfiles.rules = concatMap directories (attrValues enabled);
  };
}
