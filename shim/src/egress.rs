//! The network of a sandbox in the road of `run`: what the request's words mean, and when it is made and taken back.

use crate::events::Events;
use crate::launch::Faults;
use crate::network_keeper::NetworkKeeper;
use crate::request::Request;
use crate::run::Call;
use crate::say::say;
use crate::store::Sandbox;
use crate::upkeep::{Order, Upkeep};
use anyhow::Context;
use nucleus_network::bridge::{self, Held, Wish};
use nucleus_network::egress::{self, Egress, Publish};
use nucleus_network::inside::{Owner, Rules};
use nucleus_network::names::Pattern;
use nucleus_network::nftables::Socket;
use nucleus_network::order::{self, Inside};
use nucleus_network::pool::Pool;
use nucleus_network::resolver::{RESOLV_CONF as WITH_RESOLVER, Sockets, servers};
use nucleus_network::{counts, link, rootless, rules};
use rustix::fd::AsFd;
use serde_json::json;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name in a sandbox's directory of what is mounted at `/etc/resolv.conf` in a root directory of the caller.
const RESOLV_CONF: &str = "resolv.conf";

/// What root has to take back of a sandbox's network.
pub(crate) const RECORD: &str = "network.json";
/// A file that says that the network is a user's.
const USERS: &str = "network.user";
/// The interface that leads out, whoever made it.
pub const INTERFACE: &str = link::INSIDE;

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
    /// What is mounted at `/etc/resolv.conf` in a root directory of the caller, once it is made.
    pub etc_resolv_conf: PathBuf,
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
        let named = all(faults, "dns", &request.dns, egress::server);
        let servers = if request.egress_domain.is_empty() {
            named
        } else {
            faults.note("dns", or_the_hosts(named)).unwrap_or_default()
        };
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
                servers,
                broker: broker.and_then(|broker| faults.note("credential-broker", broker)),
            },
            published: all(faults, "publish", &request.publish, egress::publish),
            pool: pool
                .and_then(|pool| faults.note("network-subnet", pool))
                .unwrap_or_default(),
            proxy_env: !request.no_proxy_env,
            namespace: PathBuf::new(),
            etc_resolv_conf: PathBuf::new(),
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
            WITH_RESOLVER.into()
        }
    }
}

/// Options of a network that are for IPv6. What cannot be parsed is told elsewhere.
pub fn of_version_6(request: &Request) -> Vec<(&'static str, &String)> {
    let networks = request.egress_allow.iter();
    let networks =
        networks.filter(|text| egress::network(text).is_ok_and(|network| network.addr().is_ipv6()));
    let brokers = request.credential_broker.iter();
    let brokers = brokers.filter(|text| egress::broker(text).is_ok_and(|broker| broker.is_ipv6()));
    let ports = request.publish.iter();
    let ports = ports.filter(|text| {
        egress::publish(text).is_ok_and(|port| port.address.is_some_and(|address| address.is_ipv6()))
    });
    let networks = networks.map(|word| ("egress-allow", word));
    let brokers = brokers.map(|word| ("credential-broker", word));
    networks
        .chain(brokers)
        .chain(ports.map(|word| ("publish", word)))
        .collect()
}

/// The named servers, or those that this host asks.
fn or_the_hosts(named: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    if !named.is_empty() {
        return Ok(named);
    }
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    match servers::of_resolv_conf(&text) {
        none if none.is_empty() => Err("this host's /etc/resolv.conf names no server: name one".into()),
        servers => Ok(servers),
    }
}

/// Where is noted what has to be taken back of a sandbox's network.
pub fn record(sandbox: &Sandbox) -> PathBuf {
    sandbox.directory().join(RECORD)
}

/// A network that is being made.
#[derive(Debug)]
pub enum Preparing {
    /// By root, in threads.
    Root(bridge::Preparing),
    /// By a user: it is made when it is waited for.
    User,
}

/// A network that is there.
#[derive(Debug)]
pub struct Network {
    /// With the descriptor that the bundle names.
    rules: Rules,
    kept: Kept,
    /// Root's, for the rules of the host.
    shared: Option<Socket>,
}

/// Who keeps it up.
#[derive(Debug)]
pub enum Kept {
    /// This process.
    Here(Upkeep),
    /// A process of its own, which waits for the workload's number.
    There(NetworkKeeper),
    /// The kernel alone.
    Nobody,
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
    bridge.etc_resolv_conf = sandbox.directory().join(RESOLV_CONF);
    let path = &bridge.etc_resolv_conf;
    std::fs::write(path, bridge.resolv_conf())
        // Whatever the umask is: the workload is another user.
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o644)))
        .map_err(crate::run::at("write", path))?;
    if !rustix::process::geteuid().is_root() {
        let path = sandbox.directory().join(USERS);
        std::fs::write(&path, "").map_err(crate::run::at("write", &path))?;
        bridge.namespace = rootless::INHERITED.into();
        return Ok(Some(Preparing::User));
    }
    sandbox.networked = true;
    let preparing = bridge::begin(Wish {
        name: launch.name.clone(),
        egress: bridge.egress.clone(),
        published: bridge.published.clone(),
        pool: bridge.pool,
        record: record(sandbox),
    })?;
    bridge.namespace = preparing.path();
    Ok(Some(Preparing::Root(preparing)))
}

