//! Overwriting the runtime's binary through `/proc/<pid>/exe` (CVE-2019-5736).

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Bundle, Finished, Host, eventually, finish, probe};

/// A copy of the runtime, so that a runtime that does not hold loses only the copy.
struct Copy {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Copy {
    fn new(host: &Host) -> Self {
        let path = host.directory().join("runtime");
        fs::copy(support::program(), &path).expect("copy the runtime");
        let bytes = fs::read(&path).expect("read the copy");
        Self { path, bytes }
    }

    fn run(&self, host: &Host, args: &[&str]) -> Finished {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(host.root()).args(args);
        command.stdin(std::process::Stdio::null());
        finish(command)
    }

    fn assert_unchanged(&self) {
        assert!(
            fs::read(&self.path).expect("read the copy") == self.bytes,
            "the binary was changed"
        );
    }
}

/// Root in the container with every capability and no filter: only the mount stands in the way.
fn privileged(config: &mut Value) {
    let every: Vec<String> = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
        "SYS_CHROOT",
        "SYS_PTRACE",
    ]
    .iter()
    .map(|name| format!("CAP_{name}"))
    .collect();
    config["process"]["capabilities"] = json!({"bounding": every, "effective": every, "permitted": every});
    config["process"]["noNewPrivileges"] = json!(false);
}

fn install(bundle: &Bundle, probe: &Path) {
    fs::copy(probe, bundle.rootfs("/bin/hunt")).expect("install the probe");
}

#[test]
fn a_container_whose_program_is_the_runtime_itself_changes_nothing() {
    let Some(host) = Host::new() else { return };
    let runtime = Copy::new(&host);
    for args in [json!(["/entry"]), json!(["/proc/self/exe", "--version"])] {
        let bundle = host.bundle(|config| {
            privileged(config);
            config["process"]["args"] = args;
        });
        let entry = bundle.rootfs("/entry");
        fs::write(&entry, "#!/proc/self/exe\n").expect("write the script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&entry, mode).expect("make it executable");
        runtime.run(&host, &["run", "--bundle", bundle.path(), &host.id()]);
        runtime.assert_unchanged();
    }
}

/// A process of the container opens the executable of whatever enters, and keeps trying when it has gone.
fn hunted(edit: impl FnOnce(&mut Value)) {
    let Some(host) = Host::new() else { return };
    let Some(probe) = probe::build("hunt") else { return };
    let runtime = Copy::new(&host);
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sh", "-c", "hunt > /hunted"]);
        edit(config);
    });
    install(&bundle, &probe);
    let id = host.id();
    let started = runtime.run(&host, &["run", "--detach", "--bundle", bundle.path(), &id]);
    assert_eq!(started.code, 0, "{started}");
    eventually("the hunt begins", || bundle.rootfs("/hunting").exists());
    for round in 0..20 {
        // Both roads into the container: the runtime is what runs until exec, or it is the program itself.
        let program = if round % 2 == 0 {
            "/proc/self/exe"
        } else {
            "/bin/true"
        };
        runtime.run(&host, &["exec", &id, program, "--version"]);
    }
    fs::write(bundle.rootfs("/stop"), "").expect("stop the hunt");
    let hunted = || fs::read_to_string(bundle.rootfs("/hunted")).unwrap_or_default();
    eventually("the hunt ends", || hunted().ends_with('\n'));
    let report = hunted();
    assert!(report.ends_with("writable 0\n"), "opened for writing: {report}");
    runtime.assert_unchanged();
}

#[test]
fn no_process_of_a_container_opens_the_binary_for_writing() {
    hunted(|_| {});
}

#[test]
fn nor_does_a_process_with_privileges_over_mounts_and_other_processes() {
    hunted(privileged);
}

#[test]
fn nothing_of_the_runtime_is_set_user_id() {
    use std::os::unix::fs::MetadataExt;
    let program = support::program();
    let mode = fs::metadata(&program).expect("the binary").mode();
    assert_eq!(mode & 0o6000, 0, "mode {mode:o}");
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(Path::new(&program), names.as_mut_slice()).expect("listxattr");
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(!names.contains("security.capability"), "{names}");
}
