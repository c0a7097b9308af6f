//! Device rules on the real kernel.

mod cgroups;

use cgroups::{in_v2_view, output, planned, resources, unique, v1};
use nucleus_runtime::cgroup::{Layout, create};

/// Shell text that tries accesses to devices and prints the answers; `$node` is a free path.
const TRY_DEVICES: &str = r#"
    try() { if ( eval "$1" ) 2>/dev/null; then printf 'yes '; else printf 'no '; fi; }
    try ': < /dev/zero'; try ': > /dev/null'; try ': <> /dev/full';
    try ': < /dev/kmsg'; try ': > /dev/kmsg';
    try 'mknod $node c 1 3'; rm -f $node; try 'mknod $node c 1 11'; rm -f $node"#;

/// Device rules and what [`TRY_DEVICES`] has to print under them.
const DEVICE_RULES: [(&str, &str); 5] = [
    ("[]", "yes yes yes no no yes yes"),
    (r#"[{"allow": false, "access": "m"}]"#, "yes yes yes no no yes no"),
    (
        r#"[{"allow": true, "access": "rwm"}]"#,
        "yes yes yes yes yes yes yes",
    ),
    (
        r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "access": "r"}]"#,
        "yes yes yes yes no yes yes",
    ),
    (
        r#"[{"allow": true, "access": "rwm"},
            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "wm"}]"#,
        "yes yes yes yes no yes no",
    ),
];

fn devices_are_restricted(layout: &Layout, name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let script = format!("node={}/node; {TRY_DEVICES}", directory.path().display());
    for (rules, expected) in DEVICE_RULES {
        let resources = resources(&format!(r#"{{"devices": {rules}}}"#));
        let entered = create(&planned(layout, &format!("/{}", unique(name)), &resources)).unwrap();
        assert_eq!(output(&entered, &script), expected, "{rules}");
        // From each to each other set of rules.
        for (rules, expected) in DEVICE_RULES.iter().skip(1) {
            let update = self::resources(&format!(r#"{{"devices": {rules}}}"#));
            entered.record.update(&update).unwrap();
            assert_eq!(output(&entered, &script), *expected, "update to {rules}");
        }
        entered.record.delete().unwrap();
    }
}

#[test]
fn devices_of_version_1() {
    let Some(layout) = v1() else { return };
    devices_are_restricted(&layout, "devices");
}

#[test]
fn devices_of_version_2() {
    in_v2_view(|layout| devices_are_restricted(&layout, "program"));
}
