//! Device rules for the devices controller of version 1 (`devices.allow`, `devices.deny`).
//!
//! The kernel keeps a base (allow or deny everything) and a list of exceptions to it. An exception cannot have
//! a hole: "all of major 10 but 10:229" is not expressible and refused here, where the kernel would silently
//! do nothing.

use super::{ALL, Devices, Error, Kind, MKNOD, PROPERTY, READ, Rule, Rules, WRITE};
use crate::cgroup::limits::Phase;
use crate::cgroup::writes::Write;

/// The kernel's form of a set of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroup) struct Allowlist {
    pub(super) allow: bool,
    pub(super) exceptions: Vec<(Devices, u8)>,
}

impl Allowlist {
    /// Replays the rules into exceptions.
    pub(in crate::cgroup) fn new(rules: &Rules) -> Result<Self, Error> {
        let mut state = Self {
            allow: rules.allow,
            exceptions: Vec::with_capacity(rules.list.len()),
        };
        for rule in &rules.list {
            if rule.allow == state.allow {
                state.remove(rule)?;
            } else {
                state.add(rule);
            }
        }
        state.merge();
        Ok(state)
    }

    /// Takes back what earlier exceptions said about the rule's devices.
    fn remove(&mut self, rule: &Rule) -> Result<(), Error> {
        for (devices, access) in &mut self.exceptions {
            if *access & rule.access == 0 || !rule.devices.overlaps(devices) {
                continue;
            }
            if !rule.devices.covers(devices) {
                let reason = format!(
                    "version 1 cannot {} {} and yet {} {}",
                    if self.allow { "deny" } else { "allow" },
                    text(devices, *access),
                    if self.allow { "allow" } else { "deny" },
                    text(&rule.devices, rule.access),
                );
                return Err(Error::unsupported(PROPERTY, reason));
            }
            *access &= !rule.access;
        }
        self.exceptions.retain(|(_, access)| *access != 0);
        Ok(())
    }

    fn add(&mut self, rule: &Rule) {
        match self
            .exceptions
            .iter_mut()
            .find(|(devices, _)| *devices == rule.devices)
        {
            Some((_, access)) => *access |= rule.access,
            None => self.exceptions.push((rule.devices, rule.access)),
        }
    }

    /// One exception alone must cover all that an open(2) asks for, reading and writing: each gets what wider
    /// ones give it too. One that says no more than a wider one is left out.
    fn merge(&mut self) {
        let all = self.exceptions.clone();
        for (devices, access) in &mut self.exceptions {
            *access = all
                .iter()
                .filter(|(wider, _)| wider.covers(devices))
                .fold(*access, |bits, (_, more)| bits | more & (READ | WRITE));
        }
        let all = self.exceptions.clone();
        self.exceptions.retain(|(devices, access)| {
            !all.iter()
                .any(|(wider, more)| wider != devices && wider.covers(devices) && more & access == *access)
        });
    }

    /// The fewest writes that bring about this state.
    ///
    /// A new cgroup has its parent's rules. Where everything is allowed nothing is written to it: no write
    /// could give it more than its parent has.
    pub(in crate::cgroup) fn writes(&self, phase: Phase) -> Vec<Write> {
        let mut writes = Vec::with_capacity(1 + self.exceptions.len());
        if !self.allow {
            writes.push(Write::new(PROPERTY, "devices.deny", "a"));
        } else if phase == Phase::Update {
            writes.push(Write::new(PROPERTY, "devices.allow", "a"));
        }
        let file = if self.allow {
            "devices.deny"
        } else {
            "devices.allow"
        };
        writes.extend(
            self.exceptions
                .iter()
                .map(|(devices, access)| self.write(file, devices, *access)),
        );
        writes
    }
}

impl Allowlist {
    /// Reads `devices.list`. None where everything is allowed: exceptions from that are not listed.
    pub(in crate::cgroup) fn parse(list: &str) -> Option<Self> {
        let mut state = Self {
            allow: false,
            exceptions: Vec::new(),
        };
        for line in list.lines() {
            let mut words = line.split([' ', ':']);
            let kind = match words.next()? {
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let mut number = || match words.next()? {
                "*" => Some(None),
                digits => digits.parse().ok().map(Some),
            };
            let (major, minor) = (number()?, number()?);
            let access = super::access(words.next()).ok()?;
            state.exceptions.push((Devices { kind, major, minor }, access));
        }
        Some(state)
    }

    /// The writes that lead from the state in force to this one without ever denying what both allow.
    pub(in crate::cgroup) fn transition(&self, from: Option<&Self>) -> Vec<Write> {
        let Some(from) = from.filter(|from| !from.allow && !self.allow) else {
            return self.writes(Phase::Update);
        };
        let differences = |more: &Self, less: &Self, file: &'static str| -> Vec<Write> {
            let had = |devices| {
                less.exceptions
                    .iter()
                    .find(|(each, _)| each == devices)
                    .map_or(0, |(_, bits)| *bits)
            };
            more.exceptions
                .iter()
                .map(|(devices, access)| (devices, access & !had(devices)))
                .filter(|(_, access)| *access != 0)
                .map(|(devices, access)| self.write(file, devices, access))
                .collect()
        };
        let mut writes = differences(self, from, "devices.allow");
        writes.extend(differences(from, self, "devices.deny"));
        writes
    }
}

impl Allowlist {
    fn write(&self, file: &'static str, devices: &Devices, access: u8) -> Write {
        Write {
            // A cgroup below one of a stricter runtime does without.
            dispensable: !self.allow && super::is_customary(devices, access),
            ..Write::new(PROPERTY, file, text(devices, access))
        }
    }
}

/// As the controller reads it: `c 1:3 rwm`.
fn text(devices: &Devices, access: u8) -> String {
    let kind = match devices.kind {
        Kind::Block => 'b',
        Kind::Char => 'c',
    };
    let mut text = String::with_capacity(16);
    text.push(kind);
    for (separator, number) in [(' ', devices.major), (':', devices.minor)] {
        text.push(separator);
        match number {
            Some(number) => text.push_str(&number.to_string()),
            None => text.push('*'),
        }
    }
    text.push(' ');
    debug_assert!(access & !ALL == 0);
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if access & bit != 0 {
            text.push(letter);
        }
    }
    text
}
