//! What the library has worked out of its own policies is what their texts say.
//!
//! After a change of `data/`: `NUCLEUS_WRITE=1 cargo test -p nucleus-policy --test built_in` writes the resolved
//! profiles anew; the digests stand in `src/builtin.rs`.

use nucleus_policy::seccomp::Resolved;
use nucleus_policy::{Choice, Digest, Kind, Origin, Request, builtin, load};
use oci_spec::runtime::{LinuxSeccomp, Spec};

#[test]
fn digests_are_those_of_the_texts() {
    for kind in Kind::ALL {
        for name in builtin::names(kind) {
            let policy = builtin::find(kind, name).expect("a built-in policy");
            assert_eq!(policy.digest, Digest::of(policy.text.as_bytes()), "{name}");
        }
    }
}

#[test]
fn profiles_are_resolved_as_their_texts_are() {
    let resolved = |name: &str| {
        let policy = builtin::find(Kind::Seccomp, name).expect("a built-in profile");
        from_file(policy.text)
    };
    if std::env::var_os("NUCLEUS_WRITE").is_some() {
        for name in builtin::names(Kind::Seccomp) {
            let path = format!("{}/data/resolved/seccomp-{name}.json", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, serde_json::to_string(&resolved(name)).expect("text")).expect("write");
        }
        panic!("written: to be compiled");
    }
    for name in builtin::names(Kind::Seccomp) {
        let policy = builtin::find(Kind::Seccomp, name).expect("a built-in profile");
        let from_text = resolved(name);
        let text = serde_json::to_string(&from_text).expect("text");
        assert_eq!(policy.resolved, Some(text.as_str()), "{name}");

        let built_in = Choice::named(Kind::Seccomp, name);
        assert_eq!(built_in.origin, Origin::BuiltIn(policy.name));
        let request = Request {
            seccomp: Some(built_in),
            ..Request::default()
        };
        let loaded = load(&request).expect("the policy");
        let (mut whole, mut apart) = (without_capabilities(), without_capabilities());
        loaded.apply(&mut whole).expect("applied");
        let profile = loaded
            .apply_apart(&mut apart)
            .expect("applied")
            .expect("a profile");
        assert!(matches!(profile, Resolved::Text(_)), "{name}");
        assert_eq!(profile_of(&apart), None);
        assert_eq!(profile.typed().expect("typed"), from_text);
        assert_eq!(profile_of(&whole), Some(from_text));
    }
}

/// What a file of the same text makes of such a spec.
fn from_file(text: &str) -> LinuxSeccomp {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("profile.json");
    std::fs::write(&path, text).expect("write");
    let request = Request {
        seccomp: Some(Choice {
            origin: Origin::File(path),
            pin: None,
        }),
        ..Request::default()
    };
    let mut spec = without_capabilities();
    load(&request)
        .expect("a policy")
        .apply(&mut spec)
        .expect("applied");
    profile_of(&spec).expect("a profile")
}

fn profile_of(spec: &Spec) -> Option<LinuxSeccomp> {
    spec.linux().as_ref()?.seccomp().clone()
}

fn without_capabilities() -> Spec {
    let mut spec = Spec::default();
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(None);
    }
    if let Some(process) = spec.process_mut() {
        process.set_capabilities(None);
    }
    spec
}
