//! `linux.intelRdt`: cache and memory bandwidth control through the resctrl file system;
//! `config-linux.md#intelrdt`, `Documentation/filesystems/resctrl.rst`.
//!
//! A class of service (CLOS) is a directory at the root of resctrl, a monitoring group one below its
//! `mon_groups`. Only directories that were made here are ever removed.

use crate::fault::{Call, Fault};
use oci_spec::runtime::LinuxIntelRdt;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::Pid;
use std::path::{Path, PathBuf};

/// Where resctrl is mounted.
const ROOT: &str = "/sys/fs/resctrl";
/// `f_type` of resctrl; `linux/magic.h`.
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;
/// `closID` of the class that everything else belongs to.
const ROOT_CLASS: &str = "/";
/// What resctrl itself has at its root.
const RESERVED: [&str; 6] = [".", "..", "info", "mon_data", "mon_groups", "tasks"];

/// What was made for a container.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Made {
    /// The container's own directory, which goes when the container is deleted.
    pub own: Option<PathBuf>,
    /// A class named by `closID`, which stays for the containers that share it; it goes only when the creation
    /// fails.
    pub class: Option<PathBuf>,
}

impl Made {
    /// Undoes it, as far as nobody else has come to use it.
    pub fn undo(&self) {
        if let Some(own) = &self.own {
            let _ = remove(own);
        }
        if let Some(class) = &self.class
            && std::fs::read(class.join("tasks")).is_ok_and(|tasks| tasks.is_empty())
        {
            let _ = remove(class);
        }
    }
}

/// Checks what can be checked without the host.
///
/// # Errors
/// The property and why it is wrong.
pub fn check(rdt: &LinuxIntelRdt) -> Result<(), (&'static str, String)> {
    if let Some(class) = rdt.clos_id().as_deref().filter(|class| !class.is_empty()) {
        let name = class != ROOT_CLASS && (class.contains(['/', '\0', '\n']) || RESERVED.contains(&class));
        if name || class.len() > 255 {
            return Err(("closID", format!("{class:?} cannot name a class of service")));
        }
    }
    for (field, schema, prefix) in [
        ("l3CacheSchema", rdt.l3_cache_schema(), "L3"),
        ("memBwSchema", rdt.mem_bw_schema(), "MB:"),
    ] {
        let Some(schema) = schema.as_deref().filter(|schema| !schema.is_empty()) else {
            continue;
        };
        let several = field == "memBwSchema" && schema.trim_end().contains('\n');
        if !schema.starts_with(prefix) || several {
            return Err((
                field,
                format!("{schema:?} is not a line that starts with {prefix}"),
            ));
        }
    }
    for line in rdt.schemata().iter().flatten() {
        if line.contains('\n') || parse_line(line).is_none() {
            return Err(("schemata", format!("{line:?} is not a line such as \"L3:0=ff\"")));
        }
    }
    Ok(())
}

/// Puts a process into its class and monitoring group; makes those that are missing.
///
/// # Errors
/// The failed call, that the host has no resctrl file system, or that a class that exists already has other
/// schemata. Nothing that was made is left then.
pub fn apply(rdt: &LinuxIntelRdt, id: &str, pid: Pid) -> Result<Made, Fault> {
    let statfs = rustix::fs::statfs(ROOT);
    if !statfs.is_ok_and(|statfs| statfs.f_type == RDTGROUP_SUPER_MAGIC) {
        return Err(Fault::finding(format!(
            "no resctrl file system is mounted on {ROOT}: mount it, if the processor and the kernel have it"
        )));
    }
    apply_at(Path::new(ROOT), rdt, id, pid)
}

fn apply_at(root: &Path, rdt: &LinuxIntelRdt, id: &str, pid: Pid) -> Result<Made, Fault> {
    let mut made = Made::default();
    let result = join(root, rdt, id, pid, &mut made);
    if result.is_err() {
        made.undo();
    }
    result.map(|()| made)
}

