//! What a network needs for as long as its workload runs: somebody who answers for permitted names, and without root the
//! way out. A thread of this process has it, or, for a detached sandbox, a process of its own ([`crate::network_keeper`]).

use crate::events::Events;
use nucleus_network::egress::{Egress, Publish};
use nucleus_network::inside::Rules;
use nucleus_network::order::{KEPT, Kept};
use nucleus_network::resolver::{Config, Report, Resolver, Sockets};
use nucleus_network::rootless::{Slirp, Space, Watch};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// How many refused names are told at the end.
const TOLD: usize = 32;

/// What is to be kept up, in words that another process understands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The sandbox.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// What it may reach.
    pub egress: Egress,
    /// Ports of the host that lead in.
    pub published: Vec<Publish>,
    /// `--events`.
    pub events: Option<String>,
}

impl Order {
    fn config(&self) -> Config {
        Config {
            names: self.egress.names.clone(),
            networks: self.egress.networks.clone(),
            servers: self.egress.servers.clone(),
        }
    }
}

/// It, at work. The parts end in this order.
#[derive(Debug)]
pub struct Upkeep {
    _resolver: Option<Resolver>,
    _watch: Option<Watch>,
    _slirp: Option<Slirp>,
    refused: Refused,
}

/// Names that were asked for in vain, and how often.
type Refused = Arc<Mutex<BTreeMap<String, u64>>>;

impl Upkeep {
    /// Begins, in the order [`KEPT`]: the resolver answers, and then there is a way out.
    ///
    /// # Errors
    /// The parts'.
    pub fn start(
        order: &Order,
        rules: Rules,
        sockets: Option<Sockets>,
        events: &Events,
    ) -> Result<Self, anyhow::Error> {
        let refused = Refused::default();
        let space = rules.space().map(Space::try_clone).transpose()?;
        let (mut resolver, mut slirp) = (None, None);
        let mut answers = sockets.map(|sockets| (sockets, rules));
        for step in KEPT {
            match step {
                Kept::Resolver => {
                    if let Some((sockets, rules)) = answers.take() {
                        let report = reporter(events.share()?, Arc::clone(&refused));
                        resolver = Some(Resolver::start(order.config(), sockets, Box::new(rules), report)?);
                    }
                }
                Kept::Connection => {
                    if let Some(space) = &space {
                        let (interface, published) = (crate::egress::INTERFACE, &order.published);
                        slirp = Some(Slirp::start(space, interface, published, &order.directory)?);
                    }
                }
            }
        }
        let watch = match &slirp {
            Some(slirp) => {
                let mut events = events.share()?;
                Some(slirp.watch(move || {
                    // The workload has lost its network; that is told, and nothing else can be.
                    let _ = events.write("network-lost", &json!({"program": "slirp4netns"}));
                })?)
            }
            None => None,
        };
        Ok(Self {
            _resolver: resolver,
            _watch: watch,
            _slirp: slirp,
            refused,
        })
    }

    /// The names that were asked for in vain, the most frequent first.
    pub fn refused(&self) -> Vec<(String, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = refused
            .iter()
            .map(|(name, count)| (name.clone(), *count))
            .collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

/// Writes what the resolver tells as events. One that cannot be written ends the resolver: nothing is to go unseen.
fn reporter(mut events: Events, refused: Refused) -> impl FnMut(Report) + Send + 'static {
    move |report| {
        let (event, more) = match report {
            Report::Refused { name, count } => {
                if let Some(name) = &name {
                    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                    if refused.len() < TOLD || refused.contains_key(name) {
                        *refused.entry(name.clone()).or_default() += count;
                    }
                }
                ("name-refused", json!({"host": name, "count": count}))
            }
            Report::Resolved {
                name,
                addresses,
                lasts,
            } => (
                "name-resolved",
                json!({"host": name.as_str(), "addresses": addresses, "seconds": lasts.as_secs()}),
            ),
            Report::Filtered { name, addresses } => (
                "name-filtered",
                json!({"host": name.as_str(), "addresses": addresses}),
            ),
            Report::NotAdmitted(error) => {
                let error = anyhow::Error::new(error);
                ("rules-unchanged", json!({"error": format!("{error:#}")}))
            }
            Report::Ended(error) => ("resolver-ended", json!({"error": error.to_string()})),
        };
        let _ = events.write(event, &more);
    }
}
