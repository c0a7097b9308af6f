//! A rule: what is loaded from a packet, compared, and done with it, in this order. Each method adds the expressions
//! that nft(8) makes of its own words; those that begin with a family or a protocol look for it first, as it does.

use super::transaction::Anonymous;
use super::{
    DATA_VALUE, EXPRESSION_DATA, EXPRESSION_NAME, LIST_ELEMENT, NF_ACCEPT, NF_DROP, NFPROTO_IPV4,
    NFPROTO_IPV6, OBJECT_COUNTER,
};
use crate::egress::Protocol;
use nucleus_netlink::Attributes;

/// The register of verdicts.
const VERDICT: u32 = 0;
const NFT_RETURN: u32 = -5_i32 as u32;
const NFT_JUMP: u32 = -3_i32 as u32;

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `NF_CT_STATE_BIT`s of established and related.
const ESTABLISHED_OR_RELATED: u32 = 0x6;
/// `IPS_DST_NAT`.
const DNAT: u32 = 0x20;
const RTN_LOCAL: u32 = 2;
const IFNAMSIZ: usize = 16;
pub(super) const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Bytes of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    base: u32,
    offset: u32,
    length: u32,
}

impl Field {
    const fn network(offset: u32, length: u32) -> Self {
        Self {
            base: 1,
            offset,
            length,
        }
    }

    const fn transport(offset: u32, length: u32) -> Self {
        Self {
            base: 2,
            offset,
            length,
        }
    }

    /// `ip saddr`.
    pub const SOURCE4: Self = Self::network(12, 4);
    /// `ip daddr`.
    pub const DESTINATION4: Self = Self::network(16, 4);
    /// `ip6 saddr`.
    pub const SOURCE6: Self = Self::network(8, 16);
    /// `ip6 daddr`.
    pub const DESTINATION6: Self = Self::network(24, 16);
    /// `ip6 hoplimit`.
    pub const HOP_LIMIT: Self = Self::network(7, 1);
    /// `th dport`.
    pub const PORT: Self = Self::transport(2, 2);
    /// `icmpv6 type`.
    pub const ICMP_TYPE: Self = Self::transport(0, 1);

    /// The first bytes of it.
    pub const fn first(self, length: u32) -> Self {
        Self { length, ..self }
    }
}

/// A part of a key.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// `meta l4proto`.
    Protocol,
    /// A field.
    Of(Field),
}

/// A rule while it is being built.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    pub(super) expressions: Attributes,
}

/// The number of the register that begins after so many words of four bytes: one of the four long ones where it is one.
fn register(words: u32) -> u32 {
    if words.is_multiple_of(4) {
        1 + words / 4
    } else {
        8 + words
    }
}

impl Rule {
    /// One that every packet matches.
    pub fn new() -> Self {
        Self::default()
    }

    fn then(mut self, name: &str, data: Attributes) -> Self {
        let expression = Attributes::new()
            .text(EXPRESSION_NAME, name)
            .nested(EXPRESSION_DATA, data);
        self.expressions = self.expressions.nested(LIST_ELEMENT, expression);
        self
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.then("meta", Attributes::new().be32(2, key).be32(1, register))
    }

    fn payload(self, of: Field, register: u32) -> Self {
        let data = Attributes::new().be32(1, register).be32(2, of.base);
        self.then("payload", data.be32(3, of.offset).be32(4, of.length))
    }

    pub(super) fn compare(self, how: u32, with: &[u8]) -> Self {
        let data = Attributes::new().be32(1, register(0)).be32(2, how);
        self.then("cmp", data.nested(3, Attributes::new().bytes(DATA_VALUE, with)))
    }

    fn name(self, key: u32, how: u32, name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        match name.strip_suffix('*') {
            // All that begin so.
            Some(start) => bytes.truncate(start.len()),
            None => bytes.resize(IFNAMSIZ, 0),
        }
        self.meta(key, register(0)).compare(how, &bytes)
    }

    /// `iifname NAME`.
    pub fn from(self, name: &str) -> Self {
        self.name(META_IIFNAME, EQUAL, name)
    }

    /// `iifname != NAME`.
    pub fn not_from(self, name: &str) -> Self {
        self.name(META_IIFNAME, NOT_EQUAL, name)
    }

    /// `oifname NAME`.
    pub fn to(self, name: &str) -> Self {
        self.name(META_OIFNAME, EQUAL, name)
    }

    /// `oifname != NAME`.
    pub fn not_to(self, name: &str) -> Self {
        self.name(META_OIFNAME, NOT_EQUAL, name)
    }

    /// `meta nfproto ipv4` or `ipv6`.
    pub fn family(self, four: bool) -> Self {
        let family = if four { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        self.meta(META_NFPROTO, register(0)).compare(EQUAL, &[family])
    }

    /// `meta l4proto tcp` or `udp`.
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.l4(protocol.number())
    }

    /// `icmpv6 type` of packets of version 6, for a comparison that follows.
    pub fn icmp6(self) -> Self {
        self.l4(58).load(Field::ICMP_TYPE)
    }

    fn l4(self, number: u8) -> Self {
        self.meta(META_L4PROTO, register(0)).compare(EQUAL, &[number])
    }

    /// Loads `meta l4proto`, for a comparison that follows.
    pub fn any_protocol(self) -> Self {
        self.meta(META_L4PROTO, register(0))
    }

    /// Loads a field, for a comparison that follows.
    pub fn load(self, field: Field) -> Self {
        self.payload(field, register(0))
    }

