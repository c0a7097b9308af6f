//! How much of it a workload can have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many refused names are told one by one in a period.
const NAMED: usize = 32;
/// How long a period is.
const PERIOD: Duration = Duration::from_secs(10);

/// So many at once, and so many a second.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: f64,
    rate: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(burst: u32, rate: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self {
            burst,
            rate: f64::from(rate),
            left: burst,
            at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        self.left = (self.left + since.as_secs_f64() * self.rate).min(self.burst);
        self.at = now;
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let taken = self.left >= 1.0;
        if taken {
            self.left -= 1.0;
        }
        taken
    }

    /// Takes one, on credit if need be: what was received is not thrown away.
    pub(super) fn spend(&mut self, now: Instant) {
        self.fill(now);
        self.left -= 1.0;
    }

    /// When there is one; nothing if there is one now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        let lacking = 1.0 - self.left;
        (lacking > 0.0).then(|| now + Duration::from_secs_f64(lacking / self.rate))
    }
}

/// Refused names, counted: a name is told at once, and how often it came after that at the end of the period.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<String, u64>,
    others: u64,
    ends: Option<Instant>,
}

impl Tally {
    /// Counts a name. True if it is to be told now.
    pub(super) fn count(&mut self, name: &str, now: Instant) -> bool {
        self.ends.get_or_insert(now + PERIOD);
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
            return false;
        }
        if self.counts.len() >= NAMED {
            self.others += 1;
            return false;
        }
        self.counts.insert(name.to_owned(), 0);
        true
    }

    /// When the period ends.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Ends the period: the names that came again and how often, and how often others came.
    pub(super) fn end(&mut self) -> (Vec<(String, u64)>, u64) {
        self.ends = None;
        let counts = std::mem::take(&mut self.counts);
        let again = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        (again, std::mem::take(&mut self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(3, 10, now);
        assert_eq!((0..5).filter(|_| bucket.take(now)).count(), 3);
        let ready = bucket.wait(now).expect("empty");
        assert!(ready > now && ready <= now + Duration::from_millis(101));
        let later = now + Duration::from_millis(550);
        assert_eq!(bucket.wait(later), None);
        assert_eq!((0..9).filter(|_| bucket.take(later)).count(), 3);
    }

    #[test]
    fn a_flood_of_names_is_told_in_few_lines() {
        let now = Instant::now();
        let mut tally = Tally::default();
        let told = (0..1000).filter(|number| tally.count(&format!("n{number}"), now));
        assert_eq!(told.count(), NAMED);
        assert!(!tally.count("n1", now) && !tally.count("n1", now));
        assert_eq!(tally.ends(), Some(now + PERIOD));
        assert_eq!(tally.end(), (vec![("n1".to_owned(), 2)], 1000 - NAMED as u64));
        assert_eq!((tally.ends(), tally.end()), (None, (vec![], 0)));
    }
}