fn join(root: &Path, rdt: &LinuxIntelRdt, id: &str, pid: Pid, made: &mut Made) -> Result<(), Fault> {
    let schemata = wanted(rdt);
    let named = rdt.clos_id().as_deref().filter(|class| !class.is_empty());
    let class = match named {
        None => {
            let class = root.join(id);
            make(&class)?;
            made.own = Some(class.clone());
            write_schemata(&class, &schemata)?;
            class
        }
        Some(ROOT_CLASS) => {
            compare(root, &schemata)?;
            root.to_owned()
        }
        Some(name) => {
            let class = root.join(name);
            share(&class, &schemata, made)?;
            class
        }
    };
    write(&class.join("tasks"), &pid.as_raw_nonzero().to_string())?;
    if is_monitored(rdt) {
        let group = class.join("mon_groups").join(id);
        make(&group)?;
        if named.is_some() {
            made.own = Some(group.clone());
        }
        write(&group.join("tasks"), &pid.as_raw_nonzero().to_string())?;
    }
    Ok(())
}

/// A class that others may share: it is made with its schemata, or has them already.
fn share(class: &Path, schemata: &[String], made: &mut Made) -> Result<(), Fault> {
    if schemata.is_empty() {
        return rustix::fs::access(class, rustix::fs::Access::EXISTS)
            .call_on("find the class of service", || class.display().to_string());
    }
    match mkdirat(CWD, class, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => compare(class, schemata),
        result => {
            result.call_on("mkdir", || class.display().to_string())?;
            made.class = Some(class.to_owned());
            write_schemata(class, schemata)
        }
    }
}

/// `enableCMT` and `enableMBM` of earlier versions ask for nothing more than what every class has (`mon_data`).
fn is_monitored(rdt: &LinuxIntelRdt) -> bool {
    rdt.enable_monitoring().unwrap_or(false)
}

/// The lines for the schemata file. `schemata` comes last, because it overrides; a line `MB:` in
/// `l3CacheSchema` gives way to `memBwSchema`.
fn wanted(rdt: &LinuxIntelRdt) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (cache, bandwidth) = (text(rdt.l3_cache_schema()), text(rdt.mem_bw_schema()));
    let cache = cache
        .lines()
        .filter(|line| bandwidth.is_empty() || !line.starts_with("MB:"));
    let own = rdt.schemata().iter().flatten().map(String::as_str);
    cache
        .chain(bandwidth.lines())
        .chain(own)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn write_schemata(class: &Path, lines: &[String]) -> Result<(), Fault> {
    if lines.is_empty() {
        return Ok(());
    }
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    write(&class.join("schemata"), &text)
}

/// A class that exists must have what is asked for: changing it would change other containers.
fn compare(class: &Path, wanted: &[String]) -> Result<(), Fault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let path = class.join("schemata");
    let text = std::fs::read_to_string(&path).call_on("read", || path.display().to_string())?;
    let has = |resource: &str, domain: &str, value: &str| {
        text.lines()
            .filter_map(parse_line)
            .filter(|(name, _)| *name == resource)
            .any(|(_, entries)| {
                entries
                    .iter()
                    .any(|(key, found)| *key == domain && same(found, value))
            })
    };
    for line in wanted {
        let Some((resource, entries)) = parse_line(line) else {
            return Err(Fault::finding(format!("{line:?} is not a line of schemata")));
        };
        if !entries.iter().all(|(domain, value)| has(resource, domain, value)) {
            return Err(Fault::finding(format!(
                "{} exists with other schemata than {line:?}: give it the same or another closID",
                class.display()
            )));
        }
    }
    Ok(())
}

/// Resource, and value by domain: `L3:0=ff;1=f0`.
fn parse_line(line: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (resource, domains) = line.trim().split_once(':')?;
    let entries = domains
        .split(';')
        .map(|entry| {
            entry
                .split_once('=')
                .map(|(domain, value)| (domain.trim(), value.trim()))
        })
        .collect::<Option<Vec<_>>>()?;
    let whole = |(domain, value): &(&str, &str)| !domain.is_empty() && !value.is_empty();
    (!resource.is_empty() && entries.iter().all(whole)).then_some((resource.trim(), entries))
}

