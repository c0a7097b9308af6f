//! Makes `nucleus_start` (crate `nucleus-sys`, module `entry`) the program's entry point.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bin=nucleus-runtime=-Wl,-e,nucleus_start,-u,nucleus_start");
}
