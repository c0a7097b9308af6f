//! Rules of others that would drop what a sandbox sends through this host: found and explained, never changed.

use crate::rules::TABLE;
use crate::{Error, nft};
use std::path::Path;
use std::process::{Command, Stdio};

/// A chain that drops what it does not know, where packets are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    family: String,
    table: String,
    name: String,
}

/// The chains of forwarding that drop by default in what `nft list chains` prints.
pub fn dropping(listed: &str) -> Vec<Chain> {
    let (mut table, mut chain, mut found) = (None, None, Vec::new());
    for line in listed.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["table", family, name, "{"] => table = Some((*family, *name)),
            ["chain", name, "{"] => chain = Some(*name),
            words
                if words.starts_with(&["type", "filter", "hook", "forward"])
                    && line.contains("policy drop") =>
            {
                if let (Some((family, table)), Some(name)) = (table, chain)
                    && matches!(family, "ip" | "ip6" | "inet")
                    && table != TABLE
                {
                    found.push(Chain {
                        family: family.to_owned(),
                        table: table.to_owned(),
                        name: name.to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// What an administrator has to know of these chains: those that do not speak of our links yet.
///
/// # Errors
/// What nft(8) says.
pub fn warnings(program: &Path, listed: &str) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for chain in dropping(listed) {
        let Chain { family, table, name } = &chain;
        let list = |name: &str| nft::ask(program, &["list", "chain", family, table, name]);
        // Docker leaves this one to the administrator, and asks it first.
        let users = list("DOCKER-USER").ok();
        if list(name)?.contains("nucleus-") || users.as_ref().is_some_and(|text| text.contains("nucleus-")) {
            continue;
        }
        let iptables = name == "FORWARD" && matches!(family.as_str(), "ip" | "ip6");
        let remedy = if iptables {
            iptables_remedy(
                family == "ip6",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_others_chains_that_drop_what_is_forwarded() {
        let listed = "table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
\tchain DOCKER-USER {
\t}
}
table inet nucleus {
\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table inet mine {
\tchain f {
\t\ttype filter hook forward priority filter; policy accept;
\t}
}";
        let found = dropping(listed);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].table.as_str(), found[0].name.as_str()),
            ("filter", "FORWARD")
        );
    }
}
