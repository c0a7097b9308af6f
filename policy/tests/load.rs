//! Loading and applying, from files.

use std::path::{Path, PathBuf};

use nucleus_policy::{
    ANNOTATION_VERSION, ApplyError, Choice, Digest, Errors, Kind, Origin, Problem, Request,
    digest_annotation, load, lock::Lock,
};
use oci_spec::runtime::{LinuxSeccompAction, Process, Spec, SpecBuilder};
use tempfile::TempDir;

fn builtins() -> Request {
    Request {
        seccomp: Some(Choice::named(Kind::Seccomp, "default")),
        capabilities: Some(Choice::named(Kind::Capabilities, "none")),
        landlock: Some(Choice::named(Kind::Landlock, "agent")),
        pins_required: true,
        landlock_strict: true,
        kernel: None,
    }
}

fn file(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("write a policy");
    path
}

fn capabilities(path: &Path, pin: Option<Digest>) -> Request {
    let choice = Choice {
        origin: Origin::File(path.to_owned()),
        pin,
    };
    Request {
        capabilities: Some(choice),
        ..Request::default()
    }
}

fn problem(errors: &Errors) -> &Problem {
    assert_eq!(errors.faults().len(), 1, "{errors}");
    &errors.faults()[0].problem
}

#[test]
fn built_in_policies_need_no_pin_and_apply() {
    let policy = load(&builtins()).expect("the built-in policies");
    let mut spec = Spec::default();
    policy.apply(&mut spec).expect("apply");
    let process = spec.process().as_ref().expect("a process");
    assert_eq!(process.no_new_privileges(), Some(true));
    let sets = process.capabilities().as_ref().expect("capabilities");
    for set in [
        sets.bounding(),
        sets.effective(),
        sets.permitted(),
        sets.inheritable(),
        sets.ambient(),
    ] {
        assert_eq!(set.as_ref().map(|set| set.len()), Some(0));
    }
    let seccomp = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().clone())
        .expect("a profile");
    assert_eq!(seccomp.default_action(), LinuxSeccompAction::ScmpActErrno);
    let annotations = spec.annotations().as_ref().expect("annotations");
    for (kind, _, digest) in policy.digests() {
        assert_eq!(annotations[digest_annotation(kind)], digest.to_string());
    }
    assert_eq!(annotations[ANNOTATION_VERSION], env!("CARGO_PKG_VERSION"));
    assert!(annotations["dev.nucleus.landlock"].contains("\"disableBestEffort\":true"));
    let once = spec.clone();
    policy.apply(&mut spec).expect("apply again");
    assert_eq!(spec, once);
}

#[test]
fn a_pin_holds_the_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = file(&directory, "caps.toml", "keep = []\n");
    let right = Digest::of(b"keep = []\n");
    load(&capabilities(&path, Some(right))).expect("the pinned bytes");
    let wrong = Digest::of(b"keep = [] \n");
    let errors = load(&capabilities(&path, Some(wrong))).expect_err("other bytes");
    let text = errors.to_string();
    assert!(
        text.contains("caps.toml") && text.contains(&right.to_string()) && text.contains(&wrong.to_string()),
        "{text}"
    );
    let mut request = capabilities(&path, None);
    load(&request).expect("no pin required");
    request.pins_required = true;
    let errors = load(&request).expect_err("a pin required");
    assert!(matches!(problem(&errors), Problem::NoPin { actual } if *actual == right));
}

/// A wrong pin is told before the text is looked at.
#[test]
fn unpinned_bytes_are_not_parsed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = file(&directory, "caps.toml", "keep = [[[[[");
    let errors = load(&capabilities(&path, Some(Digest::of(b"")))).expect_err("other bytes");
    assert!(matches!(problem(&errors), Problem::WrongPin { .. }));
}

#[test]
fn what_is_not_a_small_regular_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    let large = file(
        &directory,
        "large",
        vec![b'#'; nucleus_policy::MAX_BYTES as usize + 1],
    );
    let binary = file(&directory, "binary", b"keep = [] # \xff");
    let is = |path: &Path, expected: fn(&Problem) -> bool| {
        let errors = load(&capabilities(path, None)).expect_err("not a policy");
        assert!(expected(problem(&errors)), "{errors}");
    };
    is(&fifo, |it| matches!(it, Problem::NotRegular));
    is(directory.path(), |it| matches!(it, Problem::NotRegular));
    is(Path::new("/dev/zero"), |it| matches!(it, Problem::NotRegular));
    is(&large, |it| matches!(it, Problem::TooLarge { .. }));
    is(&binary, |it| matches!(it, Problem::NotText));
    is(&directory.path().join("absent"), |it| {
        matches!(it, Problem::Unreadable(_))
    });
}

