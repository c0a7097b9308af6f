//! Threads that hash the files of a tree, and take turns in walking through it: who has nothing to hash walks on.
//! The results come in the tree's order, and a bounded number of them waits.

use super::lanes::Lanes;
use super::tree::RegularFile;
use super::{Difference, Progress};
use crate::digest::Digest;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::Builder;

/// The most jobs that a thread takes at once while files are large: the others get their share of the last ones.
const SHARE: usize = 8;
/// How many jobs a thread takes beyond those in work while files are small: it does not often wait for another
/// thread that walks.
const AT_HAND: usize = 16;
/// The most results that may wait for the first of them: one that has a large file holds up the others.
const AHEAD: usize = 64 << 10;
/// More threads would need more descriptors than a process usually has: 1024. A thread has 16 files,
/// 16 more at hand, the directories of both, and the walk one for each level.
const MOST_THREADS: usize = 12;

/// A file to be hashed, and what its digest is for.
pub(super) trait Job: Send {
    /// What becomes of it.
    type Result: Send;

    /// Opens the file; `None` if there is nothing to hash.
    fn open(&mut self) -> Option<RegularFile>;

    /// What becomes of it; without a digest where there was nothing to hash.
    fn finish(self, digest: Option<Result<Digest, Difference>>) -> Vec<Self::Result>;
}

/// Where jobs come from.
pub(super) trait Source: Send {
    /// What it gives.
    type Job: Job;
    /// Why it cannot go on.
    type Error: Send;

    /// Adds what comes next, which may be nothing; `false` at the end.
    ///
    /// # Errors
    /// The first one ends it all.
    fn advance(&mut self, next: &mut Next<Self::Job>) -> Result<bool, Self::Error>;
}

/// What a source gives, in its order.
pub(super) struct Next<J: Job> {
    items: Vec<Item<J>>,
    jobs: usize,
}

/// A job, or a result that needs no work.
enum Item<J: Job> {
    Job(J),
    Result(J::Result),
}

impl<J: Job> Default for Next<J> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            jobs: 0,
        }
    }
}

impl<J: Job> Next<J> {
    /// Adds a job.
    pub(super) fn job(&mut self, job: J) {
        self.items.push(Item::Job(job));
        self.jobs += 1;
    }

    /// Adds a result, behind those of the jobs before it.
    pub(super) fn result(&mut self, result: J::Result) {
        self.items.push(Item::Result(result));
    }
}

/// What becomes of jobs, each with its place in the order.
pub(super) type Done<J> = Vec<(usize, Vec<<J as Job>::Result>)>;

type Take<'t, S> =
    dyn FnMut(<<S as Source>::Job as Job>::Result) -> Result<(), <S as Source>::Error> + Send + 't;

/// Does the jobs of a source by `threads` threads (0: as many as there are processors), of which this is one.
/// `take` is given all results in the order of their jobs, by any of the threads.
///
/// # Errors
/// The first that the source or `take` returns.
pub(super) fn ordered<S: Source>(
    threads: usize,
    progress: Option<&Progress>,
    source: S,
    take: &mut Take<'_, S>,
) -> Result<S, S::Error> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
    .min(MOST_THREADS);
    let pool = Pool {
        walk: Mutex::new(Walk {
            source,
            given: 0,
            ended: false,
        }),
        order: Mutex::new(Order {
            waiting: VecDeque::new(),
            taken: 0,
            failed: None,
            stopped: false,
            take,
        }),
        moved: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread this one does it all.
            let _ = Builder::new().spawn_scoped(scope, || pool.serve(Lanes::new(progress)));
        }
        pool.serve(Lanes::new(progress));
    });
    let walk = pool.walk.into_inner().unwrap_or_else(PoisonError::into_inner);
    let order = pool.order.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = order.failed {
        return Err(error);
    }
    assert!(walk.ended && order.taken == walk.given, "a job without a result");
    Ok(walk.source)
}

/// What the threads share. Who holds both locks has taken `walk` first.
struct Pool<'t, 's, S: Source> {
    walk: Mutex<Walk<S>>,
    order: Mutex<Order<'t, 's, S>>,
    /// A result was taken, or nothing will be any more.
    moved: Condvar,
}

struct Walk<S> {
    source: S,
    /// How many places in the order were given away.
    given: usize,
    /// Whether the source has no more.
    ended: bool,
}

/// The results that cannot be taken yet: the first of them is missing.
struct Order<'t, 's, S: Source> {
    waiting: VecDeque<Option<Vec<<S::Job as Job>::Result>>>,
    /// The place of the first.
    taken: usize,
    failed: Option<S::Error>,
    /// By an error, or a panic.
    stopped: bool,
    take: &'t mut Take<'s, S>,
}

impl<S: Source> Pool<'_, '_, S> {
    /// What each thread does.
    fn serve(&self, mut lanes: Lanes<'_, S::Job>) {
        let _wake = WakeOnPanic(self);
        let mut next = Next::default();
        let mut at_hand = VecDeque::new();
        let mut more = true;
        loop {
            let held = lanes.busy() + at_hand.len();
            let most = if lanes.in_large_files() {
                lanes.count().saturating_sub(held).min(SHARE)
            } else {
                (lanes.count() + AT_HAND).saturating_sub(held)
            };
            if more && most > 0 {
                let first = self.walk(most, held == 0, &mut next, &mut more);
                for (place, item) in (first..).zip(next.items.drain(..)) {
                    match item {
                        Item::Job(job) => at_hand.push_back((job, place)),
                        Item::Result(result) => lanes.done().push((place, vec![result])),
                    }
                }
                next.jobs = 0;
            }
            while lanes.has_room()
                && let Some((job, place)) = at_hand.pop_front()
            {
                lanes.begin(job, place);
            }
            lanes.go_on();
            if !self.put(lanes.done()) || lanes.is_idle() && at_hand.is_empty() && !more {
                return;
            }
        }
    }

