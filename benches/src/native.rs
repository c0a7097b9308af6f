//! The native programs: sources within this crate, compiled when a measurement is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIMIT_SOURCES: [(&str, &str); 5] = [
    ("limit.h", include_str!("../native/limit/limit.h")),
    ("limit.c", include_str!("../native/limit/limit.c")),
    ("cgroup.c", include_str!("../native/limit/cgroup.c")),
    ("rootfs.c", include_str!("../native/limit/rootfs.c")),
    ("confine.c", include_str!("../native/limit/confine.c")),
];
const LAUNCH: &str = include_str!("../native/launch.c");
const PAYLOAD: &str = include_str!("../native/payload.c");

/// Why a program could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source or directory could not be written.
    #[error("write {path}")]
    Write {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no C compiler.
    #[error("run cc (install gcc and libc6-dev)")]
    Compiler(#[source] io::Error),
    /// The compiler refused.
    #[error("compile {program}: {output}")]
    Compile {
        /// The program.
        program: &'static str,
        /// What the compiler printed.
        output: String,
    },
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

fn compile(
    program: &'static str,
    directory: &Path,
    sources: &[&str],
    options: &[&str],
    output: &Path,
) -> Result<(), Error> {
    let result = Command::new("cc")
        .args(options)
        .args(["-O2", "-static", "-s", "-std=gnu11", "-Wall", "-Werror"])
        .arg("-DFACTS=\"facts.h\"")
        .arg("-o")
        .arg(output)
        .args(sources.iter().map(|source| directory.join(source)))
        .output()
        .map_err(Error::Compiler)?;
    match result.status.success() {
        true => Ok(()),
        false => Err(Error::Compile {
            program,
            output: String::from_utf8_lossy(&result.stderr).into_owned(),
        }),
    }
}

/// Compiles the limit program with these facts to `directory/limit`.
///
/// # Errors
/// As [`Error`] says.
pub fn build_limit(directory: &Path, facts: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(directory).map_err(|source| Error::Write {
        path: directory.to_owned(),
        source,
    })?;
    for (name, text) in LIMIT_SOURCES {
        write(&directory.join(name), text)?;
    }
    write(&directory.join("facts.h"), facts)?;
    let output = directory.join("limit");
    compile(
        "limit",
        directory,
        &["limit.c", "cgroup.c", "rootfs.c", "confine.c"],
        &[],
        &output,
    )?;
    Ok(output)
}

/// Compiles the launcher to `directory/launch`.
///
/// # Errors
/// As [`Error`] says.
pub fn build_launcher(directory: &Path) -> Result<PathBuf, Error> {
    write(&directory.join("launch.c"), LAUNCH)?;
    let output = directory.join("launch");
    compile("launch", directory, &["launch.c"], &[], &output)?;
    Ok(output)
}

/// Compiles the container's program to `output`, with its source in `directory`.
///
/// # Errors
/// As [`Error`] says.
pub fn build_payload(directory: &Path, output: &Path) -> Result<(), Error> {
    write(&directory.join("payload.c"), PAYLOAD)?;
    compile(
        "payload",
        directory,
        &["payload.c"],
        &["-nostdlib", "-ffreestanding", "-fno-stack-protector"],
        output,
    )
}
