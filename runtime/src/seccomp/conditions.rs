//! Argument conditions of one system call, as a tree of tests on 32-bit words.
//!
//! BPF compares 32 bits at a time, so a 64-bit condition becomes two or three word tests. The rules of one
//! system call share a tree: a *level* is a list of tests tried in order; a test's outcome is a verdict, a
//! further level, or "try the next test" (of this level, then of the level above). Equal tests are merged.
//!
//! Where rules of different actions overlap, the order of a level decides. It is libseccomp's, so that a
//! profile means the same under every runtime: later arguments first, then equality before `LE`/`LT`
//! before `GE`/`GT`, then the narrower bound.

use oci_spec::runtime::LinuxSeccompOperator as Operator;

/// One condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Argument index, 0 to 5.
    pub(super) index: u8,
    pub(super) operator: Operator,
    /// Bits compared; all ones but for `SCMP_CMP_MASKED_EQ`.
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// How wide the arguments of an ABI are compared. libseccomp looks at the low 32 bits only for i386 and
/// for x32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Bits32,
    Bits64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
}

/// A comparison of one word of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    /// Argument index times two, plus one for the high half.
    pub(super) word: u8,
    pub(super) comparison: Comparison,
    pub(super) mask: u32,
    pub(super) value: u32,
}

/// What follows a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No rule decided yet: go on with the next test.
    Next,
    /// A `SECCOMP_RET_*` value.
    Verdict(u32),
    /// Test further; if that level does not decide, go on with the next test.
    Level(Vec<Node>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) test: Test,
    pub(super) on_true: Outcome,
    pub(super) on_false: Outcome,
    /// Operator of the condition that this test came from: orders the level.
    operator: Operator,
    /// Whole operand of that condition: settles which of two overlapping ranges is narrower.
    operand: u64,
}

/// Two rules that overlap, with different actions and no order between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict;

/// The tests of one rule: all `conditions` (ascending by index) hold, then `verdict`.
/// A rule whose conditions always hold gives the bare verdict.
pub(super) fn rule(conditions: &[Condition], width: Width, verdict: u32) -> Outcome {
    let Some((first, others)) = conditions.split_first() else {
        return Outcome::Verdict(verdict);
    };
    let rest = rule(others, width, verdict);
    let mask = match width {
        Width::Bits32 => u64::from(first.mask as u32),
        Width::Bits64 => first.mask,
    };
    if mask == 0 {
        rest
    } else {
        condition(first, width, rest)
    }
}

fn condition(condition: &Condition, width: Width, rest: Outcome) -> Outcome {
    let low = |comparison| node(condition, 0, comparison);
    let high = |comparison| node(condition, 1, comparison);
    let (comparison, when) = match condition.operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => (Comparison::Equal, true),
        Operator::ScmpCmpNe => (Comparison::Equal, false),
        Operator::ScmpCmpGt => (Comparison::Greater, true),
        Operator::ScmpCmpLe => (Comparison::Greater, false),
        Operator::ScmpCmpGe => (Comparison::GreaterOrEqual, true),
        Operator::ScmpCmpLt => (Comparison::GreaterOrEqual, false),
    };
    let (accept, reject) = (rest, Outcome::Next);
    let decide = |test: Node, accept, reject| {
        if when {
            test.leading_to(accept, reject)
        } else {
            test.leading_to(reject, accept)
        }
    };
    if width == Width::Bits32 {
        return level(decide(low(comparison), accept, reject));
    }
    let low_half = level(decide(low(comparison), accept.clone(), reject.clone()));
    if comparison == Comparison::Equal {
        let unequal = if when { reject } else { accept };
        return level(high(Comparison::Equal).leading_to(low_half, unequal));
    }
    let (above, below) = if when { (accept, reject) } else { (reject, accept) };
    let same_high = level(high(Comparison::Equal).leading_to(low_half, below));
    level(high(Comparison::Greater).leading_to(above, same_high))
}

