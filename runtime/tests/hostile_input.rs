//! Configurations, processes, state files and messages that are wrong at random: each is accepted or refused,
//! without a panic, without end and without eating the memory.
//!
//! `NUCLEUS_TESTS_FULL=1` tries a hundred times as many.

use nucleus_runtime::cgroup::{self, Hierarchy, Layout};
use nucleus_runtime::container::Container;
use nucleus_runtime::host::HostFacts;
use nucleus_runtime::plan::{self, Plan, Preserved};
use nucleus_runtime::state::{self, Record};
use nucleus_runtime::{bundle, sync};
use oci_spec::runtime as oci;
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Every property of the specification, in a form that is accepted.
const EVERY_FIELD: &str = include_str!("data/every_field.json");

/// About how long a document gets by repetition, in bytes.
const LONGEST: usize = 1 << 18;

/// The tests' memory in bytes, of which valid input needs a small part.
const MEMORY: u64 = 512 << 20;

fn full() -> bool {
    std::env::var_os("NUCLEUS_TESTS_FULL").is_some()
}

/// The kernel ends a test that takes too much: a failed allocation aborts, and so does `SIGXCPU`.
fn bound() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = |limit| Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(Resource::Data, limit(MEMORY)).expect("bound the memory");
        setrlimit(Resource::Cpu, limit(if full() { 3600 } else { 120 })).expect("bound the time");
    });
}

fn cases(by_default: u32) -> ProptestConfig {
    bound();
    ProptestConfig {
        cases: by_default * if full() { 100 } else { 1 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
enum Mutation {
    /// Another value instead of one.
    Replace(Index, Value),
    /// One value less.
    Remove(Index),
    /// A value, or an object's name, from elsewhere in the same document.
    Copy(Index, Index),
    /// A list or a text many times over.
    Repeat(Index, usize),
    /// A property more.
    Add(Index, String, Value),
}

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("\0".to_owned()),
        Just("..".to_owned()),
        Just("/".to_owned()),
        Just("/../../..//.".to_owned()),
        Just("0-4294967295".to_owned()),
        Just("0-1023,0-1023".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("-1".to_owned()),
        Just("=".to_owned()),
        Just("a".repeat(100_000)),
        Just("/a".repeat(50_000)),
        Just("0-1023,".repeat(20_000) + "0"),
        Just("size=99999999999999999999k".to_owned()),
        Just("rro".to_owned()),
        Just("idmap=@0-0-4294967295#0-0-1".to_owned()),
        ".{0,12}",
    ]
}

fn odd_number() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(i64::MIN)),
        Just(json!(i64::MAX)),
        Just(json!(u64::MAX)),
        Just(json!(u32::MAX)),
        Just(json!(i32::MIN)),
        Just(json!(1e300)),
        Just(json!(0.5)),
        any::<i64>().prop_map(Value::from),
        (0..100_000u32).prop_map(Value::from),
    ]
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        odd_number(),
        odd_text().prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[[]]]]])),
        Just(json!({"": {"": null}})),
        proptest::collection::vec(odd_text(), 0..4).prop_map(Value::from),
        proptest::collection::vec(odd_number(), 0..4).prop_map(Value::from),
        Just((1..100).fold(json!(1), |inner, _| json!([inner]))),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), odd_value()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        1 => at().prop_map(Mutation::Remove),
        2 => (at(), at()).prop_map(|(from, to)| Mutation::Copy(from, to)),
        2 => (at(), 0..5000usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        1 => (at(), odd_text(), odd_value()).prop_map(|(at, name, value)| Mutation::Add(at, name, value)),
    ]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    proptest::collection::vec(mutation(), 1..4)
}

/// The paths of all values in a document, in the form of RFC 6901.
fn pointers(value: &Value, here: String, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                pointers(inner, format!("{here}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (name, inner) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                pointers(inner, format!("{here}/{name}"), found);
            }
        }
        _ => {}
    }
    found.push(here);
}

fn at<'a>(document: &'a mut Value, index: &Index) -> &'a mut Value {
    let mut found = Vec::new();
    pointers(document, String::new(), &mut found);
    let pointer = index.get(&found);
    document.pointer_mut(pointer).expect("a pointer of this document")
}

