//! What a container's cgroups cost on this host: `cargo run --release --example cgroup_cost [ROUNDS]`, as root.
//!
//! Prints the median and the 10th and 90th percentile of each step in µs, back to back, for limits on memory,
//! pids and cpu and the default device rules. The cgroups are named `nucleus-cost-…` and removed again.

use std::time::Instant;

use nucleus_runtime::cgroup::{Driver, Request, create, detect, plan};
use nucleus_sys::clone::{Forked, clone3};
use oci_spec::runtime::LinuxResources;

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args()
        .nth(1)
        .map_or(Ok(200), |argument| argument.parse())?;
    let resources: LinuxResources = serde_json::from_str(
        r#"{"devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 268435456}, "pids": {"limit": 128},
            "cpu": {"shares": 512, "quota": 100000, "period": 100000}}"#,
    )?;
    // What the host does not have cannot be limited: on cgroup2 without controllers only the rules are left.
    let bare = LinuxResources::default();
    let id = format!("nucleus-cost-{}", std::process::id());
    let names = ["detect", "plan", "create", "fork and enter", "delete"];
    let mut samples: [Vec<u128>; 5] = Default::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let layout = detect()?;
        let detected = Instant::now();
        let limits = if matches!(layout, nucleus_runtime::cgroup::Layout::V2(_)) {
            &bare
        } else {
            &resources
        };
        let request = Request {
            cgroups_path: None,
            id: &id,
            resources: Some(limits),
            devices: &[],
            rootless: false,
            driver: Driver::Cgroupfs,
            annotations: None,
        };
        let plan = plan(&layout, &request)?;
        let planned = Instant::now();
        let entered = create(&plan)?;
        let created = Instant::now();
        let into = entered.into.as_ref().map(std::os::fd::AsFd::as_fd);
        match clone3(0, into)? {
            Forked::Child => {
                let all = entered
                    .tasks
                    .iter()
                    .all(|tasks| rustix::io::write(tasks, b"0").is_ok());
                std::process::exit(i32::from(!all));
            }
            Forked::Parent { pid, .. } => {
                let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
                anyhow::ensure!(
                    status.is_some_and(|(_, status)| status.exit_status() == Some(0)),
                    "not entered"
                );
            }
        }
        let left = Instant::now();
        entered.record.delete()?;
        let times = [start, detected, planned, created, left, Instant::now()];
        for (step, sample) in samples.iter_mut().enumerate() {
            sample.push((times[step + 1] - times[step]).as_nanos());
        }
    }
    for (name, mut sample) in names.into_iter().zip(samples) {
        sample.sort_unstable();
        let at = |share: usize| sample[(sample.len() * share / 100).min(sample.len() - 1)] as f64 / 1000.0;
        println!("{name:>15}: {:8.1} µs  ({:.1} – {:.1})", at(50), at(10), at(90));
    }
    Ok(())
}
