//! Who keeps up the network of a detached sandbox: a process of this program, from before the workload begins until it
//! has ended. When it is killed, what names have brought into the rules expires, and without root the way out is gone.

use crate::events::Events;
use crate::upkeep::{Order, Upkeep};
use anyhow::Context;
use nucleus_network::inside::Rules;
use nucleus_network::resolver::Sockets;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The first line that a keeper reads. The second is the workload's process.
#[derive(Debug, Serialize, Deserialize)]
struct Handed {
    order: Order,
    /// What its rules are known by.
    rules: Vec<i32>,
    /// The resolver's.
    sockets: Vec<i32>,
}

/// A keeper that has not heard of the workload yet.
#[derive(Debug)]
pub struct NetworkKeeper {
    child: Child,
    told: ChildStdin,
}

impl NetworkKeeper {
    /// Starts one, and waits until the network is up.
    ///
    /// # Errors
    /// What it says.
    pub fn start(order: &Order, rules: Rules, sockets: Option<Sockets>) -> Result<Self, anyhow::Error> {
        let path = order.directory.join("network.log");
        let log = File::create(&path).map_err(crate::run::at("create", &path))?;
        let rules = rules.into_fds();
        let sockets = sockets.map(Sockets::into_fds).unwrap_or_default();
        for fd in rules.iter().chain(&sockets) {
            fcntl_setfd(fd, FdFlags::empty()).map_err(io::Error::from)?;
        }
        let mut child = Command::new("/proc/self/exe")
            .arg0("nucleus")
            .arg("keep-network")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // What ends the caller's session or group does not end the sandbox.
            .process_group(0)
            .spawn()
            .context("start the keeper of the network")?;
        let numbers = |fds: &[OwnedFd]| fds.iter().map(AsRawFd::as_raw_fd).collect();
        let handed = Handed {
            order: order.clone(),
            rules: numbers(&rules),
            sockets: numbers(&sockets),
        };
        let (Some(mut told), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            anyhow::bail!("the keeper of the network has no streams");
        };
        writeln!(told, "{}", serde_json::to_string(&handed)?)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line != "ready\n" {
            let _ = child.wait();
            let said = std::fs::read_to_string(&path).unwrap_or_default();
            let said = said.trim().trim_start_matches("nucleus: ");
            anyhow::bail!(
                "{}",
                if said.is_empty() {
                    "the keeper of the network has died"
                } else {
                    said
                }
            );
        }
        Ok(Self { child, told })
    }

    /// Leaves it to itself, for as long as this process lives.
    ///
    /// # Errors
    /// As write(2).
    pub fn watch(mut self, pid: i32) -> io::Result<()> {
        writeln!(self.told, "{pid}")
    }

    /// Ends it: there is no workload.
    pub fn stop(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The keeper itself.
///
/// # Errors
/// What it could not keep up.
pub fn main() -> Result<(), anyhow::Error> {
    let mut lines = BufReader::new(File::from(rustix::io::dup(rustix::stdio::stdin())?));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let handed: Handed = serde_json::from_str(&line)?;
    let inherit = |numbers: &[i32]| -> Result<Vec<OwnedFd>, rustix::io::Errno> {
        numbers
            .iter()
            .map(|number| nucleus_sys::process::inherit(*number))
            .collect()
    };
    let rules = Rules::from_fds(inherit(&handed.rules)?).context("no rules")?;
    let sockets = inherit(&handed.sockets)?;
    let network = identity(&File::from(rules.namespace().try_clone_to_owned()?))?;
    let events = Events::open(&handed.order.name, handed.order.events.as_deref())?;
    let sockets = (!sockets.is_empty()).then(|| Sockets::from_fds(sockets));
    let upkeep = Upkeep::start(&handed.order, rules, sockets, &events)?;
    println!("ready");
    let mut pid = String::new();
    lines.read_to_string(&mut pid)?;
    // Nothing: it has not come to a workload.
    if let Ok(pid) = pid.trim().parse::<i32>() {
        wait_for(pid, network)?;
    }
    drop(upkeep);
    Ok(())
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Waits for the end of a process of this network; one that is in another has its number from an earlier one.
fn wait_for(pid: i32, network: (u64, u64)) -> Result<(), anyhow::Error> {
    let raw = Pid::from_raw(pid).context("no process")?;
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else {
        return Ok(());
    };
    let there = File::open(format!("/proc/{pid}/ns/net")).and_then(|file| identity(&file));
    if !there.is_ok_and(|there| there == network) {
        return Ok(());
    }
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(())
}
