{
  description = "Nucleus: untrusted commands in sandboxes made from pinned policies";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  outputs =
    { self, nixpkgs }:
    import ./nix {
      src = self;
      pkgsFor = system: nixpkgs.legacyPackages.${system};
    };
}
