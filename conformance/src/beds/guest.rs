//! The side of the cases: runs them in a bed, and what they work with there.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Bed, cases};
use crate::host::View;
use crate::inside::{self, outcome};
use crate::lab::{Lab, Output, finish, within};
use crate::suite::{Outcome, Target};
use crate::{own, pool};

/// How long systemd and a program may take for what they do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A case that runs in beds.
#[derive(Clone, Copy)]
pub(super) struct BedCase {
    /// Unique among the beds' cases.
    pub(super) name: &'static str,
    /// Where it runs.
    pub(super) beds: &'static [Bed],
    /// Returns normally if every expectation held.
    pub(super) body: fn(&Guest) -> Result<()>,
}

/// One outcome, as it is told from inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) suite: String,
    pub(super) case: String,
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
}

/// The hidden command line of this stage.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    bed: Bed,
    #[arg(long)]
    case: String,
}

/// The suites and cases of a bed whose names contain `filter`, in the order in which they run.
pub(super) fn names(bed: Bed, filter: &str) -> Vec<(&'static str, &'static str)> {
    let mut names: Vec<_> = cases::of(bed).map(|case| ("beds", case.name)).collect();
    names.extend(own_cases(bed).into_iter().map(|name| ("own", name)));
    names.retain(|(_, name)| name.contains(filter));
    names
}

/// The cases of the suite `own` that are worth their time on another kernel.
fn own_cases(bed: Bed) -> Vec<&'static str> {
    let cases = match bed {
        Bed::Container | Bed::Machine => Vec::new(),
        Bed::OldMachine => own::of_the_kernel(),
    };
    cases.into_iter().map(|case| case.name).collect()
}

/// Runs the cases of a bed, in it, and tells each outcome on standard output.
///
/// # Errors
/// An outcome cannot be told.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (bed, programs) = (arguments.bed, std::env::current_dir()?);
    let runtime = Path::new("/usr/local/bin/nucleus-runtime");
    for name in ["nucleus-runtime", "nucleus"] {
        fs::copy(programs.join(name), Path::new("/usr/local/bin").join(name))?;
    }
    for case in cases::of(bed).filter(|case| case.name.contains(&arguments.case)) {
        let start = Instant::now();
        let outcome = outcome(Guest::new(bed, runtime, case.name).and_then(|guest| (case.body)(&guest)));
        tell("beds", case.name, outcome, start)?;
    }
    let mut own = own_cases(bed);
    own.retain(|name| name.contains(&arguments.case));
    let told = pool::map(&own, 2, |name| {
        let start = Instant::now();
        let target = Target {
            runtime,
            view: View::V2,
        };
        tell(
            "own",
            name,
            (inside::case("own", *name, None).run)(&target),
            start,
        )
    });
    told.into_iter().collect::<Result<()>>()?;
    Ok(ExitCode::SUCCESS)
}

fn tell(suite: &str, case: &str, outcome: Outcome, start: Instant) -> Result<()> {
    let line = Line {
        suite: suite.to_owned(),
        case: case.to_owned(),
        outcome,
        seconds: start.elapsed().as_secs_f64(),
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&line)?)?;
    Ok(stdout.flush()?)
}

/// The workplace of one case.
pub(super) struct Guest {
    pub(super) bed: Bed,
    /// The runtime, its bundles and containers.
    pub(super) lab: Lab,
    units: Cell<u32>,
}

impl Guest {
    fn new(bed: Bed, runtime: &Path, case: &str) -> Result<Guest> {
        // Where mounts can be idmapped: the container's disk is an overlay, the machine's an ext4 file system.
        let dir = Path::new(if bed == Bed::Container {
            "/run/bed"
        } else {
            "/var/tmp/bed"
        })
        .join(case);
        fs::create_dir_all(&dir)?;
        Ok(Guest {
            bed,
            lab: Lab::at(dir, runtime, View::V2, None)?,
            units: Cell::new(0),
        })
    }

    /// The workplace where the runtime makes its cgroups through systemd.
    pub(super) fn with_systemd_cgroup(&self) -> Result<Lab> {
        let mut lab = Lab::at(self.lab.dir.join("systemd"), self.lab.runtime(), View::V2, None)?;
        lab.systemd_cgroup = true;
        Ok(lab)
    }

    /// Calls a program of the bed and waits for it. A failing one is no error.
    pub(super) fn call<S: AsRef<OsStr>>(&self, program: &str, words: &[S]) -> Result<Output> {
        finish(Command::new(program).args(words).stdin(Stdio::null()))
    }

    /// Calls the front-end.
    pub(super) fn nucleus<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Output> {
        self.call("/usr/local/bin/nucleus", words)
    }

    /// Calls systemctl, which must succeed; the result is its trimmed output.
    pub(super) fn systemctl(&self, words: &[&str]) -> Result<String> {
        Ok(self.call("systemctl", words)?.success()?.stdout.trim().to_owned())
    }