/// Waits until it is ready, and tells of it. From then on it is kept up, by this process or, detached, by another one.
///
/// # Errors
/// What could not be made.
pub fn finish(
    preparing: Preparing,
    bridge: &Bridge,
    sandbox: &Sandbox,
    call: &Call,
    events: &mut Events,
) -> Result<Network, anyhow::Error> {
    let resolves = !bridge.egress.names.is_empty();
    let mut shared = None;
    let (rules, sockets) = match preparing {
        Preparing::Root(preparing) => {
            let network = preparing.finish()?;
            for warning in network.warnings.iter().filter(|_| !call.quiet) {
                say!("nucleus: warning: {warning}");
            }
            let addresses = &network.addresses;
            events.write(
                "network",
                &json!({"link": addresses.link, "addresses": [addresses.four, addresses.six]}),
            )?;
            let sockets = resolves.then(|| Sockets::open_in(network.namespace.as_fd()));
            let sockets = sockets
                .transpose()
                .context("bind to port 53 in the sandbox's network")?;
            shared = Some(network.shared);
            (Rules::new(Owner::Root(network.namespace), network.rules), sockets)
        }
        Preparing::User => {
            let made = of_a_user(bridge, resolves)?;
            events.write("network", &json!({"program": "slirp4netns"}))?;
            made
        }
    };
    let order = Order {
        name: sandbox.name.clone(),
        directory: sandbox.directory().to_owned(),
        egress: bridge.egress.clone(),
        published: bridge.published.clone(),
        events: call.events.clone(),
    };
    let kept = if rules.space().is_none() && sockets.is_none() {
        Kept::Nobody
    } else if call.detach {
        Kept::There(NetworkKeeper::start(&order, rules.try_clone()?, sockets)?)
    } else {
        Kept::Here(Upkeep::start(&order, rules.try_clone()?, sockets, events)?)
    };
    Ok(Network { rules, kept, shared })
}

/// The namespaces of a user's network with the rules in it, and the resolver's sockets if they are asked for.
fn of_a_user(bridge: &Bridge, resolves: bool) -> Result<(Rules, Option<Sockets>), anyhow::Error> {
    let (mut rules, mut sockets) = (None, None);
    for step in order::INSIDE {
        match step {
            Inside::Namespace => {
                let (space, socket, opened) = rootless::Space::make(resolves)?;
                rules = Some(Rules::new(Owner::User(space), socket));
                sockets = opened;
            }
            Inside::Rules => {
                let mut all = rules::inside(&bridge.egress, &bridge.published);
                let host = rootless::of_the_host(|address| bridge.egress.means(address))?;
                rules::without(&mut all, &host);
                let rules = rules.as_mut().context("there is nothing to load rules into")?;
                rules.change(all, "load those of egress")?;
            }
        }
    }
    Ok((rules.context("there is no network")?, sockets))
}

impl Network {
    /// Lets a runtime begin where it inherits the network, if it cannot join it.
    ///
    /// # Errors
    /// As dup(2).
    pub fn enter(&self, command: &mut Command) -> Result<(), anyhow::Error> {
        match self.rules.space() {
            Some(space) => Ok(space.as_user(command)?),
            None => Ok(()),
        }
    }

    /// Leaves the network of a detached workload, if it began, to who keeps it up.
    ///
    /// # Errors
    /// As write(2).
    pub fn leave(self, pid: Option<i32>) -> Result<(), anyhow::Error> {
        match (self.kept, pid) {
            (Kept::There(keeper), Some(pid)) => keeper.watch(pid).context("tell the keeper of the network"),
            (Kept::There(keeper), None) => {
                keeper.stop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What [`bridge::remove`] takes back.
    pub fn end(self) -> Held<Kept> {
        Held {
            kept: self.kept,
            shared: self.shared,
            namespace: self.rules.into_namespace(),
        }
    }

    /// The rules in force, as they were made.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn rules_in_force(&mut self) -> Result<String, anyhow::Error> {
        Ok(self.rules.in_force()?)
    }

    /// Tells what the workload tried in vain.
    ///
    /// # Errors
    /// The counters cannot be read, or as write(2).
    pub fn tell_refused(&mut self, events: &mut Events, quiet: bool) -> Result<(), anyhow::Error> {
        if let (Kept::Here(upkeep), false) = (&self.kept, quiet) {
            let refused = upkeep.refused();
            let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
            match names.as_slice() {
                [] => {}
                [one] => say!("nucleus: name refused: {one} (--egress-domain permits names)"),
                [one, rest @ ..] => say!("nucleus: names refused: {one} and {} others", rest.len()),
            }
        }
        let refused = self.rules.refused()?;
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
            say!("nucleus: egress refused: {} packets{to}", refused.packets);
        }
        Ok(())
    }
}

/// The rules in force for a process.
///
/// # Errors
/// They cannot be read.
pub fn rules_of(pid: i32) -> Result<String, nucleus_network::Error> {
    Rules::of(pid, !rustix::process::geteuid().is_root())?.in_force()
}

/// What a running sandbox tried in vain; `None` if it has no rules of ours.
///
/// # Errors
/// The counters cannot be read.
pub fn refused_of(directory: &Path, pid: i32) -> Result<Option<counts::Refused>, anyhow::Error> {
    let user = is_users(directory);
    if !user && !directory.join(RECORD).exists() {
        return Ok(None);
    }
    Ok(Some(Rules::of(pid, user)?.refused()?))
}

/// Lets a runtime's command for a running sandbox begin where it is in the sandbox's network.
///
/// # Errors
/// There is no such process, or it is somebody else's.
pub fn enter_again(pid: i32, command: &mut Command) -> Result<(), anyhow::Error> {
    Ok(rootless::Space::of(pid)?.as_user(command)?)
}

/// Whether a sandbox's network is a user's, which runtimes cannot join.
pub fn is_users(directory: &Path) -> bool {
    directory.join(USERS).exists()
}
