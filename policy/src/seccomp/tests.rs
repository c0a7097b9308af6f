use oci_spec::runtime::Capability;

use super::*;
use crate::fault::Problem;
use crate::request::KernelVersion;

fn parse(text: &str) -> Result<SeccompPolicy, Vec<String>> {
    SeccompPolicy::parse(text, Some(KernelVersion { major: 6, minor: 1 })).map_err(|found| {
        let at = |line: Option<usize>| line.map_or_else(String::new, |line| format!("{line}: "));
        found
            .iter()
            .map(|(line, problem)| format!("{}{problem}", at(*line)))
            .collect()
    })
}

/// A profile with these entries, each on a line of its own from line 3.
fn profile(rules: &[&str]) -> String {
    format!(
        "{{\"defaultAction\": \"SCMP_ACT_ERRNO\",\n\"syscalls\": [\n{}\n]}}",
        rules.join(",\n")
    )
}

#[test]
fn engines_profiles_are_resolved() {
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
      "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
      "syscalls": [
        {"names": ["read", "mount"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "bpf", "action": "SCMP_ACT_ALLOW", "args": [], "excludes": {"caps": ["CAP_BPF"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "6.1"}},
        {"names": ["sync_file_range2"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["ppc64le"]}},
        {"names": ["modify_ldt"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32", "x86"]}},
        {"names": ["quotactl"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS", "comment": "why"}
      ]}"#;
    let policy = parse(text).expect("a profile");
    let resolved = |caps: &[Capability]| {
        let profile = policy.resolve(&caps.iter().copied().collect());
        let entries = profile.syscalls().clone().unwrap_or_default();
        entries
            .iter()
            .flat_map(|entry| entry.names().clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(resolved(&[]), ["bpf", "ptrace", "modify_ldt", "quotactl"]);
    assert_eq!(
        resolved(&[Capability::SysAdmin, Capability::Bpf]),
        ["read", "mount", "ptrace", "modify_ldt", "quotactl"]
    );
    let profile = policy.resolve(&Capabilities::new());
    assert_eq!(
        profile.architectures(),
        &Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86])
    );
    assert_eq!(policy.rules.last().and_then(|rule| rule.verdict.errno), Some(38));
    assert_eq!(policy.rules.last().map(|rule| rule.comment.as_str()), Some("why"));
}

#[test]
fn calls_of_other_architectures_are_left_out() {
    let policy = parse(&profile(&[
        r#"{"names": ["socketcall", "read"], "action": "SCMP_ACT_ALLOW"}"#,
    ]))
    .expect("a profile");
    let profile = policy.resolve(&Capabilities::new());
    assert_eq!(
        profile.syscalls().as_deref().unwrap_or_default()[0].names(),
        &["read"]
    );
}

#[test]
fn every_fault_is_found_on_its_line() {
    let text = profile(&[
        r#"{"names": ["read", "raed"], "action": "SCMP_ACT_ALLOW"}"#,
        r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#,
        r#"{"names": ["read"], "action": "SCMP_ACT_KILL"}"#,
        r#"{"names": ["open"], "action": "SCMP_ACT_PERHAPS"}"#,
        r#"{"names": ["stat"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}"#,
        r#"{"names": ["lstat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}"#,
        r#"{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
        r#"{"names": ["dup2"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}"#,
        r#"{"names": ["dup3"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_ALMOST"}]}"#,
        r#"{"names": ["pipe"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_EVERYTHING"], "arches": ["z80"]}}"#,
        r#"{"names": ["pipe2"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "old"}}"#,
        r#"{"names": ["fork"], "action": "SCMP_ACT_ALLOW", "hint": 1}"#,
        r#"{"names": [], "action": "SCMP_ACT_ALLOW"}"#,
        r#"{"names": ["vfork", "vfork"], "action": "SCMP_ACT_ALLOW"}"#,
        r#"{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errno": "EWHAT"}"#,
    ]);
    let faults = parse(&text).expect_err("faults");
    let expected = [
        "3: there is no system call \"raed\"",
        "4: rule for system call \"read\" is given twice",
        "5: system call \"read\" has another action in an earlier rule with the same arguments",
        "6: there is no action \"SCMP_ACT_PERHAPS\"",
        "7: errnoRet 1: its action returns no number",
        "8: errnoRet 4096: too large",
        "9: argument index 6: a system call has the arguments 0 to 5",
        "10: valueTwo 2: bits outside the mask in `value`: never equal",
        "11: there is no operator \"SCMP_CMP_ALMOST\"",
        "12: there is no architecture \"z80\"",
        "12: there is no capability \"CAP_EVERYTHING\"",
        "13: not a kernel version: \"old\"",
        "14: unknown field `hint`",
        "15: a system call in `names` is missing",
        "16: rule for system call \"vfork\" is given twice",
        "17: there is no errno \"EWHAT\"",
    ];
    for expected in expected {
        assert!(
            faults.iter().any(|fault| fault.starts_with(expected)),
            "{expected}: {faults:#?}"
        );
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn faults_outside_of_rules() {
    for (text, expected) in [
        (
            "{\n\"defaultAction\": \"SCMP_ACT_ALLOW\",\n\"extra\": 1}",
            "3: unknown field `extra`",
        ),
        ("{\"defaultAction\": \"SCMP_ACT_ALLOW\"", "1: EOF"),
        ("{}", "1: missing field `defaultAction`"),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"defaultAction\": \"SCMP_ACT_KILL\"}",
            "1: duplicate field",
        ),
        ("{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}", "1: defaultAction"),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n\"architectures\": [\"SCMP_ARCH_ARM\"]}",
            "2: the architecture SCMP_ARCH_X86_64",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n\"architectures\": [\"SCMP_ARCH_Z80\"]}",
            "2: ",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"flags\": [\"SECCOMP_FILTER_FLAG_FAST\"]}",
            "1: there is no flag",
        ),
    ] {
        let faults = parse(text).expect_err(text);
        assert!(faults[0].starts_with(expected), "{text}: {faults:?}");
    }
}

#[test]
fn the_kernel_must_be_known_where_a_rule_asks_for_it() {
    let text =
        profile(&[r#"{"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}"#]);
    let found = SeccompPolicy::parse(&text, None).expect_err("no kernel");
    assert!(matches!(found[0], (Some(3), Problem::Missing(_))), "{found:?}");
}

#[test]
fn rendering_reads_back() {
    for name in crate::builtin::names(crate::Kind::Seccomp) {
        let policy = parse(crate::builtin::text(crate::Kind::Seccomp, name).expect("text")).expect(name);
        let mut again = parse(&policy.render()).expect("the rendered profile");
        for (rule, original) in again.rules.iter_mut().zip(&policy.rules) {
            rule.line = original.line;
        }
        assert_eq!(again, policy);
    }
}
