//! What each property becomes, in which order, and what is refused.

use super::*;

const V1: [&str; 10] = [
    "memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma", "cgroup",
];

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

fn on(version: Version, phase: Phase, json: &str) -> Result<Vec<(String, String)>, Error> {
    let find = |controller: &str| match version {
        Version::V1 => V1.contains(&controller).then_some(Version::V1),
        Version::V2 => Some(Version::V2),
    };
    let list = settings(&resources(json), &find, phase)?;
    Ok(list
        .into_iter()
        .map(|setting| (setting.write.file.into_owned(), setting.write.value))
        .collect())
}

fn check(version: Version, phase: Phase, json: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(file, value)| ((*file).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(on(version, phase, json).unwrap(), expected, "{json}");
}

#[test]
fn memory_in_order() {
    let json = r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}}"#;
    let v1 = [
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "300"),
        ("memory.soft_limit_in_bytes", "50"),
    ];
    check(Version::V1, Phase::Create, json, &v1);
    let v2 = [
        ("memory.max", "100"),
        ("memory.swap.max", "200"),
        ("memory.low", "50"),
    ];
    check(Version::V2, Phase::Create, json, &v2);
    // Without a limit there is none for swap either.
    let json = r#"{"memory": {"limit": -1}}"#;
    let v1 = [
        ("memory.limit_in_bytes", "-1"),
        ("memory.memsw.limit_in_bytes", "-1"),
    ];
    check(Version::V1, Phase::Update, json, &v1);
    check(
        Version::V2,
        Phase::Update,
        json,
        &[("memory.max", "max"), ("memory.swap.max", "max")],
    );
}

#[test]
fn zero_is_not_set() {
    let json = r#"{"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "",
                "mems": ""},
        "pids": {"limit": 0}, "blockIO": {"weight": 0, "leafWeight": 0}, "network": {"classID": 0}}"#;
    for version in [Version::V1, Version::V2] {
        for phase in [Phase::Create, Phase::Update] {
            check(version, phase, json, &[]);
        }
    }
}

#[test]
fn cpu_in_order() {
    let json = r#"{"cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 100, "idle": 1,
                           "cpus": "0-1", "mems": "0"}}"#;
    let v1 = [
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "10000"),
        ("cpu.cfs_quota_us", "5000"),
        ("cpu.cfs_burst_us", "100"),
        ("cpu.idle", "1"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
    ];
    check(Version::V1, Phase::Create, json, &v1);
    let v2 = [
        ("cpu.weight", "100"),
        ("cpu.max", "5000 10000"),
        ("cpu.max.burst", "100"),
        ("cpu.idle", "1"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
    ];
    check(Version::V2, Phase::Create, json, &v2);
    // An idle cgroup takes no weight.
    let awake = r#"{"cpu": {"shares": 2, "idle": 0}}"#;
    check(
        Version::V1,
        Phase::Update,
        awake,
        &[("cpu.idle", "0"), ("cpu.shares", "2")],
    );
    check(
        Version::V2,
        Phase::Create,
        r#"{"cpu": {"period": 5000}}"#,
        &[("cpu.max", "max 5000")],
    );
    check(
        Version::V2,
        Phase::Create,
        r#"{"cpu": {"quota": -1}}"#,
        &[("cpu.max", "max")],
    );
    let rt = r#"{"cpu": {"realtimeRuntime": 5, "realtimePeriod": 10}}"#;
    check(
        Version::V1,
        Phase::Create,
        rt,
        &[("cpu.rt_period_us", "10"), ("cpu.rt_runtime_us", "5")],
    );
}

