//! Landlock on kernels that have less of it than the policies ask for.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::beds::Bed;
use crate::beds::guest::Guest;
use crate::lab::Container;

super::list![super::MACHINES;
    features_tell_the_version,
    best_effort_tells_what_is_missing,
    all_or_nothing_is_refused_where_something_is_missing,
    what_is_there_holds,
    agent_goes_on_and_tells,
    strict_agent_starts_only_where_all_is_there,
];

/// The version of Landlock that the kernel of a bed has.
fn version(bed: Bed) -> Result<u32> {
    match bed {
        Bed::Machine => Ok(6),
        Bed::OldMachine => Ok(2),
        Bed::Container => anyhow::bail!("this host's kernel may be any"),
    }
}

fn features_tell_the_version(guest: &Guest) -> Result<()> {
    let features: Value = serde_json::from_str(&guest.lab.call(&["features"])?.success()?.stdout)?;
    let told = &features["annotations"]["dev.nucleus.landlock.abi"];
    let expected = version(guest.bed)?.to_string();
    ensure!(*told == *expected, "features tell {told} instead of {expected}");
    Ok(())
}

/// Rules with files (version 1), truncation (3), TCP (4), ioctl (5) and scopes (6).
fn rules(best_effort: bool) -> String {
    json!({
        "ruleset": {
            "handledAccessFS": ["write_file", "make_reg", "truncate", "ioctl_dev"],
            "handledAccessNet": ["connect_tcp"],
            "scoped": ["signal"],
        },
        "rules": {"pathBeneath": [{"allowedAccess": ["write_file", "make_reg", "truncate"], "paths": ["/tmp", "/dev"]}]},
        "disableBestEffort": !best_effort,
    })
    .to_string()
}

fn best_effort_tells_what_is_missing(guest: &Guest) -> Result<()> {
    let mut bundle = guest.lab.script("sleep 1000")?;
    bundle.set("/annotations/dev.nucleus.landlock", json!(rules(true)));
    let container = Container::started(&guest.lab, &bundle)?;
    let state = container.state()?;
    let told = state["annotations"]["dev.nucleus.landlock.enforced"].as_str();
    let told = told.with_context(|| format!("no such annotation in {state}"))?;
    let missing = ["truncate", "connect_tcp", "ioctl_dev", "signal"];
    match guest.bed {
        Bed::OldMachine => {
            let silent: Vec<&&str> = missing.iter().filter(|word| !told.contains(**word)).collect();
            ensure!(silent.is_empty(), "{silent:?} are not in {told:?}");
        }
        _ => ensure!(told.contains("full"), "the state tells {told:?}"),
    }
    Ok(())
}

fn all_or_nothing_is_refused_where_something_is_missing(guest: &Guest) -> Result<()> {
    let mut bundle = guest.lab.script("echo ran")?;
    bundle.set("/annotations/dev.nucleus.landlock", json!(rules(false)));
    let output = guest.lab.run(&bundle)?;
    match guest.bed {
        Bed::OldMachine => output.refuses("landlock").map(drop),
        _ => output.success().map(drop),
    }
}

fn what_is_there_holds(guest: &Guest) -> Result<()> {
    let script = "echo a >/tmp/a && echo inside; (echo b >/root/b) 2>/dev/null || echo refused";
    let mut bundle = guest.lab.script(script)?;
    bundle.set("/annotations/dev.nucleus.landlock", json!(rules(true)));
    let seen = guest.lab.stdout(&bundle)?;
    ensure!(seen == "inside\nrefused", "{seen:?}");
    Ok(())
}

fn agent_goes_on_and_tells(guest: &Guest) -> Result<()> {
    let name = "bed-agent";
    guest
        .nucleus(&["run", "--detach", "--name", name, "--", "sleep", "1000"])?
        .success()?;
    let state: Value = serde_json::from_str(&guest.nucleus(&["state", name])?.success()?.stdout)?;
    let told = state["annotations"]["dev.nucleus.landlock.enforced"].clone();
    guest.nucleus(&["rm", "--force", name])?.success()?;
    let told = told
        .as_str()
        .with_context(|| format!("nothing is told in {state}"))?;
    match guest.bed {
        Bed::OldMachine => ensure!(told.contains("signal"), "it tells {told:?}"),
        _ => ensure!(told.contains("full"), "it tells {told:?}"),
    }
    Ok(())
}

fn strict_agent_starts_only_where_all_is_there(guest: &Guest) -> Result<()> {
    let output = guest.nucleus(&["run", "--mode", "strict-agent", "--", "true"])?;
    match guest.bed {
        Bed::OldMachine => output.refuses("landlock").map(drop),
        _ => output.success().map(drop),
    }
}
