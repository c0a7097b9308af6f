//! Files to hash for several threads, with results in the order in which they were given, and a bounded amount of
//! both.

use super::lanes::Lanes;
use super::tree::RegularFile;
use super::{Difference, Progress};
use crate::digest::Digest;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

/// How much is handed over at once, so that handing over costs little: jobs, and bytes to read for them.
const JOBS: usize = 64;
const BYTES: u64 = 1 << 20;
/// How many batches may be done before the first of them is taken: one that has a large file holds up the others.
const AHEAD: usize = 1024;
/// More threads would need more descriptors than a process usually has: 1024. A thread has 16 files, 24 directories
/// and two batches in the queue with 8 each, and the walk one for each level.
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

/// A job, or a result that needs no work.
enum Item<J: Job> {
    Job(J),
    Result(J::Result),
}

type Batch<J> = (Vec<Item<J>>, Sender<Vec<<J as Job>::Result>>);

/// Where jobs are put in and results come out.
pub(super) struct Feed<'t, J: Job, E> {
    queue: SyncSender<Batch<J>>,
    batch: Vec<Item<J>>,
    bytes: u64,
    ahead: VecDeque<Receiver<Vec<J::Result>>>,
    take: &'t mut dyn FnMut(J::Result) -> Result<(), E>,
}

/// Calls `drive` with a feed. The jobs are done by `threads` threads (0: as many as there are processors), and
/// `take` is given all results in the order of their jobs, by this thread.
///
/// # Errors
/// The first that `drive` or `take` returns.
pub(super) fn ordered<J: Job, E, T>(
    threads: usize,
    progress: Option<&Progress>,
    take: &mut dyn FnMut(J::Result) -> Result<(), E>,
    drive: impl FnOnce(&mut Feed<'_, J, E>) -> Result<T, E>,
) -> Result<T, E> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
    .min(MOST_THREADS);
    let (queue, jobs) = sync_channel::<Batch<J>>(2 * threads);
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| serve(&jobs, Lanes::new(progress)));
        }
        let mut feed = Feed {
            queue,
            batch: Vec::with_capacity(JOBS),
            bytes: 0,
            ahead: VecDeque::new(),
            take,
        };
        // The threads end when the queue goes, with the feed.
        let driven = drive(&mut feed)?;
        feed.flush()?;
        while !feed.ahead.is_empty() {
            feed.take_first()?;
        }
        Ok(driven)
    })
}

fn serve<J: Job>(jobs: &Mutex<Receiver<Batch<J>>>, mut lanes: Lanes<'_, J>) {
    let mut given = Vec::new().into_iter();
    loop {
        while lanes.has_room() {
            if let Some((job, ticket)) = given.next() {
                lanes.begin(job, ticket);
            } else if let Some(batch) = next(jobs, lanes.is_idle()) {
                given = unpack(batch).into_iter();
            } else if lanes.is_idle() {
                return;
            } else {
                break;
            }
        }
        lanes.go_on();
    }
}

/// The next batch. Who does not wait has none where another thread waits: that one is the first to get it.
fn next<J: Job>(jobs: &Mutex<Receiver<Batch<J>>>, wait: bool) -> Option<Batch<J>> {
    if wait {
        return jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    }
    jobs.try_lock().ok()?.try_recv().ok()
}

/// The jobs of a batch, each with its place among the results.
fn unpack<J: Job>((items, done): Batch<J>) -> Vec<(J, Ticket<J::Result>)> {
    let reply = Rc::new(Reply {
        results: RefCell::new(items.iter().map(|_| Vec::new()).collect()),
        missing: Cell::new(items.len()),
        done,
    });
    let mut jobs = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let reply = Rc::clone(&reply);
        let ticket = Ticket { reply, at };
        match item {
            Item::Job(job) => jobs.push((job, ticket)),
            Item::Result(result) => ticket.answer(vec![result]),
        }
    }
    jobs
}

/// The results of one batch, which are sent when the last of its tickets goes.
struct Reply<R> {
    results: RefCell<Vec<Vec<R>>>,
    missing: Cell<usize>,
    done: Sender<Vec<R>>,
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        // Nothing is sent for a job that nobody has answered for: to the other side that is an end, not a success.
        if self.missing.get() == 0 {
            // Nobody listens after an error.
            let _ = self
                .done
                .send(self.results.take().into_iter().flatten().collect());
        }
    }
}

/// The place of one job's results.
pub(super) struct Ticket<R> {
    reply: Rc<Reply<R>>,
    at: usize,
}

impl<R> Ticket<R> {
    /// Gives the results.
    pub(super) fn answer(self, results: Vec<R>) {
        self.reply.results.borrow_mut()[self.at] = results;
        self.reply.missing.set(self.reply.missing.get() - 1);
    }
}

impl<J: Job, E> Feed<'_, J, E> {
    /// Gives a job for which about `bytes` are read.
    pub(super) fn job(&mut self, job: J, bytes: u64) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.push(Item::Job(job))
    }

    /// Puts a result between those of the jobs.
    pub(super) fn result(&mut self, result: J::Result) -> Result<(), E> {
        self.push(Item::Result(result))
    }

    /// Hands over what was given so far: for when jobs hold what should not pile up.
    pub(super) fn flush(&mut self) -> Result<(), E> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(JOBS));
        self.bytes = 0;
        let (done, results) = channel();
        // It fails only if every thread panicked, which the end of the scope passes on.
        let _ = self.queue.send((batch, done));
        self.ahead.push_back(results);
        if self.ahead.len() >= AHEAD {
            self.take_first()?;
        }
        Ok(())
    }

    fn push(&mut self, item: Item<J>) -> Result<(), E> {
        self.batch.push(item);
        if self.batch.len() >= JOBS || self.bytes >= BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn take_first(&mut self) -> Result<(), E> {
        let Some(results) = self.ahead.pop_front() else {
            return Ok(());
        };
        let results = results
            .recv()
            .expect("the results of a thread that has not panicked");
        results.into_iter().try_for_each(&mut *self.take)
    }
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

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let mut taken = Vec::new();
        let mut take = |result| {
            taken.push(result);
            Ok::<_, ()>(())
        };
        ordered::<Number, _, _>(3, None, &mut take, |feed| {
            for number in 0..100_000 {
                match number % 3 {
                    0 => feed.result(number)?,
                    _ => feed.job(Number(number), 50_000)?,
                }
            }
            Ok(())
        })
        .expect("taken");
        assert!(taken.is_sorted() && taken.len() == 100_000);
    }

    #[test]
    fn an_error_ends_it() {
        let mut take = |result| if result == 500 { Err("500") } else { Ok(()) };
        let outcome = ordered::<Number, _, _>(2, None, &mut take, |feed| {
            (0..u32::MAX).try_for_each(|number| feed.job(Number(number), 0))
        });
        assert_eq!(outcome, Err("500"));
    }
}
