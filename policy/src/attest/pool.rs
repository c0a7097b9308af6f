//! Work for several threads, with results in the order in which it was given, and a bounded amount of both.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

/// How much is handed over at once, so that handing over costs little: jobs, and bytes to read for them.
const JOBS: usize = 64;
const BYTES: u64 = 1 << 20;
/// How many batches may be done before the first of them is taken: one that has a large file holds up the others.
const AHEAD: usize = 1024;
/// More threads would need more descriptors than a process usually has.
const MOST_THREADS: usize = 32;

/// A job, or a result that needs no work.
enum Item<J, R> {
    Job(J),
    Result(R),
}

type Batch<J, R> = (Vec<Item<J, R>>, Sender<Vec<R>>);

/// Where jobs are put in and results come out.
pub(super) struct Feed<'t, J, R, E> {
    queue: SyncSender<Batch<J, R>>,
    batch: Vec<Item<J, R>>,
    bytes: u64,
    ahead: VecDeque<Receiver<Vec<R>>>,
    take: &'t mut dyn FnMut(R) -> Result<(), E>,
}

/// Calls `drive` with a feed. `work` is done by `threads` threads (0: as many as there are processors), and `take`
/// is given all results in the order of their jobs, by this thread.
///
/// # Errors
/// The first that `drive` or `take` returns.
pub(super) fn ordered<J: Send, R: Send, E, B: Default, T>(
    threads: usize,
    work: impl Fn(J, &mut B, &mut Vec<R>) + Sync,
    take: &mut dyn FnMut(R) -> Result<(), E>,
    drive: impl FnOnce(&mut Feed<'_, J, R, E>) -> Result<T, E>,
) -> Result<T, E> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
    .min(MOST_THREADS);
    let (queue, jobs) = sync_channel::<Batch<J, R>>(threads);
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| serve(&jobs, &work));
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

fn serve<J, R, B: Default>(jobs: &Mutex<Receiver<Batch<J, R>>>, work: &impl Fn(J, &mut B, &mut Vec<R>)) {
    let mut buffer = B::default();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((batch, done)) = next else { return };
        let mut results = Vec::new();
        for item in batch {
            match item {
                Item::Job(job) => work(job, &mut buffer, &mut results),
                Item::Result(result) => results.push(result),
            }
        }
        // Nobody listens after an error.
        let _ = done.send(results);
    }
}

impl<J, R, E> Feed<'_, J, R, E> {
    /// Gives a job for which about `bytes` are read.
    pub(super) fn job(&mut self, job: J, bytes: u64) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.push(Item::Job(job))
    }

    /// Puts a result between those of the jobs.
    pub(super) fn result(&mut self, result: R) -> Result<(), E> {
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

    fn push(&mut self, item: Item<J, R>) -> Result<(), E> {
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
        for result in results.recv().into_iter().flatten() {
            (self.take)(result)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let mut taken = Vec::new();
        let work = |job: u32, (): &mut (), results: &mut Vec<u32>| {
            if job.is_multiple_of(1000) {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            results.push(job);
        };
        let mut take = |result| {
            taken.push(result);
            Ok::<_, ()>(())
        };
        ordered(3, work, &mut take, |feed| {
            for number in 0..100_000 {
                match number % 3 {
                    0 => feed.result(number)?,
                    _ => feed.job(number, 50_000)?,
                }
            }
            Ok(())
        })
        .expect("taken");
        assert!(taken.is_sorted() && taken.len() == 100_000);
    }

    #[test]
    fn an_error_ends_it() {
        let work = |job: u32, (): &mut (), results: &mut Vec<u32>| results.push(job);
        let mut take = |result| if result == 500 { Err("500") } else { Ok(()) };
        let outcome = ordered(2, work, &mut take, |feed| {
            (0..u32::MAX).try_for_each(|number| feed.job(number, 0))
        });
        assert_eq!(outcome, Err("500"));
    }
}
