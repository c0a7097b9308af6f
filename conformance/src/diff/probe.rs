//! The program inside the container: prints what the kernel shows it about itself.
//!
//! It is this very program under the name `/probe` in the rootfs: statically linked, as the workspace builds it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::calls;

/// What is seen, as names and values; a name starts with its area: `mount /proc type`.
pub(super) type Facts = BTreeMap<String, String>;

/// The path of this program in the rootfs.
pub(super) const PROGRAM: &str = "/probe";

/// The path of the [`Request`] in the rootfs.
pub(super) const REQUEST: &str = "/probe.json";

/// Starts the line of standard output that holds the facts.
pub(super) const MARK: &str = "nucleus-conformance facts: ";

/// The first word of a probe that stays after its report.
pub(super) const STAY: &str = "stay";

/// The first word of a probe that makes one system call only, the next word, and ends.
const CALL: &str = "call";

/// What to look at, beyond what is always looked at.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    /// Paths below `/proc/sys`.
    pub(super) sysctls: Vec<String>,
    /// Paths that may be masked or read-only.
    pub(super) paths: Vec<String>,
    /// Calls that may be fatal, and so are made by a process of their own.
    pub(super) fatal: Vec<String>,
}

/// The words after `probe`: what kind of probe, then words to report.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Prints the facts.
///
/// # Errors
/// The request cannot be read, or standard output is closed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let word = |index: usize| arguments.words.get(index).and_then(|word| word.to_str());
    if word(0) == Some(CALL) {
        let result = calls::make(word(1).context("no call")?);
        return Ok(ExitCode::from(
            result.err().map_or(0, |error| error.raw_os_error() as u8),
        ));
    }
    let request: Request = serde_json::from_slice(&fs::read(REQUEST).context("read the request")?)?;
    let facts = facts(&request, &arguments.words);
    let mut out = io::stdout().lock();
    out.write_all(format!("\n{MARK}{}\n", serde_json::to_string(&facts)?).as_bytes())?;
    out.flush()?;
    if word(0) == Some(STAY) {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(request: &Request, words: &[OsString]) -> Facts {
    let mut facts = Facts::new();
    // First: what follows opens files itself.
    descriptors(&mut facts);
    process(&mut facts, words);
    status(&mut facts);
    stat(&mut facts);
    limits(&mut facts);
    texts(&mut facts);
    host_names(&mut facts);
    mounts(&mut facts);
    tree(&mut facts, Path::new("/dev"));
    for name in &request.sysctls {
        let value = text(&format!("/proc/sys/{}", name.replace('.', "/")));
        facts.insert(format!("sysctl {name}"), value);
    }
    for path in &request.paths {
        hidden(&mut facts, path);
    }
    for name in calls::names() {
        let verdict = verdict(name, request.fatal.iter().any(|fatal| fatal == name));
        facts.insert(format!("call {name}"), verdict);
    }
    facts
}

/// The trimmed contents of a file, or the error of reading it.
fn text(path: &str) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => failure(&error),
    }
}

fn failure(error: &io::Error) -> String {
    format!("errno {}", error.raw_os_error().unwrap_or_default())
}

fn descriptors(facts: &mut Facts) {
    for number in 0..1024 {
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) {
            let target = target.to_string_lossy();
            // Numbers of inodes and names of temporary files differ from run to run.
            let kind = if target.starts_with('/') && !target.starts_with("/dev/") {
                "file"
            } else {
                target.split(":[").next().unwrap_or_default()
            };
            facts.insert(format!("descriptor {number}"), kind.to_owned());
        }
    }
}

fn process(facts: &mut Facts, words: &[OsString]) {
    facts.insert("process args".into(), format!("{words:?}"));
    let mut env: Vec<_> = std::env::vars_os().collect();
    env.sort();
    for (name, value) in env {
        facts.insert(format!("env {}", name.display()), format!("{value:?}"));
    }
    let cwd = std::env::current_dir().map_or_else(|error| failure(&error), |dir| dir.display().to_string());
    facts.insert("process cwd".into(), cwd);
    let death = rustix::process::parent_process_death_signal();
    facts.insert("process death signal".into(), format!("{death:?}"));
    facts.insert(
        "process dumpable".into(),
        format!("{:?}", rustix::process::dumpable_behavior()),
    );
    let bits = rustix::thread::capabilities_secure_bits();
    facts.insert("process securebits".into(), format!("{bits:?}"));
    let keep = rustix::thread::get_keep_capabilities();
    facts.insert("process keep capabilities".into(), format!("{keep:?}"));
}

