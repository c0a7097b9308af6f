//! `nucleus`: sandboxes from pinned policies.
#![no_main]

nucleus_sys::main!(program);

fn program() -> i32 {
    if nucleus_shim::init::is_called() {
        return nucleus_shim::init::main();
    }
    nucleus_sys::entry::open_streams();
    // Not returned: that would leave standard output unwritten.
    std::process::exit(nucleus_shim::cli::main())
}
