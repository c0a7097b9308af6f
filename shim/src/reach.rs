//! Which network a workload gets in which mode and under which runtime, and what comes with it. Pure: [`decide`] is the
//! whole table, and `formal/bindings/reach.rs` holds it against `formal/specs/Gvisor.tla`.

use crate::facts::Runtime;
use crate::request::Network;
use std::fmt;

/// What the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// `--network`, or what the options mean.
    pub network: Network,
    /// Who makes the container.
    pub runtime: Runtime,
    /// Whether root asks for it.
    pub root: bool,
    /// Whether the mode gives the host's network at all.
    pub host_network: bool,
    /// `--allow-host-network`.
    pub host_consent: bool,
}

/// The network that a workload is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// A namespace that the runtime makes, with a loopback interface alone.
    Empty,
    /// A namespace that is made before, with rules.
    Ruled,
    /// The host's namespace, where no rule of ours holds.
    Host,
}

/// Why there is no such network. Its text is for the caller, as the reason why `--network` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is a network of gVisor's.
    OnlyGvisor,
    /// The mode never gives the host's.
    Mode,
    /// The host's was not consented to.
    NoConsent,
    /// A user's network can be taken over by our own runtime alone.
    NotJoined,
}

/// The network of a request.
///
/// # Errors
/// Why it is refused.
pub fn decide(asked: &Asked) -> Result<Space, Refusal> {
    let space = Space::of(asked.network);
    let native = asked.runtime == Runtime::Native;
    match asked.network {
        Network::GvisorHost if asked.runtime != Runtime::Gvisor => Err(Refusal::OnlyGvisor),
        Network::Bridge if !native && !asked.root => Err(Refusal::NotJoined),
        _ if space == Space::Host && !asked.host_network => Err(Refusal::Mode),
        _ if space == Space::Host && !asked.host_consent => Err(Refusal::NoConsent),
        _ => Ok(space),
    }
}

impl Space {
    /// Where such a network is, if it is not refused.
    pub fn of(network: Network) -> Self {
        match network {
            Network::None => Self::Empty,
            Network::Bridge => Self::Ruled,
            Network::Host | Network::GvisorHost => Self::Host,
        }
    }

    /// What runsc is told with each command: to have no network, or that of the namespace that it is started in.
    pub fn told(self) -> &'static str {
        match self {
            Self::Empty => "none",
            Self::Ruled | Self::Host => "host",
        }
    }

    /// Whether each command of the runtime is started in the namespace. To the others the bundle names it.
    pub fn is_entered(self, runtime: Runtime) -> bool {
        self == Self::Ruled && runtime == Runtime::Gvisor
    }

    /// Whether there is a user namespace around the workload. With a network that it takes over, runsc loses its
    /// capabilities in one in which the host's root is not root, and one in which it is keeps nothing apart: it gets none.
    pub fn has_user_namespace(self, runtime: Runtime) -> bool {
        self == Self::Empty || runtime != Runtime::Gvisor
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyGvisor => "gvisor-host is for --runtime gvisor alone",
            Self::Mode => "only agent mode gives the host's network",
            Self::NoConsent => "the host's network needs --allow-host-network too",
            Self::NotJoined => {
                "bridge without root: only with nucleus-runtime, which takes over a network that it cannot join"
            }
        })
    }
}