/// Lines of `/proc/self/status` that a runtime decides about.
const STATUS: &[&str] = &[
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigQ",
    "SigBlk",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Speculation_Store_Bypass",
    "SpeculationIndirectBranch",
    "Cpus_allowed_list",
    "Mems_allowed_list",
    "THP_enabled",
];

fn status(facts: &mut Facts) {
    let text = text("/proc/self/status");
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        match name {
            // Only the limit; the count is that of the whole host.
            "SigQ" => {
                facts.insert(
                    "status SigQ".into(),
                    value.split('/').next_back().unwrap_or_default().into(),
                );
            }
            name if STATUS.contains(&name) => {
                facts.insert(format!("status {name}"), value);
            }
            _ => {}
        }
    }
}

/// Fields of proc_pid_stat(5), counted from 1.
const STAT: &[(usize, &str)] = &[
    (7, "tty"),
    (18, "priority"),
    (19, "nice"),
    (20, "threads"),
    (38, "exit signal"),
    (40, "real-time priority"),
    (41, "policy"),
];

fn stat(facts: &mut Facts) {
    let line = text("/proc/self/stat");
    // The name in the second field may hold anything.
    let fields: Vec<&str> = line.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    for (number, name) in STAT {
        let value = fields.get(number - 3).copied().unwrap_or_default();
        facts.insert(format!("stat {name}"), value.to_owned());
    }
    let own = std::process::id().to_string();
    for (number, name) in [(5, "group"), (6, "session")] {
        let leader = fields.get(number - 3) == Some(&own.as_str());
        facts.insert(format!("stat leads its {name}"), leader.to_string());
    }
}

fn limits(facts: &mut Facts) {
    for line in text("/proc/self/limits").lines().skip(1) {
        let (name, values) = line.split_at_checked(26).unwrap_or((line, ""));
        let values: Vec<&str> = values.split_whitespace().take(2).collect();
        facts.insert(format!("limit {}", name.trim()), values.join(" "));
    }
}

/// Files that say something about the process or its namespaces.
const TEXTS: &[&str] = &[
    "/proc/self/oom_score_adj",
    "/proc/self/uid_map",
    "/proc/self/gid_map",
    "/proc/self/setgroups",
    "/proc/self/timens_offsets",
    "/proc/self/personality",
    "/proc/self/coredump_filter",
    "/proc/self/cgroup",
    "/proc/self/timerslack_ns",
    "/proc/self/attr/current",
    "/proc/self/loginuid",
    "/proc/net/if_inet6",
];

fn texts(facts: &mut Facts) {
    for path in TEXTS {
        let value: Vec<String> = text(path)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        facts.insert(format!("file {path}"), value.join("; "));
    }
    for line in text("/proc/keys").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The fourth is a time, the third a number of uses, the first a serial number.
        if let [_, _, _, _, permissions, uid, gid, kind, description @ ..] = fields.as_slice() {
            let name = description.first().copied().unwrap_or_default();
            // One more of the same name is a difference too.
            let value = facts.entry(format!("key {kind} {name}")).or_default();
            value.push_str(&format!("{permissions} {uid} {gid};"));
        }
    }
}

fn host_names(facts: &mut Facts) {
    let name = rustix::system::uname();
    facts.insert("uts host".into(), name.nodename().to_string_lossy().into_owned());
    facts.insert(
        "uts domain".into(),
        name.domainname().to_string_lossy().into_owned(),
    );
    facts.insert(
        "uts machine".into(),
        name.machine().to_string_lossy().into_owned(),
    );
}

