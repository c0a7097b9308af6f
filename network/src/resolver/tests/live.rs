//! The loop against a server of this test's own, on this host's loopback.

use super::{answered, ask, permitted, record};
use crate::admit::{Admit, NotAdmitted};
use crate::resolver::{Config, Report, Resolver, Sockets, answer};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{Packet, QTYPE, RCODE, TYPE};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A world of one server: what a name has is changed by the test, and what was asked is counted.
#[derive(Clone, Default)]
struct World {
    addresses: Arc<Mutex<Vec<IpAddr>>>,
    asked: Arc<Mutex<Vec<(String, bool)>>>,
    truncates: bool,
    silent: bool,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "nothing is forked here")]
    fn start(self) -> SocketAddr {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = udp.local_addr().expect("an address");
        let tcp = TcpListener::bind(address).expect("a socket");
        let world = self.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while let Ok((length, peer)) = udp.recv_from(&mut packet) {
                let reply = world.reply(&packet[..length], false);
                if !world.silent {
                    udp.send_to(&reply, peer).expect("send");
                }
            }
        });
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for stream in tcp.incoming() {
                let mut stream = stream.expect("a connection");
                let mut packet = [0; 2048];
                let length = stream.read(&mut packet).expect("a question");
                let reply = self.reply(&packet[2..length], true);
                // In two pieces, as a network may deliver it.
                let whole = [
                    &u16::try_from(reply.len()).expect("short").to_be_bytes()[..],
                    &reply,
                ]
                .concat();
                stream.write_all(&whole[..7]).expect("write");
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(&whole[7..]).expect("write");
            }
        });
        address
    }

    fn reply(&self, query: &[u8], stream: bool) -> Vec<u8> {
        let packet = Packet::parse(query).expect("a packet");
        let question = &packet.questions[0];
        let name = question.qname.to_string();
        self.asked.lock().expect("lock").push((name.clone(), stream));
        let addresses = self.addresses.lock().expect("lock").clone();
        let four = question.qtype == QTYPE::TYPE(TYPE::A);
        let records: Vec<_> = addresses
            .iter()
            .filter(|address| address.is_ipv4() == four)
            .map(|address| match address {
                IpAddr::V4(address) => record(&name, 1, RData::A(A::from(*address))),
                IpAddr::V6(address) => record(&name, 1, RData::AAAA(AAAA::from(*address))),
            })
            .collect();
        let mut reply = answered(query, &records);
        if self.truncates && !stream {
            reply = answered(query, &[]);
            reply[2] |= 0x02;
        }
        reply
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("lock").len()
    }
}

/// Rules that remember what they were told, or refuse.
#[derive(Clone, Default)]
struct Rules {
    admitted: Arc<Mutex<Vec<(IpAddr, Duration)>>>,
    refuse: bool,
}

impl Admit for Rules {
    fn admit(&mut self, addresses: &[(IpAddr, Duration)]) -> Result<(), NotAdmitted> {
        if self.refuse {
            return Err(NotAdmitted("refused".into()));
        }
        self.admitted.lock().expect("lock").extend_from_slice(addresses);
        Ok(())
    }
}

/// A resolver on ports of this host that nobody else has.
struct Bed {
    resolver: Option<Resolver>,
    at: SocketAddr,
    reports: Arc<Mutex<Vec<String>>>,
}

fn bed(names: &[&str], servers: Vec<SocketAddr>, rules: &Rules) -> Bed {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at = udp.local_addr().expect("an address");
    let tcp = TcpListener::bind(at).expect("a socket");
    udp.set_nonblocking(true).expect("fcntl");
    tcp.set_nonblocking(true).expect("fcntl");
    let sockets = Sockets {
        udp: vec![udp],
        tcp: vec![tcp],
    };
    let config = Config {
        names: permitted(names),
        networks: Vec::new(),
        servers,
    };
    let reports = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&reports);
    let report = move |report: Report| told.lock().expect("lock").push(format!("{report:?}"));
    let resolver = Resolver::start(config, sockets, Box::new(rules.clone()), report).expect("start");
    Bed {
        resolver: Some(resolver),
        at,
        reports,
    }
}

impl Bed {
    fn ask(&self, name: &str, kind: TYPE) -> (RCODE, Vec<IpAddr>) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.at).expect("connect");
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a time-out");
        socket.send(&ask(3, name, kind)).expect("send");
        let mut packet = [0; 2048];
        let length = socket.recv(&mut packet).expect("a reply");
        let packet = Packet::parse(&packet[..length]).expect("a packet");
        let addresses = packet.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => IpAddr::V4(a.address.into()),
            RData::AAAA(aaaa) => IpAddr::V6(aaaa.address.into()),
            other => panic!("{other:?}"),
        });
        (packet.rcode(), addresses.collect())
    }
}

fn one(text: &str) -> Vec<IpAddr> {
    vec![text.parse().expect("an address")]
}

