# A stand-in for the small part of nixpkgs that nix/*.nix use. `seed` has busybox/busybox, static, and this project's programs;
# the tests fill it. The builder must be called busybox: that is how it knows what it is.
{
  system ? "x86_64-linux",
  seed ? ./seed,
}:
let
  inherit (builtins)
    concatStringsSep
    elemAt
    genList
    length
    listToAttrs
    ;
  from =
    name: file:
    "${
      builtins.path {
        path = seed + "/${file}";
        inherit name;
      }
    }";
  box = "${from "busybox-seed" "busybox"}/busybox";
  raw =
    name: attributes:
    derivation (
      {
        inherit name system;
        builder = box;
      }
      // attributes
    );
  script = text: {
    args = [
      "sh"
      "-euc"
      text
    ];
  };
  coreutils = raw "busybox-tools-1.35" (script ''
    ${box} mkdir -p "$out/bin"
    ${box} cp ${box} "$out/bin/busybox"
    for applet in $(${box} --list); do
      [ "$applet" = busybox ] || ${box} ln -s busybox "$out/bin/$applet"
    done
  '');
  runCommand =
    name: attributes: text:
    raw name (
      removeAttrs attributes [
        "nativeBuildInputs"
        "buildInputs"
        "meta"
      ]
      // script ". \"$buildCommandPath\""
      // {
        buildCommand = text;
        passAsFile = [ "buildCommand" ] ++ attributes.passAsFile or [ ];
        PATH = concatStringsSep ":" (
          map (input: "${input}/bin") ((attributes.nativeBuildInputs or [ ]) ++ [ coreutils ])
        );
      }
    );
  # exportReferencesGraph writes for each path: itself, its deriver, how many references, and those.
  closureInfo =
    { rootPaths }:
    runCommand "closure-info"
      {
        exportReferencesGraph = builtins.concatLists (
          genList (number: [
            "graph-${toString number}"
            (elemAt rootPaths number)
          ]) (length rootPaths)
        );
      }
      ''
        mkdir "$out"
        cat graph-* | awk '{ if (left == 0) { print; getline; getline; left = $0 } else left-- }' |
          sort -u > "$out/store-paths"
      '';
  greeting = runCommand "greeting-1.0" { } ''
    mkdir "$out"
    echo 'greeting="hello from a closure"' > "$out/greeting"
  '';
  hello = runCommand "hello-1.0" { } ''
    mkdir -p "$out/bin"
    printf '#!${coreutils}/bin/sh\n. ${greeting}/greeting\necho "$greeting"\n' > "$out/bin/hello"
    chmod +x "$out/bin/hello"
  '';
  # Packages of which only the name of a program matters.
  named = listToAttrs (
    map
      (name: {
        inherit name;
        value = runCommand "${name}-1.0" { } ''
          mkdir -p "$out/bin" "$out/etc/ssl/certs"
          printf '#!${coreutils}/bin/sh\necho ${name}\n' > "$out/bin/${name}-stand-in"
          chmod +x "$out/bin/${name}-stand-in"
          echo certificates > "$out/etc/ssl/certs/ca-bundle.crt"
        '';
      })
      [
        "bashInteractive"
        "cacert"
        "diffutils"
        "findutils"
        "gawk"
        "gcc"
        "gitMinimal"
        "gnugrep"
        "gnumake"
        "gnused"
        "gnutar"
        "gzip"
        "python3Minimal"
      ]
  );
  # The programs were built by cargo, outside; package.nix is only evaluated.
  buildRustPackage =
    attributes:
    runCommand "${attributes.pname}-${attributes.version}" { } ''
      mkdir -p "$out/bin"
      cp ${from "nucleus" "nucleus"} "$out/bin/nucleus"
      cp ${from "nucleus-runtime" "nucleus-runtime"} "$out/bin/nucleus-runtime"
      chmod +x "$out/bin/nucleus" "$out/bin/nucleus-runtime"
    '';
in
named
// {
  inherit
    system
    coreutils
    runCommand
    closureInfo
    hello
    ;
  writeText =
    name: text:
    runCommand name {
      inherit text;
      passAsFile = [ "text" ];
    } ''cp "$textPath" "$out"'';
  rustPlatform = { inherit buildRustPackage; };
  glibc.static = coreutils;
  mkShell = attributes: runCommand "shell" { nativeBuildInputs = attributes.packages; } "mkdir $out";
  cargo = coreutils;
  rustc = coreutils;
  clippy = coreutils;
  rustfmt = coreutils;
  pkg-config = coreutils;
  libseccomp = coreutils;
  strace = coreutils;
}
