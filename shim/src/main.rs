//! `nucleus`: sandboxes from pinned policies.

fn main() {
    if nucleus_shim::init::is_called() {
        std::process::exit(nucleus_shim::init::main());
    }
    nucleus_sys::entry::prepare();
    std::process::exit(nucleus_shim::cli::main());
}
