//! Which system call a seccomp profile killed a process for. Only the kernel's log tells: the process is gone, and
//! tracing it or asking a listener for every call would cost what seccomp saves.
//!
//! It is not known to callers who may not read `/dev/kmsg`, on kernels without CONFIG_AUDIT, where auditd takes the
//! records, and when the kernel drops them because there are too many.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::thread::sleep;
use std::time::Duration;

/// The record is written by a thread of the kernel, soon after the end.
const WAITS: u32 = 10;
const WAIT: Duration = Duration::from_millis(20);

/// `AUDIT_ARCH_X86_64`.
const NATIVE: &str = "c000003e";

/// A process that was killed.
#[derive(Debug, Clone, Copy)]
pub enum Killed {
    /// The one of this number.
    Process(i32),
    /// Any of this user.
    User(u32),
}

/// The call that the last such process was killed for.
pub fn killed_call(killed: Killed, not_before: Duration) -> Option<String> {
    for _ in 0..WAITS {
        if let Some(call) = look(killed, not_before).ok()? {
            return Some(call);
        }
        sleep(WAIT);
    }
    None
}

/// Microseconds of the kernel's log are since its start.
pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn look(killed: Killed, not_before: Duration) -> rustix::io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::open("/dev/kmsg", flags, Mode::empty())?;
    let mut found = None;
    let mut record = [0; 8192];
    loop {
        match rustix::io::read(&log, &mut record) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(found),
            Ok(length) => {
                let record = String::from_utf8_lossy(&record[..length]);
                found = call_of(&record, killed, not_before).or(found);
            }
            // It was overwritten before it was read.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`; `Documentation/ABI/testing/dev-kmsg`.
fn call_of(record: &str, killed: Killed, not_before: Duration) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let time: u64 = head.split(',').nth(2)?.parse().ok()?;
    // The two clocks drift by less than this.
    if Duration::from_micros(time) + Duration::from_secs(1) < not_before
        || !text.contains(" type=1326 ") && !text.contains("type=1326 audit(")
    {
        return None;
    }
    // A program's name is quoted, and in hexadecimal digits if it has blanks: it cannot forge a word.
    let word = |key: &str| {
        text.split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    let ours = match killed {
        Killed::Process(pid) => word("pid")?.parse() == Ok(pid),
        Killed::User(uid) => word("uid")?.parse() == Ok(uid),
    };
    if !ours || word("sig")? != "31" {
        return None;
    }
    let number: usize = word("syscall")?.parse().ok()?;
    Some(match (word("arch")?, syscalls::Sysno::new(number)) {
        (NATIVE, Some(call)) => call.name().to_owned(),
        (NATIVE, None) => format!("system call {number}"),
        (arch, _) => format!("system call {number} of the architecture {arch}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "5,640,3388063482,-;audit: type=1326 audit(1795752328.391:10): auid=4294967295 uid=1603 gid=1603 ses=4294967295 pid=17021 comm=\"mkdir\" exe=\"/bin/mkdir\" sig=31 arch=c000003e syscall=83 compat=0 ip=0x7f9946d77f37 code=0x80000000\n";

    #[test]
    fn a_record_tells_the_call_of_its_process_alone() {
        let of = |record: &str, killed| call_of(record, killed, Duration::from_secs(3388));
        assert_eq!(of(RECORD, Killed::Process(17021)).as_deref(), Some("mkdir"));
        assert_eq!(of(RECORD, Killed::User(1603)).as_deref(), Some("mkdir"));
        assert_eq!(of(RECORD, Killed::Process(17022)), None);
        assert_eq!(
            call_of(RECORD, Killed::Process(17021), Duration::from_secs(3390)),
            None
        );
        assert_eq!(
            of(&RECORD.replace("sig=31", "sig=0"), Killed::Process(17021)),
            None
        );
        let forged = RECORD.replace("comm=\"mkdir\"", "comm=\"pid=1\"");
        assert_eq!(of(&forged, Killed::Process(1)), None);
        let foreign = RECORD.replace("c000003e", "40000003");
        assert_eq!(
            of(&foreign, Killed::Process(17021)).as_deref(),
            Some("system call 83 of the architecture 40000003")
        );
        assert_eq!(of("6,1,2,-;hello", Killed::Process(1)), None);
    }
}
