//! What a server of the world says to our own question.

use super::question::{Family, HEADER, Question, UNFRAGMENTED};
use crate::names::Name;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, RCODE};
use std::net::IpAddr;
use std::time::Duration;

/// The most addresses of an answer that anything is done with.
pub const MOST: usize = 32;
/// The most names that one address is behind.
const LONGEST_CHAIN: usize = 16;
/// The most records of an answer that is read at all.
const MOST_RECORDS: u16 = 512;
/// How long an answer holds, at least: whoever sets a time of nothing has us ask for each connection.
const SHORTEST: Duration = Duration::from_secs(5);
/// And at most: the rules follow a name that has moved no later.
const LONGEST: Duration = Duration::from_secs(300);
/// How long it holds that there is nothing.
const NOTHING: Duration = Duration::from_secs(10);

/// An answer that is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The addresses of the name, or of the name that it is another one for.
    pub addresses: Vec<IpAddr>,
    /// Whether there is such a name at all.
    pub exists: bool,
    /// How long it holds.
    pub lasts: Duration,
}

/// A packet that is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// To another question, or forged: the answer may still come.
    Foreign,
    /// Cut off: to be asked for over TCP.
    Truncated,
    /// The server cannot or will not answer: another one may.
    Failed,
}

/// Our own question: nothing of the workload's packet is in it but the name.
pub fn query(id: u16, question: &Question) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(simple_dns::Question::new(
        simple_dns::Name::new(question.name.as_str()).ok()?,
        question.family.kind().into(),
        CLASS::IN.into(),
        false,
    ));
    *packet.opt_mut() = Some(OPT {
        opt_codes: Vec::new(),
        udp_packet_size: UNFRAGMENTED,
        version: 0,
    });
    packet.build_bytes_vec().ok()
}

/// Reads a packet from the server that was asked `question` under `id`.
///
/// # Errors
/// Why it is no answer.
pub fn read(packet: &[u8], id: u16, question: &Question) -> Result<Answer, Unusable> {
    let header = packet.first_chunk::<HEADER>().ok_or(Unusable::Foreign)?;
    if header[..2] != id.to_be_bytes() || header[2] & 0x80 == 0 {
        return Err(Unusable::Foreign);
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(4) > 1 || [6, 8, 10].into_iter().any(|at| count(at) > MOST_RECORDS) {
        return Err(Unusable::Failed);
    }
    if header[2] & 0x02 != 0 {
        return Err(Unusable::Truncated);
    }
    let code = RCODE::from(u16::from(header[3] & 0x0f));
    let packet = Packet::parse(packet).map_err(|_| Unusable::Failed)?;
    match packet.questions.as_slice() {
        [asked] if is_ours(asked, question) => {}
        // Some leave it out when they refuse.
        [] if code != RCODE::NoError && code != RCODE::NameError => {}
        _ => return Err(Unusable::Foreign),
    }
    match code {
        RCODE::NoError => Ok(follow(&packet, question)),
        RCODE::NameError => Ok(Answer {
            addresses: Vec::new(),
            exists: false,
            lasts: NOTHING,
        }),
        _ => Err(Unusable::Failed),
    }
}

fn is_ours(asked: &simple_dns::Question<'_>, question: &Question) -> bool {
    Name::from_labels(asked.qname.as_bytes()).as_ref() == Some(&question.name)
        && asked.qtype == QTYPE::TYPE(question.family.kind())
        && asked.qclass == QCLASS::CLASS(CLASS::IN)
}

/// Follows the name from one canonical name to the next, inside of the answer alone: no name that the world
/// gives is ever asked for.
fn follow(packet: &Packet<'_>, question: &Question) -> Answer {
    let mut owner = match simple_dns::Name::new(question.name.as_str()) {
        Ok(name) => name,
        Err(_) => return nothing(),
    };
    let mut lasts = LONGEST;
    for _ in 0..LONGEST_CHAIN {
        let mut next = None;
        let mut addresses = Vec::new();
        let of_owner = |name: &simple_dns::Name<'_>| same(name, &owner);
        for record in packet.answers.iter().filter(|record| of_owner(&record.name)) {
            let address = match (&record.rdata, question.family) {
                (RData::A(a), Family::V4) => IpAddr::V4(a.address.into()),
                (RData::AAAA(aaaa), Family::V6) => IpAddr::V6(aaaa.address.into()),
                (RData::CNAME(name), _) => {
                    lasts = lasts.min(Duration::from_secs(record.ttl.into()));
                    next = next.or(Some(name.0.clone()));
                    continue;
                }
                _ => continue,
            };
            lasts = lasts.min(Duration::from_secs(record.ttl.into()));
            if !addresses.contains(&address) && addresses.len() < MOST {
                addresses.push(address);
            }
        }
        if !addresses.is_empty() {
            return Answer {
                addresses,
                exists: true,
                lasts: lasts.max(SHORTEST),
            };
        }
        match next {
            Some(name) => owner = name,
            None => break,
        }
    }
    nothing()
}

fn nothing() -> Answer {
    Answer {
        addresses: Vec::new(),
        exists: true,
        lasts: NOTHING,
    }
}

fn same(one: &simple_dns::Name<'_>, other: &simple_dns::Name<'_>) -> bool {
    one.as_bytes().count() == other.as_bytes().count()
        && one
            .as_bytes()
            .zip(other.as_bytes())
            .all(|(one, other)| one.eq_ignore_ascii_case(other))
}
