//! Rules of others that would drop what a sandbox sends through this host: found and explained, never changed.

use crate::Error;
use crate::legacy;
use crate::nftables::{self, Chain};
use crate::pool::PREFIX;
use nucleus_netlink::Socket;

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
                if *family == "ip6" { "ip6tables" } else { "iptables" },
                if users.is_some() { "DOCKER-USER" } else { name },
            )
        } else {
            ["iifname", "oifname"]
                .map(|side| format!("nft insert rule {family} {table} {name} {side} '\"nucleus-*\"' accept"))
                .join("; ")
        };
        warnings.push(explain(&format!("table {family} {table}, chain {name}"), &remedy));
    }
    warnings.extend(legacy::look().iter().map(|found| {
        let remedy = iptables_remedy(found.program, found.chain);
        match &found.unread {
            None => explain(&format!("{}, chain FORWARD", found.program), &remedy),
            Some(why) => format!(
                "network: this host has older firewall rules, which cannot be read ({why}): if the sandbox reaches \
                 nothing beyond this host, to let it: {remedy}"
            ),
        }
    }));
    Ok(warnings)
}

fn explain(which: &str, remedy: &str) -> String {
    format!(
        "network: this host's firewall drops what it forwards unless a rule allows it ({which}), so the sandbox \
         reaches nothing beyond this host; to let it: {remedy}"
    )
}

fn iptables_remedy(program: &str, chain: &str) -> String {
    ["-i", "-o"]
        .map(|side| format!("{program} -I {chain} {side} nucleus-+ -j ACCEPT"))
        .join("; ")
}
