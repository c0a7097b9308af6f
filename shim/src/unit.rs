//! The text of a systemd unit (systemd.service(5), systemd.exec(5), systemd.resource-control(5)). Pure.

use std::fmt::Write;

/// What a unit says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Of the sandbox.
    pub name: String,
    /// `ExecStartPre=`: what has to hold before. Words here and below are already escaped.
    pub check: Vec<String>,
    /// `ExecStart=`.
    pub start: Vec<String>,
    /// `ExecStopPost=`: takes away what a killed start has left.
    pub clean_up: Vec<String>,
    /// Whether the program tells by `sd_notify(3)` that it is ready.
    pub notify: bool,
    /// `LoadCredential=`, as `ID:PATH`.
    pub credentials: Vec<String>,
    /// The sandbox's limits.
    pub limits: Limits,
    /// What the sandbox may write to on the host.
    pub writable: Vec<String>,
    /// Whether systemd knows `DelegateSubgroup=`: since version 254.
    pub subgroup: bool,
}

/// Limits, which hold for the unit as a whole too, so that `systemctl show` and `systemd-cgtop` tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<i64>,
    /// Processor time in percent of one processor.
    pub cpu_percent: Option<u64>,
    /// Processes and threads of the sandbox.
    pub pids: Option<i64>,
}

/// Processes and threads that watch over the sandbox, in the same unit.
const SUPERVISORS: i64 = 8;

/// What the supervisor gives up. Not here, because the sandbox needs it from its parent: anything that covers
/// `/proc` or `/sys` (a user namespace then refuses a new one), that brings a device policy of the unit's own, or
/// that refuses namespaces, mounts or `sethostname(2)`.
const HARDENING: &str = "\
# What watches over the sandbox gives up what it does not need.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectKernelModules=yes
SystemCallArchitectures=native
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_BOOT CAP_SYS_TIME CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
KeyringMode=private
UMask=0077
";

/// Writes a unit.
pub fn render(unit: &Unit) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(unit, &mut text);
    text
}

fn write(unit: &Unit, text: &mut String) -> std::fmt::Result {
    let name = &unit.name;
    writeln!(text, "[Unit]\nDescription=Sandbox {name}\n")?;
    writeln!(text, "[Service]")?;
    if unit.notify {
        // The supervisor's child passes on what the program tells; the sandbox itself never reaches systemd.
        writeln!(text, "Type=notify\nNotifyAccess=all")?;
    } else {
        writeln!(text, "Type=exec")?;
    }
    if !unit.check.is_empty() {
        writeln!(text, "ExecStartPre={}", unit.check.join(" "))?;
    }
    writeln!(text, "ExecStart={}", unit.start.join(" "))?;
    writeln!(text, "ExecStopPost=-{}", unit.clean_up.join(" "))?;
    for credential in &unit.credentials {
        writeln!(text, "LoadCredential={}", credential.replace('%', "%%"))?;
    }
    writeln!(text, "Restart=on-failure\nRestartSec=1s")?;
    writeln!(
        text,
        "# SIGTERM goes to the supervisor, which passes it on; what is left after the timeout is killed."
    )?;
    writeln!(text, "KillMode=mixed\nTimeoutStopSec=30s")?;
    writeln!(
        text,
        "StandardOutput=journal\nStandardError=journal\nSyslogIdentifier={name}\n"
    )?;

    writeln!(
        text,
        "# The sandbox has a control group of its own below the unit's."
    )?;
    writeln!(text, "Delegate=yes")?;
    if unit.subgroup {
        writeln!(text, "DelegateSubgroup=supervisor")?;
    }
    let limits = &unit.limits;
    if let Some(memory) = limits.memory {
        writeln!(text, "MemoryMax={memory}")?;
        writeln!(text, "MemorySwapMax=0")?;
    }
    if let Some(percent) = limits.cpu_percent {
        writeln!(text, "CPUQuota={percent}%")?;
    }
    if let Some(pids) = limits.pids {
        writeln!(text, "TasksMax={}", pids.saturating_add(SUPERVISORS))?;
    }
    writeln!(
        text,
        "# The kernel ends a process that wants too much; what that means for the sandbox, the supervisor tells."
    )?;
    writeln!(text, "OOMPolicy=continue\n")?;

    write!(text, "{HARDENING}")?;
    let mut writable = vec!["/run".to_owned()];
    writable.extend(unit.writable.iter().map(|path| quote(path)));
    writeln!(text, "ReadWritePaths={}\n", writable.join(" "))?;
    writeln!(text, "[Install]\nWantedBy=multi-user.target")
}

/// A word of a command line as systemd reads it back: without specifiers (`%`), variables (`$`) or splitting.
pub fn escape(word: &str) -> String {
    quote(&word.replace('$', "$$"))
}

/// A word of any list. systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".
fn quote(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,+@%$".contains(character);
    let mut quoted = String::with_capacity(word.len() + 2);
    for character in word.chars() {
        match character {
            '%' => quoted.push_str("%%"),
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            character if character.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    // Signs such as `-` and `@` mean something before a program's path, and `;` alone ends a command.
    if word.is_empty() || !word.chars().all(plain) {
        return format!("\"{quoted}\"");
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| escape(word)).collect()
    }

    #[test]
    fn through_the_front_end() {
        let mut start = words(&[
            "/usr/bin/nucleus",
            "run",
            "--name",
            "web",
            "--cgroups-path",
            "sandbox-web",
        ]);
        start.push("--secret=%d/token:/run/secrets/token".into());
        start.extend(words(&[
            "--memory=512M",
            "--",
            "/bin/web",
            "--port",
            "80",
            "100% of $HOME",
            "",
        ]));
        let unit = Unit {
            name: "web".into(),
            check: Vec::new(),
            start,
            clean_up: words(&["/usr/bin/nucleus", "rm", "--force", "web"]),
            notify: true,
            credentials: vec!["token:/etc/web/100%/token".into()],
            limits: Limits {
                memory: Some(512 << 20),
                cpu_percent: Some(150),
                pids: Some(100),
            },
            writable: vec!["/srv/web data".into()],
            subgroup: true,
        };
        assert_eq!(render(&unit), include_str!("../tests/units/front-end.service"));
    }

    #[test]
    fn directly() {
        let unit = Unit {
            name: "web".into(),
            check: words(&["/usr/bin/nucleus", "attest", "verify", "/srv/web/rootfs"]),
            start: words(&["/usr/bin/nucleus-runtime", "run", "--bundle", "/srv/web", "web"]),
            clean_up: words(&["/usr/bin/nucleus-runtime", "delete", "--force", "web"]),
            ..Unit::default()
        };
        assert_eq!(render(&unit), include_str!("../tests/units/direct.service"));
    }

    #[test]
    fn words_are_read_back_as_they_are() {
        for (word, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("$HOME", "$$HOME"),
            ("${HOME}", "\"$${HOME}\""),
            ("50%n", "50%%n"),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("'", "\"'\""),
            (";", "\";\""),
            ("#", "\"#\""),
            ("line\nline\ttab\u{7}", "\"line\\nline\\ttab\\x07\""),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(escape(word), expected);
        }
    }
}
