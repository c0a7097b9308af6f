//! The older tables of the kernel (`ip_tables`), which `iptables-legacy` alone reads.

use crate::pool::PREFIX;
use crate::program::in_path;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where the kernel names the tables of this network, and the program for them: of version 4 and of version 6.
const FAMILIES: [(&str, &str); 2] = [
    ("/proc/thread-self/net/ip_tables_names", "iptables-legacy"),
    ("/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy"),
];

/// Tables that drop what is forwarded, or might.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its program.
    pub(crate) program: &'static str,
    /// The chain that a rule for sandboxes belongs to.
    pub(crate) chain: &'static str,
    /// Why it is not known what they hold.
    pub(crate) unread: Option<String>,
}

/// What is in the way of sandboxes in both families.
pub(crate) fn look() -> Vec<Found> {
    let there = |names: &str| {
        std::fs::read_to_string(names).is_ok_and(|text| text.lines().any(|name| name == "filter"))
    };
    let families = FAMILIES.into_iter().filter(|(names, _)| there(names));
    let looked = families.filter_map(|(_, program)| {
        let (chain, unread) = match rules(program) {
            Ok(rules) => (dropping(&rules)?, None),
            Err(why) => (FORWARD, Some(why)),
        };
        Some(Found {
            program,
            chain,
            unread,
        })
    });
    looked.collect()
}

fn rules(program: &str) -> Result<String, String> {
    let administrators = ["/usr/sbin", "/sbin"].map(|directory| PathBuf::from(directory).join(program));
    let path = in_path(program)
        .or_else(|| administrators.into_iter().find(|path| path.is_file()))
        .ok_or_else(|| format!("there is no {program}"))?;
    let output = Command::new(path).arg("-S").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", told.trim())),
    }
}

const FORWARD: &str = "FORWARD";

/// The chain to add to, if what is forwarded is dropped by default or by a rule for everything, and no rule speaks of
/// sandboxes' links yet. Docker leaves a chain to the administrator, and asks it first.
fn dropping(rules: &str) -> Option<&'static str> {
    let closes = |line: &str| {
        line == "-P FORWARD DROP" || line == "-A FORWARD -j DROP" || line.starts_with("-A FORWARD -j REJECT")
    };
    if !rules.lines().any(closes) || rules.contains(PREFIX) {
        return None;
    }
    let docker = rules.lines().any(|line| line == "-N DOCKER-USER");
    Some(if docker { "DOCKER-USER" } else { FORWARD })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drops_all_that_is_forwarded() {
        let accepting = "-P INPUT DROP\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-A FORWARD -i eth0 -j DROP\n";
        assert_eq!(dropping(accepting), None);
        for rule in [
            "-P FORWARD DROP",
            "-A FORWARD -j DROP",
            "-A FORWARD -j REJECT --reject-with icmp-port-unreachable",
        ] {
            let rules = format!("{accepting}{rule}\n");
            assert_eq!(dropping(&rules), Some("FORWARD"));
            assert_eq!(dropping(&format!("-N DOCKER-USER\n{rules}")), Some("DOCKER-USER"));
            assert_eq!(
                dropping(&format!("{rules}-A FORWARD -i nucleus-+ -j ACCEPT\n")),
                None
            );
        }
    }
}
