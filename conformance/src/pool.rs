//! Runs many jobs on a few threads. The cases mostly wait, so a few more threads than processors pay.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `work` for each item on `threads` threads; the results have the order of the items.
pub(crate) fn map<I: Sync, R: Send>(items: &[I], threads: usize, work: impl Fn(&I) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, item)) = take(items, &next) {
                    let result = work(item);
                    results.lock().expect("no thread panics with the lock")[index] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().expect("the threads have ended");
    results
        .into_iter()
        .map(|result| result.expect("every item was taken"))
        .collect()
}

fn take<'a, I>(items: &'a [I], next: &AtomicUsize) -> Option<(usize, &'a I)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps_the_order() {
        let items: Vec<u32> = (0..50).collect();
        assert_eq!(
            super::map(&items, 4, |item| item * 2),
            (0..100).step_by(2).collect::<Vec<u32>>()
        );
        assert!(super::map(&[] as &[u32], 4, |item| *item).is_empty());
    }
}