    /// Loads these one after the other, as the key of a set.
    pub fn key(self, parts: &[Part]) -> Self {
        let mut words = 0;
        parts.iter().fold(self, |rule, part| {
            let at = register(words);
            match part {
                Part::Protocol => {
                    words += 1;
                    rule.meta(META_L4PROTO, at)
                }
                Part::Of(field) => {
                    words += field.length.div_ceil(4);
                    rule.payload(*field, at)
                }
            }
        })
    }

    /// What was loaded is this.
    pub fn is(self, value: &[u8]) -> Self {
        self.compare(EQUAL, value)
    }

    /// What was loaded is in the named set.
    pub fn within(self, set: &str) -> Self {
        self.then("lookup", Attributes::new().be32(2, register(0)).text(1, set))
    }

    pub(super) fn among(self, set: Anonymous, inverted: bool) -> Self {
        let data = Attributes::new()
            .be32(2, register(0))
            .text(1, Anonymous::NAME)
            .be32(4, set.0);
        self.then("lookup", if inverted { data.be32(5, 1) } else { data })
    }

    fn tracked(self, key: u32, bits: u32, how: u32) -> Self {
        let mask = |bits: u32| Attributes::new().bytes(DATA_VALUE, &bits.to_ne_bytes());
        let ct = Attributes::new().be32(2, key).be32(1, register(0));
        let data = Attributes::new()
            .be32(1, register(0))
            .be32(2, register(0))
            .be32(3, 4);
        self.then("ct", ct)
            .then("bitwise", data.nested(4, mask(bits)).nested(5, mask(0)))
            .compare(how, &[0; 4])
    }

    /// `ct state established,related`.
    pub fn established(self) -> Self {
        self.tracked(CT_STATE, ESTABLISHED_OR_RELATED, NOT_EQUAL)
    }

    /// `ct state ! established,related`.
    pub fn not_established(self) -> Self {
        self.tracked(CT_STATE, ESTABLISHED_OR_RELATED, EQUAL)
    }

    /// `ct status dnat`.
    pub fn translated(self) -> Self {
        self.tracked(CT_STATUS, DNAT, NOT_EQUAL)
    }

    /// `fib daddr type != local`.
    pub fn not_to_this_host(self) -> Self {
        let data = Attributes::new().be32(3, 2).be32(2, 3).be32(1, register(0));
        self.then("fib", data)
            .compare(NOT_EQUAL, &RTN_LOCAL.to_ne_bytes())
    }

    /// `limit rate 1/second burst 5 packets`.
    pub fn seldom(self) -> Self {
        let data = Attributes::new().be64(1, 1).be64(2, 1);
        self.then("limit", data.be32(3, 5).be32(4, 0).be32(5, 0))
    }

    /// `log prefix PREFIX`.
    pub fn log(self, prefix: &str) -> Self {
        self.then("log", Attributes::new().text(2, prefix))
    }

    /// `counter name NAME`.
    pub fn count(self, name: &str) -> Self {
        self.then("objref", Attributes::new().be32(1, OBJECT_COUNTER).text(2, name))
    }

    /// `update @SET` with the key that was loaded.
    pub fn remember(self, set: &str) -> Self {
        let data = Attributes::new().be32(4, register(0)).be32(3, 1);
        self.then("dynset", data.text(1, set))
    }

    fn verdict(self, verdict: Attributes) -> Self {
        let data = Attributes::new().be32(1, VERDICT);
        self.then("immediate", data.nested(2, Attributes::new().nested(2, verdict)))
    }

    /// `accept`.
    pub fn accept(self) -> Self {
        self.verdict(Attributes::new().be32(1, NF_ACCEPT))
    }

    /// `drop`.
    pub fn drop(self) -> Self {
        self.verdict(Attributes::new().be32(1, NF_DROP))
    }

    /// `return`.
    pub fn leave(self) -> Self {
        self.verdict(Attributes::new().be32(1, NFT_RETURN))
    }

    /// `jump CHAIN`.
    pub fn jump(self, chain: &str) -> Self {
        self.verdict(Attributes::new().be32(1, NFT_JUMP).text(2, chain))
    }

    /// `meta l4proto tcp` with what is done before, and `reject with tcp reset`.
    pub fn reset(self) -> Self {
        self.then("reject", Attributes::new().be32(1, 1).bytes(2, &[0]))
    }

    /// `reject with icmpx admin-prohibited`.
    pub fn prohibit(self) -> Self {
        self.then("reject", Attributes::new().be32(1, 2).bytes(2, &[3]))
    }

    /// `masquerade`.
    pub fn masquerade(self) -> Self {
        self.then("masq", Attributes::new())
    }

    /// `dnat ip to KEY map @MAP`, or `ip6`: the key was loaded, and the map leads to an address and a port.
    pub fn dnat(self, four: bool, map: &str) -> Self {
        let (family, words) = if four {
            (NFPROTO_IPV4, 1)
        } else {
            (NFPROTO_IPV6, 4)
        };
        let lookup = Attributes::new().be32(2, register(0)).be32(3, register(0));
        let data = Attributes::new().be32(1, 1).be32(2, family.into());
        self.then("lookup", lookup.text(1, map))
            .then("nat", data.be32(3, register(0)).be32(5, register(words)))
    }
}

#[cfg(test)]
mod tests {
    use super::register;

    #[test]
    fn registers_are_numbered_as_the_kernel_prints_them() {
        assert_eq!([0, 1, 2, 4, 5, 8].map(register), [1, 9, 10, 2, 13, 3]);
    }
}
