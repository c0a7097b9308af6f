//! What a workload must not reach, attacked from inside in every mode by one static program, and by the same program
//! outside of any sandbox, where each attack works.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Place;

/// What the attacks are after, on the host.
struct Targets {
    _tcp: TcpListener,
    _abstract: UnixListener,
    _path: UnixListener,
    shared: PathBuf,
    arguments: Vec<String>,
}

impl Targets {
    fn new(place: &Place) -> Self {
        let name = format!("nucleus-attacks-{}", std::process::id());
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = place.path("host.sock");
        let shared = Path::new("/dev/shm").join(&name);
        fs::write(&shared, "another sandbox's").expect("write");
        // Where this and other sandboxes are kept, with their bundles and states.
        place.nucleus(&["ps"]).exits(0);
        let port = tcp.local_addr().expect("an address").port();
        let path = |path: &Path| path.display().to_string();
        Self {
            arguments: vec![
                std::process::id().to_string(),
                port.to_string(),
                name,
                path(&socket),
                path(&shared),
                path(&place.root()),
                path(Path::new(support::NUCLEUS)),
                "/etc/shadow".into(),
            ],
            _path: UnixListener::bind(&socket).expect("bind"),
            _abstract: UnixListener::bind_addr(&address).expect("bind"),
            _tcp: tcp,
            shared,
        }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.shared);
    }
}

fn probe(at: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probes/attacks.c");
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(at)
        .arg(source)
        .status();
    assert!(built.expect("cc").success(), "the attacks were not built");
}

fn answers(printed: &str) -> BTreeMap<String, i32> {
    let lines = printed.lines().filter_map(|line| line.rsplit_once(' '));
    lines
        .map(|(name, errno)| (name.to_owned(), errno.parse().expect("a number")))
        .collect()
}

const ATTACKS: usize = 30;

fn expect_refused(printed: &str, mode: &str) {
    let answers = answers(printed);
    assert_eq!(answers.len(), ATTACKS, "{mode}: {printed}");
    let through: Vec<&String> = answers
        .iter()
        .filter(|(_, errno)| **errno == 0)
        .map(|(name, _)| name)
        .collect();
    assert!(through.is_empty(), "{mode}: got through: {through:?}");
}

#[test]
fn attacks_fail_in_every_mode_and_work_outside() {
    let Some(place) = Place::new() else { return };
    let targets = Targets::new(&place);
    let arguments: Vec<&str> = targets.arguments.iter().map(String::as_str).collect();
    let directory = place.path("programs");
    fs::create_dir(&directory).expect("mkdir");
    probe(&directory.join("attacks"));
    let volume = format!("{}:/programs:ro", directory.display());
    for mode in ["agent", "strict-agent"] {
        let mut args = vec![
            "run",
            "--mode",
            mode,
            "--volume",
            &volume,
            "--",
            "/programs/attacks",
            "",
        ];
        args.extend(&arguments);
        expect_refused(place.nucleus(&args).exits(0), mode);
    }
    // A first process of ours over it, hidden processes, and a root file system of its own.
    let root = place.path("rootfs");
    for inside in [
        "bin",
        "usr",
        "etc",
        "proc",
        "dev",
        "sys",
        "tmp",
        "run",
        "home/agent",
    ] {
        fs::create_dir_all(root.join(inside)).expect("mkdir");
    }
    fs::copy(directory.join("attacks"), root.join("bin/attacks")).expect("copy");
    let at = root.to_str().expect("UTF-8");
    let pin = place
        .nucleus(&["attest", "create", at])
        .exits(0)
        .trim()
        .to_owned();
    let mut args = vec![
        "run",
        "--mode",
        "production",
        "--rootfs",
        at,
        "--rootfs-manifest-sha256",
        &pin,
    ];
    args.extend(["--user", "1000", "--memory", "64M", "--", "/bin/attacks", ""]);
    args.extend(&arguments);
    expect_refused(place.nucleus(&args).exits(0), "production");
    outside(&place, &directory, &arguments);
}

/// In namespaces that take what is changed, as root: not one attack may fail there, or it proves nothing above.
fn outside(place: &Place, directory: &Path, arguments: &[&str]) {
    let before = place.path("outside");
    for inside in ["usr", "etc", "tmp"] {
        fs::create_dir_all(before.join(inside)).expect("mkdir");
    }
    let output = Command::new("unshare")
        .args(["--mount", "--uts"])
        .arg(directory.join("attacks"))
        .arg(&before)
        .args(arguments)
        .output()
        .expect("unshare");
    let answers = answers(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(answers.len(), ATTACKS, "{output:?}");
    let failed: Vec<(&String, &i32)> = answers.iter().filter(|(_, errno)| **errno != 0).collect();
    assert!(
        failed.is_empty(),
        "without a sandbox these fail as well: {failed:?}"
    );
}
