//! The `nucleus-runtime` program.
fn main() {}