/// One fact a word, so that a difference is about one word.
fn mounts(facts: &mut Facts) {
    let table = text("/proc/self/mountinfo");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(' ').collect()).collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        let Some(end) = row.iter().position(|word| *word == "-") else {
            continue;
        };
        let [_, parent, _, root, target, options] = row[..6] else {
            continue;
        };
        let layer = seen.entry(target).or_default();
        // What lies over another mount on the same target.
        let name = if *layer == 0 {
            format!("mount {target}")
        } else {
            format!("mount {target}~{layer}")
        };
        *layer += 1;
        let below = rows
            .iter()
            .find(|row| row[0] == parent)
            .map_or("outside", |row| row[4]);
        facts.insert(format!("{name} below"), below.to_owned());
        facts.insert(format!("{name} root"), root.to_owned());
        facts.insert(format!("{name} type"), row[end + 1].to_owned());
        facts.insert(format!("{name} source"), row[end + 2].to_owned());
        for word in options.split(',') {
            facts.insert(format!("{name} option {word}"), "set".into());
        }
        for word in &row[6..end] {
            // Without the number of the peer group.
            let word = word.split(':').next().unwrap_or_default();
            facts.insert(format!("{name} propagation {word}"), "set".into());
        }
        for word in row[end + 3].split(',') {
            facts.insert(format!("{name} file system {word}"), "set".into());
        }
    }
}

/// Everything below a directory.
fn tree(facts: &mut Facts, dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        facts.insert(format!("node {}", path.display()), node(&path));
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            tree(facts, &path);
        } else if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
            let result = fs::File::open(&path).map_or_else(|error| failure(&error), |_| "ok".into());
            facts.insert(format!("open {}", path.display()), result);
        }
    }
}

/// Type, mode, owner, and number or target of a file.
pub(super) fn node(path: &Path) -> String {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return failure(&error),
    };
    let owner = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
    let device = metadata.rdev();
    if metadata.is_symlink() {
        let target = fs::read_link(path).unwrap_or_default();
        return format!("link to {}", target.display());
    }
    if device == 0 {
        return owner;
    }
    format!(
        "{owner} {}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    )
}

/// What is left of a path that may be masked or read-only.
fn hidden(facts: &mut Facts, path: &str) {
    let target = Path::new(path);
    facts.insert(format!("path {path} node"), node(target));
    if target.is_dir() {
        let count = fs::read_dir(target).map(Iterator::count);
        let empty = count.map_or_else(|error| failure(&error), |count| (count == 0).to_string());
        facts.insert(format!("path {path} is empty"), empty);
        let new = target.join("nucleus-new");
        let made = fs::create_dir(&new).map_or_else(|error| failure(&error), |()| "ok".into());
        // It may not have been made.
        let _ = fs::remove_dir(new);
        facts.insert(format!("path {path} takes entries"), made);
        return;
    }
    // A byte is enough: some files below /proc have no end.
    let byte = fs::File::open(target).and_then(|file| file.take(1).read(&mut [0]));
    let read = byte.map_or_else(|error| failure(&error), |count| (count == 0).to_string());
    facts.insert(format!("path {path} reads empty"), read);
    let opened = match fs::OpenOptions::new().append(true).open(target) {
        Ok(_) => "ok".into(),
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => failure(&error),
    };
    facts.insert(format!("path {path} opens for writing"), opened);
}

/// What a system call does: goes through, fails, or kills.
fn verdict(name: &str, fatal: bool) -> String {
    if !fatal {
        return match calls::make(name) {
            Ok(()) => "ok".into(),
            Err(error) => format!("errno {}", error.raw_os_error()),
        };
    }
    let status = Command::new("/proc/self/exe")
        .args(["probe", CALL, name])
        .status();
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(0), _)) => "ok".into(),
        Ok((Some(errno), _)) => format!("errno {errno}"),
        Ok((None, signal)) => format!("signal {}", signal.unwrap_or_default()),
        Err(error) => format!("no process: {}", failure(&error)),
    }
}

/// The facts in a probe's output.
///
/// # Errors
/// There are none.
pub(super) fn read(stdout: &str) -> Result<Facts> {
    let line = stdout.lines().find_map(|line| line.strip_prefix(MARK));
    let line = line.with_context(|| {
        format!(
            "the probe printed {:?}",
            String::from_utf8_lossy(&stdout.as_bytes()[..stdout.len().min(300)])
        )
    })?;
    serde_json::from_str(line).context("read the probe's facts")
}
