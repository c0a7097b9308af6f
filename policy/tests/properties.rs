//! What holds for every policy: applying never widens a spec, twice is once, text and policy are the same
//! thing, and a pin holds every byte.

mod support;

use std::collections::BTreeSet;

use nucleus_policy::{
    ApplyError, Choice, Digest, Kind, Origin, Problem, Request, VerifiedPolicy, builtin, load,
};
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Spec};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{files_allowed, kinds_of_access, seccomp_verdict, tcp_allowed};

/// Loads policies from these texts.
fn loaded(seccomp: Option<&str>, capabilities: Option<&str>, landlock: Option<&str>) -> VerifiedPolicy {
    let directory = tempfile::tempdir().expect("a directory");
    let choice = |name: &str, text: Option<&str>| {
        text.map(|text| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("write a policy");
            Choice {
                origin: Origin::File(path),
                pin: Some(Digest::of(text.as_bytes())),
            }
        })
    };
    let request = Request {
        seccomp: choice("seccomp.json", seccomp),
        capabilities: choice("capabilities.toml", capabilities),
        landlock: choice("landlock.toml", landlock),
        pins_required: true,
        ..Request::default()
    };
    load(&request).unwrap_or_else(|errors| panic!("{errors}\n{seccomp:?}{capabilities:?}{landlock:?}"))
}

const CAPS: [Capability; 6] = [
    Capability::Chown,
    Capability::Kill,
    Capability::NetBindService,
    Capability::SysAdmin,
    Capability::SysPtrace,
    Capability::CheckpointRestore,
];

fn some_caps() -> impl Strategy<Value = Capabilities> {
    prop::sample::subsequence(CAPS.to_vec(), 0..=CAPS.len()).prop_map(|list| list.into_iter().collect())
}

fn toml_list(set: &Capabilities) -> String {
    let names: Vec<String> = set
        .iter()
        .map(|capability| format!("\"CAP_{capability}\""))
        .collect();
    format!("[{}]", names.join(", "))
}

/// Five sets as the kernel could have them.
fn capability_policy() -> impl Strategy<Value = String> {
    (some_caps(), some_caps(), some_caps(), some_caps(), some_caps()).prop_map(|(a, b, c, d, e)| {
        let (permitted, inheritable) = (&a & &b, &a & &d);
        let (effective, ambient) = (&permitted & &c, &(&permitted & &inheritable) & &e);
        let sets = [
            ("bounding", &a),
            ("permitted", &permitted),
            ("effective", &effective),
        ];
        let more = [("inheritable", &inheritable), ("ambient", &ambient)];
        sets.iter()
            .chain(&more)
            .map(|(name, set)| format!("{name} = {}\n", toml_list(set)))
            .collect()
    })
}

/// What a spec may say, consistent or not.
fn spec_capabilities() -> impl Strategy<Value = Option<LinuxCapabilities>> {
    let set = || prop::option::of(some_caps());
    prop::option::of((set(), set(), set(), set(), set())).prop_map(|sets| {
        let (bounding, permitted, effective, inheritable, ambient) = sets?;
        let mut capabilities = LinuxCapabilities::default();
        capabilities
            .set_bounding(bounding)
            .set_permitted(permitted)
            .set_effective(effective);
        capabilities.set_inheritable(inheritable).set_ambient(ambient);
        Some(capabilities)
    })
}

fn sets(capabilities: Option<&LinuxCapabilities>) -> [Capabilities; 5] {
    let none = LinuxCapabilities::default().set_bounding(None).clone();
    let all = capabilities.unwrap_or(&none);
    if capabilities.is_none() {
        return Default::default();
    }
    [
        all.bounding(),
        all.permitted(),
        all.effective(),
        all.inheritable(),
        all.ambient(),
    ]
    .map(|set| set.clone().unwrap_or_default())
}

fn spec_with(capabilities: Option<LinuxCapabilities>) -> Spec {
    let mut spec = Spec::default();
    spec.process_mut()
        .as_mut()
        .expect("a process")
        .set_capabilities(capabilities);
    spec
}

const CALLS: [&str; 6] = ["read", "clone", "ioctl", "socket", "mount", "chroot"];
const ACTIONS: [&str; 4] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_LOG",
];
const OPERATORS: [&str; 6] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_GT",
    "SCMP_CMP_GE",
];

/// A rule for one call; `number` keeps any two rules apart by their conditions.
fn rule(number: usize) -> impl Strategy<Value = Value> {
    let guard = prop::option::of((any::<bool>(), 0..CAPS.len()));
    (
        0..CALLS.len(),
        0..ACTIONS.len(),
        0..OPERATORS.len(),
        any::<bool>(),
        guard,
    )
        .prop_map(move |(call, action, operator, masked, guard)| {
            let condition = if masked {
                json!({"index": 1, "value": 0xF0 | number, "valueTwo": number, "op": "SCMP_CMP_MASKED_EQ"})
            } else {
                json!({"index": 0, "value": number, "op": OPERATORS[operator]})
            };
            let mut rule = json!({"names": [CALLS[call]], "action": ACTIONS[action], "args": [condition]});
            if let Some((includes, capability)) = guard {
                let field = if includes { "includes" } else { "excludes" };
                rule[field] = json!({"caps": [format!("CAP_{}", CAPS[capability])]});
            }
            rule
        })
}

