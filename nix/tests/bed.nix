# What the beds with a systemd run (conformance/src/beds/nix.rs): units of the module, and what Nix builds for them.
# `seed/ready` tells systemd that the program is ready, `seed/seccomp.json` is a policy. `pins` are those of `bundles`, once they are built.
{ src, pins }:
let
  pkgs = import ./nixpkgs { };
  flake = import ../. {
    inherit src;
    pkgsFor = _: pkgs;
  };
  inherit (flake.lib) mkRootfs mkBundle;
  ready = pkgs.runCommand "ready-1.0" { } ''
    mkdir -p "$out/bin"
    cp ${
      builtins.path {
        path = ./nixpkgs/seed/ready;
        name = "ready-seed";
      }
    } "$out/bin/ready"
    chmod +x "$out/bin/ready"
  '';

  rootfs = mkRootfs {
    inherit pkgs;
    packages = [ pkgs.hello ];
  };
  tools = mkRootfs {
    inherit pkgs;
    name = "tools-rootfs";
    packages = [
      pkgs.coreutils
      pkgs.hello
      ready
    ];
    mountPoints = [
      "/data"
      "/conf"
    ];
  };
  bundle =
    container: request:
    mkBundle {
      inherit pkgs rootfs container;
      name = "${container}-bundle";
      request = {
        command = [ "/bin/hello" ];
      }
      // request;
    };
  bundles = {
    direct = bundle "direct" {
      user = 1000;
      memory = "64M";
      pids = 20;
    };
    # Where there are no controllers for limits.
    light-direct = bundle "light-direct" { mode = "agent"; };
  };

  limits = {
    memory = "64M";
    pids = 20;
    cpus = 0.5;
  };
  service = {
    rootfs = tools;
    command = [
      "/bin/sh"
      "-c"
      ''
        trap 'echo bye; exit 0' TERM
        echo "token $(cat /run/secrets/token), sealed $(cat /run/secrets/sealed), 100% of $PRICE"
        (echo x > /conf/file) 2> /dev/null || echo "the configuration stays"
        until [ -e /data/go ]; do sleep 0.1; done
        [ "$(cat /data/go)" = on ] || exit 0
        echo kept > /data/kept
        ready "at work"
        sleep 98765 &
        wait
      ''
    ];
    user = 1000;
    environment.PRICE = "$5 %n";
    readiness = "notify";
    restart = "no";
    credentials.token = "/run/module/token";
    encryptedCredentials.sealed = "/run/module/sealed";
    seccomp = {
      file = ./nixpkgs/seed/seccomp.json;
      sha256 = builtins.hashFile "sha256" ./nixpkgs/seed/seccomp.json;
    };
    volumes."/data" = {
      hostPath = "/run/module/data";
      createHostPath = true;
      hostUser = "nobody";
      hostGroup = "nogroup";
      hostMode = "0750";
    };
    volumes."/conf" = {
      hostPath = "/run/module/conf";
      readOnly = true;
    };
  };
  inherit
    (import ./evaluate.nix {
      inherit pkgs;
      nucleus = flake.packages.x86_64-linux.default;
      containers = {
        hello = limits // {
          inherit rootfs;
          command = [ "/bin/hello" ];
          user = 1000;
          restart = "no";
        };
        direct = {
          direct = true;
          bundle = bundles.direct;
          configSha256 = pins.direct;
          restart = "no";
        };
        full = service // limits;
        light = service // {
          mode = "agent";
          rootfsManifestSha256 = pins.tools;
        };
        reaching = {
          mode = "agent";
          rootfs = tools;
          rootfsManifestSha256 = pins.tools;
          command = [
            "/bin/sh"
            "-c"
            ''
              trap 'echo bye; exit 0' TERM
              for to in "10.99.1.1 80" "10.99.1.1 81" "10.99.2.1 80" "fd99:1::1 80" "fd99:2::1 80"; do
                echo "$to: $(nc -w 9 $to < /dev/null 2> /dev/null || echo refused)"
              done
              sleep 98765 &
              wait
            ''
          ];
          user = 1000;
          restart = "no";
          network = "bridge";
          egressAllow = [
            "10.99.1.1"
            "fd99:1::1"
          ];
          egressTcpPorts = [ 80 ];
        };
        light-direct = {
          direct = true;
          bundle = bundles.light-direct;
          configSha256 = pins.light-direct;
          restart = "no";
        };
      };
    })
    units
    rules
    failed
    ;
  # Files with these texts in a directory.
  directory =
    name: texts:
    pkgs.runCommand name { } (
      "mkdir $out\n"
      + builtins.concatStringsSep "" (
        map (file: "cp ${pkgs.writeText file texts.${file}} $out/${file}\n") (builtins.attrNames texts)
      )
    );
in
{
  # The bundles and a root file system, by name.
  built = pkgs.runCommand "built" { } ''
    mkdir $out
    cp ${bundles.direct}/config-sha256 $out/direct
    cp ${bundles.light-direct}/config-sha256 $out/light-direct
    sha256sum ${tools}/.nucleus-rootfs-sha256 | cut -d ' ' -f 1 > $out/tools
  '';
  units =
    if failed == [ ] then
      directory "units" (units // { rules = builtins.concatStringsSep "\n" rules + "\n"; })
    else
      throw (builtins.concatStringsSep "\n" failed);
}
