//! `nucleus`: sandboxes from pinned policies.

fn main() {
    std::process::exit(nucleus_shim::cli::main());
}
