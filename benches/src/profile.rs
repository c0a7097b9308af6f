//! The seccomp profile of the "real" bundle: data of our own, as OCI JSON and as rules with numbers.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The system calls allowed whatever their arguments, one a line; `#` starts a comment.
const ALLOWED: &str = include_str!("../profile/syscalls.txt");

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
/// `PER_LINUX`, `PER_LINUX32`, `UNAME26`, both, and the value that only asks.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_VSOCK: u32 = 40;
const TIOCSTI: u32 = 0x5412;

/// What the argument of a conditionally allowed system call must be; otherwise the default action holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The 64-bit argument is one of these.
    OneOf(Vec<u32>),
    /// None of these bits is set in the argument's lower half.
    NoneOfBits(u32),
    /// The 64-bit argument is not this.
    Not(u32),
}

/// What the profile does with one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Allowed.
    Allow,
    /// Fails with this errno.
    Errno(u32),
    /// Allowed if argument `index` holds the condition, else the default action.
    AllowIf {
        /// Which argument, from 0.
        index: u8,
        /// Its condition.
        argument: Argument,
    },
}

/// An architecture of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit calls.
    X86_64,
    /// 32-bit calls (`int 0x80`).
    X86,
    /// 64-bit calls with 32-bit pointers: `X86_64`'s audit value, numbers with bit 30 set.
    X32,
}

/// The errno of a call that no rule names.
pub const DEFAULT_ERRNO: u32 = EPERM;

/// The rules by system call name.
pub fn rules() -> BTreeMap<&'static str, Rule> {
    let mut rules: BTreeMap<_, _> = ALLOWED
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|name| (name, Rule::Allow))
        .collect();
    let allow_if = |index, argument| Rule::AllowIf { index, argument };
    rules.insert("clone", allow_if(0, Argument::NoneOfBits(NAMESPACE_FLAGS)));
    rules.insert(
        "personality",
        allow_if(0, Argument::OneOf(PERSONALITIES.to_vec())),
    );
    rules.insert("socket", allow_if(0, Argument::Not(AF_VSOCK)));
    rules.insert("ioctl", allow_if(1, Argument::Not(TIOCSTI)));
    // Libraries fall back to clone, whose flags a filter can read.
    rules.insert("clone3", Rule::Errno(ENOSYS));
    rules
}

/// The profile as `linux.seccomp` of `config.json` (config-linux.md#seccomp).
pub fn as_oci() -> Value {
    let rules = rules();
    let allowed: Vec<_> = rules
        .iter()
        .filter(|(_, rule)| **rule == Rule::Allow)
        .map(|(name, _)| name)
        .collect();
    let mut syscalls = vec![json!({"names": allowed, "action": "SCMP_ACT_ALLOW"})];
    for (name, rule) in &rules {
        match rule {
            Rule::Allow => {}
            Rule::Errno(errno) => {
                syscalls.push(json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}));
            }
            Rule::AllowIf { index, argument } => syscalls.extend(oci_conditions(name, *index, argument)),
        }
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": DEFAULT_ERRNO,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    })
}

fn oci_conditions(name: &str, index: u8, argument: &Argument) -> Vec<Value> {
    let entry = |arg: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [arg]});
    match argument {
        Argument::OneOf(values) => values
            .iter()
            .map(|value| entry(json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"})))
            .collect(),
        Argument::NoneOfBits(bits) => {
            vec![entry(
                json!({"index": index, "value": bits, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}),
            )]
        }
        Argument::Not(value) => vec![entry(
            json!({"index": index, "value": value, "op": "SCMP_CMP_NE"}),
        )],
    }
}

/// The rules of one architecture by number, taken from the kernel headers that the C compiler finds
/// (`asm/unistd_64.h`, `unistd_32.h`, `unistd_x32.h`). Names that the architecture lacks fall out.
///
/// # Errors
/// When the compiler does not run or knows no system call.
pub fn numbered(architecture: Architecture) -> anyhow::Result<BTreeMap<u32, Rule>> {
    let header = match architecture {
        Architecture::X86_64 => "unistd_64.h",
        Architecture::X86 => "unistd_32.h",
        Architecture::X32 => "unistd_x32.h",
    };
    let mut compiler = Command::new("cc")
        .args(["-E", "-dM", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| anyhow::anyhow!("run cc: {error} (install gcc and libc6-dev)"))?;
    if let Some(mut stdin) = compiler.stdin.take() {
        writeln!(stdin, "#include <asm/{header}>")?;
    }
    let output = compiler.wait_with_output()?;
    let definitions = String::from_utf8_lossy(&output.stdout);
    let numbers = parse_definitions(&definitions);
    anyhow::ensure!(!numbers.is_empty(), "cc knows no system calls of asm/{header}");
    Ok(rules()
        .into_iter()
        .filter_map(|(name, rule)| Some((*numbers.get(name)?, rule)))
        .collect())
}

/// `#define __NR_name 12` and `#define __NR_name (__X32_SYSCALL_BIT + 12)` by name.
fn parse_definitions(text: &str) -> HashMap<&str, u32> {
    let number = |value: &str| match value.strip_prefix("(__X32_SYSCALL_BIT + ") {
        Some(rest) => rest
            .trim_end_matches(')')
            .parse::<u32>()
            .ok()
            .map(|n| n | 0x4000_0000),
        None => value.parse().ok(),
    };
    text.lines()
        .filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '))
        .filter_map(|(name, value)| Some((name, number(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_without_doubles() {
        let names: Vec<_> = ALLOWED.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert!((358..=440).contains(&rules().len()), "{} rules", rules().len());
    }

    #[test]
    fn x32_numbers_carry_their_bit() {
        let numbers = parse_definitions("#define __NR_read (__X32_SYSCALL_BIT + 0)\n#define __NR_write 1\n");
        assert_eq!(numbers["read"], 0x4000_0000);
        assert_eq!(numbers["write"], 1);
    }

    #[test]
    fn the_oci_form_names_each_conditional_value() {
        let profile = as_oci();
        let personality = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["names"][0] == "personality");
        assert_eq!(personality.count(), PERSONALITIES.len());
    }
}