fn seccomp_policy() -> impl Strategy<Value = Value> {
    (0..ACTIONS.len(), prop::collection::vec(any::<()>(), 0..6)).prop_flat_map(|(default, rules)| {
        let rules: Vec<_> = (0..rules.len()).map(rule).collect();
        rules.prop_map(move |rules| json!({"defaultAction": ACTIONS[default], "syscalls": rules}))
    })
}

const PATHS: [&str; 6] = ["/", "/usr", "/usr/lib", "/tmp", "/home/a \"b\"\\", "/ä"];

fn landlock_policy() -> impl Strategy<Value = String> {
    let words: Vec<&'static str> = kinds_of_access().to_vec();
    let count = words.len();
    let access = move || prop::sample::subsequence(words.clone(), 1..=count);
    let paths = prop::sample::subsequence(PATHS.to_vec(), 0..=PATHS.len());
    let ports = || prop::collection::btree_set(0_u16..8, 0..4);
    let rules = paths.prop_flat_map(move |paths| {
        paths
            .into_iter()
            .map(|path| (Just(path), access(), any::<bool>()))
            .collect::<Vec<_>>()
    });
    (rules, ports(), ports(), 0_u32..8).prop_map(|(rules, bind, connect, abi)| {
        let mut text = format!("min_abi = {abi}\nscope = [\"signal\"]\n");
        for (path, access, optional) in rules {
            let path = Value::from(path);
            text += &format!("[[path]]\npaths = [{path}]\naccess = {access:?}\noptional = {optional}\n");
        }
        if !(bind.is_empty() && connect.is_empty()) {
            let list = |ports: &BTreeSet<u16>| format!("{:?}", ports.iter().collect::<Vec<_>>());
            text += &format!("[[tcp]]\nbind = {}\nconnect = {}\n", list(&bind), list(&connect));
        }
        text
    })
}