fn mutate(document: &mut Value, mutation: &Mutation) {
    match mutation {
        Mutation::Replace(index, value) => *at(document, index) = value.clone(),
        Mutation::Remove(index) => match at(document, index) {
            Value::Array(list) => drop(list.pop()),
            Value::Object(map) => {
                let name = map.keys().next().cloned().unwrap_or_default();
                map.remove(&name);
            }
            other => *other = Value::Null,
        },
        Mutation::Copy(from, to) => {
            let value = at(document, from).clone();
            *at(document, to) = value;
        }
        Mutation::Repeat(index, count) => {
            let repeated = at(document, index);
            let count = *count.min(&(LONGEST / repeated.to_string().len()));
            match repeated {
                Value::Array(list) => *list = vec![list.clone(); count].concat(),
                Value::String(text) => *text = text.repeat(count),
                _ => {}
            }
        }
        Mutation::Add(index, name, value) => {
            if let Value::Object(map) = at(document, index) {
                map.insert(name.clone(), value.clone());
            }
        }
    }
}

fn mutated(document: &str, mutations: &[Mutation]) -> Value {
    let mut document: Value = serde_json::from_str(document).expect("the valid document");
    for mutation in mutations {
        mutate(&mut document, mutation);
    }
    document
}

/// Hosts with each layout of cgroups, for root and for a user.
fn hosts() -> Vec<HostFacts> {
    let hierarchy = |mount: &str, controllers: &str| Hierarchy {
        mount: mount.to_owned(),
        controllers: controllers.to_owned(),
        own: "/".to_owned(),
    };
    let hybrid = || Layout::V1 {
        hierarchies: [
            "memory",
            "pids",
            "cpu,cpuacct",
            "cpuset",
            "devices",
            "blkio",
            "hugetlb",
            "net_cls",
            "net_prio",
            "rdma",
            "freezer",
        ]
        .map(|name| hierarchy(&format!("/sys/fs/cgroup/{name}"), name))
        .into(),
        unified: Some(hierarchy("/sys/fs/cgroup/unified", "")),
    };
    let unified = || Layout::V2(hierarchy("/sys/fs/cgroup", ""));
    [
        (0, hybrid()),
        (0, unified()),
        (1000, unified()),
        (1000, Layout::None),
    ]
    .map(|(uid, cgroups)| HostFacts {
        uid,
        gid: uid,
        rootless_override: None,
        capabilities: u64::MAX,
        kernel: (6, 18),
        cgroups,
        landlock_abi: 7,
    })
    .into()
}

fn plan_on(spec: &oci::Spec, host: &HostFacts, driver: cgroup::Driver) -> Result<Plan, plan::Error> {
    let request = plan::Request {
        id: "one",
        bundle: Path::new("/bundle"),
        spec,
        no_pivot: false,
        no_new_keyring: false,
        preserved: Preserved::default(),
        environment: &[],
        notify: Some(Path::new("/run/notify")),
        cgroups: Some(driver),
        traced: false,
        started_later: true,
        rootfs: None,
    };
    plan::plan(&request, host)
}

/// The whole way of a configuration, up to the plans and the words for what is wrong.
fn try_config(bytes: &[u8]) {
    let Ok((spec, _)) = bundle::parse(bytes) else {
        return;
    };
    for host in hosts() {
        for driver in [cgroup::Driver::Cgroupfs, cgroup::Driver::Systemd] {
            match plan_on(&spec, &host, driver) {
                Ok(plan) => drop(plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>()),
                Err(error) => drop(error.to_string()),
            }
        }
    }
}

fn try_process(process: &Value) {
    let Ok(process) = serde_json::from_value::<oci::Process>(process.clone()) else {
        return;
    };
    let (spec, _) = bundle::parse(EVERY_FIELD.as_bytes()).expect("the valid document");
    for host in hosts() {
        let request = plan::exec::Request {
            id: "one",
            bundle: Path::new("/bundle"),
            spec: &spec,
            process: &process,
            init: 1,
            same_network: false,
            by_tasks: true,
            preserved: Preserved::default(),
            environment: &[],
        };
        let _ = plan::exec::plan(&request, &host);
    }
}

