{
  description = "The few things of nixpkgs that the project uses, on a static busybox";
  outputs =
    { self }:
    {
      legacyPackages.x86_64-linux = import ./. { };
    };
}
