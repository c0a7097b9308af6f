//! The network of a sandbox in the road of `run`: what the request's words mean, and when it is made and taken back.

use crate::events::Events;
use crate::launch::Faults;
use crate::request::Request;
use crate::store::Sandbox;
use nucleus_network::bridge::{self, Network, Preparing, Wish};
use nucleus_network::egress::{self, Egress, Publish};
use nucleus_network::names::Pattern;
use nucleus_network::pool::Pool;
use nucleus_network::{counts, namespace};
use rustix::fd::AsFd;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The name in a bundle of what is mounted at `/etc/resolv.conf` in a root directory of the caller.
pub const RESOLV_CONF: &str = "resolv.conf";

/// A network that is made for a sandbox.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// What the workload may reach.
    pub egress: Egress,
    /// What reaches it.
    pub published: Vec<Publish>,
    /// Where its addresses are from.
    pub pool: Pool,
    /// Whether the variables that name proxies are set.
    pub proxy_env: bool,
    /// The namespace, once it is made.
    pub namespace: PathBuf,
}

impl Bridge {
    /// Parses the words.
    pub(crate) fn resolve(request: &Request, faults: &mut Faults) -> Self {
        fn all<T>(
            faults: &mut Faults,
            field: &'static str,
            words: &[String],
            parse: impl Fn(&str) -> Result<T, String>,
        ) -> Vec<T> {
            words
                .iter()
                .filter_map(|word| faults.note(field, parse(word)))
                .collect()
        }
        let broker = request.credential_broker.as_deref().map(egress::broker);
        let pool = request.network_subnet.as_deref().map(Pool::new);
        Self {
            egress: Egress {
                networks: all(faults, "egress-allow", &request.egress_allow, egress::network),
                names: all(faults, "egress-domain", &request.egress_domain, |text| {
                    text.parse::<Pattern>()
                        .map_err(|error| format!("{text:?}: {error}"))
                }),
                tcp_ports: request.egress_tcp_port.clone(),
                udp_ports: request.egress_udp_port.clone(),
                servers: all(faults, "dns", &request.dns, egress::server),
                broker: broker.and_then(|broker| faults.note("credential-broker", broker)),
            },
            published: all(faults, "publish", &request.publish, egress::publish),
            pool: pool
                .and_then(|pool| faults.note("network-subnet", pool))
                .unwrap_or_default(),
            proxy_env: !request.no_proxy_env,
            namespace: PathBuf::new(),
        }
    }

    /// The variables that name proxies, in both spellings that programs read.
    pub fn environment(&self) -> Vec<String> {
        let Some(broker) = self.egress.broker.filter(|_| self.proxy_env) else {
            return Vec::new();
        };
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
            .into_iter()
            .flat_map(|name| [name.to_owned(), name.to_lowercase()])
            .map(|name| format!("{name}=http://{broker}"))
            .collect()
    }

    /// The text of `/etc/resolv.conf`. Without permitted names nobody answers.
    pub fn resolv_conf(&self) -> String {
        if self.egress.names.is_empty() {
            "# no name is permitted: --egress-domain\n".into()
        } else {
            "nameserver 127.0.0.1\n".into()
        }
    }
}

/// Where is noted what has to be taken back of a sandbox's network.
pub fn record(sandbox: &Sandbox) -> PathBuf {
    sandbox.directory().join("network.json")
}

/// Begins to make the network of a launch that asks for one, and tells the launch where its namespace is.
///
/// # Errors
/// As [`bridge::begin`], or a file that cannot be written.
pub fn begin(
    launch: &mut crate::launch::Launch,
    sandbox: &mut Sandbox,
) -> Result<Option<Preparing>, anyhow::Error> {
    let Some(bridge) = &mut launch.bridge else {
        return Ok(None);
    };
    let path = sandbox.directory().join(RESOLV_CONF);
    std::fs::write(&path, bridge.resolv_conf()).map_err(crate::run::at("write", &path))?;
    sandbox.networked = true;
    let preparing = bridge::begin(Wish {
        name: launch.name.clone(),
        egress: bridge.egress.clone(),
        published: bridge.published.clone(),
        pool: bridge.pool,
        record: record(sandbox),
    })?;
    bridge.namespace = preparing.path();
    Ok(Some(preparing))
}

/// Waits until it is ready, and tells of it.
///
/// # Errors
/// What could not be made.
#[expect(clippy::print_stderr, reason = "warnings are for the caller")]
pub fn finish(preparing: Preparing, events: &mut Events, quiet: bool) -> Result<Network, anyhow::Error> {
    let network = preparing.finish()?;
    for warning in network.warnings.iter().filter(|_| !quiet) {
        eprintln!("nucleus: warning: {warning}");
    }
    let addresses = &network.addresses;
    events.write(
        "network",
        &json!({"link": addresses.link, "addresses": [addresses.four, addresses.six]}),
    )?;
    Ok(network)
}

/// Tells what the workload tried in vain.
///
/// # Errors
/// The counters cannot be read, or as write(2).
#[expect(clippy::print_stderr, reason = "what was refused is for the caller")]
pub fn tell_refused(network: &Network, events: &mut Events, quiet: bool) -> Result<(), anyhow::Error> {
    let refused = counts::read(network.namespace.as_fd(), &network.nft)?;
    if refused.packets == 0 {
        return Ok(());
    }
    events.write(
        "egress-denied",
        &json!({"packets": refused.packets, "destinations": refused.destinations}),
    )?;
    if !quiet {
        let to = match refused.destinations.as_slice() {
            [] => String::new(),
            [one] => format!(" to {one}"),
            [one, rest @ ..] => format!(" to {one} and {} others", rest.len()),
        };
        eprintln!("nucleus: egress refused: {} packets{to}", refused.packets);
    }
    Ok(())
}

/// What a running sandbox tried in vain; `None` if it has no rules of ours.
///
/// # Errors
/// The counters cannot be read.
pub fn refused_of(directory: &Path, pid: i32) -> Result<Option<counts::Refused>, anyhow::Error> {
    if !directory.join("network.json").exists() {
        return Ok(None);
    }
    let namespace = namespace::open(&namespace::of(pid))?;
    let nft = nucleus_network::nft::find()?;
    Ok(Some(counts::read(namespace.as_fd(), &nft)?))
}
