# Configurations of the module: `good` ones with their units in golden/, and `bad` ones with a word of their message.
{ rootfs, bundle, pin }:
let
  least = {
    inherit rootfs;
    command = [ "/bin/hello" ];
    user = 1000;
    memory = "64M";
  };
  zeros = "0000000000000000000000000000000000000000000000000000000000000000";
  with' = change: { box = least // change; };
  bad = message: change: {
    inherit message;
    containers = with' change;
  };
in
{
  good = {
    inherit least;
    full = least // {
      description = "All of it";
      command = [
        "/bin/sh"
        "-c"
        "echo $HOME \${PATH} 100% %n \"quoted\" 'single' \\back"
        "new\nline"
      ];
      workingDirectory = "/data";
      rootfsManifestSha256 = pin;
      mode = "strict-agent";
      group = 1000;
      hostName = "full";
      cpus = 1.5;
      pids = 50;
      seccomp = {
        file = ./policies/seccomp.json;
        sha256 = builtins.hashFile "sha256" ./policies/seccomp.json;
      };
      volumes."/data" = {
        hostPath = "/var/lib/full 100%";
        createHostPath = true;
        hostUser = "app";
        hostMode = "0750";
      };
      volumes."/etc/app" = {
        hostPath = "/etc/app";
        readOnly = true;
      };
      secrets."/run/secrets/key" = "/var/keys/key";
      credentials.token = "/var/keys/token";
      encryptedCredentials.sealed = "/var/keys/sealed.cred";
      environment = {
        A = "b c";
        PRICE = "$5 100%";
      };
      readiness = "notify";
      restart = "always";
      restartSec = 5;
      stopTimeout = 90;
      after = [ "network-online.target" ];
      wantedBy = [ ];
      hardening = false;
    };
    direct = {
      direct = true;
      inherit bundle;
      configSha256 = zeros;
    };
    off = least // {
      enable = false;
    };
  };

  bad = {
    no-command = bad "command is needed" { command = [ ]; };
    no-rootfs = bad "needs rootfs: build one with lib.mkRootfs" { rootfs = null; };
    no-user = bad "needs user" { user = null; };
    no-memory = bad "needs memory" { memory = null; };
    host-network = bad "only agent mode has the host's network" { network = "host"; };
    egress-without-bridge = bad "dns, egressAllow: only network = " {
      egressAllow = [ "192.0.2.0/24" ];
      dns = [ "192.0.2.53" ];
    };
    pin-alone = bad "is the pin of a rootfs" {
      mode = "agent";
      rootfs = null;
      rootfsManifestSha256 = zeros;
    };
    wrong-pin = bad "review the file, then set the pin to that" {
      seccomp = {
        file = ./policies/seccomp.json;
        sha256 = zeros;
      };
    };
    direct-and-more = bad "command, memory, rootfs, user: in a direct service the bundle decides that" {
      direct = true;
      inherit bundle;
      configSha256 = zeros;
    };
    direct-alone = {
      message = "direct needs configSha256";
      containers.box = {
        direct = true;
        inherit bundle;
      };
    };
    no-bundle = {
      message = "direct needs bundle: build one with lib.mkBundle";
      containers.box = {
        direct = true;
        configSha256 = zeros;
      };
    };
    bundle-alone = bad "are for direct = true" { inherit bundle; };
    colon = bad "cannot have a ':'" { volumes."/data".hostPath = "/var/a:b"; };
    credential-name = bad "credentials are named with" { credentials."a b" = "/x"; };
    credential-twice = bad "a credential is either in" {
      credentials.a = "/x";
      encryptedCredentials.a = "/x";
    };
    name = {
      message = "a name of letters, digits";
      containers."a b" = least;
    };
  };

  # Refused by an option's type or name.
  wrong = {
    mode = with' { mode = "fast"; };
    memory = with' { memory = "lots"; };
    user = with' { user = 70000; };
    pin = with' { rootfsManifestSha256 = "abc"; };
    typo = with' { commmand = [ "/bin/hello" ]; };
    relative-volume = with' { volumes."/data".hostPath = "var/lib"; };
    restart = with' { restart = "sometimes"; };
    command = with' { command = "/bin/hello"; };
  };
}
