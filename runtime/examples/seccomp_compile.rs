//! Compiles the seccomp profile of a `config.json` over and over: prints the program's length and the
//! median time. `cargo run --release --example seccomp_compile -- config.json`
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::time::Instant;

use anyhow::{Context, Result};
use nucleus_runtime::seccomp::compile;

fn main() -> Result<()> {
    let path = std::env::args_os()
        .nth(1)
        .context("usage: seccomp_compile config.json")?;
    let spec = oci_spec::runtime::Spec::load(path)?;
    let seccomp = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref())
        .context("no linux.seccomp")?;
    let filter = compile(seccomp)?;
    let first = Instant::now();
    compile(seccomp)?;
    let first = first.elapsed();
    let mut times: Vec<_> = (0..2001)
        .map(|_| {
            let start = Instant::now();
            let filter = compile(seccomp);
            let time = start.elapsed();
            drop(filter);
            time
        })
        .collect();
    times.sort_unstable();
    println!(
        "{} instructions, {} unknown names, first {first:?}, median {:?}, p90 {:?}",
        filter.program.len(),
        filter.unknown.len(),
        times[times.len() / 2],
        times[times.len() * 9 / 10],
    );
    Ok(())
}
