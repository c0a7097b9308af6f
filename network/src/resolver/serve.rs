//! The resolver's one loop: it waits for the workload, the servers and the clock, and never for one of them alone.

use super::answer::Answer;
use super::cache::Cache;
use super::clients::{Client, Clients};
use super::flight::{Flight, Progress};
use super::limit::{Bucket, Tally};
use super::question::{Asked, Decision, Question, decide};
use super::reply::{Verdict, malformed, reply};
use super::settle::{Outcome, Permitted, settle};
use super::{Config, Report, Sockets};
use crate::admit::Admit;
use crate::own;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many questions are on their way at most.
const MOST_FLIGHTS: usize = 64;
/// How many of the workload wait for the same answer at most.
const MOST_WAITERS: usize = 16;
/// Questions of the workload that are looked at: at once, and a second. More stay in the kernel, which drops them:
/// this thread's time is the host's.
const ASKED: (u32, u32) = (500, 1000);
/// Questions to the servers: at once, and a second. More are not answered.
const SENT: (u32, u32) = (64, 50);

/// Answers until `until` can be read or is closed.
///
/// # Errors
/// As poll(2), or this host's own addresses cannot be read.
pub fn serve(
    config: &Config,
    sockets: Sockets,
    admit: &mut dyn Admit,
    report: &mut dyn FnMut(Report),
    until: BorrowedFd<'_>,
) -> io::Result<()> {
    let now = Instant::now();
    let mut serving = Serving {
        config,
        admit,
        report,
        clients: Clients::new(sockets),
        flights: Vec::new(),
        cache: Cache::default(),
        permitted: Permitted::default(),
        asked: Bucket::new(ASKED.0, ASKED.1, now),
        sent: Bucket::new(SENT.0, SENT.1, now),
        tally: Tally::default(),
    };
    let ended = loop {
        match serving.turn(until) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    serving.end_of_period();
    ended
}

struct Serving<'a> {
    config: &'a Config,
    admit: &'a mut dyn Admit,
    report: &'a mut dyn FnMut(Report),
    clients: Clients,
    flights: Vec<(Flight, Vec<Waiter>)>,
    cache: Cache,
    permitted: Permitted,
    asked: Bucket,
    sent: Bucket,
    tally: Tally,
}

type Waiter = (Client, Asked);

/// Questions that came back, and their answers where there are any.
#[derive(Default)]
struct Landed {
    questions: Vec<(Question, Vec<Waiter>)>,
    answers: Vec<Option<Answer>>,
}

