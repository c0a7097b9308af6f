//! The profile's rules, spread over the system call numbers of each ABI.

use oci_spec::runtime::{LinuxSeccompOperator as Operator, LinuxSyscall};

use super::conditions::{self, Condition, Node, Outcome, Width};
use super::profile::Error;
use super::syscalls::{Multiplexer, Syscall};

/// Table size: above every system call number of the three ABIs.
pub(super) const NUMBERS: usize = 560;

const I386_SOCKETCALL: usize = 102;
const I386_IPC: usize = 117;

/// What one system call number leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One `SECCOMP_RET_*` value, whatever the arguments.
    Always(u32),
    /// A value that depends on the arguments; the default action where no test decides.
    ByArguments(Vec<Node>),
}

/// The verdicts of one ABI by system call number.
pub(super) struct Table {
    width: Width,
    /// For each number: 0 for the default action, else one more than an index into `verdicts`.
    slots: [u16; NUMBERS],
    verdicts: Vec<Verdict>,
}

impl Table {
    pub(super) fn new(width: Width) -> Self {
        Self {
            width,
            slots: [0; NUMBERS],
            verdicts: Vec::with_capacity(16),
        }
    }

    /// The numbers at which the verdict changes, ascending from 0, each with its verdict up to the next;
    /// `None` is the default action.
    pub(super) fn changes(&self) -> impl Iterator<Item = (usize, Option<&Verdict>)> {
        let mut last = None;
        self.slots.iter().enumerate().filter_map(move |(number, slot)| {
            if last.replace(*slot) == Some(*slot) {
                return None;
            }
            Some((
                number,
                usize::from(*slot).checked_sub(1).map(|at| &self.verdicts[at]),
            ))
        })
    }

    /// Adds one rule for `number`. A rule without conditions replaces those with conditions, and nothing
    /// replaces a rule without conditions: libseccomp's precedence.
    fn add(&mut self, number: usize, rule: Outcome) -> Result<(), conditions::Conflict> {
        let slot = self.slots[number];
        let known = usize::from(slot).checked_sub(1).map(|at| &mut self.verdicts[at]);
        match (known, rule) {
            (_, Outcome::Next) | (Some(Verdict::Always(_)), _) => {}
            (Some(Verdict::ByArguments(nodes)), Outcome::Level(new)) => {
                for node in new {
                    conditions::insert(nodes, node)?;
                }
            }
            (_, Outcome::Verdict(verdict)) => self.slots[number] = self.shared(verdict),
            (None, Outcome::Level(nodes)) => self.slots[number] = self.push(Verdict::ByArguments(nodes)),
        }
        Ok(())
    }

    /// The slot value of an unconditional verdict.
    fn shared(&mut self, verdict: u32) -> u16 {
        match self
            .verdicts
            .iter()
            .position(|known| *known == Verdict::Always(verdict))
        {
            Some(at) => at as u16 + 1,
            None => self.push(Verdict::Always(verdict)),
        }
    }

    fn push(&mut self, verdict: Verdict) -> u16 {
        self.verdicts.push(verdict);
        self.verdicts.len() as u16
    }
}

/// The tables of the ABIs that the profile names; x86_64 is always among them.
pub(super) struct Tables {
    pub(super) x86_64: Table,
    pub(super) x32: Option<Table>,
    pub(super) i386: Option<Table>,
}

impl Tables {
    /// Adds one rule, `conditions` sorted by index, for a system call in every ABI.
    pub(super) fn add(
        &mut self,
        syscall: &'static Syscall,
        conditions: &[Condition],
        verdict: u32,
    ) -> Result<(), Error> {
        let Syscall(name, x86_64, x32, i386, multiplexer) = syscall;
        let direct = [
            (Some(&mut self.x86_64), *x86_64),
            (self.x32.as_mut(), *x32),
            (self.i386.as_mut(), *i386),
        ];
        for (table, number) in direct {
            let (Some(table), Ok(number)) = (table, usize::try_from(number)) else {
                continue;
            };
            let rule = conditions::rule(conditions, table.width, verdict);
            table
                .add(number, rule)
                .map_err(|_| Error::Conflict { syscall: name })?;
        }
        let (number, operation) = match multiplexer {
            Multiplexer::Direct => return Ok(()),
            Multiplexer::Socketcall(operation) => (I386_SOCKETCALL, *operation),
            Multiplexer::Ipc(operation) => (I386_IPC, *operation),
        };
        if let Some(table) = &mut self.i386 {
            let rule = conditions::rule(&multiplexed(conditions, operation), table.width, verdict);
            table
                .add(number, rule)
                .map_err(|_| Error::Conflict { syscall: name })?;
        }
        Ok(())
    }
}

/// The conditions under which a multiplexer makes the call: its first argument selects the operation. The
/// real arguments lie in memory for `socketcall`; like libseccomp, conditions other than on the first one
/// stay as they are, on registers that do not hold what they ask about.
fn multiplexed(conditions: &[Condition], operation: u8) -> Vec<Condition> {
    let selector = Condition {
        index: 0,
        operator: Operator::ScmpCmpEq,
        mask: u64::MAX,
        value: operation.into(),
    };
    let others = conditions.iter().filter(|condition| condition.index != 0);
    std::iter::once(selector).chain(others.copied()).collect()
}

/// The rules of one entry of `linux.seccomp.syscalls`: each inner list must hold as a whole.
///
/// Several conditions on one argument become a rule each, as in runc: the filter then allows what *any* of
/// them describes.
pub(super) fn alternatives(syscall: &LinuxSyscall) -> Result<Vec<Vec<Condition>>, Error> {
    let Some(args) = syscall.args().as_ref().filter(|args| !args.is_empty()) else {
        return Ok(vec![Vec::new()]);
    };
    let mut conditions = Vec::with_capacity(args.len());
    for arg in args {
        let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
        let Some(index) = index else {
            return Err(Error::ArgumentIndex { index: arg.index() });
        };
        let second = arg.value_two().unwrap_or(0);
        let (mask, value) = match arg.op() {
            Operator::ScmpCmpMaskedEq => (arg.value(), second),
            _ => (u64::MAX, arg.value()),
        };
        conditions.push(Condition {
            index,
            operator: arg.op(),
            mask,
            value,
        });
    }
    let in_order = conditions.clone();
    conditions.sort_by_key(|condition| condition.index);
    if conditions.is_sorted_by(|a, b| a.index < b.index) {
        return Ok(vec![conditions]);
    }
    Ok(in_order.into_iter().map(|condition| vec![condition]).collect())
}
