//! Both forms of the rules against a direct reading of "the last rule that matches decides".

use proptest::prelude::*;

use super::*;

fn rules(json: &str) -> Result<Rules, Error> {
    Rules::new(
        &serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap(),
        &[],
    )
}

fn device(kind: Kind, major: u32, minor: u32) -> Devices {
    Devices {
        kind,
        major: Some(major),
        minor: Some(minor),
    }
}

/// The specification: each access by itself, the last matching rule decides.
fn allowed(rules: &Rules, device: &Devices, access: u8) -> bool {
    [MKNOD, READ, WRITE]
        .into_iter()
        .filter(|bit| access & bit != 0)
        .all(|bit| {
            let last = rules
                .list
                .iter()
                .rev()
                .find(|rule| rule.devices.covers(device) && rule.access & bit != 0);
            last.map_or(rules.allow, |rule| rule.allow)
        })
}

/// What the kernel's devices controller answers (`security/device_cgroup.c`).
fn allowed_v1(state: &Allowlist, device: &Devices, access: u8) -> bool {
    let mut fitting = state
        .exceptions
        .iter()
        .filter(|(devices, _)| devices.covers(device));
    match state.allow {
        true => !fitting.any(|(_, bits)| bits & access != 0),
        false => fitting.any(|(_, bits)| access & !bits == 0),
    }
}

/// Runs a device program: the few instructions that the assembler knows.
fn run(code: &[nucleus_sys::bpf::Instruction], device: &Devices, access: u8) -> bool {
    let context = [
        u64::from(device.kind as u8) | u64::from(access) << 16,
        device.major.unwrap().into(),
        device.minor.unwrap().into(),
    ];
    let mut registers = [0u64; 11];
    let mut at = 0usize;
    for _ in 0..10_000 {
        let step = code[at];
        let (target, source) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
        let value = i64::from(step.value).cast_unsigned();
        let jump = usize::try_from(step.offset).unwrap();
        at += 1;
        match step.code {
            0x61 => registers[target] = context[jump / 4],
            0xbf => registers[target] = registers[source],
            0xb7 => registers[target] = value,
            0x57 => registers[target] &= value,
            0x77 => registers[target] >>= value,
            0x05 => at += jump,
            0x55 => at += if registers[target] == value { 0 } else { jump },
            0x45 => at += if registers[target] & value == 0 { 0 } else { jump },
            0x95 => return registers[0] == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
    panic!("the program does not end");
}

#[test]
fn docker_like_rules_on_version_1() {
    let rules = rules(
        r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]"#,
    )
    .unwrap();
    let writes = Allowlist::new(&rules)
        .unwrap()
        .writes(crate::cgroup::limits::Phase::Create);
    let written: Vec<_> = writes.iter().map(|write| (&*write.file, &*write.value)).collect();
    assert_eq!(
        written,
        [
            ("devices.deny", "a"),
            ("devices.allow", "c 1:3 rwm"),
            ("devices.allow", "c 10:229 rw"),
            ("devices.allow", "c *:* m"),
            ("devices.allow", "b *:* m"),
            ("devices.allow", "c 10:200 rwm"),
            ("devices.allow", "c 1:5 rwm"),
            ("devices.allow", "c 1:7 rwm"),
            ("devices.allow", "c 1:8 rwm"),
            ("devices.allow", "c 1:9 rwm"),
            ("devices.allow", "c 5:0 rwm"),
            ("devices.allow", "c 5:2 rwm"),
            ("devices.allow", "c 136:* rwm"),
        ]
    );
}

#[test]
fn everything_allowed_writes_nothing() {
    let rules = rules(r#"[{"allow": true, "access": "rwm"}]"#).unwrap();
    assert!(rules.is_everything());
    assert!(
        Allowlist::new(&rules)
            .unwrap()
            .writes(crate::cgroup::limits::Phase::Create)
            .is_empty()
    );
}

#[test]
fn holes_are_refused_on_version_1() {
    for json in [
        r#"[{"allow": true, "type": "c", "major": 10, "access": "rw"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#,
        r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "access": "rwm"},
            {"allow": true, "type": "b", "major": 7, "minor": 0, "access": "rwm"}]"#,
    ] {
        let error = Allowlist::new(&rules(json).unwrap()).unwrap_err();
        assert!(error.to_string().contains("linux.resources.devices"), "{error}");
    }
}

#[test]
fn malformed_rules_are_refused() {
    for json in [
        r#"[{"allow": true, "type": "p", "access": "rwm"}]"#,
        r#"[{"allow": true, "type": "c", "major": -2, "access": "rwm"}]"#,
        r#"[{"allow": true, "type": "c", "major": 4294967296, "access": "rwm"}]"#,
        r#"[{"allow": true, "type": "c", "major": 1, "access": "rx"}]"#,
    ] {
        assert!(matches!(rules(json), Err(Error::Invalid { .. })), "{json}");
    }
}

