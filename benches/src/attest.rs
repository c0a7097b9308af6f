//! `nucleus attest verify` beside `sha256sum -c`: the same manifest, the same tree, which is in the page cache. What
//! nobody could be faster than is beside them: the calls that read the files, by two threads that do nothing else.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;

use crate::stats::{Random, Summary, paired_ratio};

/// What a tree is made of: a name, and the sizes of its files in bytes.
struct Shape {
    name: &'static str,
    sizes: fn(&mut Random) -> Vec<usize>,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "like a closure: 6,000 files of 100 B to 1 MiB",
        // As many between 100 B and 1 KiB as between 100 KiB and 1 MiB.
        sizes: |random| (0..6000).map(|_| 100_usize << random.below(14)).collect(),
    },
    Shape {
        name: "large: 48 files of 8 MiB",
        sizes: |_| vec![8 << 20; 48],
    },
    Shape {
        name: "small: 20,000 files of 4 KiB",
        sizes: |_| vec![4 << 10; 20_000],
    },
];

/// The times of one tree, in milliseconds.
struct Row {
    shape: &'static str,
    mebibytes: f64,
    ours: Vec<f64>,
    create: Vec<f64>,
    reading: Vec<f64>,
    peer: Vec<f64>,
}

/// Measures on trees made in `work`, and returns a Markdown section.
///
/// # Errors
/// A tree cannot be made, or a program finds it wrong.
pub fn measure(nucleus: &Path, work: &Path, rounds: usize) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for shape in &SHAPES {
        let tree = work.join("attest");
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        let bytes = make(&tree, shape).with_context(|| format!("make {}", tree.display()))?;
        let directory = tree.to_str().context("a path in UTF-8")?;
        let name = nucleus.to_str().context("a path in UTF-8")?;
        let files = files(&tree)?;
        let mut row = Row {
            shape: shape.name,
            mebibytes: bytes as f64 / f64::from(1 << 20),
            ours: Vec::new(),
            create: Vec::new(),
            reading: Vec::new(),
            peer: Vec::new(),
        };
        // The first round fills the cache.
        for round in 0..=rounds {
            let create = timed(&tree, &[name, "attest", "create", directory])?;
            let ours = timed(&tree, &[name, "attest", "verify", directory])?;
            let reading = read(&files)?;
            let peer = timed(
                &tree,
                &["sha256sum", "--check", "--quiet", ".nucleus-rootfs-sha256"],
            )?;
            fs::remove_file(tree.join(".nucleus-rootfs-sha256"))?;
            if round > 0 {
                row.create.push(create);
                row.reading.push(reading);
                row.ours.push(ours);
                row.peer.push(peer);
            }
        }
        rows.push(row);
        fs::remove_dir_all(&tree)?;
    }
    Ok(markdown(&rows))
}

/// Writes the files, 50 in a directory; returns their bytes.
fn make(tree: &Path, shape: &Shape) -> anyhow::Result<usize> {
    let mut random = Random::new(1);
    let sizes = (shape.sizes)(&mut random);
    let content: Vec<u8> = (0..8 << 20).map(|_| random.below(256) as u8).collect();
    let mut directory = PathBuf::new();
    for (number, &size) in sizes.iter().enumerate() {
        if number % 50 == 0 {
            directory = tree.join(format!("{}/{}", number / 2500, number / 50));
            fs::create_dir_all(&directory)?;
        }
        fs::write(directory.join(number.to_string()), &content[..size])?;
    }
    Ok(sizes.iter().sum())
}

/// The regular files of a tree.
fn files(tree: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut directories) = (Vec::new(), vec![tree.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let into = if entry.file_type()?.is_dir() {
                &mut directories
            } else {
                &mut found
            };
            into.push(entry.path());
        }
    }
    Ok(found)
}

/// Wall milliseconds in which two threads open, look at, read, look at and close every file.
fn read(files: &[PathBuf]) -> anyhow::Result<f64> {
    const BUFFER: usize = 32 << 10;
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let work = || -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut file = fs::File::open(path)?;
            let mut left = file.metadata()?.len();
            while left > 0 {
                let most = left.min(BUFFER as u64) as usize;
                file.read_exact(&mut buffer[..most])?;
                left -= most as u64;
            }
            file.metadata()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work().and(other.join().expect("a thread that has not panicked"))
    })?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// Wall milliseconds of a command that has to succeed.
fn timed(directory: &Path, command: &[&str]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", command[0]))?;
    let time = start.elapsed().as_secs_f64() * 1000.0;
    anyhow::ensure!(
        output.status.success(),
        "{}: {}",
        command.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(time)
}

fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n## Attestation\n\n`nucleus attest verify` and `sha256sum -c` on the same warm tree; ms, median (p10–p90). \
         Target: at least 8 times as fast on 2 processors. *Reading* is two threads that only open, fstat, read, fstat \
         and close every file: where that alone is not 8 times as fast, nothing that reads files is.\n\n\
         | tree | MiB | sha256sum -c | attest verify | times as fast | attest create | reading | times as fast |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut random = Random::new(1);
    for row in rows {
        let cell = |samples: &[f64]| {
            let Summary { median, p10, p90, .. } = Summary::of(samples);
            format!("{median:.1} ({p10:.1}–{p90:.1})")
        };
        let mut times = |ours: &[f64]| {
            let ratio = paired_ratio(&row.peer, ours, &mut random);
            format!("{:.1} ({:.1}–{:.1})", ratio.value, ratio.low, ratio.high)
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {} | {} | {} | {} | {} |",
            row.shape,
            row.mebibytes,
            cell(&row.peer),
            cell(&row.ours),
            times(&row.ours),
            cell(&row.create),
            cell(&row.reading),
            times(&row.reading)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_how_many_times_as_fast() {
        let row = Row {
            shape: "tree",
            mebibytes: 3.0,
            ours: vec![2.0, 2.0],
            create: vec![3.0, 3.0],
            reading: vec![1.0, 1.0],
            peer: vec![20.0, 20.0],
        };
        let text = markdown(&[row]);
        assert!(
            text.contains(
                "| tree | 3 | 20.0 (20.0–20.0) | 2.0 (2.0–2.0) | 10.0 (10.0–10.0) | 3.0 (3.0–3.0) | 1.0 (1.0–1.0) | 20.0 (20.0–20.0) |"
            ),
            "{text}"
        );
    }
}
