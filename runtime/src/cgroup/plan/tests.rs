//! Directories and the place of each write, by layout.

use super::*;

fn hierarchy(controllers: &str, own: &str) -> Hierarchy {
    let name = if controllers.is_empty() {
        "unified"
    } else {
        controllers
    };
    Hierarchy {
        mount: format!("/cg/{name}"),
        controllers: controllers.into(),
        own: own.into(),
    }
}

fn hybrid() -> Layout {
    Layout::V1 {
        hierarchies: ["cpu,cpuacct", "memory", "devices", "name=systemd"]
            .map(|c| hierarchy(c, "/own"))
            .into(),
        unified: Some(hierarchy("", "/slice/own")),
    }
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

fn request<'a>(path: Option<&'a str>, resources: Option<&'a LinuxResources>) -> Request<'a> {
    let driver = Driver::Cgroupfs;
    Request {
        cgroups_path: path,
        id: "id",
        resources,
        devices: &[],
        rootless: false,
        driver,
        annotations: None,
    }
}

#[test]
fn every_hierarchy_gets_a_directory() {
    let plan = plan(&hybrid(), &request(Some("a/b"), None)).unwrap();
    let paths: Vec<_> = plan
        .directories
        .iter()
        .map(|directory| directory.path.as_str())
        .collect();
    let expected = ["cpu,cpuacct", "memory", "devices", "name=systemd"].map(|c| format!("/cg/{c}/own/a/b"));
    assert_eq!(paths[..4], expected);
    assert_eq!(paths[4..], ["/cg/unified/slice/a/b"]);
}

#[test]
fn writes_go_to_their_controller() {
    let limits = resources(
        r#"{"cpu": {"shares": 512}, "memory": {"limit": 5},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
    );
    let plan = plan(&hybrid(), &request(None, Some(&limits))).unwrap();
    let files = |at: usize| {
        plan.directories[at]
            .writes
            .iter()
            .map(|w| &*w.file)
            .collect::<Vec<_>>()
    };
    assert_eq!(files(0), ["cpu.shares"]);
    assert_eq!(files(1), ["memory.limit_in_bytes"]);
    assert_eq!(files(2)[..2], ["devices.deny", "devices.allow"]);
    assert!(files(3).is_empty());
    // What no version 1 hierarchy carries may be on the cgroup2 one.
    assert_eq!(files(4), ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]);
    assert_eq!(plan.directories[4].needs, ["hugetlb"]);
    assert!(plan.directories[4].program.is_none());
}

#[test]
fn device_rules_become_a_program_on_version_2() {
    let layout = Layout::V2(hierarchy("", "/"));
    let of = |resources: Option<&LinuxResources>| plan(&layout, &request(None, resources)).unwrap();
    assert!(of(None).directories[0].program.is_some());
    let everything = resources(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
    assert!(of(Some(&everything)).directories[0].program.is_none());
}

#[test]
fn without_cgroups_limits_are_refused() {
    let rules = resources(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#);
    for (json, refused) in [("{}", false), (r#"{"pids": {"limit": 1}}"#, true)] {
        let limits = resources(json);
        assert_eq!(
            plan(&Layout::None, &request(None, Some(&limits))).is_err(),
            refused,
            "{json}"
        );
    }
    assert!(plan(&Layout::None, &request(None, Some(&rules))).is_err());
    let rootless = Request {
        rootless: true,
        ..request(None, Some(&rules))
    };
    assert!(plan(&Layout::None, &rootless).unwrap().directories.is_empty());
}

#[test]
fn rootless_may_do_without_unless_limited() {
    let limits = resources(r#"{"memory": {"limit": 5}}"#);
    let rootless = |resources| Request {
        rootless: true,
        ..request(None, resources)
    };
    assert!(plan(&hybrid(), &rootless(None)).unwrap().dispensable);
    assert!(!plan(&hybrid(), &rootless(Some(&limits))).unwrap().dispensable);
    assert!(!plan(&hybrid(), &request(None, None)).unwrap().dispensable);
}

#[test]
fn unified_is_refused_beside_version_1() {
    let limits = resources(r#"{"unified": {"memory.max": "1"}}"#);
    assert!(plan(&hybrid(), &request(None, Some(&limits))).is_err());
    assert!(plan(&Layout::V2(hierarchy("", "/")), &request(None, Some(&limits))).is_ok());
}
