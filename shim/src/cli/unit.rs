//! `nucleus unit`.

use super::run::Source;
use crate::decide;
use crate::facts::Program;
use crate::launch::Launch;
use crate::parse;
use crate::request::Request;
use crate::unit::{self, Limits, escape};
use anyhow::Context;
use clap::Args;
use nucleus_policy::Digest;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Print a systemd unit that runs a sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the unit and makes nothing. What the request refers to on this host is looked up now, and again when the \
unit starts. A bundle's config.json is pinned as it is now, and so is the manifest of its root file system, if that \
has one (nucleus attest create).

Examples:
  nucleus unit web --notify --memory 512M -- /usr/bin/web >/etc/systemd/system/nucleus-web.service
  nucleus unit web --credential token:/etc/web/token -- /usr/bin/web    # at /run/secrets/token
  nucleus bundle --output /srv/web --cgroups-path sandbox-web -- /usr/bin/web
  nucleus unit web --bundle /srv/web")]
pub struct Unit {
    /// Name of the sandbox
    #[arg(value_name = "NAME")]
    sandbox: String,
    /// Call the runtime directly, with this bundle
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    bundle: Option<PathBuf>,
    /// The program tells by sd_notify(3) when it is ready
    #[arg(long)]
    notify: bool,
    /// File that systemd hands to the sandbox alone, at /run/secrets/ID
    #[arg(long, value_name = "ID:PATH")]
    credential: Vec<String>,
    #[command(flatten)]
    source: Source,
}

impl Unit {
    /// Prints it.
    ///
    /// # Errors
    /// What is wrong with the request or the bundle.
    pub fn run(self) -> Result<i32, anyhow::Error> {
        parse::name(&self.sandbox).map_err(|reason| anyhow::anyhow!("name {:?}: {reason}", self.sandbox))?;
        let credentials = self
            .credential
            .iter()
            .map(|text| credential(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mut unit = unit::Unit {
            name: self.sandbox.clone(),
            notify: self.notify,
            credentials: self.credential.clone(),
            subgroup: systemd_version().is_none_or(|version| version >= 254),
            ..unit::Unit::default()
        };
        match self.bundle {
            Some(bundle) => direct(&mut unit, &bundle)?,
            None => through(&mut unit, self.source.request()?, &credentials)?,
        }
        super::print(unit::render(&unit).trim_end())
    }
}

/// The id of `ID:PATH`.
fn credential(text: &str) -> Result<&str, anyhow::Error> {
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match text.split_once(':') {
        Some((id, path)) if !id.is_empty() && id.bytes().all(proper) && path.starts_with('/') => Ok(id),
        _ => anyhow::bail!("credential {text:?}: not of the form ID:/PATH"),
    }
}

/// `nucleus run`, with the same request.
fn through(unit: &mut unit::Unit, mut request: Request, credentials: &[&str]) -> Result<(), anyhow::Error> {
    let name = unit.name.clone();
    request.name = Some(name.clone());
    request
        .cgroups_path
        .get_or_insert_with(|| format!("sandbox-{name}"));
    absolute(&mut request, &std::env::current_dir()?);
    let launch = decide::decide(&request, false, true)?.launch;
    unit.limits = Limits {
        memory: launch.memory,
        cpu_percent: launch.cpus.map(|cpus| (cpus * 100.0).ceil() as u64),
        pids: launch.pids,
    };
    unit.writable = writable(&launch);
    let program = path(&std::env::current_exe()?)?;
    unit.start = [&program, "run"].map(escape).to_vec();
    unit.start
        .extend(flags(&request)?.iter().map(|flag| escape(flag)));
    // systemd puts the directory of the credentials in the place of %d.
    unit.start.extend(
        credentials
            .iter()
            .map(|id| format!("--secret=%d/{id}:/run/secrets/{id}")),
    );
    unit.start.push("--".into());
    unit.start.extend(request.command.iter().map(|word| escape(word)));
    unit.clean_up = [&program, "rm", "--force", &name].map(escape).to_vec();
    Ok(())
}

/// The runtime, on a bundle that is there.
fn direct(unit: &mut unit::Unit, bundle: &Path) -> Result<(), anyhow::Error> {
    let bundle = bundle
        .canonicalize()
        .with_context(|| format!("open {}", bundle.display()))?;
    let config = bundle.join("config.json");
    let text = std::fs::read_to_string(&config).with_context(|| format!("read {}", config.display()))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("parse {}", config.display()))?;
    let resource = |pointer: &str| {
        let value = config["linux"]["resources"]
            .pointer(pointer)
            .and_then(Value::as_i64);
        value.filter(|limit| *limit > 0)
    };
    // µs; the kernel's default period.
    let period = resource("/cpu/period").unwrap_or(100_000).unsigned_abs();
    let percent = |quota: i64| quota.unsigned_abs().saturating_mul(100).div_ceil(period);
    unit.limits = Limits {
        memory: resource("/memory/limit"),
        cpu_percent: resource("/cpu/quota").map(percent),
        pids: resource("/pids/limit"),
    };
    let mounts = config["mounts"].as_array().into_iter().flatten();
    unit.writable = mounts
        .filter(|mount| {
            let options = || mount["options"].as_array().into_iter().flatten();
            options().any(|option| option == "bind" || option == "rbind")
                && options().all(|option| option != "ro")
        })
        .filter_map(|mount| mount["source"].as_str().map(str::to_owned))
        .collect();
    let program = path(&Program::find("native")?.path)?;
    let name = unit.name.as_str();
    let pin = Digest::of(text.as_bytes()).to_string();
    unit.start = [
        &program,
        "run",
        "--bundle",
        &path(&bundle)?,
        "--config-sha256",
        &pin,
        name,
    ]
    .map(escape)
    .to_vec();
    let root = bundle.join(config["root"]["path"].as_str().unwrap_or("rootfs"));
    unit.check = attested(&root)?;
    unit.clean_up = [&program, "delete", "--force", name].map(escape).to_vec();
    Ok(())
}

/// What holds a root file system against its manifest, if it has one.
fn attested(root: &Path) -> Result<Vec<String>, anyhow::Error> {
    let manifest = root.join(nucleus_policy::attest::MANIFEST);
    let bytes = match std::fs::read(&manifest) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.with_context(|| format!("read {}", manifest.display()))?,
    };
    let program = path(&std::env::current_exe()?)?;
    let pin = Digest::of(&bytes).to_string();
    let words = [
        &program,
        "attest",
        "verify",
        "--manifest-sha256",
        &pin,
        &path(root)?,
    ];
    Ok(words.map(escape).to_vec())
}