    /// A unit's property as systemctl shows it.
    pub(super) fn show(&self, unit: &str, property: &str) -> Result<String> {
        self.systemctl(&["show", "--value", "--property", property, unit])
    }

    /// Fails unless a unit's properties are as expected.
    pub(super) fn expect_shown(&self, unit: &str, expected: &[(&str, &str)]) -> Result<()> {
        for (property, value) in expected {
            let seen = self.show(unit, property)?;
            ensure!(seen == *value, "{unit} has {property}={seen} instead of {value}");
        }
        Ok(())
    }

    /// Waits until a unit's property is this.
    pub(super) fn wait_shown(&self, unit: &str, property: &str, value: &str) -> Result<()> {
        let mut seen = String::new();
        let came = within(PATIENCE, || {
            // Every look is a process, which is slow in a machine.
            std::thread::sleep(Duration::from_millis(100));
            seen = self.show(unit, property)?;
            Ok(seen == value)
        })?;
        ensure!(
            came,
            "{unit} has {property}={seen} instead of {value} after 30 s: {}",
            self.journal(unit)?
        );
        Ok(())
    }

    /// What the journal has of a unit: its own lines and those about it.
    pub(super) fn journal(&self, unit: &str) -> Result<String> {
        self.call("journalctl", &["--sync"])?.success()?;
        Ok(self
            .call("journalctl", &["--no-pager", "--output=cat", "--unit", unit])?
            .success()?
            .stdout)
    }

    /// Whether systemd has the unit loaded from a file, or running.
    pub(super) fn is_there(&self, unit: &str) -> Result<bool> {
        Ok(self.show(unit, "LoadState")? != "not-found")
    }

    /// Installs a service unit under a new name.
    pub(super) fn service(&self, text: &str) -> Result<Service<'_>> {
        self.units.set(self.units.get() + 1);
        let case = self
            .lab
            .dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = format!("{}-{}.service", case.replace('_', "-"), self.units.get());
        let path = Path::new("/run/systemd/system").join(&name);
        let identifier = text
            .lines()
            .find_map(|line| line.strip_prefix("SyslogIdentifier="));
        fs::write(&path, text)?;
        Ok(Service {
            guest: self,
            name,
            path,
            identifier: identifier.unwrap_or_default().to_owned(),
        })
    }
}

/// An installed unit. Dropping it stops and removes it.
pub(super) struct Service<'a> {
    guest: &'a Guest,
    pub(super) name: String,
    path: PathBuf,
    identifier: String,
}

impl Service<'_> {
    /// Starts it, which must succeed.
    pub(super) fn start(&self) -> Result<()> {
        let output = self.guest.call("systemctl", &["start", &self.name])?;
        ensure!(
            output.code == 0,
            "{} does not start: {}",
            self.name,
            self.guest.journal(&self.name)?
        );
        Ok(())
    }

    /// Starts it, which must fail; the result is the journal.
    pub(super) fn fails(&self) -> Result<String> {
        let output = self.guest.call("systemctl", &["start", &self.name])?;
        ensure!(output.code != 0, "{} starts", self.name);
        self.guest.journal(&self.name)
    }

    /// Lets systemd forget that it has failed, and how often.
    pub(super) fn forget(&self) -> Result<()> {
        self.guest.systemctl(&["reset-failed", &self.name]).map(drop)
    }

    /// Stops it.
    pub(super) fn stop(&self) -> Result<()> {
        self.guest.systemctl(&["stop", &self.name]).map(drop)
    }

    /// What the journal has of it.
    pub(super) fn journal(&self) -> Result<String> {
        let mut told = self.guest.journal(&self.name)?;
        // There a sandbox lies beside its unit, and what it prints goes by the identifier alone.
        if self.guest.bed == Bed::OldMachine {
            let words = ["--no-pager", "--output=cat", "--identifier", &self.identifier];
            told += &self.guest.call("journalctl", &words)?.success()?.stdout;
        }
        Ok(told)
    }

    /// Waits until its journal has a text.
    pub(super) fn wait_for(&self, text: &str) -> Result<()> {
        let came = within(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(100));
            Ok(self.journal()?.contains(text))
        })?;
        ensure!(
            came,
            "{} has no {text:?} in its journal: {}",
            self.name,
            self.journal()?
        );
        Ok(())
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // It may have ended already. systemd forgets it by itself then, and every unit has a name of its own: the
        // slow daemon-reload is for those cases that are about it.
        let _ = self.guest.systemctl(&["stop", &self.name]);
        let _ = self.guest.systemctl(&["reset-failed", &self.name]);
        let _ = fs::remove_file(&self.path);
    }
}

/// A trimmed file.
pub(super) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Fails unless files of a cgroup hold these values.
pub(super) fn expect_files(cgroup: &Path, expected: &[(&str, &str)]) -> Result<()> {
    for (file, value) in expected {
        let seen = read(cgroup.join(file))?;
        ensure!(seen == *value, "{file} is {seen} instead of {value}");
    }
    Ok(())
}
