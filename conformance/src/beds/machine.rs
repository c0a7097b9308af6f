//! A machine in QEMU: a kernel of its own, with nothing but cgroup2 and all its controllers.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::image::Image;
use crate::{apt, sandbox};

/// Everything is emulated: a processor that is ten times slower than this one, and only one of them, because
/// with two the guest's kernel panics.
const PROCESSOR: [&str; 6] = [
    "-accel",
    "tcg,thread=multi,tb-size=512",
    "-cpu",
    "max,la57=off,svm=off,vmx=off",
    "-smp",
    "1",
];

/// On a busy host the emulated timer may miss the few ticks that the kernel waits for to see that it works.
const KERNEL_COMMAND_LINE: &str = "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 quiet systemd.show_status=0 \
    mitigations=off nokaslr random.trust_cpu=on no_timer_check";

/// How the payload reaches its results from inside.
pub(super) const RESULTS: &str = "/dev/virtio-ports/results";
/// What ends the machine at once: its disk is thrown away.
pub(super) const END: &str = "echo o >/proc/sysrq-trigger; sleep 60";

/// Boots a machine that runs the payload, and waits for its end. The results are in `results/lines`, all that
/// the console showed in `results/console`.
///
/// # Errors
/// QEMU is missing or fails. A machine that does not end in time is no error: it is killed, and its results
/// are what it has told until then.
pub(super) fn run(image: &Image, payload: &Path, results: &Path, timeout: Duration) -> Result<()> {
    apt::install(&["qemu-system-x86"])?;
    let scratch = tempfile::tempdir()?;
    let payload_disk = scratch.path().join("payload");
    apt::quiet(
        Command::new("tar")
            .arg("-C")
            .arg(payload)
            .arg("-cf")
            .arg(&payload_disk)
            .arg("."),
    )?;
    // A disk is made of whole sectors.
    let file = File::options().write(true).open(&payload_disk)?;
    file.set_len(file.metadata()?.len().next_multiple_of(1 << 20))?;

    let stderr = tempfile::tempfile()?;
    // No machine outlives this program.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(PROCESSOR)
        .args([
            "-m",
            "2048",
            "-machine",
            "q35",
            "-nodefaults",
            "-display",
            "none",
            "-monitor",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(image.kernel())
        .args(["-append", KERNEL_COMMAND_LINE])
        .args(["-serial", &format!("file:{}", results.join("console").display())])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial"])
        .args(port("results", &results.join("lines")))
        // Of two kinds, because disks of one kind get their names in any order.
        .args(disk("nvme", &image.disk(), "snapshot=on"))
        .args(disk("virtio-blk", &payload_disk, "readonly=on"))
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr.try_clone()?)
        .spawn()
        .context("start setpriv")?;
    let status = sandbox::wait(&mut child, timeout)?;
    anyhow::ensure!(
        status.is_none_or(|status| status.success()),
        "qemu-system-x86_64 failed: {}",
        sandbox::text(&stderr)?.trim()
    );
    if status.is_none() {
        let console = results.join("console");
        let mut text = fs::read_to_string(&console).unwrap_or_default();
        text.push_str(&format!("\nkilled after {} s", timeout.as_secs()));
        fs::write(console, text)?;
    }
    Ok(())
}

/// A channel from the guest into a file.
fn port(name: &str, file: &Path) -> [String; 4] {
    [
        "-chardev".into(),
        format!("file,id={name},path={}", file.display()),
        "-device".into(),
        format!("virtserialport,chardev={name},name={name}"),
    ]
}

/// The only disk of its kind.
fn disk(kind: &str, file: &Path, option: &str) -> [String; 4] {
    [
        "-drive".into(),
        format!("if=none,id={kind},file={},format=raw,{option}", file.display()),
        "-device".into(),
        format!("{kind},drive={kind},serial={kind}"),
    ]
}