/// Bit masks are printed with leading zeros and are written without.
fn same(found: &str, wanted: &str) -> bool {
    let plain = |text: &str| {
        text.trim_start_matches("0x")
            .trim_start_matches('0')
            .to_ascii_lowercase()
    };
    plain(found) == plain(wanted)
}

fn make(directory: &Path) -> Result<(), Fault> {
    mkdirat(CWD, directory, Mode::from_raw_mode(0o755)).call_on("mkdir", || directory.display().to_string())
}

/// Removes a class or monitoring group; its processes fall back to the one above.
///
/// # Errors
/// As `rmdir(2)`; one that is gone already is none.
pub fn remove(directory: &Path) -> rustix::io::Result<()> {
    match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let name = || path.display().to_string();
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).call_on("open", name)?;
    rustix::io::write(&file, text.as_bytes())
        .call_on("write", name)
        .map(drop)
}

/// The directory that [`apply`] makes for this container alone, to be removed with it: known beforehand, so that
/// it is recorded before it exists.
pub fn own_directory(rdt: &LinuxIntelRdt, id: &str) -> Option<PathBuf> {
    let root = Path::new(ROOT);
    match rdt.clos_id().as_deref().filter(|class| !class.is_empty()) {
        None => Some(root.join(id)),
        Some(class) if is_monitored(rdt) => {
            // An absolute name would replace the root.
            let class = root.join(class.trim_start_matches('/'));
            Some(class.join("mon_groups").join(id))
        }
        Some(_) => None,
    }
}

/// Whether an own directory is a class of service, which has schemata, and not a mere monitoring group.
pub fn is_class(own: &Path) -> bool {
    own.parent() == Some(Path::new(ROOT))
}

