//! What the runtime prints and reads, against the JSON schemas of runtime-spec.

mod check;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use crate::apt;
use crate::inside::{self, Inside};
use crate::lab::{Container, Lab};
use crate::suite::Case;

const PACKAGE: &str = "golang-github-opencontainers-specs";
const VERSION: &str = "1.2.0-2";

macro_rules! cases {
    ($($body:ident),* $(,)?) => { &[$(Inside { name: stringify!($body), body: $body }),*] };
}

const CASES: &[Inside] = cases![
    features_match_the_schema,
    features_tell_the_truth,
    state_matches_the_schema,
    state_in_list_matches_the_schema,
    hook_input_matches_the_schema,
    spec_matches_the_schema,
    rootless_spec_matches_the_schema,
    good_configs_of_the_schema_are_read,
    bad_configs_of_the_schema_are_refused,
    the_checker_itself_tells_good_from_bad,
];

/// All cases.
pub(crate) fn all() -> Vec<Inside> {
    CASES.to_vec()
}

/// The cases, for the host's side, with the schemas fetched.
///
/// # Errors
/// The schemas cannot be fetched.
pub(crate) fn cases(cache: &Path) -> Result<Vec<Case>> {
    apt::install(&["busybox-static"])?;
    let schemas = schemas(cache).context("fetch the schemas of runtime-spec")?;
    Ok(all()
        .into_iter()
        .map(|case| inside::case("schema", case.name, Some(schemas.clone())))
        .collect())
}

fn schemas(cache: &Path) -> Result<PathBuf> {
    fs::create_dir_all(cache)?;
    let lock = fs::File::create(cache.join("schema.lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let dir = cache.join(format!("runtime-spec-{VERSION}"));
    if !dir.exists() {
        let work = dir.with_extension("fetching");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        apt::source(PACKAGE, VERSION, &work)?;
        fs::rename(&work, &dir)?;
    }
    Ok(dir.join("schema"))
}

fn dir(lab: &Lab) -> Result<&Path> {
    lab.schemas.as_deref().context("no schemas were given")
}

/// Checks a text against one of the schemas.
fn check(lab: &Lab, schema: &str, text: &str) -> Result<()> {
    let value: Value = serde_json::from_str(text).with_context(|| format!("parse {text:?}"))?;
    check::against(&dir(lab)?.join(schema), &value)
}

fn features(lab: &Lab) -> Result<String> {
    Ok(lab.call(&["features"])?.success()?.stdout)
}

fn features_match_the_schema(lab: &Lab) -> Result<()> {
    check(lab, "features-schema.json", &features(lab)?)
}

/// A few of the promises, tried.
fn features_tell_the_truth(lab: &Lab) -> Result<()> {
    let features: Value = serde_json::from_str(&features(lab)?)?;
    let list = |pointer: &str| -> Vec<String> {
        let values = features
            .pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    };
    for word in ["ro", "rbind", "nosuid", "noexec"] {
        ensure!(
            list("/mountOptions").contains(&word.to_owned()),
            "mount option {word} is not promised"
        );
    }
    for kind in ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"] {
        ensure!(
            list("/linux/namespaces").contains(&kind.to_owned()),
            "namespace {kind} is not promised"
        );
    }
    let has = |kind: &str| list("/linux/namespaces").contains(&kind.to_owned());
    if has("time") {
        lab.output_of("true", |bundle| {
            bundle.namespace("time");
        })?;
    }
    for hook in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        ensure!(
            list("/hooks").contains(&hook.to_owned()),
            "hook {hook} is not promised"
        );
    }
    let known = list("/linux/capabilities");
    ensure!(
        known.iter().any(|name| name == "CAP_KILL"),
        "capabilities are {known:?}"
    );
    ensure!(
        !known.iter().any(|name| name == "CAP_OF_NOTHING"),
        "capabilities are {known:?}"
    );
    for word in list("/mountOptions")
        .iter()
        .filter(|word| ["rro", "idmap", "tmpcopyup"].contains(&word.as_str()))
    {
        let (kind, source) = if word == "tmpcopyup" {
            ("tmpfs", "tmpfs")
        } else {
            ("bind", "/etc")
        };
        if word != "idmap" {
            lab.output_of("true", |bundle| {
                bundle.mount(
                    kind,
                    source,
                    "/m",
                    &["rbind", word][usize::from(kind == "tmpfs")..],
                );
            })
            .with_context(|| format!("the promised option {word}"))?;
        }
    }
    Ok(())
}

fn state_matches_the_schema(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    let container = Container::create(lab, &bundle)?;
    let state = || -> Result<String> { Ok(container.call(&["state"])?.success()?.stdout) };
    check(lab, "state-schema.json", &state()?).context("created")?;
    container.start()?;
    check(lab, "state-schema.json", &state()?).context("running")?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    check(lab, "state-schema.json", &state()?).context("stopped")
}

