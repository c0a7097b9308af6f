//! Black-box suites that run against any OCI runtime binary.
fn main() {}
