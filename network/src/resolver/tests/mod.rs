//! The decisions, on packets of any form.

mod live;

use super::answer::{self, Unusable};
use super::question::{Asked, Decision, Family, Question, UNFRAGMENTED, decide};
use super::reply::{Verdict, malformed, reply};
use crate::names::Pattern;
use proptest::prelude::*;
use simple_dns::rdata::{A, AAAA, CNAME, RData, TXT};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

fn permitted(patterns: &[&str]) -> Vec<Pattern> {
    patterns
        .iter()
        .map(|text| text.parse().expect("a pattern"))
        .collect()
}

fn question(name: &str, family: Family) -> Question {
    Question {
        name: name.parse().expect("a name"),
        family,
    }
}

fn ask(id: u16, name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    let name = Name::new(name).expect("a name");
    let question = simple_dns::Question::new(name, kind.into(), CLASS::IN.into(), false);
    packet.questions.push(question);
    packet.build_bytes_vec().expect("a packet")
}

fn record<'a>(owner: &'a str, ttl: u32, data: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(Name::new(owner).expect("a name"), CLASS::IN, ttl, data)
}

fn a(octets: [u8; 4]) -> RData<'static> {
    RData::A(A::from(Ipv4Addr::from(octets)))
}

/// A server's packet for `query`.
fn answered(query: &[u8], records: &[ResourceRecord<'_>]) -> Vec<u8> {
    let query = Packet::parse(query).expect("a query");
    let mut packet = query.clone().into_reply();
    packet.answers.extend_from_slice(records);
    packet.build_bytes_vec_compressed().expect("a packet")
}

#[test]
fn only_the_addresses_of_a_permitted_name_are_asked_for() {
    let names = permitted(&["example.com", "*.test.org"]);
    let decided = |name: &str, kind: TYPE| decide(&ask(7, name, kind), false, &names);
    for (name, kind, family) in [
        ("Example.COM", TYPE::A, Family::V4),
        ("example.com", TYPE::AAAA, Family::V6),
        ("a.b.test.org", TYPE::A, Family::V4),
    ] {
        let lower = name.to_lowercase();
        match decided(name, kind) {
            Decision::Answer(asked, asks) => {
                assert_eq!(asks, question(&lower, family));
                assert_eq!((asked.id, asked.question.qname.to_string().as_str()), (7, name));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for kind in [
        TYPE::TXT,
        TYPE::CNAME,
        TYPE::MX,
        TYPE::SRV,
        TYPE::HTTPS,
        TYPE::NULL,
        TYPE::PTR,
    ] {
        assert!(
            matches!(decided("example.com", kind), Decision::Nothing(_)),
            "{kind:?}"
        );
        assert!(
            matches!(decided("other.com", kind), Decision::Refuse(..)),
            "{kind:?}"
        );
    }
    for name in [
        "test.org",
        "example.com.evil.net",
        "com",
        "xexample.com",
        r"a\.test.org",
        r"a\000.test.org",
    ] {
        assert!(matches!(decided(name, TYPE::A), Decision::Refuse(..)), "{name}");
    }
}

#[test]
fn a_packet_that_promises_more_than_a_question_is_not_read() {
    let names = permitted(&["example.com"]);
    let good = ask(7, "example.com", TYPE::A);
    for (at, byte) in [
        (4, 0xff),
        (5, 2),
        (5, 0),
        (6, 0xff),
        (8, 0xff),
        (10, 0xff),
        (11, 2),
        (2, 0x28),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(
            matches!(decide(&bad, false, &names), Decision::Malformed(7)),
            "{at}"
        );
    }
    let mut reply = good.clone();
    reply[2] |= 0x80;
    assert!(matches!(decide(&reply, false, &names), Decision::Ignore));
    assert!(matches!(decide(&good[..11], false, &names), Decision::Ignore));
    // A name that points to itself.
    let looped = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    assert!(matches!(decide(&looped, false, &names), Decision::Malformed(7)));
}

#[test]
fn our_own_question_holds_the_name_alone() {
    let asks = question("Example.com", Family::V6);
    let query = answer::query(99, &asks).expect("a query");
    let packet = Packet::parse(&query).expect("a packet");
    assert_eq!(packet.questions.len(), 1);
    assert_eq!(packet.questions[0].qname.to_string(), "example.com");
    assert_eq!(packet.questions[0].qtype, QTYPE::TYPE(TYPE::AAAA));
    // A header, a name of 13 octets, type and class, and an empty option record.
    assert_eq!(query.len(), 12 + 13 + 4 + 11);
}

#[test]
fn an_answer_is_followed_through_its_own_names_alone() {
    let asks = question("a.test", Family::V4);
    let query = answer::query(5, &asks).expect("a query");
    let alias = |name: &'static str| RData::CNAME(CNAME(Name::new(name).expect("a name")));
    let packet = answered(
        &query,
        &[
            record("other.test", 60, a([203, 0, 113, 9])),
            record("B.test", 20, alias("c.test")),
            record("A.test", 3600, alias("b.test")),
            record("c.TEST", 3600, a([203, 0, 113, 1])),
            record("c.test", 3600, a([203, 0, 113, 2])),
            record("c.test", 3600, a([203, 0, 113, 1])),
        ],
    );
    let read = answer::read(&packet, 5, &asks).expect("an answer");
    let expected: [IpAddr; 2] = [[203, 0, 113, 1].into(), [203, 0, 113, 2].into()];
    assert_eq!(
        (read.addresses.as_slice(), read.lasts),
        (&expected[..], Duration::from_secs(20))
    );
    let circle = answered(
        &query,
        &[
            record("a.test", 60, alias("b.test")),
            record("b.test", 60, alias("a.test")),
        ],
    );
    assert_eq!(
        answer::read(&circle, 5, &asks).expect("an answer").addresses,
        Vec::<IpAddr>::new()
    );
    for (ttl, lasts) in [(0, 5), (1, 5), (77, 77), (u32::MAX, 300)] {
        let packet = answered(&query, &[record("a.test", ttl, a([203, 0, 113, 1]))]);
        assert_eq!(
            answer::read(&packet, 5, &asks).expect("an answer").lasts,
            Duration::from_secs(lasts)
        );
    }
}

#[test]
fn a_packet_to_another_question_is_no_answer() {
    let asks = question("a.test", Family::V4);
    let query = answer::query(5, &asks).expect("a query");
    let packet = answered(&query, &[record("a.test", 60, a([203, 0, 113, 1]))]);
    assert!(answer::read(&packet, 5, &asks).is_ok());
    assert_eq!(answer::read(&packet, 6, &asks), Err(Unusable::Foreign));
    assert_eq!(
        answer::read(&packet, 5, &question("b.test", Family::V4)),
        Err(Unusable::Foreign)
    );
    assert_eq!(
        answer::read(&packet, 5, &question("a.test", Family::V6)),
        Err(Unusable::Foreign)
    );
    assert_eq!(answer::read(&query, 5, &asks), Err(Unusable::Foreign));
    let with = |at: usize, bits: u8| {
        let mut packet = packet.clone();
        packet[at] |= bits;
        answer::read(&packet, 5, &asks)
    };
    assert_eq!(with(2, 0x02), Err(Unusable::Truncated));
    assert_eq!(with(3, 2), Err(Unusable::Failed));
    assert_eq!(with(3, 5), Err(Unusable::Failed));
    assert!(!with(3, 3).expect("an answer").exists);
}

#[test]
fn a_reply_that_does_not_fit_is_cut_off_and_whole_over_a_stream() {
    let names = permitted(&["example.com"]);
    let many: Vec<IpAddr> = (0..32).map(|last| [203, 0, 113, last].into()).collect();
    let verdict = Verdict::Addresses(many, Duration::from_secs(60));
    let asked = |stream| match decide(&ask(7, "example.com", TYPE::A), stream, &names) {
        Decision::Answer(asked, _) => asked,
        other => panic!("{other:?}"),
    };
    let cut = reply(&asked(false), &verdict);
    assert!(cut.len() <= 512 && cut[2] & 0x02 != 0);
    let whole = reply(&asked(true), &verdict);
    let packet = Packet::parse(&whole).expect("a packet");
    assert_eq!(
        (packet.answers.len(), packet.answers[0].ttl, whole[2] & 0x02),
        (32, 60, 0)
    );
    let mut extended = asked(false);
    (extended.limit, extended.extended) = (UNFRAGMENTED, true);
    assert_eq!(
        Packet::parse(&reply(&extended, &verdict))
            .expect("a packet")
            .answers
            .len(),
        32
    );
    // Why a name is refused is in the reply, for who can read it.
    let refused = reply(&extended, &Verdict::Refused);
    let refused = Packet::parse(&refused).expect("a packet");
    assert_eq!(refused.rcode(), RCODE::NameError);
    assert_eq!(refused.opt().expect("EDNS").opt_codes[0].code, 15);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_are_decided(packet in proptest::collection::vec(any::<u8>(), 0..600), stream: bool) {
        let _ = decide(&packet, stream, &permitted(&["example.com"]));
        let _ = answer::read(&packet, 5, &question("example.com", Family::V4));
    }

    /// A question that is damaged in a few places gets past more checks than noise does.
    #[test]
    fn a_damaged_question_is_decided_and_its_reply_is_a_packet(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        stream: bool,
    ) {
        let mut packet = ask(7, "a.example.com", TYPE::A);
        packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        packet[11] = 1;
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        packet.truncate(cut.index(packet.len()).max(packet.len() / 2));
        let names = permitted(&["*.example.com"]);
        match decide(&packet, stream, &names) {
            Decision::Ignore => {}
            Decision::Malformed(id) => {
                prop_assert!(Packet::parse(&malformed(id)).is_ok());
            }
            Decision::Refuse(asked, _) | Decision::Nothing(asked) => {
                prop_assert!(reply(&asked, &Verdict::Refused).len() <= usize::from(asked.limit));
            }
            Decision::Answer(asked, asks) => {
                prop_assert!(names[0].permits(&asks.name));
                let reply = reply(&asked, &Verdict::Nothing);
                let read = Packet::parse(&reply);
                prop_assert!(read.is_ok_and(|read| read.id() == asked.id && read.questions.len() == 1));
            }
        }
    }

    #[test]
    fn a_damaged_answer_is_read_or_refused(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let asks = question("a.test", Family::V4);
        let query = answer::query(5, &asks).expect("a query");
        let alias = RData::CNAME(CNAME(Name::new("b.test").expect("a name")));
        let mut packet = answered(&query, &[record("a.test", 60, alias), record("b.test", 60, a([203, 0, 113, 1]))]);
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if let Ok(answer) = answer::read(&packet, 5, &asks) {
            prop_assert!(answer.addresses.len() <= answer::MOST);
            prop_assert!(answer.lasts >= Duration::from_secs(5) && answer.lasts <= Duration::from_secs(300));
        }
    }
}

#[test]
fn the_type_of_a_question_is_all_that_is_heard_of_a_text_record() {
    // An answer of another type than asked for has no addresses.
    let asks = question("a.test", Family::V4);
    let query = answer::query(5, &asks).expect("a query");
    let text = RData::TXT(TXT::new().with_string("x").expect("text"));
    let six = RData::AAAA(AAAA::from(std::net::Ipv6Addr::LOCALHOST));
    let packet = answered(&query, &[record("a.test", 60, text), record("a.test", 60, six)]);
    assert_eq!(
        answer::read(&packet, 5, &asks).expect("an answer").addresses,
        Vec::<IpAddr>::new()
    );
}

#[test]
fn an_asked_question_is_a_class_of_the_internet() {
    let names = permitted(&["a.test"]);
    let mut packet = ask(7, "a.test", TYPE::A);
    let last = packet.len() - 1;
    packet[last] = 3;
    match decide(&packet, false, &names) {
        Decision::Nothing(Asked { question, .. }) => assert_ne!(question.qclass, QCLASS::CLASS(CLASS::IN)),
        other => panic!("{other:?}"),
    }
}
