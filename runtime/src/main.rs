//! The `nucleus-runtime` program.

fn main() {
    std::process::exit(nucleus_runtime::cli::main());
}
