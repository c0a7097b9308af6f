//! `nucleus`: sandboxes from pinned policies.

fn main() {
    nucleus_sys::entry::prepare();
    std::process::exit(nucleus_shim::cli::main());
}
