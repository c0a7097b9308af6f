//! What a network costs: the start in each mode beside none, and connections and throughput inside beside the host.
//!
//! `nucleus` runs in a network namespace of its own, so that nothing of this host is changed.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use crate::stats::{Summary, median};

/// A mode's name and its options.
type Mode = (&'static str, &'static [&'static str]);

/// The first is what the others are compared with.
const STARTS: [Mode; 4] = [
    ("none", &[]),
    ("bridge", &["--network", "bridge"]),
    (
        "bridge with a name",
        &["--egress-domain", "example.com", "--dns", "10.99.1.1"],
    ),
    ("host", &["--network", "host", "--allow-host-network"]),
];
const INSIDE: [Mode; 2] = [
    ("bridge", &["--egress-allow", "10.99.1.1"]),
    ("host", &["--network", "host", "--allow-host-network"]),
];

/// Ready when it prints a line; ends with its standard input.
const HOST: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && ip link add uplink type veth peer name outer &&
ip addr add 10.99.1.1/24 dev uplink && ip link set uplink up && ip link set outer up && exec python3 -c \"$SERVER\"";
const SERVER: &str = "import socket, sys, threading
def count(server):
    while True:
        one = server.accept()[0]
        while one.recv(1 << 20): pass
        one.close()
server = socket.create_server(('10.99.1.1', 9000), backlog=512)
threading.Thread(target=count, args=(server,), daemon=True).start()
print('ready', flush=True)
sys.stdin.read()";
/// Prints microseconds of one connection, and MiB/s of one.
const CLIENT: &str = "import socket, time
to, some, block = ('10.99.1.1', 9000), 300, b'x' * (1 << 20)
began = time.monotonic()
for _ in range(some): socket.create_connection(to).close()
each = (time.monotonic() - began) / some * 1e6
one = socket.create_connection(to)
began = time.monotonic()
for _ in range(512): one.sendall(block)
one.shutdown(socket.SHUT_WR)
one.recv(1)
print(each, 512 / (time.monotonic() - began))";

/// The namespace that is the host.
struct Host {
    child: Child,
}

impl Host {
    fn new() -> anyhow::Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", HOST])
            .env("SERVER", SERVER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let mut line = String::new();
        let output = child.stdout.take().context("a pipe")?;
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(line == "ready\n", "no server in a network namespace: {line:?}");
        Ok(Self { child })
    }

    /// What a program there prints, and its wall milliseconds.
    fn run(&self, command: &[&str]) -> anyhow::Result<(String, f64)> {
        let target = self.child.id().to_string();
        let start = Instant::now();
        let output = Command::new("nsenter")
            .args(["--target", &target, "--net", "--mount", "--"])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .context("start nsenter")?;
        let time = start.elapsed().as_secs_f64() * 1000.0;
        let told = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{command:?}: {}", told.trim());
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), time))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Measures, and returns a Markdown section.
///
/// # Errors
/// A program fails.
pub fn measure(nucleus: &Path, rounds: usize) -> anyhow::Result<String> {
    let host = Host::new()?;
    let nucleus = nucleus.to_str().context("a path in UTF-8")?;
    let run = |options: &[&str], command: &[&str]| {
        let run = [nucleus, "--root", "/run/bench", "run", "--quiet"];
        host.run(&[&run[..], options, &["--"], command].concat())
    };
    let mut starts = vec![Vec::new(); STARTS.len()];
    // The first round fills caches.
    for round in 0..=rounds {
        for ((_, options), times) in STARTS.iter().zip(&mut starts) {
            let (_, time) = run(options, &["true"])?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    let mut connections = Vec::new();
    let client = ["/usr/bin/python3", "-c", CLIENT];
    let outside = (0..3).map(|_| numbers(&host.run(&client)?.0));
    connections.push((
        "outside of any sandbox",
        outside.collect::<anyhow::Result<Vec<_>>>()?,
    ));
    for (name, options) in INSIDE {
        let inside = (0..3).map(|_| numbers(&run(options, &client)?.0));
        connections.push((name, inside.collect::<anyhow::Result<Vec<_>>>()?));
    }
    Ok(markdown(&starts, &connections))
}

fn numbers(printed: &str) -> anyhow::Result<[f64; 2]> {
    let mut words = printed.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(each)), Some(Ok(speed))) => Ok([each, speed]),
        _ => anyhow::bail!("no two numbers: {printed:?}"),
    }
}

fn markdown(starts: &[Vec<f64>], connections: &[(&str, Vec<[f64; 2]>)]) -> String {
    let mut text = String::from(
        "\n## Networks\n\n`nucleus run -- true` with each network, interleaved; ms, median (p10–p90), and the median of what \
         each run takes longer than the one without a network beside it. Target: a bridge at most 6 ms.\n\n\
         | network | ms | more than none |\n|---|---|---|\n",
    );
    for ((name, _), times) in STARTS.iter().zip(starts) {
        let Summary {
            median: middle,
            p10,
            p90,
            ..
        } = Summary::of(times);
        let more: Vec<f64> = times
            .iter()
            .zip(&starts[0])
            .map(|(these, none)| these - none)
            .collect();
        let more = median(&more);
        let _ = writeln!(text, "| {name} | {middle:.1} ({p10:.1}–{p90:.1}) | {more:+.1} |");
    }
    text += "\nA connection to the host and 512 MiB through one, by one Python program; median of three.\n\n\
             | where | µs a connection | MiB/s |\n|---|---|---|\n";
    for (name, runs) in connections {
        let of = |which: usize| median(&runs.iter().map(|run| run[which]).collect::<Vec<_>>());
        let _ = writeln!(text, "| {name} | {:.0} | {:.0} |", of(0), of(1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_what_a_network_costs_more_than_none() {
        let starts = [
            vec![10.0, 20.0],
            vec![13.0, 23.0],
            vec![14.0, 24.0],
            vec![9.0, 19.0],
        ];
        let text = markdown(&starts, &[("bridge", vec![[50.0, 900.0]])]);
        assert!(text.contains("| bridge | 18.0 (14.0–22.0) | +3.0 |"), "{text}");
        assert!(text.contains("| host | 14.0 (10.0–18.0) | -1.0 |"), "{text}");
        assert!(text.contains("| bridge | 50 | 900 |"), "{text}");
    }
}
