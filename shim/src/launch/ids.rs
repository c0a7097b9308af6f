//! The user and group ids of a workload, and those of its user namespace.

use crate::facts::Facts;
use crate::request::Request;
use std::ops::Range;

/// The ids of the workload when root starts it and names none.
const WORKLOAD: u32 = 1000;
/// How many ids a user namespace made by root has.
pub(super) const IDS: u32 = 65_536;
/// Where such ranges begin, as systemd-nspawn(1) has it, and how many there are for sandboxes: [`crate::ranges`] says
/// which of them has which.
const FIRST_RANGE: u32 = 524_288;
pub(crate) const RANGES: u32 = 14_000;
/// Those for bundles come after them, as many: nobody knows when a bundle runs, so its range is its name's.
const BUNDLES: u32 = RANGES;

/// The workload's user and group, and the maps of its user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The workload's user id, as it was asked for.
    uid: u32,
    /// Its group id.
    gid: u32,
    /// Whether there is a user namespace. Otherwise what the maps say is what the workload is, inside too.
    pub mapped: bool,
    /// First id inside, first user and group id outside, how many.
    pub users: (u32, u32, u32),
    /// The same for groups.
    pub groups: (u32, u32, u32),
}

impl Ids {
    /// Whether they are a range, and not the caller's own.
    pub(super) fn are_range(&self) -> bool {
        self.users.2 == IDS
    }

    /// Takes the range with this number.
    pub(super) fn set_range(&mut self, number: u32) {
        let first = range(number).start;
        self.users.1 = first;
        self.groups.1 = first;
    }

    /// The workload's user and group id inside.
    pub fn inside(&self) -> (u32, u32) {
        if self.mapped {
            (self.uid, self.gid)
        } else {
            self.outside()
        }
    }

    /// A group id inside, as it was asked for.
    pub fn group_inside(&self, asked: u32) -> u32 {
        if self.mapped {
            asked
        } else {
            self.group_outside(asked)
        }
    }

    /// The workload's user and group id on the host.
    pub fn outside(&self) -> (u32, u32) {
        let outside = |inside: u32, (first, outside, _): (u32, u32, u32)| outside + (inside - first);
        (outside(self.uid, self.users), outside(self.gid, self.groups))
    }

    /// What a group id that was asked for is on the host.
    pub fn group_outside(&self, asked: u32) -> u32 {
        let (first, outside, _) = self.groups;
        outside.saturating_add(asked.saturating_sub(first))
    }
}

/// Root's workload gets a range of ids that no user has, that of a bundle with this name for now; everyone else's has
/// the caller's own.
pub(super) fn ids(request: &Request, facts: &Facts, mapped: bool, name: &str) -> Ids {
    if facts.uid != 0 {
        let (uid, gid) = (
            request.user.unwrap_or(facts.uid),
            request.group.unwrap_or(facts.gid),
        );
        return Ids {
            uid,
            gid,
            mapped,
            users: (uid, facts.uid, 1),
            groups: (gid, facts.gid, 1),
        };
    }
    let mut ids = Ids {
        uid: request.user.unwrap_or(WORKLOAD),
        gid: request.group.unwrap_or(WORKLOAD),
        mapped,
        users: (0, 0, IDS),
        groups: (0, 0, IDS),
    };
    ids.set_range(RANGES + hash(name) % BUNDLES);
    ids
}

/// The ids on the host of the range with this number.
pub(crate) fn range(number: u32) -> Range<u32> {
    let first = FIRST_RANGE + number * IDS;
    first..first + IDS
}

/// FNV-1a.
pub(crate) fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