/// A state directory that is complete, but for the FIFOs.
struct State {
    root: tempfile::TempDir,
    files: [(&'static str, String); 3],
}

impl State {
    fn new() -> Self {
        let (spec, _) = bundle::parse(EVERY_FIELD.as_bytes()).expect("the valid document");
        let plan = plan_on(&spec, &hosts()[0], cgroup::Driver::Cgroupfs).expect("a plan");
        let record = Record {
            oci_version: "1.3.0".to_owned(),
            id: "one".to_owned(),
            bundle: PathBuf::from("/bundle"),
            rootfs: PathBuf::from("/bundle/rootfs"),
            annotations: state::annotations(&spec, None),
            created: "2026-01-01T00:00:00Z".to_owned(),
            owner: 0,
            cgroup: plan.cgroup.intent(),
            intel_rdt: None,
            pid_namespace: true,
        };
        let init = state::Init {
            process: state::Process::now(std::process::id()).expect("this process"),
            cgroup: plan.cgroup.intent(),
        };
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(root.path().join("one")).expect("a state directory");
        Self {
            root,
            files: [
                ("state.json", serde_json::to_string(&record).expect("JSON")),
                ("init", serde_json::to_string(&init).expect("JSON")),
                ("config.json", EVERY_FIELD.to_owned()),
            ],
        }
    }

    /// Opens the container with one file replaced.
    fn open(&self, which: &Index, bytes: impl FnOnce(&str) -> Vec<u8>) -> bool {
        for (name, text) in &self.files {
            fs::write(self.root.path().join("one").join(name), text).expect("write a state file");
        }
        let (name, text) = which.get(&self.files);
        fs::write(self.root.path().join("one").join(name), bytes(text)).expect("write a state file");
        match Container::open(self.root.path(), "one") {
            Ok(container) => {
                let _ = container.hook_state().map(|state| state.json("running", Some(1)));
                let _ = nucleus_runtime::start::recorded_hooks(&container.directory);
                true
            }
            Err(error) => {
                drop(error.to_string());
                false
            }
        }
    }
}

/// Bytes changed, cut and put in.
fn spoil(text: &str, edits: &[(Index, Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (index, inserted, removed) in edits {
        let start = index.index(bytes.len() + 1);
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, inserted.iter().copied());
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(Index, Vec<u8>, usize)>> {
    let inserted = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        Just(b"[".repeat(100_000)),
        Just(b"{\"a\":".repeat(1000)),
        Just(b"9".repeat(400)),
        Just(b"\"\\u0000\"".to_vec()),
        Just(b"\"\\ud800\"".to_vec()),
        Just(b",\"linux\":{}".to_vec()),
        Just(b"1e999999999".to_vec()),
    ];
    let removed = prop_oneof![4 => 0..4usize, 1 => 0..4000usize];
    proptest::collection::vec((any::<Index>(), inserted, removed), 1..4)
}

#[test]
fn the_valid_document_reaches_the_plan() {
    let (spec, notes) = bundle::parse(EVERY_FIELD.as_bytes()).unwrap();
    assert_eq!(notes, [""; 0]);
    let plan = plan_on(&spec, &hosts()[0], cgroup::Driver::Cgroupfs).unwrap();
    assert!(plan.steps.len() > 20, "{:?}", plan.steps);
    assert!(State::new().open(&any_index(), |text| text.as_bytes().to_vec()));
}

/// The first of any list.
fn any_index() -> Index {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    any::<Index>().new_tree(&mut runner).expect("an index").current()
}

#[test]
fn a_long_list_of_processors_takes_no_more_memory_than_its_text() {
    bound();
    let mut config: Value = serde_json::from_str(EVERY_FIELD).unwrap();
    let list = "0-1023,".repeat(100_000) + "0";
    config["linux"]["memoryPolicy"]["nodes"] = json!(list);
    try_config(config.to_string().as_bytes());
    config["process"]["execCPUAffinity"]["initial"] = json!(list);
    try_process(&config["process"]);
}

#[test]
fn configurations_with_wrong_values_are_planned_or_refused() {
    proptest!(cases(400), |(mutations in mutations())| {
        try_config(mutated(EVERY_FIELD, &mutations).to_string().as_bytes());
    });
}

#[test]
fn configurations_with_wrong_bytes_are_planned_or_refused() {
    proptest!(cases(400), |(edits in edits())| try_config(&spoil(EVERY_FIELD, &edits)));
}

#[test]
fn processes_with_wrong_values_are_planned_or_refused() {
    let config: Value = serde_json::from_str(EVERY_FIELD).unwrap();
    let process = config["process"].to_string();
    proptest!(cases(400), |(mutations in mutations())| try_process(&mutated(&process, &mutations)));
}

#[test]
fn state_files_with_wrong_values_are_read_or_refused() {
    let state = State::new();
    proptest!(cases(400), |(which: Index, mutations in mutations())| {
        state.open(&which, |text| mutated(text, &mutations).to_string().into_bytes());
    });
}

#[test]
fn state_files_with_wrong_bytes_are_read_or_refused() {
    let state = State::new();
    proptest!(cases(400), |(which: Index, edits in edits())| {
        state.open(&which, |text| spoil(text, &edits));
    });
}

#[test]
fn messages_of_a_hostile_child_are_read_or_refused() {
    proptest!(cases(2000), |(bytes in proptest::collection::vec(any::<u8>(), 0..600))| {
        // A failure that can be read is the same after another journey, unless it was too long for one.
        if let Some(failure) = sync::decode(&bytes) {
            let again = sync::decode(&sync::encode(&failure));
            prop_assert_eq!(again.map(|again| again.step), Some(failure.step));
        }
    });
}