fn state_in_list_matches_the_schema(lab: &Lab) -> Result<()> {
    let _container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let list: Value = serde_json::from_str(&lab.call(&["list", "--format", "json"])?.success()?.stdout)?;
    let mut entry = list[0].clone();
    // clients read the version as well, but the list of the field's first runtime has it under this name too
    ensure!(entry["status"] == "created", "the list is {list}");
    if entry.get("ociVersion").is_none() {
        entry["ociVersion"] = json!("1.0.2");
    }
    check::against(&dir(lab)?.join("state-schema.json"), &entry)
}

fn hook_input_matches_the_schema(lab: &Lab) -> Result<()> {
    let file = lab.dir.join("state.json");
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.hook("createRuntime", &format!("cat > {}", file.display()));
    let _container = Container::create(lab, &bundle)?;
    check(lab, "state-schema.json", &fs::read_to_string(&file)?)
}

fn spec_with(lab: &Lab, flags: &[&str]) -> Result<String> {
    let bundle = lab.bundle(&["true"])?;
    let mut words = vec!["spec", "--bundle", bundle.path()];
    words.extend(flags);
    lab.call(&words)?.success()?;
    Ok(fs::read_to_string(bundle.dir().join("config.json"))?)
}

fn spec_matches_the_schema(lab: &Lab) -> Result<()> {
    check(lab, "config-schema.json", &spec_with(lab, &[])?)
}

fn rootless_spec_matches_the_schema(lab: &Lab) -> Result<()> {
    check(lab, "config-schema.json", &spec_with(lab, &["--rootless"])?)
}

/// The example of the spec's own test data, with only its program and what the host lacks changed.
fn good_configs_of_the_schema_are_read(lab: &Lab) -> Result<()> {
    let text = fs::read_to_string(dir(lab)?.join("test/config/good/spec-example.json"))?;
    let example: Value = serde_json::from_str(&text)?;
    let mut bundle = lab.script("echo hello")?;
    let own = bundle.config.clone();
    bundle.config = example;
    for pointer in [
        "/process/args",
        "/process/terminal",
        "/root",
        "/process/env",
        "/process/cwd",
        "/ociVersion",
    ] {
        bundle.set(pointer, own.pointer(pointer).cloned().unwrap_or_default());
    }
    for absent in [
        "/process/apparmorProfile",
        "/process/selinuxLabel",
        "/process/rlimits",
        "/process/oomScoreAdj",
        "/process/ioPriority",
        "/process/scheduler",
        "/linux/mountLabel",
        "/linux/devices",
        "/linux/resources",
        "/linux/intelRdt",
        "/linux/cgroupsPath",
        "/linux/sysctl",
        "/linux/timeOffsets",
        "/linux/rootfsPropagation",
    ] {
        remove(&mut bundle.config, absent);
    }
    // Hooks of programs that no host has, and a map to ids that the rootfs does not belong to.
    for absent in [
        "/hooks",
        "/linux/uidMappings",
        "/linux/gidMappings",
        "/linux/namespaces",
        "/mounts",
    ] {
        remove(&mut bundle.config, absent);
    }
    bundle
        .set("/mounts", own["mounts"].clone())
        .set("/linux/namespaces", own["linux"]["namespaces"].clone());
    bundle
        .set("/process/user", json!({"uid": 0, "gid": 0}))
        .set("/process/capabilities", json!({}));
    check::against(&dir(lab)?.join("config-schema.json"), &bundle.config)?;
    let output = lab.stdout(&bundle)?;
    ensure!(output == "hello", "output is {output:?}");
    Ok(())
}

fn remove(config: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    if let Some(Value::Object(object)) = config.pointer_mut(parent) {
        object.remove(key);
    }
}

fn bad_configs_of_the_schema_are_refused(lab: &Lab) -> Result<()> {
    let bad = dir(lab)?.join("test/config/bad");
    for entry in fs::read_dir(&bad)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let bundle = lab.bundle(&["true"])?;
        match serde_json::from_str::<Value>(&text) {
            // What is bad about it, in a config that is good otherwise: not refused for a reason beside it.
            Ok(value) => {
                let mut mixed = bundle.config.clone();
                mixed["linux"]["resources"] = value["linux"]["resources"].clone();
                bundle.write(&mixed.to_string())?;
            }
            Err(_) => bundle.write(&text)?,
        }
        let id = lab.id();
        let output = lab.call(&["run", "--bundle", bundle.path(), &id])?;
        ensure!(
            output.code == 1,
            "{name} ends with {}: {:?}",
            output.code,
            output.stderr
        );
        lab.expect_nothing_left(&id)?;
    }
    Ok(())
}

fn the_checker_itself_tells_good_from_bad(lab: &Lab) -> Result<()> {
    for (kind, schema) in [
        ("config", "config-schema.json"),
        ("state", "state-schema.json"),
        ("features", "features-schema.json"),
    ] {
        for (quality, expected) in [("good", true), ("bad", false)] {
            let folder = dir(lab)?.join("test").join(kind).join(quality);
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let fits = check(lab, schema, &fs::read_to_string(&path)?).is_ok();
                ensure!(
                    fits == expected,
                    "{} is found to be {}",
                    path.display(),
                    if fits { "good" } else { "bad" }
                );
            }
        }
    }
    Ok(())
}