    /// Walks on to the next `most` jobs; returns the place of the first item in the order. Who has something else to
    /// do does not `wait` for another thread that walks.
    fn walk(&self, most: usize, wait: bool, next: &mut Next<S::Job>, more: &mut bool) -> usize {
        if !self.has_place(wait) {
            return 0;
        }
        let mut walk = match self.walk.try_lock() {
            Err(TryLockError::WouldBlock) if !wait => return 0,
            Err(TryLockError::WouldBlock) => lock(&self.walk),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(walk) => walk,
        };
        // What needs no work is not to pile up either.
        while !walk.ended && next.jobs < most && next.items.len() < 2 * AT_HAND + most {
            match walk.source.advance(next) {
                Ok(more) => walk.ended = !more,
                Err(error) => {
                    walk.ended = true;
                    lock(&self.order).fail(error);
                    self.moved.notify_all();
                }
            }
        }
        *more = !walk.ended;
        let first = walk.given;
        walk.given += next.items.len();
        first
    }

    /// Whether results may be added to those that wait; who has nothing else to do waits for it.
    fn has_place(&self, wait: bool) -> bool {
        let mut order = lock(&self.order);
        while wait && order.is_full() && !order.stopped {
            order = self.moved.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
        !order.is_full()
    }

    /// Takes results over; `false` when nobody wants any more.
    fn put(&self, done: &mut Done<S::Job>) -> bool {
        let mut order = lock(&self.order);
        for (place, results) in done.drain(..) {
            order.put(place, results);
        }
        if order.take_first() {
            self.moved.notify_all();
        }
        !order.stopped
    }
}

impl<S: Source> Order<'_, '_, S> {
    fn is_full(&self) -> bool {
        self.waiting.len() >= AHEAD
    }

    fn put(&mut self, place: usize, results: Vec<<S::Job as Job>::Result>) {
        let at = place - self.taken;
        if self.waiting.len() <= at {
            self.waiting.resize_with(at + 1, || None);
        }
        self.waiting[at] = Some(results);
    }

    /// Takes what is in order; whether there was something.
    fn take_first(&mut self) -> bool {
        let before = self.taken;
        while !self.stopped && matches!(self.waiting.front(), Some(Some(_))) {
            self.taken += 1;
            for result in self.waiting.pop_front().flatten().into_iter().flatten() {
                if let Err(error) = (self.take)(result) {
                    self.fail(error);
                    break;
                }
            }
        }
        before != self.taken
    }

    fn fail(&mut self, error: S::Error) {
        self.stopped = true;
        self.failed.get_or_insert(error);
    }
}

/// No thread waits for what a panicking one would have done.
struct WakeOnPanic<'p, 't, 's, S: Source>(&'p Pool<'t, 's, S>);

impl<S: Source> Drop for WakeOnPanic<'_, '_, '_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.order).stopped = true;
            self.0.moved.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(u32);

    impl Job for Number {
        type Result = u32;

        fn open(&mut self) -> Option<RegularFile> {
            if self.0.is_multiple_of(1000) {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            None
        }

        fn finish(self, digest: Option<Result<Digest, Difference>>) -> Vec<u32> {
            assert_eq!(digest, None, "nothing was opened");
            vec![self.0]
        }
    }

    const TOO_FAR: u32 = 1_000_000_000;

    /// Every third needs no work.
    struct Numbers(std::ops::Range<u32>);

    impl Source for Numbers {
        type Job = Number;
        type Error = &'static str;

        fn advance(&mut self, next: &mut Next<Number>) -> Result<bool, &'static str> {
            match self.0.next() {
                None => return Ok(false),
                Some(TOO_FAR) => return Err("too far"),
                Some(number) if number % 3 == 0 => next.result(number),
                Some(number) => next.job(Number(number)),
            }
            Ok(true)
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for threads in [1, 3] {
            let mut taken = Vec::new();
            let mut take = |result| {
                taken.push(result);
                Ok(())
            };
            assert!(ordered(threads, None, Numbers(0..100_000), &mut take).is_ok());
            assert!(taken.is_sorted() && taken.len() == 100_000);
        }
    }

    #[test]
    fn who_is_too_far_ahead_waits() {
        /// The first job lasts until the other thread can do no more.
        struct Held(u32);
        impl Job for Held {
            type Result = u32;
            fn open(&mut self) -> Option<RegularFile> {
                if self.0 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(300));
                }
                None
            }
            fn finish(self, _: Option<Result<Digest, Difference>>) -> Vec<u32> {
                vec![self.0]
            }
        }
        struct Many(u32);
        impl Source for Many {
            type Job = Held;
            type Error = ();
            fn advance(&mut self, next: &mut Next<Held>) -> Result<bool, ()> {
                next.job(Held(self.0));
                self.0 += 1;
                Ok(self.0 < 1_000_000)
            }
        }
        let mut taken = 0;
        let mut take = |result| {
            assert_eq!(result, taken);
            taken += 1;
            Ok(())
        };
        assert!(ordered(2, None, Many(0), &mut take).is_ok());
        assert_eq!(taken, 1_000_000);
    }

    #[test]
    fn an_error_ends_it() {
        let mut take = |result| if result == 500 { Err("500") } else { Ok(()) };
        let outcome = ordered(2, None, Numbers(0..u32::MAX), &mut take);
        assert_eq!(outcome.err(), Some("500"));
        // Or the source has none.
        for threads in [1, 2] {
            let outcome = ordered(threads, None, Numbers(TOO_FAR - 500..u32::MAX), &mut |_| Ok(()));
            assert_eq!(outcome.err(), Some("too far"));
        }
    }
}
