//! Small C programs for what a test process cannot do itself; `probes/*.c`, linked statically.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Builds a probe, unless it is there already; nothing where there is no C compiler.
pub(crate) fn build(name: &str) -> Option<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/probes/{name}.c"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{name}"));
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if matches!((time(&source), time(&target)), (Ok(source), Ok(target)) if source < target) {
        return Some(target);
    }
    // Tests of other processes build it too: it gets its name when it is complete.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let hidden = target.with_extension(format!("{}-{number}", std::process::id()));
    let built = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-o"])
        .args([&hidden, &source])
        .output();
    let Ok(built) = built else {
        super::lacking("a C compiler (apt install gcc libc6-dev)");
        return None;
    };
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "cc {}: {errors}", source.display());
    fs::rename(&hidden, &target).expect("name the probe");
    Some(target)
}
