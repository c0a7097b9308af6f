//! What the workload hears: packets that are made here from nothing but its own question and addresses.

use super::question::{Asked, UNFRAGMENTED};
use simple_dns::rdata::{A, AAAA, OPT, OPTCode, RData};
use simple_dns::{CLASS, Packet, PacketFlag, RCODE, ResourceRecord};
use std::net::IpAddr;
use std::time::Duration;

/// The option of EDNS that says why (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The addresses, and how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// The name is there, and has no such thing.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// Another name. Programs give up at once on a name that is not there, and try again on a refusal.
    Refused,
    /// All addresses are of this host, or not public.
    Filtered,
    /// No server answers, or the rules could not be changed.
    Failed,
}

impl Verdict {
    fn code(&self) -> RCODE {
        match self {
            Self::Addresses(..) | Self::Nothing | Self::Filtered => RCODE::NoError,
            Self::NoSuchName | Self::Refused => RCODE::NameError,
            Self::Failed => RCODE::ServerFailure,
        }
    }

    /// The reason, as RFC 8914 numbers it, and for people.
    fn reason(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Refused => Some((18, "not permitted by --egress-domain")),
            Self::Filtered => Some((
                17,
                "addresses that are not public: only --egress-allow permits them",
            )),
            Self::Failed => Some((22, "no server answers, or the rules could not be changed")),
            _ => None,
        }
    }
}

/// The reply to a question.
pub fn reply(asked: &Asked, verdict: &Verdict) -> Vec<u8> {
    let whole = packet(asked, verdict, false);
    if whole.len() <= usize::from(asked.limit) {
        return whole;
    }
    packet(asked, &Verdict::Nothing, true)
}

fn packet(asked: &Asked, verdict: &Verdict, truncated: bool) -> Vec<u8> {
    let mut packet = Packet::new_reply(asked.id);
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if asked.recursive {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if truncated {
        packet.set_flags(PacketFlag::TRUNCATION);
    }
    *packet.rcode_mut() = verdict.code();
    packet.questions.push(asked.question.clone());
    if let Verdict::Addresses(addresses, lasts) = verdict {
        let ttl = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
        let record = |address: &IpAddr| {
            let data = match address {
                IpAddr::V4(address) => RData::A(A::from(*address)),
                IpAddr::V6(address) => RData::AAAA(AAAA::from(*address)),
            };
            ResourceRecord::new(asked.question.qname.clone(), CLASS::IN, ttl, data)
        };
        packet.answers.extend(addresses.iter().map(record));
    }
    *packet.opt_mut() = asked.extended.then(|| OPT {
        opt_codes: verdict.reason().into_iter().map(option).collect(),
        udp_packet_size: UNFRAGMENTED,
        version: 0,
    });
    // Only a name that is too long could fail, and it was read from a packet.
    packet
        .build_bytes_vec_compressed()
        .unwrap_or_else(|_| malformed(asked.id))
}

fn option((code, text): (u16, &str)) -> OPTCode<'static> {
    let mut data = code.to_be_bytes().to_vec();
    data.extend_from_slice(text.as_bytes());
    OPTCode {
        code: EXTENDED_ERROR,
        data: data.into(),
    }
}

/// The reply to what cannot be read: a header alone that says so.
pub fn malformed(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![high, low, 0x80, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]
}