fn path(path: &Path) -> Result<String, anyhow::Error> {
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("{}: not UTF-8, which a unit has to be", path.display()))
}

fn writable(launch: &Launch) -> Vec<String> {
    let binds = launch.binds.iter().filter(|bind| bind.writable);
    binds.map(|bind| bind.source.display().to_string()).collect()
}

/// The request as flags of `run`; they have the names of its fields.
fn flags(request: &Request) -> Result<Vec<String>, anyhow::Error> {
    let Value::Object(fields) = serde_json::to_value(request)? else {
        anyhow::bail!("a request is an object");
    };
    let mut flags = Vec::new();
    for (field, value) in fields.iter().filter(|(field, _)| *field != "command") {
        let values = match value {
            Value::Array(list) => list.clone(),
            single => vec![single.clone()],
        };
        flags.extend(values.iter().map(|value| match value {
            Value::Bool(_) => format!("--{field}"),
            Value::String(text) => format!("--{field}={text}"),
            other => format!("--{field}={other}"),
        }));
    }
    Ok(flags)
}

/// A unit starts in `/`: what is relative is so to this directory.
fn absolute(request: &mut Request, here: &Path) {
    let paths = [
        &mut request.rootfs,
        &mut request.toolchain_rootfs,
        &mut request.context,
        &mut request.workspace,
        &mut request.home,
        &mut request.policy_lock,
    ];
    for path in paths.into_iter().flatten() {
        *path = here.join(&*path);
    }
    // A name without a slash may be one that is built in.
    let policies = [
        &mut request.seccomp_profile,
        &mut request.caps_policy,
        &mut request.landlock_policy,
    ];
    for policy in policies
        .into_iter()
        .flatten()
        .filter(|policy| here.join(&**policy).is_file())
    {
        *policy = here.join(&*policy).display().to_string();
    }
    let pairs = [
        &mut request.volume,
        &mut request.secret,
        &mut request.provider_config_ro,
        &mut request.provider_config_rw,
    ];
    for pair in pairs.into_iter().flatten() {
        *pair = here.join(&*pair).display().to_string();
    }
}

/// The version of this host's systemd, if it has one.
fn systemd_version() -> Option<u32> {
    let output = Command::new("systemctl")
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_make_the_same_request_again() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            request: Request,
        }
        let mut request = Request {
            mode: Some(crate::request::Mode::StrictAgent),
            memory: Some("1G".into()),
            cpus: Some(0.5),
            pids: Some(9),
            workspace_exec: true,
            env: vec!["A=-x y".into(), "B".into()],
            volume: vec!["data:/data:ro".into()],
            rootfs: Some("root".into()),
            command: vec!["ls".into(), "--all".into()],
            ..Request::default()
        };
        absolute(&mut request, Path::new("/here"));
        assert_eq!(request.volume, ["/here/data:/data:ro"]);
        let mut words = vec!["nucleus".to_owned()];
        words.extend(flags(&request).expect("flags"));
        words.push("--".into());
        words.extend(request.command.clone());
        let line = <Line as clap::Parser>::parse_from(words);
        let json = |request: &Request| serde_json::to_value(request).expect("JSON");
        assert_eq!(json(&line.request), json(&request));
    }

    #[test]
    fn a_credential_has_a_proper_id_and_an_absolute_path() {
        assert_eq!(credential("token:/a/b:c").expect("valid"), "token");
        for text in ["token", ":/a", "a/b:/c", "token:a", "%d:/a"] {
            assert!(credential(text).is_err(), "{text}");
        }
    }
}