#[test]
fn nodes_of_the_container_can_be_created_but_not_opened() {
    let node: LinuxDevice =
        serde_json::from_str(r#"{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}"#).unwrap();
    let fuse = device(Kind::Char, 10, 229);
    for rules in ["[]", r#"[{"allow": false, "access": "m"}]"#] {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
        let rules = Rules::new(&rules, std::slice::from_ref(&node)).unwrap();
        assert!(allowed(&rules, &fuse, MKNOD));
        assert!(!allowed(&rules, &fuse, READ));
    }
}

#[test]
fn any_node_can_be_made_unless_a_rule_denies_it() {
    let disk = device(Kind::Block, 8, 0);
    let tun = device(Kind::Char, 10, 200);
    let given = rules(r#"[{"allow": false, "access": "rwm"}]"#).unwrap();
    assert!(allowed(&given, &disk, MKNOD) && !allowed(&given, &disk, READ));
    assert!(allowed(&given, &tun, ALL));
    let none = rules(r#"[{"allow": false, "access": "m"}]"#).unwrap();
    assert!(!allowed(&none, &disk, MKNOD) && !allowed(&none, &tun, MKNOD));
    let chars = rules(r#"[{"allow": false, "type": "b", "access": "m"}]"#).unwrap();
    assert!(!allowed(&chars, &disk, MKNOD) && allowed(&chars, &tun, ALL));
    let no_tun = rules(r#"[{"allow": false, "type": "c", "major": 10, "minor": 200}]"#).unwrap();
    assert!(!allowed(&no_tun, &tun, READ) && allowed(&no_tun, &tun, MKNOD));
}

#[test]
fn list_of_the_kernel() {
    assert_eq!(Allowlist::parse("a *:* rwm\n"), None);
    let state = Allowlist::parse("c 1:3 rwm\nb 8:* r\n").unwrap();
    let sda = Devices {
        kind: Kind::Block,
        major: Some(8),
        minor: None,
    };
    assert_eq!(state.exceptions, [(device(Kind::Char, 1, 3), ALL), (sda, READ)]);
    let other = Allowlist::parse("c 1:3 rm\nc 1:5 w\nb 8:* r\n").unwrap();
    let written: Vec<_> = other
        .transition(Some(&state))
        .into_iter()
        .map(|write| (write.file.into_owned(), write.value))
        .collect();
    let expected = [("devices.allow", "c 1:5 w"), ("devices.deny", "c 1:3 w")];
    assert_eq!(
        written,
        expected.map(|(file, value)| (file.to_owned(), value.to_owned()))
    );
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let number = || prop_oneof![Just(None), (0u32..3).prop_map(Some)];
    let kind = prop_oneof![Just(Kind::Block), Just(Kind::Char)];
    (any::<bool>(), kind, number(), number(), 1u8..=7).prop_map(|(allow, kind, major, minor, access)| Rule {
        allow,
        devices: Devices { kind, major, minor },
        access,
    })
}

fn all_questions() -> impl Iterator<Item = (Devices, u8)> {
    let numbers = || (0..4).flat_map(|major| (0..4).map(move |minor| (major, minor)));
    [Kind::Block, Kind::Char]
        .into_iter()
        .flat_map(move |kind| numbers().map(move |(major, minor)| device(kind, major, minor)))
        .flat_map(|device| (1..=7).map(move |access| (device, access)))
}

proptest! {
    #[test]
    fn the_program_says_what_the_rules_say(
        allow: bool,
        list in prop::collection::vec(any_rule(), 0..8),
    ) {
        let rules = Rules { allow, list };
        let code = program(&rules);
        for (device, access) in all_questions() {
            prop_assert_eq!(run(&code, &device, access), allowed(&rules, &device, access), "{:?} {}", device, access);
        }
    }

    #[test]
    fn version_1_never_allows_more_than_the_rules(
        allow: bool,
        list in prop::collection::vec(any_rule(), 0..8),
    ) {
        let rules = Rules { allow, list };
        let Ok(state) = Allowlist::new(&rules) else { return Ok(()) };
        for (device, access) in all_questions() {
            let (v1, should) = (allowed_v1(&state, &device, access), allowed(&rules, &device, access));
            prop_assert!(!v1 || should, "{:?} {} is allowed", device, access);
            // Accesses one by one are exact; several at once may need two exceptions that only overlap.
            if access.count_ones() == 1 {
                prop_assert_eq!(v1, should, "{:?} {}", device, access);
            }
        }
    }
}