#[test]
fn the_faults_of_all_files_are_told_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let choice = |name: &str, text: &str| {
        Some(Choice {
            origin: Origin::File(file(&directory, name, text)),
            pin: None,
        })
    };
    let request = Request {
        seccomp: choice("s.json", "{\"defaultAction\":\n\"SCMP_ACT_MAYBE\"}"),
        capabilities: choice("c.toml", "keep = [\n\"CAP_KILL\",\n\"CAP_FLY\",\n\"CAP_KILL\"]"),
        landlock: choice(
            "l.toml",
            "[[path]]\npaths = [\"usr\", \"/a/../b\"]\naccess = [\"look\"]\n",
        ),
        ..Request::default()
    };
    let errors = load(&request).expect_err("faults").to_string();
    for expected in [
        "s.json\", line 2: there is no action \"SCMP_ACT_MAYBE\"",
        "c.toml\", line 3: there is no capability \"CAP_FLY\"",
        "c.toml\", line 4: capability \"CAP_KILL\" is given twice",
        "l.toml\", line 2: path \"usr\": not absolute",
        "l.toml\", line 2: path \"/a/../b\": write it without",
        "l.toml\", line 3: there is no access \"look\"",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    assert_eq!(errors.lines().count(), 6, "{errors}");
}

#[test]
fn a_lock_pins_the_set() {
    let directory = tempfile::tempdir().expect("a directory");
    let caps = file(&directory, "caps.toml", "keep = [\"CAP_KILL\"]\n");
    let request = Request {
        capabilities: capabilities(&caps, None).capabilities,
        ..builtins()
    };
    let request = Request {
        pins_required: false,
        ..request
    };
    let policy = load(&request).expect("policies");
    let text = Lock::of(&policy).render(directory.path()).expect("a lock");
    assert!(
        text.contains("[capabilities]\npath = \"caps.toml\"\nsha256 = \""),
        "{text}"
    );
    let path = file(&directory, "policy.lock", &text);

    let pin = Digest::of(text.as_bytes());
    let lock = Lock::load(&path, Some(pin)).expect("the lock");
    assert_eq!(lock, Lock::of(&policy));
    assert!(Lock::load(&path, Some(Digest::of(b""))).is_err());
    let mut locked = Request {
        pins_required: true,
        ..Request::default()
    };
    lock.fill(&mut locked);
    load(&locked).expect("the locked policies");

    std::fs::write(&caps, "keep = [\"CAP_KILL\" ]\n").expect("change the policy");
    let errors = load(&locked).expect_err("a changed policy");
    assert!(matches!(problem(&errors), Problem::WrongPin { .. }));
}

#[test]
fn faults_of_locks() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "[seccomp]\npath = \"x\"\n[capabilities]\nbuilt-in = \"all\"\nsha256 = \"12\"\n[landlock]\nsha256 = \"12\"\n";
    let path = file(&directory, "policy.lock", text);
    let errors = Lock::load(&path, None).expect_err("faults").to_string();
    for expected in [
        "line 1: `sha256` is missing",
        "line 4: there is no built-in policy \"all\"",
        "line 5: not a SHA-256 digest",
        "line 6: one of `path` and `built-in` is missing",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn a_spec_keeps_no_other_policy() {
    let policy = load(&builtins()).expect("policies");
    let applied = |edit: fn(&mut Spec)| {
        let mut spec = Spec::default();
        edit(&mut spec);
        let before = spec.clone();
        let result = policy.apply(&mut spec);
        assert!(result.is_ok() || spec == before, "changed by a refused policy");
        result
    };
    let annotate = |spec: &mut Spec, key: &str, value: &str| {
        spec.annotations_mut()
            .get_or_insert_default()
            .insert(key.to_owned(), value.to_owned());
    };
    assert_eq!(
        applied(|spec| {
            let linux = spec.linux_mut().get_or_insert_default();
            linux.set_seccomp(Some(oci_spec::runtime::LinuxSeccomp::default()));
        }),
        Err(ApplyError::OtherSeccomp)
    );
    let mut spec = Spec::default();
    annotate(&mut spec, "dev.nucleus.landlock", "{\"ruleset\": {}}");
    assert_eq!(policy.apply(&mut spec), Err(ApplyError::OtherLandlock));
    let mut spec = Spec::default();
    annotate(
        &mut spec,
        digest_annotation(Kind::Capabilities),
        &Digest::of(b"").to_string(),
    );
    assert!(matches!(
        policy.apply(&mut spec),
        Err(ApplyError::OtherDigest {
            kind: Kind::Capabilities,
            ..
        })
    ));
    assert_eq!(
        applied(|spec| {
            spec.set_process(None);
        }),
        Err(ApplyError::NoProcess)
    );
}

#[test]
fn a_spec_without_linux_or_capabilities_gets_no_more_than_the_policy() {
    let mut process = Process::default();
    process.set_capabilities(None);
    let mut spec = SpecBuilder::default().process(process).build().expect("a spec");
    spec.set_linux(None);
    let directory = tempfile::tempdir().expect("a directory");
    let caps = file(&directory, "caps.toml", "keep = [\"CAP_KILL\"]\n");
    let request = Request {
        capabilities: capabilities(&caps, None).capabilities,
        ..builtins()
    };
    load(&Request {
        pins_required: false,
        ..request
    })
    .expect("policies")
    .apply(&mut spec)
    .expect("apply");
    let linux = spec.linux().as_ref().expect("linux");
    assert!(linux.seccomp().is_some() && linux.namespaces().is_none() && linux.masked_paths().is_none());
    let sets = spec
        .process()
        .as_ref()
        .and_then(|it| it.capabilities().as_ref())
        .expect("capabilities");
    assert_eq!(sets.bounding().as_ref().map(|set| set.len()), Some(0));
}
