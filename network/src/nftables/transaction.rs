//! Changes of the rules of one network namespace that are made at once, or not at all.

use super::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TYPE, DELSETELEM, DELTABLE, ELEMENTS, HOOK_NUMBER,
    HOOK_PRIORITY, Kind, LIST_ELEMENT, Member, NEWCHAIN, NEWOBJ, NEWRULE, NEWSET, NEWSETELEM, NEWTABLE,
    NF_ACCEPT, NF_DROP, NFPROTO_INET, OBJECT_COUNTER, OBJECT_DATA, OBJECT_NAME, OBJECT_TYPE, RULE_CHAIN,
    RULE_EXPRESSIONS, Rule, SET_FLAGS, SET_NAME, SUBSYSTEM, Set, TABLE, TABLE_NAME, failed, fixed, intervals,
    kind,
};
use crate::Error;
use ipnet::IpNet;
use nucleus_netlink::{Attributes, Refused, Request, Socket};

const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_DESCRIPTION: u16 = 9;
const SET_ID: u16 = 10;
const SET_USERDATA: u16 = 13;
const DESCRIPTION_SIZE: u16 = 1;
const ANONYMOUS_CONSTANT: u32 = 0x3;
/// Which set of the same transaction elements are for.
const ELEMENTS_SET_ID: u16 = 4;

/// How many elements are in a message: their attribute's length has 16 bits.
const ELEMENTS_AT_ONCE: usize = 300;

/// Notes for nft(8) that the keys of a set, and the values of a map, are in network byte order: the tag (0 and 1),
/// the length, and its number for that order.
const KEYS_BIG_ENDIAN: [u8; 6] = [0, 4, 2, 0, 0, 0];
const DATA_BIG_ENDIAN: [u8; 6] = [1, 4, 2, 0, 0, 0];

/// Where a chain of the table is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before it is known whereto.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// Before it leaves.
    Postrouting,
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// A set of the transaction without a name of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anonymous(pub(super) u32);

impl Anonymous {
    /// The kernel puts a number in.
    pub(super) const NAME: &str = "__set%d";
}

#[derive(Debug, Clone)]
struct Message {
    kind: u16,
    flags: u16,
    attributes: Attributes,
    /// For a person.
    object: String,
}

/// Changes of our table, in order.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    messages: Vec<Message>,
    sets: u32,
}

