//! What the workload asks, and whether it may.

use crate::names::{Name, Pattern};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, TYPE};
use std::net::IpAddr;

/// The octets of a header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// The most octets of a reply over UDP to who does not say how many it takes.
const PLAIN: u16 = 512;
/// The most octets of a reply over UDP that no path fragments (the DNS flag day of 2020).
pub const UNFRAGMENTED: u16 = 1232;

/// Which addresses of a name are asked for: a question of type A or AAAA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The type of its records.
    pub fn kind(self) -> TYPE {
        match self {
            Self::V4 => TYPE::A,
            Self::V6 => TYPE::AAAA,
        }
    }

    /// Whether an address is of it.
    pub fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// All that ever leaves the host of a question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// A permitted name.
    pub name: Name,
    /// Which addresses of it.
    pub family: Family,
}

/// How a question came, which its reply has to repeat.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its number.
    pub id: u16,
    /// As it was written.
    pub question: simple_dns::Question<'static>,
    /// The most octets of the reply.
    pub limit: u16,
    /// Whether it came with EDNS (RFC 6891).
    pub extended: bool,
    /// Whether it asked for recursion.
    pub recursive: bool,
}

/// What is to be done with a packet of the workload's.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It is no question: nobody waits for a reply.
    Ignore,
    /// It cannot be read: the code of the reply is a format error.
    Malformed(u16),
    /// Another name: it goes nowhere. The text is the workload's, in the escapes of RFC 1035.
    Refuse(Asked, String),
    /// A permitted name, and something else than its addresses: there is none.
    Nothing(Asked),
    /// To be answered.
    Answer(Asked, Question),
}

/// Decides on a packet, which may hold anything.
pub fn decide(packet: &[u8], stream: bool, permitted: &[Pattern]) -> Decision {
    let Some(header) = packet.first_chunk::<HEADER>() else {
        return Decision::Ignore;
    };
    let id = u16::from_be_bytes([header[0], header[1]]);
    if header[2] & 0x80 != 0 {
        return Decision::Ignore;
    }
    // Before a parser makes room for as many records as a packet says that it has.
    let counts = [4, 6, 8, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
    let [1, 0, 0, 0..=1] = counts else {
        return Decision::Malformed(id);
    };
    let Ok(packet) = Packet::parse(packet) else {
        return Decision::Malformed(id);
    };
    let [question] = packet.questions.as_slice() else {
        return Decision::Malformed(id);
    };
    if packet.opcode() != OPCODE::StandardQuery {
        return Decision::Malformed(id);
    }
    let size = packet.opt().map(|opt| opt.udp_packet_size);
    let asked = Asked {
        id,
        limit: match size {
            _ if stream => u16::MAX,
            None => PLAIN,
            Some(size) => size.clamp(PLAIN, UNFRAGMENTED),
        },
        extended: size.is_some(),
        recursive: packet.has_flags(PacketFlag::RECURSION_DESIRED),
        question: question.clone().into_owned(),
    };
    let name = Name::from_labels(question.qname.as_bytes());
    let Some(name) = name.filter(|name| permitted.iter().any(|pattern| pattern.permits(name))) else {
        return Decision::Refuse(asked, written(&question.qname));
    };
    let family = match (question.qclass, question.qtype) {
        (QCLASS::CLASS(CLASS::IN), QTYPE::TYPE(TYPE::A)) => Family::V4,
        (QCLASS::CLASS(CLASS::IN), QTYPE::TYPE(TYPE::AAAA)) => Family::V6,
        _ => return Decision::Nothing(asked),
    };
    Decision::Answer(asked, Question { name, family })
}

/// A name for people: what is not printed in a host name is escaped.
fn written(name: &simple_dns::Name<'_>) -> String {
    let labels = name.as_bytes().map(|label| label.escape_ascii().to_string());
    labels.collect::<Vec<_>>().join(".")
}