fn level(node: Node) -> Outcome {
    Outcome::Level(vec![node])
}

fn node(condition: &Condition, half: u8, comparison: Comparison) -> Node {
    let word = |bits: u64| (bits >> (u32::from(half) * 32)) as u32;
    let mask = word(condition.mask);
    Node {
        test: Test {
            word: condition.index * 2 + half,
            comparison,
            mask,
            value: word(condition.value) & mask,
        },
        on_true: Outcome::Next,
        on_false: Outcome::Next,
        operator: condition.operator,
        operand: condition.value,
    }
}

impl Node {
    fn leading_to(mut self, on_true: Outcome, on_false: Outcome) -> Self {
        (self.on_true, self.on_false) = (on_true, on_false);
        self
    }

    /// Position in a level: the greater key is tested first.
    fn key(&self) -> (u8, u8, u32) {
        let (class, value) = match self.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpNe | Operator::ScmpCmpMaskedEq => (2, self.test.value),
            Operator::ScmpCmpLe | Operator::ScmpCmpLt => (1, !self.test.value),
            Operator::ScmpCmpGe | Operator::ScmpCmpGt => (0, self.test.value),
        };
        (self.test.word, class, value)
    }

    fn is_leaf(&self) -> bool {
        let leaf = |outcome: &Outcome| !matches!(outcome, Outcome::Level(_));
        leaf(&self.on_true) && leaf(&self.on_false)
    }

    /// Adds the outcomes of `new`, whose test equals ours.
    fn merge(&mut self, new: Self) -> Result<(), Conflict> {
        let leaf = self.is_leaf() || new.is_leaf();
        let high = self.test.word % 2 == 1;
        let narrower = (new.operand > self.operand, new.operand < self.operand);
        merge_outcome(&mut self.on_true, new.on_true, leaf, high && narrower.0)?;
        merge_outcome(&mut self.on_false, new.on_false, leaf, high && narrower.1)
    }
}

/// Lets `new` decide what `old` left open. `narrower` says that `new` comes from the tighter bound.
fn merge_outcome(old: &mut Outcome, new: Outcome, leaf: bool, narrower: bool) -> Result<(), Conflict> {
    match (&mut *old, new) {
        (_, Outcome::Next) => {}
        (Outcome::Next, new) => *old = new,
        (Outcome::Verdict(known), Outcome::Verdict(verdict)) => {
            if *known == verdict {
                return Ok(());
            }
            if leaf {
                return Err(Conflict);
            }
            if narrower {
                *known = verdict;
            }
        }
        // The broader rule swallows narrower ones of its own action, and has no order with others.
        (Outcome::Level(nodes), Outcome::Verdict(verdict)) => {
            if !decides_only(nodes, verdict) {
                return Err(Conflict);
            }
            *old = Outcome::Verdict(verdict);
        }
        // The rule that was there first covers all that the new one asks.
        (Outcome::Verdict(_), Outcome::Level(_)) => {}
        (Outcome::Level(nodes), Outcome::Level(new)) => {
            for node in new {
                insert(nodes, node)?;
            }
        }
    }
    Ok(())
}

fn decides_only(nodes: &[Node], verdict: u32) -> bool {
    let only = |outcome: &Outcome| match outcome {
        Outcome::Next => true,
        Outcome::Verdict(known) => *known == verdict,
        Outcome::Level(nodes) => decides_only(nodes, verdict),
    };
    nodes
        .iter()
        .all(|node| only(&node.on_true) && only(&node.on_false))
}

/// Adds a rule's first test to a level.
pub(super) fn insert(nodes: &mut Vec<Node>, new: Node) -> Result<(), Conflict> {
    for at in 0..nodes.len() {
        if nodes[at].test == new.test {
            return nodes[at].merge(new);
        }
        if nodes[at].key() < new.key() {
            nodes.insert(at, new);
            return Ok(());
        }
    }
    nodes.push(new);
    Ok(())
}