impl Transaction {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: Attributes, object: String) {
        self.messages.push(Message {
            kind,
            flags,
            attributes,
            object,
        });
    }

    fn in_table() -> Attributes {
        Attributes::new().text(TABLE_NAME, TABLE)
    }

    /// Makes the table where there is none.
    pub fn add_table(&mut self) {
        let table = Self::in_table().be32(2, 0);
        self.push(NEWTABLE, NLM_F_CREATE, table, format!("table inet {TABLE}"));
    }

    /// Makes the table; there must be none.
    pub fn create_table(&mut self) {
        let table = Self::in_table().be32(2, 0);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.push(NEWTABLE, flags, table, format!("table inet {TABLE}"));
    }

    /// Deletes the table and all that is in it.
    pub fn delete_table(&mut self) {
        self.push(DELTABLE, 0, Self::in_table(), format!("table inet {TABLE}"));
    }

    /// A chain that rules jump to.
    pub fn chain(&mut self, name: &str) {
        let chain = Self::in_table().text(CHAIN_NAME, name);
        self.push(NEWCHAIN, NLM_F_CREATE, chain, format!("chain {name}"));
    }

    /// `type filter hook HOOK priority filter`, with what becomes of packets that no rule decides about.
    pub fn filter(&mut self, hook: Hook, accept: bool) {
        let policy = if accept { NF_ACCEPT } else { NF_DROP };
        self.base("filter", hook, 0, policy);
    }

    /// `type nat hook HOOK priority PRIORITY`.
    pub fn nat(&mut self, hook: Hook, priority: i32) {
        self.base("nat", hook, priority, NF_ACCEPT);
    }

    fn base(&mut self, kind: &str, hook: Hook, priority: i32, policy: u32) {
        let name = hook.name();
        let at = Attributes::new()
            .be32(HOOK_NUMBER, hook as u32)
            .bytes(HOOK_PRIORITY, &priority.to_be_bytes());
        let chain = Self::in_table().text(CHAIN_NAME, name).text(CHAIN_TYPE, kind);
        let chain = chain.be32(CHAIN_POLICY, policy).nested(CHAIN_HOOK, at);
        self.push(NEWCHAIN, NLM_F_CREATE, chain, format!("chain {name}"));
    }

    /// A counter that rules name.
    pub fn counter(&mut self, name: &str) {
        let counter = Self::in_table()
            .text(OBJECT_NAME, name)
            .be32(OBJECT_TYPE, OBJECT_COUNTER)
            .nested(OBJECT_DATA, Attributes::new().be64(1, 0).be64(2, 0));
        self.push(NEWOBJ, NLM_F_CREATE, counter, format!("counter {name}"));
    }

    /// A set, or a map.
    pub fn set(&mut self, set: Set<'_>) {
        self.sets += 1;
        let (number, length) = Kind::numbers(set.key);
        let mut all = Self::in_table()
            .text(SET_NAME, set.name)
            .be32(SET_FLAGS, set.flags | if set.data.is_empty() { 0 } else { 0x8 })
            .be32(SET_KEY_TYPE, number)
            .be32(SET_KEY_LENGTH, length)
            .be32(SET_ID, self.sets);
        let mut notes = KEYS_BIG_ENDIAN.to_vec();
        if !set.data.is_empty() {
            let (number, length) = Kind::numbers(set.data);
            all = all.be32(SET_DATA_TYPE, number).be32(SET_DATA_LENGTH, length);
            notes.extend(DATA_BIG_ENDIAN);
        }
        if let Some(size) = set.size {
            all = all.nested(SET_DESCRIPTION, Attributes::new().be32(DESCRIPTION_SIZE, size));
        }
        let object = format!("set {}", set.name);
        self.push(NEWSET, NLM_F_CREATE, all.bytes(SET_USERDATA, &notes), object);
    }

    /// Adds elements that may be there already with the same data.
    pub fn add(&mut self, set: &str, members: &[Member]) {
        self.elements(NEWSETELEM, NLM_F_CREATE, set, None, members);
    }

    /// Adds elements that must not be there.
    pub fn create(&mut self, set: &str, members: &[Member]) {
        self.elements(NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, set, None, members);
    }

    /// Deletes elements that must be there.
    pub fn delete(&mut self, set: &str, members: &[Member]) {
        self.elements(DELSETELEM, 0, set, None, members);
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, id: Option<u32>, members: &[Member]) {
        for members in members.chunks(ELEMENTS_AT_ONCE) {
            let list = members.iter().fold(Attributes::new(), |list, member| {
                list.nested(LIST_ELEMENT, member.attributes())
            });
            let mut all = Self::in_table().text(SET_NAME, set);
            if let Some(id) = id {
                all = all.be32(ELEMENTS_SET_ID, id);
            }
            let object = format!("element of {set}");
            self.push(kind, flags, all.nested(ELEMENTS, list), object);
        }
    }

    /// What the rule has loaded, of this kind, is one of these values; none is not asked for.
    pub fn among(&mut self, rule: Rule, kind: Kind, values: &[Vec<u8>]) -> Rule {
        match values {
            [one] => rule.is(one),
            _ => rule.among(self.anonymous_of(kind, values), false),
        }
    }

    /// What the rule has loaded is none of these values.
    pub fn not_among(&mut self, rule: Rule, kind: Kind, values: &[Vec<u8>]) -> Rule {
        rule.among(self.anonymous_of(kind, values), true)
    }

    /// The address of version 6 that the rule has loaded is in one of these networks, none inside another.
    pub fn among_networks(&mut self, rule: Rule, networks: impl IntoIterator<Item = IpNet>) -> Rule {
        let members = intervals(networks);
        rule.among(self.anonymous(Kind::Address6, Set::INTERVAL, &members), false)
    }

    fn anonymous_of(&mut self, kind: Kind, values: &[Vec<u8>]) -> Anonymous {
        let members: Vec<Member> = values.iter().cloned().map(Member::of).collect();
        self.anonymous(kind, 0, &members)
    }

    fn anonymous(&mut self, kind: Kind, flags: u32, members: &[Member]) -> Anonymous {
        self.sets += 1;
        let id = self.sets;
        let (number, length) = Kind::numbers(&[kind]);
        let size = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let set = Self::in_table()
            .text(SET_NAME, Anonymous::NAME)
            .be32(SET_FLAGS, ANONYMOUS_CONSTANT | flags)
            .be32(SET_KEY_TYPE, number)
            .be32(SET_KEY_LENGTH, length)
            .be32(SET_ID, id)
            .nested(SET_DESCRIPTION, Attributes::new().be32(DESCRIPTION_SIZE, size))
            .bytes(SET_USERDATA, &KEYS_BIG_ENDIAN);
        self.push(NEWSET, NLM_F_CREATE, set, "set of a rule".into());
        self.elements(NEWSETELEM, NLM_F_CREATE, Anonymous::NAME, Some(id), members);
        Anonymous(id)
    }

    /// A rule behind those of a chain.
    pub fn rule(&mut self, chain: &str, rule: Rule) {
        self.put(chain, rule, NLM_F_APPEND);
    }

    /// A rule in front of those of a chain.
    pub fn insert(&mut self, chain: &str, rule: Rule) {
        self.put(chain, rule, 0);
    }

    fn put(&mut self, chain: &str, rule: Rule, flags: u16) {
        let rule = Self::in_table()
            .text(RULE_CHAIN, chain)
            .nested(RULE_EXPRESSIONS, rule.expressions);
        self.push(NEWRULE, NLM_F_CREATE | flags, rule, format!("rule of {chain}"));
    }

    /// Has it made.
    ///
    /// # Errors
    /// What the kernel refuses, and why: nothing of it is in force then.
    pub fn commit(self, socket: &mut Socket, what: &'static str) -> Result<(), Error> {
        let mut objects = Vec::with_capacity(self.messages.len());
        let requests: Result<Vec<Request>, _> = self
            .messages
            .into_iter()
            .map(|message| {
                objects.push(message.object);
                Request::new(kind(message.kind), message.flags, &fixed(NFPROTO_INET)).with(message.attributes)
            })
            .collect();
        let done = requests
            .map_err(Refused::from)
            .and_then(|requests| socket.commit(SUBSYSTEM, requests, "send"));
        done.map_err(|refused| {
            let object = refused.message.and_then(|number| objects.into_iter().nth(number));
            failed(what, object.unwrap_or_default(), refused.error)
        })
    }
}
