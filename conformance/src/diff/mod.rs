//! Random valid configs under the runtime and under a reference (runc, or crun for what runc lacks): what the
//! kernel shows of their effects must be the same, but for the differences listed in `diff-known.toml`.
//!
//! `NUCLEUS_DIFF_SEED` (a number, or `random`) and `NUCLEUS_DIFF_COUNT` choose other configs than the default
//! ones. A case is named after its seed, so `--case config-7` runs that config again.

mod calls;
mod compare;
mod generate;
mod known;
mod observe;
pub(crate) mod probe;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::lab::Lab;
use crate::suite::Case;
use crate::{apt, cli, host, inside, report};
use compare::Difference;
use generate::Config;
use known::Known;

/// How many configs run unless `NUCLEUS_DIFF_COUNT` says otherwise.
const COUNT: u64 = 40;

/// A case's name is this and its seed.
const NAME: &str = "config-";

/// For looking what makes a difference: what is left out by then is left out.
const SHRINKING: Duration = Duration::from_secs(60);

/// Everything of one case must end by then.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(240);

/// The cases, for the host's side.
///
/// # Errors
/// A reference or busybox is missing and cannot be installed; a variable holds no number.
pub(crate) fn cases() -> Result<Vec<Case>> {
    apt::install(&["busybox-static", "runc", "crun"])?;
    let first = match std::env::var("NUCLEUS_DIFF_SEED").ok().as_deref() {
        None | Some("") => 1,
        Some("random") => fastrand::u64(..1_000_000_000),
        Some(text) => text
            .parse()
            .context("NUCLEUS_DIFF_SEED is neither a number nor `random`")?,
    };
    let count = match std::env::var("NUCLEUS_DIFF_COUNT").ok().as_deref() {
        None | Some("") => COUNT,
        Some(text) => text.parse().context("NUCLEUS_DIFF_COUNT is not a number")?,
    };
    report::remark(&format!(
        "diff: NUCLEUS_DIFF_SEED={first} NUCLEUS_DIFF_COUNT={count}"
    ));
    let dir = failures(&host::cache_dir()?);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok((first..first.saturating_add(count))
        .map(|seed| inside::case("diff", format!("{NAME}{seed}"), None))
        .collect())
}

/// Where the configs of failing cases are kept.
fn failures(cache: &Path) -> PathBuf {
    cache.join("diff")
}

/// Runs the case of this name in its sandbox.
///
/// # Errors
/// What differs, or that the harness failed.
pub(crate) fn run(lab: &Lab, case: &str) -> Result<()> {
    let seed = case
        .strip_prefix(NAME)
        .and_then(|seed| seed.parse().ok())
        .with_context(|| format!("no case {case}"))?;
    observe::make_sources()?;
    let config = Config::new(seed, lab.view);
    for (name, part) in config.parts() {
        let reference = cli::find_program(Path::new(name))?;
        if reference != lab.runtime() {
            compare_with(lab, case, name, &reference, part)?;
        } else if name == "runc" {
            return inside::skip("this is the reference itself");
        }
    }
    Ok(())
}

fn compare_with(lab: &Lab, case: &str, name: &'static str, reference: &Path, config: Config) -> Result<()> {
    let pair = Pair {
        lab,
        reference: lab.other(reference)?,
        name,
        known: Known::load()?,
    };
    let found = pair.unexplained(&config)?;
    if found.is_empty() {
        return Ok(());
    }
    let (small, found) = pair.shrink(config, found)?;
    let path = keep(&pair, case, &small)?;
    let names: Vec<&str> = small.features.iter().map(|feature| feature.name).collect();
    let list: Vec<String> = found.iter().map(ToString::to_string).collect();
    bail!(
        "{} differences from {name} with {}: {}; config and exec's process are kept in {}",
        found.len(),
        names.join(", "),
        list.join("; "),
        path.display()
    )
}

/// The runtime and its reference, in one sandbox.
struct Pair<'a> {
    lab: &'a Lab,
    reference: Lab,
    name: &'static str,
    known: Known,
}

impl Pair<'_> {
    fn unexplained(&self, config: &Config) -> Result<Vec<Difference>> {
        let reference = observe::observe(&self.reference, config).context("under the reference")?;
        let ours = observe::observe(self.lab, config)?;
        if let (Some(ours), Some(reference)) = (ours.get("create refused"), reference.get("create refused")) {
            return inside::skip(format!("both refuse it: {ours:?} and {reference:?}"));
        }
        let mut found = compare::differences(&ours, &reference);
        found.retain(|difference| !self.known.explains(difference, self.name, config));
        Ok(found)
    }

    /// Leaves out each feature without which the first difference stays.
    fn shrink(&self, mut config: Config, mut found: Vec<Difference>) -> Result<(Config, Vec<Difference>)> {
        let end = Instant::now() + SHRINKING;
        let first = found[0].clone();
        // The first feature is the probe itself.
        let mut index = 1;
        while index < config.features.len() && Instant::now() < end {
            let mut smaller = config.clone();
            smaller.features.remove(index);
            let differences = self.unexplained(&smaller)?;
            if differences.contains(&first) {
                (config, found) = (smaller, differences);
            } else {
                index += 1;
            }
        }
        Ok((config, found))
    }
}

/// Writes a config where it outlives the sandbox.
fn keep(pair: &Pair<'_>, case: &str, config: &Config) -> Result<PathBuf> {
    let dir = failures(&host::cache_dir()?);
    let mut bundle = pair.lab.bundle(&[])?;
    config.apply(&mut bundle);
    let path = dir.join(format!("{case}-{}.json", pair.lab.view));
    let text = serde_json::to_string_pretty(&json!({"config": bundle.config, "exec": config.exec}))?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