impl Serving<'_> {
    /// One round; false when it is over.
    fn turn(&mut self, until: BorrowedFd<'_>) -> io::Result<bool> {
        let Some((clients, flights)) = self.wait(until)? else {
            return Ok(false);
        };
        let now = Instant::now();
        for (client, packet) in self.clients.receive(&clients, now) {
            self.asked.spend(now);
            self.hear(client, &packet, now);
        }
        for question in self.cache.due(now) {
            let flying = self.flights.iter().any(|(flight, _)| flight.question == question);
            if !flying && !self.launch(question.clone(), Vec::new(), now) {
                self.cache.postpone(&question, now);
            }
        }
        let landed = self.proceed(&flights, now);
        if !landed.questions.is_empty() {
            self.settle(landed, now)?;
        }
        if self.tally.ends().is_some_and(|end| end <= now) {
            self.end_of_period();
        }
        Ok(true)
    }

    /// Waits, and tells which clients and which flights are ready; nothing when it is over.
    fn wait(&mut self, until: BorrowedFd<'_>) -> io::Result<Option<(Vec<bool>, Vec<bool>)>> {
        let now = Instant::now();
        let flooded = self.asked.wait(now);
        let clients = match flooded {
            None => self.clients.awaited(),
            Some(_) => Vec::new(),
        };
        let flights = self.flights.iter().map(|(flight, _)| flight.awaits());
        let mut fds = vec![PollFd::from_borrowed_fd(until, PollFlags::IN)];
        let listened = clients.len();
        fds.extend(clients);
        fds.extend(flights.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let times = [
            flooded,
            self.clients.deadline(),
            self.cache.next(),
            self.tally.ends(),
        ];
        let flights = self.flights.iter().map(|(flight, _)| flight.deadline());
        let first = times.into_iter().flatten().chain(flights).min();
        let left = first.map(|first| first.saturating_duration_since(now) + Duration::from_millis(1));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return Ok(None);
        }
        let clients = ready.by_ref().take(listened).collect();
        Ok(Some((clients, ready.collect())))
    }

    fn hear(&mut self, client: Client, packet: &[u8], now: Instant) {
        let stream = matches!(client, Client::Stream(_));
        match decide(packet, stream, &self.config.names) {
            Decision::Ignore => {}
            Decision::Malformed(id) => self.clients.send(client, &malformed(id)),
            Decision::Nothing(asked) => self.say(client, &asked, &Verdict::Nothing),
            Decision::Refuse(asked, name) => {
                self.say(client, &asked, &Verdict::Refused);
                if self.tally.count(&name, now) {
                    let name = Some(name);
                    (self.report)(Report::Refused { name, count: 1 });
                }
            }
            Decision::Answer(asked, question) => match self.cache.look(&question, now) {
                Some(verdict) => self.say(client, &asked, &verdict),
                None => self.ask(client, asked, question, now),
            },
        }
    }

    fn say(&mut self, client: Client, asked: &Asked, verdict: &Verdict) {
        self.clients.send(client, &reply(asked, verdict));
    }

    fn ask(&mut self, client: Client, asked: Asked, question: Question, now: Instant) {
        let mut flights = self.flights.iter_mut();
        if let Some((_, waiters)) = flights.find(|(flight, _)| flight.question == question) {
            // One more has lost a packet: it will ask again.
            if waiters.len() < MOST_WAITERS {
                waiters.push((client, asked));
            }
            return;
        }
        let waiter = (client, asked.clone());
        if !self.launch(question, vec![waiter], now) {
            self.say(client, &asked, &Verdict::Failed);
        }
    }

    /// False if the question cannot be sent now.
    fn launch(&mut self, question: Question, waiters: Vec<Waiter>, now: Instant) -> bool {
        if self.flights.len() >= MOST_FLIGHTS || !self.sent.take(now) {
            return false;
        }
        let flight = Flight::launch(question, &self.config.servers, now);
        let launched = flight.is_some();
        self.flights.extend(flight.map(|flight| (flight, waiters)));
        launched
    }

    fn proceed(&mut self, ready: &[bool], now: Instant) -> Landed {
        let mut landed = Landed::default();
        let mut flying = Vec::with_capacity(self.flights.len());
        for (index, (mut flight, waiters)) in self.flights.drain(..).enumerate() {
            let progress = if ready.get(index) == Some(&true) || flight.deadline() <= now {
                flight.proceed(&self.config.servers, now)
            } else {
                Progress::Waiting
            };
            let answer = match progress {
                Progress::Waiting => {
                    flying.push((flight, waiters));
                    continue;
                }
                Progress::Landed(answer) => Some(answer),
                Progress::Lost => None,
            };
            landed.questions.push((flight.question, waiters));
            landed.answers.push(answer);
        }
        self.flights = flying;
        landed
    }

    /// Changes the rules for all that has come, in one transaction, and then tells the workload.
    fn settle(&mut self, landed: Landed, now: Instant) -> io::Result<()> {
        let own = own::addresses()?;
        let networks = &self.config.networks;
        let settled = settle(&landed.answers, networks, &own, &self.permitted, now);
        let changed = settled.wanted.is_empty() || self.change(&settled.wanted, now);
        let outcomes = settled.told(changed).into_iter().zip(landed.answers);
        for ((question, waiters), (outcome, answer)) in landed.questions.into_iter().zip(outcomes) {
            self.learn(&question, &outcome, answer, now);
            for (client, asked) in waiters {
                self.say(client, &asked, &outcome.verdict);
            }
        }
        Ok(())
    }

    fn change(&mut self, wanted: &[(IpAddr, Duration)], now: Instant) -> bool {
        match self.admit.admit(wanted) {
            Ok(()) => {
                self.permitted.change(wanted, now);
                true
            }
            Err(error) => {
                (self.report)(Report::NotAdmitted(error));
                false
            }
        }
    }

    /// What may be told is remembered.
    fn learn(&mut self, question: &Question, outcome: &Outcome, answer: Option<Answer>, now: Instant) {
        let Outcome { verdict, filtered } = outcome;
        let Some(Answer { lasts, .. }) = answer.filter(|_| *verdict != Verdict::Failed) else {
            self.cache.postpone(question, now);
            return;
        };
        if !self.cache.keep(question.clone(), verdict.clone(), lasts, now) {
            return;
        }
        let name = &question.name;
        if let Verdict::Addresses(addresses, lasts) = verdict {
            (self.report)(Report::Resolved {
                name: name.clone(),
                addresses: addresses.clone(),
                lasts: *lasts,
            });
        }
        if !filtered.is_empty() {
            (self.report)(Report::Filtered {
                name: name.clone(),
                addresses: filtered.clone(),
            });
        }
    }

    fn end_of_period(&mut self) {
        let (again, others) = self.tally.end();
        for (name, count) in again {
            let name = Some(name);
            (self.report)(Report::Refused { name, count });
        }
        if others > 0 {
            (self.report)(Report::Refused {
                name: None,
                count: others,
            });
        }
    }
}
