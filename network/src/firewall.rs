//! Rules of others that would drop what a sandbox sends through this host: found and explained, never changed.

use crate::Error;
use crate::nftables::{self, Chain};
use crate::pool::PREFIX;
use nucleus_netlink::Socket;
use std::process::{Command, Stdio};

/// What an administrator has to know of chains that drop what is forwarded: those that do not speak of our links yet.
///
/// # Errors
/// The rules cannot be read.
pub fn warnings(rules: &mut Socket) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for chain in nftables::dropping(rules)? {
        let Chain { family, table, name } = &chain;
        // Docker leaves this one to the administrator, and asks it first.
        let users = nftables::speaks_of(rules, &chain, "DOCKER-USER", PREFIX)?;
        if users == Some(true) || nftables::speaks_of(rules, &chain, name, PREFIX)? == Some(true) {
            continue;
        }
        let iptables = name == "FORWARD" && matches!(*family, "ip" | "ip6");
        let remedy = if iptables {
            iptables_remedy(
                *family == "ip6",
                if users.is_some() { "DOCKER-USER" } else { name },
            )
        } else {
            ["iifname", "oifname"]
                .map(|side| format!("nft insert rule {family} {table} {name} {side} '\"nucleus-*\"' accept"))
                .join("; ")
        };
        warnings.push(explain(&format!("table {family} {table}, chain {name}"), &remedy));
    }
    for (v6, names, program) in [
        (false, "/proc/net/ip_tables_names", "iptables-legacy"),
        (true, "/proc/net/ip6_tables_names", "ip6tables-legacy"),
    ] {
        if let Some(chain) = legacy(names, program) {
            warnings.push(explain(
                &format!("{program}, chain FORWARD"),
                &iptables_remedy(v6, chain),
            ));
        }
    }
    Ok(warnings)
}

fn explain(which: &str, remedy: &str) -> String {
    format!(
        "network: this host's firewall drops what it forwards unless a rule allows it ({which}), so the sandbox \
         reaches nothing beyond this host; to let it: {remedy}"
    )
}

fn iptables_remedy(v6: bool, chain: &str) -> String {
    let program = if v6 { "ip6tables" } else { "iptables" };
    ["-i", "-o"]
        .map(|side| format!("{program} -I {chain} {side} nucleus-+ -j ACCEPT"))
        .join("; ")
}

/// The chain to add to, where the older tables drop by default; their program has to be asked for their rules.
fn legacy(names: &str, program: &str) -> Option<&'static str> {
    let names = std::fs::read_to_string(names).ok()?;
    if !names.lines().any(|name| name == "filter") {
        return None;
    }
    let output = Command::new(program)
        .arg("-S")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let rules = String::from_utf8_lossy(&output.stdout).into_owned();
    if !rules.lines().any(|line| line == "-P FORWARD DROP") || rules.contains("nucleus-") {
        return None;
    }
    Some(if rules.contains("-N DOCKER-USER") {
        "DOCKER-USER"
    } else {
        "FORWARD"
    })
}
