//! Black-box suites that run against any OCI runtime binary.
//!
//! Every case runs in a sandbox of its own (see [`sandbox`]), sees only the runtime's command line and
//! what the kernel shows of its effects, and ends as passed, failed or skipped with a reason. A new suite
//! is one module with a function that returns its cases, and one line in [`suite::Kind`].

mod apt;
mod beds;
mod cli;
mod diff;
mod host;
mod inside;
mod known;
mod lab;
mod oci;
mod own;
mod pool;
mod report;
mod sandbox;
mod schema;
mod suite;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}
