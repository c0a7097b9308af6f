//! `linux.resources.devices`: which device nodes the container's processes may create and open.
//!
//! For each of the accesses read, write and mknod the last rule that matches decides; what no rule matches is
//! denied. Rules for the devices that the spec puts into every container come last of all, as in runc, so that
//! `/dev/null` works whatever the configuration says.
//!
//! As under every runtime of the field, mknod of any device is allowed, for a node that cannot be opened does
//! no harm and whoever unpacks or builds a system needs it, and so is `/dev/net/tun`, which opens nothing but
//! the container's own network. Unlike there, a rule that denies them is obeyed: `{"allow": false, "access":
//! "m"}` forbids all nodes but those of `linux.devices`.

mod allowlist;
mod program;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

pub(super) use allowlist::Allowlist;
pub(super) use program::program;

use super::Error;

pub(super) const PROPERTY: &str = "linux.resources.devices";

/// Access bits, as in `BPF_DEVCG_ACC_*` of `linux/bpf.h`.
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// The spec's default devices (`config-linux.md#default-devices`) and the terminals behind `/dev/pts`.
const DEFAULTS: [(u32, Option<u32>); 8] = [
    (1, Some(3)), // null
    (1, Some(5)), // zero
    (1, Some(7)), // full
    (1, Some(8)), // random
    (1, Some(9)), // urandom
    (5, Some(0)), // tty
    (5, Some(2)), // ptmx
    (136, None),  // pts/*
];

/// Making any node, and `/dev/net/tun`.
const CUSTOMARY: [(Devices, u8); 3] = [
    (Devices::all(Kind::Char), MKNOD),
    (Devices::all(Kind::Block), MKNOD),
    (
        Devices {
            kind: Kind::Char,
            major: Some(10),
            minor: Some(200),
        },
        ALL,
    ),
];

fn is_customary(devices: &Devices, access: u8) -> bool {
    CUSTOMARY.contains(&(*devices, access))
}

/// Values as in `BPF_DEVCG_DEV_*` of `linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    Block = 1,
    Char = 2,
}

/// A set of devices; `None` stands for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Devices {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Devices {
    const fn all(kind: Kind) -> Self {
        Self {
            kind,
            major: None,
            minor: None,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        let within = |outer: Option<u32>, inner| outer.is_none() || outer == inner;
        self.kind == other.kind && within(self.major, other.major) && within(self.minor, other.minor)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    devices: Devices,
    access: u8,
}

/// The rules in effect: a base for everything, and what departs from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// What holds for a device that no rule matches.
    allow: bool,
    list: Vec<Rule>,
}

impl Rules {
    /// The configuration's rules, the right to create `nodes`, and the default devices, in this order.
    pub(super) fn new(configured: &[LinuxDeviceCgroup], nodes: &[LinuxDevice]) -> Result<Self, Error> {
        let mut rules = Self {
            allow: false,
            list: Vec::with_capacity(configured.len() + nodes.len() + DEFAULTS.len()),
        };
        for rule in configured {
            rules.add(rule)?;
        }
        if rules.is_everything() {
            return Ok(rules);
        }
        rules.add_customary();
        for node in nodes {
            rules.add_node(node)?;
        }
        for (major, minor) in DEFAULTS {
            let devices = Devices {
                kind: Kind::Char,
                major: Some(major),
                minor,
            };
            rules.list.push(Rule {
                allow: true,
                devices,
                access: ALL,
            });
        }
        Ok(rules)
    }

    /// What containers may do unless a rule says otherwise.
    fn add_customary(&mut self) {
        if self.allow {
            return;
        }
        for (devices, access) in CUSTOMARY {
            let denied =
                |rule: &Rule| !rule.allow && rule.access & access != 0 && rule.devices.covers(&devices);
            if !self.list.iter().any(denied) {
                self.list.push(Rule {
                    allow: true,
                    devices,
                    access,
                });
            }
        }
    }

    /// Whether nothing is forbidden.
    pub(super) fn is_everything(&self) -> bool {
        self.allow && self.list.iter().all(|rule| rule.allow)
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), Error> {
        let kinds: &[Kind] = match rule.typ() {
            None | Some(LinuxDeviceType::A) => &[Kind::Block, Kind::Char],
            Some(LinuxDeviceType::B) => &[Kind::Block],
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[Kind::Char],
            Some(LinuxDeviceType::P) => {
                return Err(Error::invalid(
                    PROPERTY,
                    "a FIFO is not a device: type p has no rules",
                ));
            }
        };
        let (major, minor) = (number(rule.major())?, number(rule.minor())?);
        let access = access(rule.access().as_deref())?;
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == ALL {
            // It overrides everything before it.
            *self = Self {
                allow: rule.allow(),
                list: Vec::new(),
            };
            return Ok(());
        }
        self.list.extend(kinds.iter().map(|kind| Rule {
            allow: rule.allow(),
            devices: Devices {
                kind: *kind,
                major,
                minor,
            },
            access,
        }));
        Ok(())
    }

    /// The runtime itself creates these nodes from inside the cgroup; to open them still needs a rule.
    fn add_node(&mut self, node: &LinuxDevice) -> Result<(), Error> {
        let kind = match node.typ() {
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
            LinuxDeviceType::A | LinuxDeviceType::P => return Ok(()),
        };
        let (major, minor) = (number(Some(node.major()))?, number(Some(node.minor()))?);
        let rule = Rule {
            allow: true,
            devices: Devices { kind, major, minor },
            access: MKNOD,
        };
        let every = Devices::all(kind);
        if !self
            .list
            .iter()
            .any(|given| given.allow && given.access == MKNOD && given.devices == every)
        {
            self.list.push(rule);
        }
        Ok(())
    }
}

/// Absent and -1 stand for any number. More than 31 bits would be negative in the device program.
fn number(value: Option<i64>) -> Result<Option<u32>, Error> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => match u32::try_from(value) {
            Ok(number) if number <= i32::MAX.cast_unsigned() => Ok(Some(number)),
            _ => Err(Error::invalid(PROPERTY, format!("{value} is no device number"))),
        },
    }
}

fn access(letters: Option<&str>) -> Result<u8, Error> {
    let letters = letters.filter(|letters| !letters.is_empty()).unwrap_or("rwm");
    letters.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Ok(bits | READ),
        b'w' => Ok(bits | WRITE),
        b'm' => Ok(bits | MKNOD),
        _ => Err(Error::invalid(
            PROPERTY,
            format!("access {letters:?} has letters other than r, w and m"),
        )),
    })
}

#[cfg(test)]
mod tests;
