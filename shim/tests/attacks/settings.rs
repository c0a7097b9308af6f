//! The sandboxes that are attacked: each mode, and each with a layer less.

use crate::layers::Layer;

/// A sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Agent,
    StrictAgent,
    /// As root of the user namespace.
    AgentRoot,
    /// With a first process of ours.
    AgentInit,
    AgentWithoutLandlock,
    /// In a chroot, where there is no user namespace.
    AgentUnmapped,
    Production,
    /// With a seccomp profile that refuses nothing, from here on.
    AgentOpen,
    InitOpen,
    ProductionOpen,
    /// Without Landlock too: mounts, namespaces, user and capabilities alone.
    Bare,
    BareInit,
    BareUnmapped,
    /// What a user starts, who has the victims as well.
    User,
    UserStrict,
    UserOpen,
    UserBare,
    /// Under gVisor.
    Gvisor,
}

use Setting::*;

pub(crate) const OF_ROOT: [Setting; 11] = [
    Agent,
    StrictAgent,
    AgentRoot,
    AgentInit,
    AgentWithoutLandlock,
    AgentUnmapped,
    AgentOpen,
    InitOpen,
    Bare,
    BareInit,
    BareUnmapped,
];
pub(crate) const OF_PRODUCTION: [Setting; 2] = [Production, ProductionOpen];
pub(crate) const OF_A_USER: [Setting; 4] = [User, UserStrict, UserOpen, UserBare];

impl Setting {
    /// Whether its seccomp profile refuses nothing.
    pub(crate) fn is_open(self) -> bool {
        matches!(
            self,
            AgentOpen | InitOpen | ProductionOpen | Bare | BareInit | BareUnmapped | UserOpen | UserBare
        )
    }

    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            StrictAgent | UserStrict => &["--mode", "strict-agent"],
            AgentRoot => &["--user", "0"],
            AgentInit | InitOpen | BareInit => &["--init"],
            AgentUnmapped | BareUnmapped => &["--allow-degraded-security", "--quiet"],
            Gvisor => &["--runtime", "gvisor", "--quiet"],
            _ => &[],
        }
    }

    /// Whether `nucleus` is called in a chroot.
    pub(crate) fn is_in_chroot(self) -> bool {
        matches!(self, AgentUnmapped | BareUnmapped)
    }

    /// What the runtime leaves out behind the front-end's back.
    pub(crate) fn without(self) -> &'static [Layer] {
        match self {
            AgentWithoutLandlock => &[Layer::Landlock],
            Bare | BareInit | BareUnmapped | UserBare => &[Layer::Seccomp, Layer::Landlock],
            _ => &[],
        }
    }
}
