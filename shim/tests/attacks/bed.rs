//! What the attacks are after: a process of the host and one of another sandbox, which have files, sockets, shared
//! memory and keys, and places of the host. The attacks themselves are a static program, `tests/probes/attacks`.

use crate::layers::{self, Layer};
use crate::support::{Finished, NUCLEUS, Place, eventually};
use crate::victims;
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Who calls without root's rights.
const USER: u32 = 54_321;

/// Where the attacks' own directory is inside.
pub(crate) const PROGRAMS: &str = "/programs";
/// Where the volume is that is to be read only.
const VOLUME: &str = "/volume";

/// Everything that is attacked.
pub(crate) struct Bed {
    pub(crate) place: Place,
    /// Who calls: root, or a user.
    uid: u32,
    nucleus: PathBuf,
    /// With the program of the attacks and the sockets that hand in descriptors.
    programs: PathBuf,
    /// That is read-only inside, and open for everyone outside.
    volume: PathBuf,
    host: Child,
    other: String,
    _socket: UnixListener,
    /// What all attacks are told, as keys and values.
    told: Vec<(String, String)>,
}

impl Bed {
    /// Where root calls.
    pub(crate) fn new() -> Option<Self> {
        Self::of(0)
    }

    /// Where a user calls, and all victims are that user's.
    pub(crate) fn of_a_user() -> Option<Self> {
        Self::of(USER)
    }

