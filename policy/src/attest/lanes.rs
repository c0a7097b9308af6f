//! Files hashed side by side by one thread: sixteen of them where the processor can take a block of each at once.

use super::pool::{Done, Job};
use super::tree::RegularFile;
use super::{Difference, Progress};
use crate::digest::Digest;
use nucleus_sys::sha256::{Block, INITIAL, LANES, States, Wide};
use sha2::block_api::compress256;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes that are read of a file at once. The pieces of all lanes should stay in the processor's second cache.
const PIECE: usize = 32 << 10;
const BLOCK: usize = size_of::<Block>();
/// Fewer files than this go one after the other: that takes less time then than a round of all lanes.
const WORTH_IT: usize = 7;

/// A thread's files in work.
pub(super) struct Lanes<'p, J: Job> {
    wide: Option<Wide>,
    states: States,
    lanes: Vec<Lane<J>>,
    busy: usize,
    done: Done<J>,
    in_large_files: bool,
    progress: Option<&'p Progress>,
}

struct Lane<J: Job> {
    work: Option<InWork<J>>,
    /// A piece of the file, and after its last one the padding. Made for the first file.
    blocks: Box<[Block]>,
    /// Which of them are still to be hashed.
    from: usize,
    to: usize,
}

struct InWork<J: Job> {
    job: J,
    /// Of its results in the order.
    place: usize,
    file: RegularFile,
    /// Bytes that are still to be read.
    left: u64,
    /// Whether the padding is among the blocks.
    padded: bool,
}

impl<'p, J: Job> Lanes<'p, J> {
    pub(super) fn new(progress: Option<&'p Progress>) -> Self {
        let wide = Wide::detect();
        let lane = || Lane {
            work: None,
            blocks: Box::default(),
            from: 0,
            to: 0,
        };
        let count = if wide.is_some() { LANES } else { 1 };
        Self {
            wide,
            states: [[0; LANES]; 8],
            lanes: (0..count).map(|_| lane()).collect(),
            busy: 0,
            done: Vec::new(),
            in_large_files: true,
            progress,
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// How many files are in work.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// How many files it takes at most.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether it takes another job.
    pub(super) fn has_room(&self) -> bool {
        self.busy < self.lanes.len()
    }

    /// Whether the last file was large, as the next ones may be; nobody knows it of the first.
    pub(super) fn in_large_files(&self) -> bool {
        self.in_large_files
    }

    /// What has become of jobs, for who takes it over.
    pub(super) fn done(&mut self) -> &mut Done<J> {
        &mut self.done
    }

    /// Takes a job up, when there is room.
    pub(super) fn begin(&mut self, mut job: J, place: usize) {
        let Some(file) = job.open() else {
            return self.done.push((place, job.finish(None)));
        };
        self.in_large_files = file.size > 2 * PIECE as u64;
        let free = self.lanes.iter().position(|lane| lane.work.is_none());
        // Only called where `has_room` has said so.
        let at = free.expect("a free lane");
        set(&mut self.states, at, &INITIAL);
        let lane = &mut self.lanes[at];
        if lane.blocks.is_empty() {
            // A small tree needs few of them.
            lane.blocks = vec![[0; BLOCK]; PIECE / BLOCK + 2].into_boxed_slice();
        }
        lane.work = Some(InWork {
            job,
            place,
            left: file.size,
            file,
            padded: false,
        });
        self.busy += 1;
    }

    /// Goes on with the files in work, for a piece of one of them at most, and has done with those that end.
    pub(super) fn go_on(&mut self) {
        for lane in 0..self.lanes.len() {
            if let Err(difference) = self.lanes[lane].fill(self.progress) {
                self.end(lane, Err(difference));
            }
        }
        match self.wide {
            Some(wide) if self.busy >= WORTH_IT => self.together(wide),
            _ => self.one_by_one(),
        }
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].is_done() {
                let digest = digest(&get(&self.states, lane));
                self.end(lane, Ok(digest));
            }
        }
    }

    fn together(&mut self, wide: Wide) {
        let busy = || self.lanes.iter().filter(|lane| lane.work.is_some());
        let steps = busy().map(|lane| lane.to - lane.from).min().unwrap_or(0);
        let Some(any) = busy().next() else { return };
        // Lanes without a file go along with another's: nobody looks at their states.
        let messages = std::array::from_fn(|at| {
            let lane = self.lanes.get(at).filter(|lane| lane.work.is_some());
            let lane = lane.unwrap_or(any);
            &lane.blocks[lane.from..lane.from + steps]
        });
        wide.compress(&mut self.states, &messages);
        for lane in self.lanes.iter_mut().filter(|lane| lane.work.is_some()) {
            lane.from += steps;
        }
    }

    fn one_by_one(&mut self) {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.work.is_some() {
                let mut state = get(&self.states, at);
                compress256(&mut state, &lane.blocks[lane.from..lane.to]);
                set(&mut self.states, at, &state);
                lane.from = lane.to;
            }
        }
    }

    fn end(&mut self, lane: usize, digest: Result<Digest, Difference>) {
        let lane = &mut self.lanes[lane];
        (lane.from, lane.to) = (0, 0);
        let Some(work) = lane.work.take() else { return };
        self.busy -= 1;
        if let Some(progress) = self.progress {
            progress.files.fetch_add(1, Relaxed);
        }
        // Whether it is still what was read shows only now.
        let digest = digest.and_then(|digest| work.file.is_steady().map(|()| digest));
        self.done.push((work.place, work.job.finish(Some(digest))));
    }
}

impl<J: Job> Lane<J> {
    /// Reads the next piece when the last one is used up.
    fn fill(&mut self, progress: Option<&Progress>) -> Result<(), Difference> {
        let Some(work) = self.work.as_mut().filter(|_| self.from == self.to) else {
            return Ok(());
        };
        let bytes = self.blocks.as_flattened_mut();
        let most = usize::try_from(work.left).map_or(PIECE, |left| left.min(PIECE));
        let mut filled = 0;
        while filled < most {
            filled += work.file.read(&mut bytes[filled..most])?;
        }
        work.left -= most as u64;
        if let Some(progress) = progress {
            progress.bytes.fetch_add(most as u64, Relaxed);
        }
        let mut end = most;
        if work.left == 0 {
            end = pad(bytes, most, work.file.size);
            work.padded = true;
        }
        (self.from, self.to) = (0, end / BLOCK);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.from == self.to && self.work.as_ref().is_some_and(|work| work.padded)
    }
}

/// Ends a message of `size` bytes, of which the last ones are `bytes[..end]` (FIPS 180-4, 5.1.1); returns where its
/// last block ends.
fn pad(bytes: &mut [u8], end: usize, size: u64) -> usize {
    let length = (end + 1 + 8).next_multiple_of(BLOCK);
    bytes[end] = 0x80;
    bytes[end + 1..length - 8].fill(0);
    // No file has 2^61 bytes.
    bytes[length - 8..length].copy_from_slice(&size.wrapping_mul(8).to_be_bytes());
    length
}

fn get(states: &States, lane: usize) -> [u32; 8] {
    states.map(|word| word[lane])
}

fn set(states: &mut States, lane: usize, state: &[u32; 8]) {
    for (word, value) in states.iter_mut().zip(state) {
        word[lane] = *value;
    }
}

fn digest(state: &[u32; 8]) -> Digest {
    let mut bytes = [0; 32];
    for (four, word) in bytes.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    Digest::from(bytes)
}