#[test]
fn the_rules_know_an_address_before_the_workload_and_follow_the_name() {
    let (world, rules) = (World::default(), Rules::default());
    *world.addresses.lock().expect("lock") = one("203.0.113.1");
    let bed = bed(&["a.test"], vec![world.clone().start()], &rules);
    assert_eq!(bed.ask("a.test", TYPE::A), (RCODE::NoError, one("203.0.113.1")));
    let admitted = rules.admitted.lock().expect("lock").clone();
    assert_eq!(admitted, [(one("203.0.113.1")[0], Duration::from_secs(65))]);
    // Known: neither the server nor the rules hear of it again.
    assert_eq!(bed.ask("A.Test", TYPE::A), (RCODE::NoError, one("203.0.113.1")));
    assert_eq!(
        (world.asked(), rules.admitted.lock().expect("lock").len()),
        (1, 1)
    );
    *world.addresses.lock().expect("lock") = one("203.0.113.2");
    let deadline = Instant::now() + Duration::from_secs(10);
    while rules.admitted.lock().expect("lock").len() < 2 {
        assert!(Instant::now() < deadline, "the name was not asked for again");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(bed.ask("a.test", TYPE::A), (RCODE::NoError, one("203.0.113.2")));
    // The end of the process's resolver is the end of its socket.
    let at = bed.at;
    drop(bed.resolver);
    UdpSocket::bind(at).expect("free");
}

#[test]
fn what_is_not_permitted_never_reaches_a_server() {
    let (world, rules) = (World::default(), Rules::default());
    *world.addresses.lock().expect("lock") = vec![
        [127, 0, 0, 1].into(),
        [10, 0, 0, 1].into(),
        "fd00::1".parse().expect("v6"),
    ];
    let mut bed = bed(&["a.test", "*.b.test"], vec![world.clone().start()], &rules);
    for name in ["other.test", "b.test", "a.test.evil"] {
        assert_eq!(bed.ask(name, TYPE::A), (RCODE::NameError, vec![]), "{name}");
    }
    assert_eq!(
        bed.ask("secret-data.a.test", TYPE::TXT),
        (RCODE::NameError, vec![])
    );
    assert_eq!(bed.ask("a.test", TYPE::TXT), (RCODE::NoError, vec![]));
    assert_eq!(world.asked(), 0);
    // Private addresses: asked for, and neither told nor admitted.
    assert_eq!(bed.ask("a.test", TYPE::A), (RCODE::NoError, vec![]));
    assert_eq!(bed.ask("x.b.test", TYPE::AAAA), (RCODE::NoError, vec![]));
    assert_eq!(
        (world.asked(), rules.admitted.lock().expect("lock").len()),
        (2, 0)
    );
    for _ in 0..5 {
        bed.ask("other.test", TYPE::A);
    }
    bed.resolver = None;
    let reports = bed.reports.lock().expect("lock").join("\n");
    for expected in [
        "Refused { name: Some(\"b.test\"), count: 1 }",
        "Refused { name: Some(\"other.test\"), count: 5 }",
        "Filtered",
    ] {
        assert!(reports.contains(expected), "{expected}: {reports}");
    }
}

#[test]
fn refused_rules_are_a_failed_question() {
    let world = World::default();
    *world.addresses.lock().expect("lock") = one("203.0.113.1");
    let rules = Rules {
        refuse: true,
        ..Rules::default()
    };
    let bed = bed(&["a.test"], vec![world.start()], &rules);
    assert_eq!(bed.ask("a.test", TYPE::A), (RCODE::ServerFailure, vec![]));
    assert!(bed.reports.lock().expect("lock")[0].contains("NotAdmitted"));
}

#[test]
fn a_silent_server_is_passed_over_and_a_cut_answer_fetched_whole() {
    let silent = World {
        silent: true,
        ..World::default()
    };
    let world = World {
        truncates: true,
        ..World::default()
    };
    *world.addresses.lock().expect("lock") = (0..40).map(|last| [203, 0, 113, last].into()).collect();
    let rules = Rules::default();
    // A port that nobody listens on, one that is silent, and one that answers.
    let closed = UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port");
    let bed = bed(
        &["a.test"],
        vec![closed, silent.clone().start(), world.clone().start()],
        &rules,
    );
    let begun = Instant::now();
    // Too long for UDP without EDNS; what counts is that it came at all.
    let (code, _) = bed.ask("a.test", TYPE::A);
    assert_eq!((code, silent.asked()), (RCODE::NoError, 1));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        world
            .asked
            .lock()
            .expect("lock")
            .iter()
            .map(|(_, stream)| *stream)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(rules.admitted.lock().expect("lock").len(), answer::MOST);
    let reply = over_tcp(bed.at, "a.test");
    assert_eq!(
        Packet::parse(&reply).expect("a packet").answers.len(),
        answer::MOST
    );
}

fn over_tcp(at: SocketAddr, name: &str) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(at).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time-out");
    let query = ask(9, name, TYPE::A);
    let length = u16::try_from(query.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length[..], &query].concat()).expect("write");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).expect("a reply");
    reply
}

#[test]
fn a_flood_neither_starves_nor_grows_the_resolver() {
    let (world, rules) = (World::default(), Rules::default());
    *world.addresses.lock().expect("lock") = one("203.0.113.1");
    let bed = bed(&["*.b.test"], vec![world.clone().start()], &rules);
    // Connections that say nothing, more than it keeps.
    let silent: Vec<_> = (0..40)
        .map(|_| std::net::TcpStream::connect(bed.at).expect("connect"))
        .collect();
    let flood = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    flood.connect(bed.at).expect("connect");
    for number in 0..3000 {
        let _ = flood.send(&ask(number, &format!("n{number}.b.test"), TYPE::A));
        let _ = flood.send(&ask(number, &format!("{}.other.test", "x".repeat(60)), TYPE::TXT));
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = over_tcp(bed.at, "last.b.test");
        let packet = Packet::parse(&reply).expect("a packet");
        if packet.rcode() == RCODE::NoError && packet.answers.len() == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{packet:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What it asked of the world is bounded, whatever was asked of it.
    assert!(world.asked() < 64 + 50 * 11, "{}", world.asked());
    assert!(bed.reports.lock().expect("lock").len() < 64 + 50 * 11 + 40);
    drop(silent);
}