    fn of(uid: u32) -> Option<Self> {
        let place = Place::new()?;
        fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).expect("chmod");
        let (programs, volume) = (place.path("programs"), place.path("volume"));
        for directory in [&programs, &place.path("home"), &place.path("root")] {
            fs::create_dir(directory).expect("mkdir");
            chown(directory, Some(uid), Some(uid)).expect("chown");
        }
        fs::set_permissions(place.path("root"), Permissions::from_mode(0o700)).expect("chmod");
        build(&programs.join("attacks"));
        lay_out(&volume, uid);
        let socket = place.path("host.sock");
        let host = victims::on_the_host(&programs.join("attacks"), place.name(), uid);
        let mut bed = Self {
            _socket: UnixListener::bind(&socket).expect("bind"),
            nucleus: reachable(&place, uid),
            host: host.0,
            told: Vec::new(),
            other: format!("{}victim", place.name()),
            place,
            uid,
            programs,
            volume,
        };
        bed.know("host", &host.1, bed.host.id());
        let told = bed.other_victim();
        bed.know("other", &told, bed.pid_of_other());
        bed.know_places(&socket);
        Some(bed)
    }

    fn tell(&mut self, key: &str, value: impl std::fmt::Display) {
        self.told.push((key.into(), value.to_string()));
    }

    /// What a victim told, and the socket that hands in a descriptor of it.
    fn know(&mut self, victim: &str, told: &str, pid: u32) {
        let name = match victim {
            "host" => self.place.name().to_owned(),
            _ => self.other.clone(),
        };
        self.tell(&format!("{victim}.name"), name);
        self.tell(&format!("{victim}.pid"), pid);
        for (key, value) in told.split_whitespace().filter_map(|word| word.split_once('=')) {
            self.tell(&format!("{victim}.{key}"), value);
        }
        victims::hand_out(&self.programs.join(format!("{victim}.sock")), pid);
    }

    fn know_places(&mut self, socket: &Path) {
        let root = self.place.root();
        let bundle = root.join("sandboxes").join(&self.other);
        assert!(bundle.is_dir(), "{}", bundle.display());
        for (key, path) in [
            ("socket", socket),
            ("store", &root),
            ("victims-bundle", &bundle),
            ("frontend", Path::new(NUCLEUS)),
            ("shadow", Path::new("/etc/shadow")),
        ] {
            self.tell(key, path.display());
        }
        for (key, path) in victims::control_group(self.pid_of_other()) {
            self.tell(key, path.display());
        }
    }

    /// Without seccomp and Landlock, so that it may have all of that, and what is refused to others is not refused by
    /// its own rules.
    fn other_victim(&self) -> String {
        let runtime = layers::without(&self.place, &[Layer::Seccomp, Layer::Landlock]);
        let program = format!("{PROGRAMS}/attacks");
        let mut args = vec!["run", "--detach", "--runtime", &runtime, "--name", &self.other];
        let volume = format!("{}:{PROGRAMS}:ro", self.programs.display());
        let name = format!("name={}", self.other);
        args.extend([
            "--volume",
            &volume,
            "--",
            &program,
            "victim",
            &name,
            "pages=2",
            "until=signal",
        ]);
        self.nucleus(&args).exits(0);
        let told = || self.nucleus(&["logs", &self.other]).stdout;
        eventually("the victim has everything", || told().contains("key="));
        told()
    }

    fn pid_of_other(&self) -> u32 {
        let state = self.nucleus(&["state", &self.other]);
        let state: serde_json::Value = serde_json::from_str(state.exits(0)).expect("JSON");
        u32::try_from(state["pid"].as_u64().expect("a pid")).expect("a pid")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        let uid = self.uid.to_string();
        if self.uid != 0 {
            command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        }
        command
            .arg(&self.nucleus)
            .arg("--root")
            .arg(self.place.root())
            .args(args);
        command.env("HOME", self.place.path("home")).stdin(Stdio::null());
        command
    }

    pub(crate) fn nucleus(&self, args: &[&str]) -> Finished {
        self.command(args).output().expect("start nucleus").into()
    }

    /// `nucleus run OPTIONS -- attacks`, on a terminal of the caller and with a descriptor of the caller's.
    pub(crate) fn attack(&self, options: &[&str]) -> Answers {
        self.attack_knowing(options, &[])
    }

    /// The same, called in a chroot.
    pub(crate) fn attack_in_chroot(&self, options: &[&str]) -> Answers {
        Answers::of(&with_descriptor(
            &self.place.in_chroot(&self.attacking(options, &[])),
        ))
    }

    /// The same, with arguments that count before the others.
    pub(crate) fn attack_knowing(&self, options: &[&str], told: &[&str]) -> Answers {
        Answers::of(&with_descriptor(&self.attacking(options, told)))
    }

    fn attacking(&self, options: &[&str], told: &[&str]) -> Command {
        let program = format!("{PROGRAMS}/attacks");
        let volumes = [
            format!("{}:{PROGRAMS}:ro", self.programs.display()),
            format!("{}:{VOLUME}:ro", self.volume.display()),
        ];
        let mut args = vec!["run"];
        args.extend(volumes.iter().flat_map(|volume| ["--volume", volume]));
        args.extend(options);
        args.extend(["--", &program, "attack"]);
        args.extend(told);
        let told = self.told_inside();
        args.extend(told.iter().map(String::as_str));
        self.command(&args)
    }

    /// What an attack inside a sandbox is told.
    fn told_inside(&self) -> Vec<String> {
        let inside = |name: &str| format!("{PROGRAMS}/{name}");
        let own = [
            ("before", String::new()),
            ("volume", VOLUME.into()),
            ("program", inside("attacks")),
            ("setuid", format!("{VOLUME}/setuid")),
            ("host.hand", inside("host.sock")),
            ("other.hand", inside("other.sock")),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value));
        let all = own.iter().chain(&self.told);
        all.map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// The attacks where nothing is in their way: as root, in namespaces that only take what they change.
    pub(crate) fn outside(&self) -> Answers {
        let before = self.place.path("outside");
        for inside in ["usr", "etc", "tmp", "run", "dev/shm"] {
            fs::create_dir_all(before.join(inside)).expect("mkdir");
        }
        let hand = |victim: &str| self.programs.join(format!("{victim}.sock"));
        let outside = [
            ("before", before),
            ("volume", self.volume.clone()),
            ("program", self.volume.join("file")),
            ("setuid", self.volume.join("setuid")),
            ("host.hand", hand("host")),
            ("other.hand", hand("other")),
        ];
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--uts"])
            .arg(self.programs.join("attacks"))
            .arg("attack");
        // The first of a key counts.
        command.args(outside.map(|(key, path)| format!("{key}={}", path.display())));
        command.args(self.told_inside());
        Answers::of(&with_descriptor(&command))
    }

    /// The attacks in the other sandbox, beside its victim.
    pub(crate) fn beside(&self) -> Answers {
        let program = format!("{PROGRAMS}/attacks");
        let mut args = vec!["exec", &self.other, &program, "attack"];
        let told = self.told_inside();
        args.extend(told.iter().map(String::as_str));
        Answers::of(&self.nucleus(&args))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.host.stdin.take());
        let _ = self.host.wait();
        let _ = self.nucleus(&["rm", "--force", &self.other]);
    }
}