fn seccomp_of(spec: &Spec) -> Value {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    serde_json::to_value(profile.expect("a profile")).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn capabilities_never_widen(policy in capability_policy(), had in spec_capabilities()) {
        let verified = loaded(None, Some(&policy), None);
        let mut spec = spec_with(had.clone());
        verified.apply(&mut spec).expect("apply");
        let process = spec.process().as_ref().expect("a process");
        let left = sets(process.capabilities().as_ref());
        let limits = verified.capabilities().expect("a policy").sets();
        for ((left, had), (name, limit)) in left.iter().zip(sets(had.as_ref())).zip(limits) {
            prop_assert!(left.is_subset(&had), "{name}: more than the spec had");
            prop_assert!(left.is_subset(limit), "{name}: more than the policy allows");
        }
        let [bounding, permitted, effective, inheritable, ambient] = left;
        prop_assert!(permitted.is_subset(&bounding) && effective.is_subset(&permitted));
        prop_assert!(inheritable.is_subset(&bounding) && ambient.is_subset(&(&permitted & &inheritable)));
        prop_assert_eq!(process.no_new_privileges(), Some(true));
    }

    /// What the profile in the spec does with a call is what the text says for the capabilities that are left.
    #[test]
    fn a_profile_means_in_the_spec_what_its_text_says(
        profile in seccomp_policy(),
        had in spec_capabilities(),
        capabilities in prop::option::of(capability_policy()),
        calls in prop::collection::vec((0..CALLS.len(), [0_u64..8, 0..300]), 32),
    ) {
        let verified = loaded(Some(&profile.to_string()), capabilities.as_deref(), None);
        let mut spec = spec_with(had);
        verified.apply(&mut spec).expect("apply");
        let [bounding, ..] = sets(spec.process().as_ref().expect("a process").capabilities().as_ref());
        let bounding: BTreeSet<String> = bounding.iter().map(|it| format!("CAP_{it}")).collect();
        let applied = seccomp_of(&spec);
        for (call, args) in calls {
            let text = seccomp_verdict(&profile, CALLS[call], &args, &bounding);
            let spec = seccomp_verdict(&applied, CALLS[call], &args, &BTreeSet::new());
            prop_assert_eq!(&spec, &text, "{}({:?})", CALLS[call], args);
        }
    }

    /// Two different profiles are not merged: the spec stays as it was.
    #[test]
    fn a_profile_is_never_replaced(first in seccomp_policy(), second in seccomp_policy()) {
        let mut spec = Spec::default();
        loaded(Some(&first.to_string()), None, None).apply(&mut spec).expect("apply");
        spec.set_annotations(None);
        let before = spec.clone();
        match loaded(Some(&second.to_string()), None, None).apply(&mut spec) {
            Ok(()) => prop_assert_eq!(seccomp_of(&spec), seccomp_of(&before)),
            Err(error) => {
                prop_assert_eq!(error, ApplyError::OtherSeccomp);
                prop_assert_eq!(spec, before);
            }
        }
    }

    #[test]
    fn landlock_rules_mean_in_the_spec_what_their_text_says(policy in landlock_policy(), port in 0_u16..8) {
        let mut spec = Spec::default();
        loaded(None, None, Some(&policy)).apply(&mut spec).expect("apply");
        let annotations = spec.annotations().as_ref().expect("annotations");
        let applied: Value = serde_json::from_str(&annotations["dev.nucleus.landlock"]).expect("JSON");
        let text: toml::Table = policy.parse().expect("TOML");
        for path in PATHS.into_iter().chain(["/usr/lib/x", "/usrlib", "/etc"]) {
            let (said, meant) = files_allowed(&text, &applied, path);
            prop_assert_eq!(meant, said, "{}", path);
        }
        let (said, meant) = tcp_allowed(&text, &applied, port);
        prop_assert_eq!(meant, said);
        // Every right that the kernel may know is handled, so that what no rule names is refused.
        prop_assert_eq!(applied["ruleset"]["handledAccessFS"].as_array().map(Vec::len), Some(16));
        prop_assert_eq!(applied["ruleset"]["handledAccessNet"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn twice_is_once(
        seccomp in seccomp_policy(),
        capabilities in capability_policy(),
        landlock in landlock_policy(),
        had in spec_capabilities(),
    ) {
        let policy = loaded(Some(&seccomp.to_string()), Some(&capabilities), Some(&landlock));
        let mut spec = spec_with(had);
        policy.apply(&mut spec).expect("apply");
        let once = spec.clone();
        policy.apply(&mut spec).expect("apply again");
        prop_assert_eq!(&spec, &once);
        // Through JSON, as a bundle keeps it.
        let text = serde_json::to_string(&once).expect("JSON");
        let mut read: Spec = serde_json::from_str(&text).expect("a spec");
        policy.apply(&mut read).expect("apply to what was written");
        prop_assert_eq!(read, once);
    }

    #[test]
    fn rendering_reads_back(
        seccomp in seccomp_policy(),
        capabilities in capability_policy(),
        landlock in landlock_policy(),
    ) {
        let policy = loaded(Some(&seccomp.to_string()), Some(&capabilities), Some(&landlock));
        let render = |policy: &VerifiedPolicy| {
            (
                policy.seccomp().expect("seccomp").render(),
                policy.capabilities().expect("capabilities").render(),
                policy.landlock().expect("Landlock").render(),
            )
        };
        let text = render(&policy);
        let again = loaded(Some(&text.0), Some(&text.1), Some(&text.2));
        prop_assert_eq!(render(&again), text);
        prop_assert_eq!(again.capabilities(), policy.capabilities());
        let applied = |policy: &VerifiedPolicy| {
            let mut spec = Spec::default();
            policy.apply(&mut spec).expect("apply");
            // The digests are those of the texts, which differ.
            let annotations = spec.annotations_mut().take().expect("annotations");
            (spec, annotations["dev.nucleus.landlock"].clone())
        };
        prop_assert_eq!(applied(&again), applied(&policy));
    }

    #[test]
    fn every_byte_of_a_pinned_file_counts(kind in 0..3_usize, place in any::<prop::sample::Index>(), bit in 0..8) {
        let kind = Kind::ALL[kind];
        let name = builtin::names(kind).next().expect("a built-in policy");
        let text = builtin::text(kind, name).expect("its text");
        let mut bytes = text.as_bytes().to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        let (pinned, unpinned) = load_bytes(kind, &bytes, Digest::of(text.as_bytes()));
        let errors = pinned.expect_err("other bytes than the pinned ones");
        let refused = matches!(errors.faults()[0].problem, Problem::WrongPin { .. });
        prop_assert!(refused, "{errors}");
        // Without the pin they may mean something else or nothing, but that is all.
        drop(unpinned);
    }

    /// Whatever the bytes: a policy or an error.
    #[test]
    fn any_bytes_are_read_to_an_end(kind in 0..3_usize, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (pinned, unpinned) = load_bytes(Kind::ALL[kind], &bytes, Digest::of(b"something else"));
        prop_assert!(pinned.is_err());
        if let Ok(policy) = unpinned {
            policy.apply(&mut Spec::default()).expect("apply");
        }
    }
}

type Loaded = Result<VerifiedPolicy, nucleus_policy::Errors>;

/// Loads the bytes with that pin, and without one.
fn load_bytes(kind: Kind, bytes: &[u8], pin: Digest) -> (Loaded, Loaded) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("policy");
    std::fs::write(&path, bytes).expect("write a policy");
    let request = |pin| {
        let choice = Some(Choice {
            origin: Origin::File(path.clone()),
            pin,
        });
        let mut request = Request::default();
        match kind {
            Kind::Seccomp => request.seccomp = choice,
            Kind::Capabilities => request.capabilities = choice,
            Kind::Landlock => request.landlock = choice,
        }
        request
    };
    (load(&request(Some(pin))), load(&request(None)))
}
