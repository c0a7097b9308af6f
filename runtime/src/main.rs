//! The `nucleus-runtime` program.
#![no_main]

nucleus_sys::main!(nucleus_runtime::cli::main);