#[test]
fn the_others() {
    let json = r#"{"pids": {"limit": -1}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]},
        "rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 4}}}"#;
    let v1 = [
        ("pids.max", "max"),
        ("blkio.weight", "10"),
        ("blkio.weight_device", "8:0 1000"),
        ("blkio.throttle.read_bps_device", "8:0 7"),
        ("blkio.throttle.write_iops_device", "8:0 0"),
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
        ("rdma.max", "mlx hca_handle=3 hca_object=4"),
    ];
    check(Version::V1, Phase::Create, json, &v1);
    let v2 = [
        ("pids.max", "max"),
        ("io.bfq.weight", "10"),
        ("io.bfq.weight", "8:0 1000"),
        ("io.max", "8:0 rbps=7"),
        ("io.max", "8:0 wiops=max"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
        ("rdma.max", "mlx hca_handle=3 hca_object=4"),
    ];
    check(Version::V2, Phase::Create, json, &v2);
    let network = r#"{"network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 2}]}}"#;
    let v1 = [("net_cls.classid", "5"), ("net_prio.ifpriomap", "eth0 2")];
    check(Version::V1, Phase::Create, network, &v1);
    let unified = r#"{"unified": {"pids.max": "7", "cgroup.max.depth": "1"}}"#;
    check(
        Version::V2,
        Phase::Create,
        unified,
        &[("cgroup.max.depth", "1"), ("pids.max", "7")],
    );
}

/// What is refused whatever the host, and the property that the error names.
#[test]
fn invalid_everywhere() {
    let table = [
        (r#"{"memory": {"limit": -2}}"#, "memory.limit"),
        (r#"{"memory": {"limit": 100, "swap": 99}}"#, "memory.swap"),
        (r#"{"memory": {"limit": -1, "swap": 99}}"#, "memory.swap"),
        (r#"{"memory": {"swap": 99}}"#, "memory.swap"),
        (r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness"),
        (r#"{"cpu": {"shares": 1}}"#, "cpu.shares"),
        (r#"{"cpu": {"shares": 262145}}"#, "cpu.shares"),
        (r#"{"cpu": {"quota": -2}}"#, "cpu.quota"),
        (r#"{"cpu": {"idle": 2}}"#, "cpu.idle"),
        (r#"{"cpu": {"cpus": "all"}}"#, "cpu.cpus"),
        (r#"{"cpu": {"mems": "0;1"}}"#, "cpu.mems"),
        (r#"{"pids": {"limit": -2}}"#, "pids.limit"),
        (r#"{"blockIO": {"weight": 9}}"#, "blockIO.weight"),
        (r#"{"blockIO": {"weight": 1001}}"#, "blockIO.weight"),
        (
            r#"{"blockIO": {"weightDevice": [{"major": -1, "minor": 0, "weight": 10}]}}"#,
            "weightDevice",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "2/MB", "limit": 1}]}"#,
            "hugepageLimits",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}"#,
            "hugepageLimits",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "MB", "limit": 1}]}"#,
            "hugepageLimits",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}"#,
            "hugepageLimits",
        ),
        (
            r#"{"network": {"priorities": [{"name": "a b", "priority": 1}]}}"#,
            "network.priorities",
        ),
        (r#"{"rdma": {"a b": {"hcaHandles": 1}}}"#, "rdma"),
        (r#"{"unified": {"../memory.max": "1"}}"#, "unified"),
        (r#"{"unified": {"memory": "1"}}"#, "unified"),
        (r#"{"unified": {".max": "1"}}"#, "unified"),
        (r#"{"unified": {"cgroup.procs": "1"}}"#, "unified"),
    ];
    for (json, property) in table {
        for version in [Version::V1, Version::V2] {
            let error = on(version, Phase::Create, json).unwrap_err();
            assert!(matches!(&error, Error::Invalid { .. }), "{json}: {error}");
            assert!(error.to_string().contains(property), "{json}: {error}");
        }
    }
}

/// What one of the versions cannot do.
#[test]
fn unsupported() {
    let table = [
        (
            Version::V2,
            r#"{"memory": {"swappiness": 1}}"#,
            "memory.swappiness",
        ),
        (
            Version::V2,
            r#"{"memory": {"disableOOMKiller": true}}"#,
            "memory.disableOOMKiller",
        ),
        (Version::V2, r#"{"memory": {"kernelTCP": 1}}"#, "memory.kernelTCP"),
        (Version::V1, r#"{"memory": {"kernel": 1}}"#, "memory.kernel"),
        (
            Version::V1,
            r#"{"memory": {"useHierarchy": false}}"#,
            "memory.useHierarchy",
        ),
        (
            Version::V2,
            r#"{"cpu": {"realtimeRuntime": 1}}"#,
            "cpu.realtimeRuntime",
        ),
        (
            Version::V2,
            r#"{"cpu": {"realtimePeriod": 1}}"#,
            "cpu.realtimePeriod",
        ),
        (
            Version::V2,
            r#"{"blockIO": {"leafWeight": 10}}"#,
            "blockIO.leafWeight",
        ),
        (Version::V2, r#"{"network": {"classID": 1}}"#, "network.classID"),
        (
            Version::V2,
            r#"{"network": {"priorities": [{"name": "lo", "priority": 1}]}}"#,
            "network.priorities",
        ),
        (Version::V1, r#"{"unified": {"memory.max": "1"}}"#, "unified"),
    ];
    for (version, json, property) in table {
        let error = on(version, Phase::Create, json).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { .. }), "{json}: {error}");
        assert!(error.to_string().contains(property), "{json}: {error}");
    }
}

#[test]
fn a_missing_controller_names_the_property() {
    let table = [
        (r#"{"memory": {"limit": 1}}"#, "memory.limit"),
        (r#"{"cpu": {"burst": 1}}"#, "cpu.burst"),
        (r#"{"cpu": {"cpus": "0"}}"#, "cpu.cpus"),
        (r#"{"pids": {"limit": 1}}"#, "pids.limit"),
        (r#"{"blockIO": {"weight": 10}}"#, "blockIO.weight"),
        (
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#,
            "hugepageLimits",
        ),
        (r#"{"rdma": {"mlx": {"hcaHandles": 3}}}"#, "rdma"),
        (r#"{"network": {"classID": 1}}"#, "network.classID"),
    ];
    for (json, property) in table {
        let error = settings(&resources(json), &|_| None, Phase::Create).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { .. }), "{json}: {error}");
        assert!(error.to_string().contains(property), "{json}: {error}");
    }
}
