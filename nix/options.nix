# The options of services.nucleus.
{ lib }:
let
  inherit (lib) mkOption types literalExpression;
  sha256 = types.strMatching "[0-9a-f]{64}";
  absolute = types.strMatching "/.*";

  optional =
    type: example: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit example description;
    };

  list = type: example: description: mkOption {
    type = types.listOf type;
    default = [ ];
    inherit example description;
  };
  words = list types.str;
  ports = list (types.ints.between 1 65535);

  policy = kind: ''
    The ${kind} policy, a file that is reviewed apart from the rest, and its SHA-256. The pin is checked when the
    configuration is evaluated and again at every start. null: the built-in policy.
  '';
  policyType = types.submodule {
    options = {
      file = mkOption {
        type = types.path;
        description = "The policy.";
        example = literalExpression "./seccomp.json";
      };
      sha256 = mkOption {
        type = sha256;
        description = "Its SHA-256, as `sha256sum` prints it.";
        example = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
      };
    };
  };
  policyExample = literalExpression ''{ file = ./policy; sha256 = "e3b0c442…"; }'';

  volumeType = types.submodule {
    options = {
      hostPath = mkOption {
        type = absolute;
        description = "The file or directory on the host.";
        example = "/var/lib/app";
      };
      readOnly = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the workload may only read it.";
        example = true;
      };
      createHostPath = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the directory is made on the host if it is missing (systemd-tmpfiles).";
        example = true;
      };
      hostUser = mkOption {
        type = types.str;
        default = "root";
        description = "Owner of a directory that is made. What the workload makes in it is the owner's.";
        example = "app";
      };
      hostGroup = mkOption {
        type = types.str;
        default = "root";
        description = "Group of a directory that is made.";
        example = "app";
      };
      hostMode = mkOption {
        type = types.strMatching "[0-7]{4}";
        default = "0700";
        description = "Mode of a directory that is made.";
        example = "0750";
      };
    };
  };

  containerType = types.submodule {
    options = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether there is a service for it.";
        example = false;
      };
      description = mkOption {
        type = types.str;
        default = "Nucleus sandbox";
        description = "Description of the service.";
        example = "The shop's back end";
      };
      command = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "The program and its arguments. Nothing in it is expanded: neither `$` nor `%` is special.";
        example = [
          "/bin/server"
          "--port=8080"
        ];
      };
      workingDirectory = optional absolute "/srv" "Working directory in the sandbox.";
      rootfs = optional types.path (literalExpression "nucleus.lib.mkRootfs { inherit pkgs; packages = [ pkgs.hello ]; }") "Root file system, with its manifest (`lib.mkRootfs`). In production mode, and in the others with `rootfsManifestSha256`, it is compared with that at every start.";
      rootfsManifestSha256 =
        optional sha256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
          "SHA-256 that the manifest must have. It may be left out for a root file system in the Nix store.";
      mode = mkOption {
        type = types.enum [
          "agent"
          "strict-agent"
          "production"
        ];
        default = "production";
        description = "How strictly the promises are held.";
        example = "strict-agent";
      };
      user = optional (types.ints.between 0 65535) 1000 "User id of the workload in its user namespace.";
      group = optional (types.ints.between 0 65535) 1000 "Group id of the workload in its user namespace.";
      hostName = optional types.str "shop" "Host name in the sandbox.";
      memory = optional (types.strMatching "[1-9][0-9]*[KMGkmg]?") "512M" "Memory limit in bytes, or with K, M or G.";
      cpus = optional types.number 1.5 "Number of processors.";
      pids = optional types.ints.positive 100 "Largest number of processes and threads.";
      network = mkOption {
        type = types.enum [
          "none"
          "bridge"
          "host"
        ];
        default = "none";
        description = "The network that the workload sees: none, one that refuses all but what the egress options allow, or the host's.";
        example = "bridge";
      };
      egressAllow = words [ "192.0.2.0/24" ] "Addresses and networks that the workload may reach.";
      egressDomains = words [ "example.com" ] "Names whose addresses it may reach; `*.example.com` stands for all below.";
      egressTcpPorts = ports [ 443 ] "TCP ports that it may reach there. With any list a protocol without one is closed.";
      egressUdpPorts = ports [ 443 ] "UDP ports that it may reach there.";
      dns = words [ "192.0.2.53" ] "Servers that the names are looked up at; none: the host's.";
      credentialBroker = optional types.str "192.0.2.7:3128" "The proxy that is all that the workload reaches.";
      publish = words [ "127.0.0.1:8080:80" ] "Ports of the host that lead to ports of the workload.";
      seccomp = optional policyType policyExample (policy "seccomp (JSON)");
      capabilities = optional policyType policyExample (policy "capability (TOML)");
      landlock = optional policyType policyExample (policy "Landlock (TOML)");
      volumes = mkOption {
        type = types.attrsOf volumeType;
        default = { };
        description = "Host paths in the sandbox, by their path there. Nothing else that the workload writes is kept.";
        example = literalExpression ''{ "/data" = { hostPath = "/var/lib/app"; createHostPath = true; }; }'';
      };
      secrets = mkOption {
        type = types.attrsOf absolute;
        default = { };
        description = "Files of the host that are copied into memory, readable for the workload alone, by their path in the sandbox.";
        example = {
          "/run/secrets/token" = "/var/keys/token";
        };
      };
      credentials = mkOption {
        type = types.attrsOf types.str;
        default = { };
        description = "Credentials (LoadCredential=), by name; the workload finds them in /run/secrets.";
        example = {
          token = "/var/keys/token";
        };
      };
      encryptedCredentials = mkOption {
        type = types.attrsOf types.str;
        default = { };
        description = "Encrypted credentials (LoadCredentialEncrypted=), by name; the workload finds them in /run/secrets.";
        example = {
          token = "/var/keys/token.cred";
        };
      };
      environment = mkOption {
        type = types.attrsOf types.str;
        default = { };
        description = "Variables for the program. They are in the store for all to read: secrets go into `credentials`.";
        example = {
          LANG = "C.UTF-8";
        };
      };
      readiness = mkOption {
        type = types.enum [
          "exec"
          "notify"
        ];
        default = "exec";
        description = "When the service counts as started: when the program runs, or when it says so (sd_notify).";
        example = "notify";
      };
      restart = mkOption {
        type = types.enum [
          "no"
          "on-success"
          "on-failure"
          "on-abnormal"
          "always"
        ];
        default = "on-failure";
        description = "When the service is started again (Restart=).";
        example = "always";
      };
      restartSec = mkOption {
        type = types.ints.unsigned;
        default = 1;
        description = "Seconds before that.";
        example = 5;
      };
      stopTimeout = mkOption {
        type = types.ints.positive;
        default = 30;
        description = "Seconds between SIGTERM and SIGKILL.";
        example = 90;
      };
      wantedBy = mkOption {
        type = types.listOf types.str;
        default = [ "multi-user.target" ];
        description = "What starts the service.";
        example = [ ];
      };
      after = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Units that are wanted, and started before it.";
        example = [ "network-online.target" ];
      };
      hardening = mkOption {
        type = types.bool;
        default = true;
        description = "Whether the service itself, outside the sandbox, is confined as far as setting a sandbox up allows.";
        example = false;
      };
      direct = mkOption {
        type = types.bool;
        default = false;
        description = "Whether systemd calls nucleus-runtime itself, on a built bundle.";
        example = true;
      };
      bundle = optional types.path (literalExpression "nucleus.lib.mkBundle { inherit pkgs rootfs; request = { … }; }") "The bundle of a direct service (`lib.mkBundle`).";
      configSha256 =
        optional sha256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
          "SHA-256 that the bundle's config.json must have; `lib.mkBundle` leaves it in the bundle's file config-sha256.";
    };
  };
in
{
  package = optional types.package (literalExpression "nucleus.packages.x86_64-linux.default") "The package with nucleus and nucleus-runtime.";
  containers = mkOption {
    type = types.attrsOf containerType;
    default = { };
    description = "Sandboxes that are services: nucleus-<name>.service.";
    example = literalExpression ''{ shop = { rootfs = …; command = [ "/bin/shop" ]; user = 1000; memory = "512M"; }; }'';
  };
}
