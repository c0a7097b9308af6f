//! The validation programs of the OCI's runtime-tools, one case a program.

mod build;
mod tap;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::sandbox::{self, Request};
use crate::suite::{Case, Outcome, Target};

/// The slowest program waits 14 s by itself.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Builds the programs if the cache does not hold them, and lists them.
///
/// # Errors
/// They cannot be fetched or built.
pub(crate) fn cases(cache: &Path) -> Result<Vec<Case>> {
    let programs = Arc::new(build::programs(cache)?);
    Ok(programs.names.iter().map(|name| case(name, &programs)).collect())
}

/// The built programs.
struct Programs {
    /// The directory that they must run in: it holds `runtimetest` and the rootfs archive.
    dir: PathBuf,
    names: Vec<String>,
}

fn case(name: &str, programs: &Arc<Programs>) -> Case {
    let (program, programs) = (name.to_owned(), Arc::clone(programs));
    let run = move |target: &Target<'_>| {
        run(&programs.dir, &program, target).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
    };
    Case {
        name: name.to_owned(),
        run: Box::new(run),
    }
}

fn run(dir: &Path, program: &str, target: &Target<'_>) -> Result<Outcome> {
    let ended = sandbox::run(&Request {
        view: target.view,
        command: vec![OsString::from(dir.join("bin").join(program))],
        env: vec![("RUNTIME", target.runtime.as_os_str())],
        dir: Some(dir),
        timeout: TIMEOUT,
    })?;
    let Some(status) = ended.status else {
        return Ok(Outcome::Failed(format!("no end after {} s", TIMEOUT.as_secs())));
    };
    Ok(tap::judge(&ended.stdout, &ended.stderr, status.code()))
}