/// [`own_directory`], from the configuration.
pub fn recorded(spec: &oci_spec::runtime::Spec, id: &str) -> Option<PathBuf> {
    let rdt = spec.linux().as_ref()?.intel_rdt().as_ref()?;
    check(rdt).ok()?;
    own_directory(rdt, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rdt(value: Value) -> LinuxIntelRdt {
        serde_json::from_value(value).unwrap()
    }

    fn pid() -> Pid {
        rustix::process::getpid()
    }

    /// A class as resctrl has it, but for what the kernel does: a host without resctrl has no real one.
    fn class(root: &Path, name: &str, schemata: &str) {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("schemata"), schemata).unwrap();
        std::fs::write(root.join(name).join("tasks"), "").unwrap();
    }

    #[test]
    fn lines_are_put_together_as_the_spec_says() {
        let both = json!({"l3CacheSchema": "L3:0=ff\nMB:0=10\nL3CODE:1=f", "memBwSchema": "MB:0=20"});
        assert_eq!(wanted(&rdt(both)), ["L3:0=ff", "L3CODE:1=f", "MB:0=20"]);
        let cache = json!({"l3CacheSchema": "L3:0=ff\nMB:0=10"});
        assert_eq!(wanted(&rdt(cache)), ["L3:0=ff", "MB:0=10"]);
        let all = json!({"l3CacheSchema": "L3:0=ff", "schemata": ["L3:0=f", "L2:1=3"]});
        assert_eq!(wanted(&rdt(all)), ["L3:0=ff", "L3:0=f", "L2:1=3"]);
        assert!(wanted(&rdt(json!({"closID": "x"}))).is_empty());
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        for (value, field) in [
            (json!({"closID": "a/b"}), "closID"),
            (json!({"closID": ".."}), "closID"),
            (json!({"closID": "info"}), "closID"),
            (json!({"closID": "mon_groups"}), "closID"),
            (json!({"closID": "x".repeat(256)}), "closID"),
            (json!({"l3CacheSchema": "MB:0=1"}), "l3CacheSchema"),
            (json!({"memBwSchema": "MB:0=1\nL3:0=f"}), "memBwSchema"),
            (json!({"memBwSchema": "L3:0=f"}), "memBwSchema"),
            (json!({"schemata": ["L3:0=f\nMB:0=1"]}), "schemata"),
            (json!({"schemata": ["nonsense"]}), "schemata"),
            (json!({"schemata": ["L3:0="]}), "schemata"),
        ] {
            assert_eq!(check(&rdt(value.clone())).unwrap_err().0, field, "{value}");
        }
        for value in [
            json!({}),
            json!({"closID": "/"}),
            json!({"closID": "guaranteed", "l3CacheSchema": "L3:0=7f0;1=1f", "memBwSchema": "MB:0=20;1=70\n"}),
            json!({"schemata": ["L2:0=3", "L3CODE:0=f;1=f"]}),
        ] {
            assert_eq!(check(&rdt(value.clone())), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_class_that_exists_is_joined_when_it_has_the_same_schemata() {
        let root = tempfile::tempdir().unwrap();
        class(root.path(), "gold", "    MB:0=100;1=70\n    L3:0=07f0;1=1f\n");
        let config = json!({"closID": "gold", "l3CacheSchema": "L3:0=7f0", "memBwSchema": "MB:1=70"});
        let made = apply_at(root.path(), &rdt(config), "id", pid()).unwrap();
        assert_eq!(made, Made::default(), "nothing of it is the container's");
        let tasks = std::fs::read_to_string(root.path().join("gold/tasks")).unwrap();
        assert_eq!(tasks, pid().as_raw_nonzero().to_string());
    }

    #[test]
    fn a_class_with_other_schemata_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        class(root.path(), "gold", "L3:0=ff\n");
        for line in ["L3:0=f", "L3:1=ff", "MB:0=10"] {
            let config = json!({"closID": "gold", "schemata": [line]});
            let fault = apply_at(root.path(), &rdt(config), "id", pid()).unwrap_err();
            assert!(
                fault.call.contains("other schemata") && fault.call.contains(line),
                "{fault}"
            );
        }
        let schemata = std::fs::read_to_string(root.path().join("gold/schemata")).unwrap();
        assert_eq!(schemata, "L3:0=ff\n");
        assert_eq!(std::fs::read(root.path().join("gold/tasks")).unwrap(), b"");
    }

    #[test]
    fn a_class_without_schemata_must_exist() {
        let root = tempfile::tempdir().unwrap();
        let fault = apply_at(root.path(), &rdt(json!({"closID": "gold"})), "id", pid()).unwrap_err();
        assert_eq!(fault.errno, Errno::NOENT.raw_os_error());
        assert!(!root.path().join("gold").exists());
    }

    #[test]
    fn what_was_made_goes_when_the_process_cannot_join() {
        // Here nobody makes the files that resctrl makes in a new directory, so that each write fails.
        let root = tempfile::tempdir().unwrap();
        for config in [json!({}), json!({"memBwSchema": "MB:0=20"})] {
            assert!(apply_at(root.path(), &rdt(config), "id", pid()).is_err());
            assert!(!root.path().join("id").exists());
        }
        // A monitoring group in a class that is there.
        class(root.path(), "gold", "L3:0=ff\n");
        std::fs::create_dir(root.path().join("gold/mon_groups")).unwrap();
        let config = json!({"closID": "gold", "enableMonitoring": true});
        assert!(apply_at(root.path(), &rdt(config), "id", pid()).is_err());
        assert!(!root.path().join("gold/mon_groups/id").exists());
        assert!(root.path().join("gold").exists());
    }

    #[test]
    fn only_the_containers_own_directory_is_recorded() {
        let own = |value| own_directory(&rdt(value), "id").map(|path| path.display().to_string());
        assert_eq!(own(json!({})).unwrap(), "/sys/fs/resctrl/id");
        assert!(
            is_class(Path::new("/sys/fs/resctrl/id"))
                && !is_class(Path::new("/sys/fs/resctrl/mon_groups/id"))
        );
        assert_eq!(own(json!({"closID": "gold"})), None);
        let monitored = own(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        assert_eq!(monitored, "/sys/fs/resctrl/gold/mon_groups/id");
        let root = own(json!({"closID": "/", "enableMonitoring": true})).unwrap();
        assert_eq!(root, "/sys/fs/resctrl/mon_groups/id");
    }
}
