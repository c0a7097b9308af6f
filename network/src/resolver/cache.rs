//! What is known of the names that were asked for, and when to ask again. `formal/bindings/cache.rs` holds it against
//! `formal/specs/Egress.tla`.

use crate::resolver::question::Question;
use crate::resolver::reply::Verdict;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many questions are remembered. With a pattern the workload can make up any number.
const MOST: usize = 256;
/// How long to wait with the next try when no server has answered.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Entry {
    verdict: Verdict,
    until: Instant,
    /// Names without addresses are not asked for again.
    refresh: Option<Instant>,
    asked: Instant,
}

/// Answers that hold, and those to be asked for again.
#[derive(Debug, Default)]
pub struct Cache {
    entries: BTreeMap<Question, Entry>,
}

impl Cache {
    /// What is known, with the time that it still holds.
    pub fn look(&mut self, question: &Question, now: Instant) -> Option<Verdict> {
        let entry = self.entries.get_mut(question)?;
        entry.asked = now;
        let left = entry.until.saturating_duration_since(now);
        // Times are whole seconds on the wire, and a time of nothing would be kept by nobody.
        if left < Duration::from_secs(1) {
            return None;
        }
        Some(match &entry.verdict {
            Verdict::Addresses(addresses, _) => Verdict::Addresses(addresses.clone(), left),
            other => other.clone(),
        })
    }

    /// Remembers an answer. True if it differs from what was known.
    pub fn keep(&mut self, question: Question, verdict: Verdict, lasts: Duration, now: Instant) -> bool {
        let has_addresses = matches!(verdict, Verdict::Addresses(..));
        let old = self.entries.remove(&question);
        let is_new = match (old.as_ref().map(|old| &old.verdict), &verdict) {
            (Some(Verdict::Addresses(old, _)), Verdict::Addresses(new, _)) => {
                old.len() != new.len() || !new.iter().all(|address| old.contains(address))
            }
            (old, new) => old != Some(new),
        };
        if self.entries.len() >= MOST {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.asked);
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                self.entries.remove(&oldest);
            }
        }
        let entry = Entry {
            verdict,
            until: now + lasts,
            // A quarter of the time is left to servers that are slow.
            refresh: has_addresses.then(|| now + lasts * 3 / 4),
            asked: old.map_or(now, |old| old.asked),
        };
        self.entries.insert(question, entry);
        is_new
    }

    /// Puts off what could not be asked for again.
    pub fn postpone(&mut self, question: &Question, now: Instant) {
        if let Some(entry) = self.entries.get_mut(question) {
            entry.refresh = entry.refresh.map(|_| now + AGAIN);
        }
    }

    /// The questions to be asked again now; forgets what is over.
    pub fn due(&mut self, now: Instant) -> Vec<Question> {
        self.entries
            .retain(|_, entry| entry.refresh.is_some() || entry.until > now);
        let due = |entry: &Entry| entry.refresh.is_some_and(|refresh| refresh <= now);
        let due = self.entries.iter().filter(|(_, entry)| due(entry));
        due.map(|(question, _)| question.clone()).collect()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.refresh).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::question::Family;

    fn question(name: &str) -> Question {
        Question {
            name: name.parse().expect("a name"),
            family: Family::V4,
        }
    }

    fn addresses(last: u8) -> Verdict {
        Verdict::Addresses(vec![[203, 0, 113, last].into()], Duration::from_secs(60))
    }

    #[test]
    fn an_answer_holds_for_its_time_and_is_asked_for_again_before() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let minute = Duration::from_secs(60);
        assert!(cache.keep(question("a.test"), addresses(1), minute, now));
        let later = now + Duration::from_secs(30);
        let left = cache.look(&question("a.test"), later);
        assert!(matches!(left, Some(Verdict::Addresses(_, left)) if left == minute / 2));
        assert!(cache.due(later).is_empty());
        assert_eq!(cache.next(), Some(now + minute * 3 / 4));
        assert_eq!(cache.due(now + minute * 3 / 4), [question("a.test")]);
        cache.postpone(&question("a.test"), now + minute * 3 / 4);
        assert_eq!(cache.next(), Some(now + minute * 3 / 4 + AGAIN));
        assert_eq!(cache.look(&question("a.test"), now + minute), None);
        assert!(!cache.keep(question("a.test"), addresses(1), minute, later));
        assert!(cache.keep(question("a.test"), addresses(2), minute, later));
    }

    #[test]
    fn what_is_not_there_is_forgotten() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(
            question("a.test"),
            Verdict::NoSuchName,
            Duration::from_secs(10),
            now,
        );
        assert_eq!(cache.look(&question("a.test"), now), Some(Verdict::NoSuchName));
        assert!(cache.due(now + Duration::from_secs(10)).is_empty());
        assert_eq!((cache.next(), cache.entries.len()), (None, 0));
    }

    #[test]
    fn made_up_names_drive_out_the_one_that_was_asked_for_longest_ago() {
        let (mut cache, mut now) = (Cache::default(), Instant::now());
        let hour = Duration::from_secs(3600);
        for number in 0..MOST {
            now += Duration::from_millis(1);
            cache.keep(question(&format!("n{number}.test")), addresses(1), hour, now);
        }
        assert!(cache.look(&question("n0.test"), now).is_some());
        cache.keep(question("more.test"), addresses(1), hour, now);
        assert_eq!(cache.entries.len(), MOST);
        assert!(cache.look(&question("n0.test"), now).is_some());
        assert!(cache.look(&question("n1.test"), now).is_none());
    }
}