/// Name and errno of each attack.
pub(crate) struct Answers(pub(crate) BTreeMap<String, i32>);

impl Answers {
    #[track_caller]
    fn of(finished: &Finished) -> Self {
        let lines = finished.exits(0).lines();
        let answers = lines.filter_map(|line| line.trim_end().rsplit_once(' '));
        let answers = answers.map(|(name, errno)| (name.to_owned(), errno.parse().expect("a number")));
        Self(answers.collect())
    }
}

/// The program where a user reaches it.
fn reachable(place: &Place, uid: u32) -> PathBuf {
    let built = Path::new(NUCLEUS);
    if uid == 0 {
        return built.to_owned();
    }
    let directory = place.path("bin");
    fs::create_dir(&directory).expect("mkdir");
    for program in ["nucleus", "nucleus-runtime"] {
        let (from, to) = (built.with_file_name(program), directory.join(program));
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .expect("copy");
    }
    directory.join("nucleus")
}

/// A caller that lets a descriptor of the host's root be inherited, on a terminal.
fn with_descriptor(command: &Command) -> Finished {
    let (terminal, _other_end) = terminal();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 7</; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.stdin(terminal).output().expect("start").into()
}

fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
    grantpt(&main).expect("grantpt");
    unlockpt(&main).expect("unlockpt");
    let path = ptsname(&main, Vec::new()).expect("ptsname");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    (open(path.as_c_str(), flags, Mode::empty()).expect("open"), main)
}

fn build(at: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probes/attacks");
    let sources = fs::read_dir(sources).expect("sources");
    let sources = sources.map(|entry| entry.expect("an entry").path());
    let sources = sources.filter(|path| path.extension().is_some_and(|extension| extension == "c"));
    let built = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(at)
        .args(sources)
        .status();
    assert!(built.expect("cc").success(), "the attacks were not built");
}

/// Nothing but the mount keeps anyone from writing here.
fn lay_out(volume: &Path, uid: u32) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let open = |path: &Path, mode| {
        chown(path, Some(uid), Some(uid)).expect("chown");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    };
    fs::create_dir_all(volume.join("below")).expect("mkdir");
    for name in ["file", "own"] {
        fs::write(volume.join(name), "unchanged").expect("write");
        open(&volume.join(name), 0o666);
    }
    for directory in [volume, &volume.join("below")] {
        open(directory, 0o777);
    }
    // The kernel's log, in a volume, and open for everyone.
    let device = volume.join("device");
    mknodat(
        CWD,
        &device,
        FileType::CharacterDevice,
        Mode::empty(),
        makedev(1, 11),
    )
    .expect("mknod");
    open(&device, 0o666);
    let program = volume.with_file_name("programs").join("attacks");
    fs::copy(program, volume.join("setuid")).expect("copy");
    fs::set_permissions(volume.join("setuid"), Permissions::from_mode(0o4755)).expect("chmod");
}
