//! The kernel accepts compiled filters and answers as they say.

use std::fs::File;
use std::os::fd::OwnedFd;

use nucleus_runtime::seccomp::{Filter, MAX_INSTRUCTIONS, compile};
use nucleus_sys::seccomp::seccomp_set_filter;
use rustix::fs::{Mode, SeekFrom, mkdir, seek};
use rustix::io::Errno;

fn filter(json: &str) -> Filter {
    compile(&serde_json::from_str(json).expect("a valid profile")).expect("a filter")
}

/// Runs `body` in a thread of its own with the filter loaded; the filter ends with the thread.
fn confined<T: Send>(filter: &Filter, body: impl FnOnce(Option<OwnedFd>) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("no_new_privs");
            body(seccomp_set_filter(&filter.program, filter.flags).expect("the kernel takes the filter"))
        });
        thread.join().expect("the confined thread ends by itself")
    })
}

#[test]
fn a_denied_call_fails_with_its_errno() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],
            "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[
              {"names":["chdir"],"action":"SCMP_ACT_ERRNO"},
              {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":110}]}"#,
    );
    let results = confined(&filter, |_| {
        (
            rustix::process::chdir("/dev/null"),
            mkdir("/dev/null/x", Mode::empty()),
        )
    });
    assert_eq!(results, (Err(Errno::PERM), Err(Errno::TIMEDOUT)));
    assert_eq!(
        mkdir("/dev/null/x", Mode::empty()),
        Err(Errno::NOTDIR),
        "other threads stay free"
    );
}

#[test]
fn argument_rules_compare_64_bits_in_the_kernel() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["lseek"],"action":"SCMP_ACT_ERRNO","errnoRet":95,
             "args":[{"index":1,"value":4294967300,"op":"SCMP_CMP_GE"},{"index":2,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let file = File::open("/proc/self/exe").expect("the test's own binary");
    let seeks = confined(&filter, |_| {
        [0x1_0000_0003, 0x1_0000_0004, 0x2_0000_0000, 5].map(|offset| seek(&file, SeekFrom::Start(offset)))
    });
    assert_eq!(
        seeks,
        [
            Ok(0x1_0000_0003),
            Err(Errno::OPNOTSUPP),
            Err(Errno::OPNOTSUPP),
            Ok(5)
        ]
    );
}

#[test]
fn programs_up_to_the_limit_load() {
    let rules = |count: u64| -> String {
        let rule = |n| {
            format!(
                r#"{{"names":["lseek"],"action":"SCMP_ACT_ERRNO","errnoRet":{},
                     "args":[{{"index":1,"value":{n},"op":"SCMP_CMP_EQ"}},{{"index":2,"value":0,"op":"SCMP_CMP_EQ"}}]}}"#,
                1 + n % 200
            )
        };
        (0..count).map(rule).collect::<Vec<_>>().join(",")
    };
    let filter = filter(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#,
        rules(550)
    ));
    assert!(
        (MAX_INSTRUCTIONS / 2..=MAX_INSTRUCTIONS).contains(&filter.program.len()),
        "{}",
        filter.program.len()
    );
    let file = File::open("/proc/self/exe").expect("the test's own binary");
    let seeks = confined(&filter, |_| {
        [0, 250, 549, 550].map(|offset| seek(&file, SeekFrom::Start(offset)))
    });
    let errno = |code| Err(Errno::from_raw_os_error(code));
    assert_eq!(seeks, [errno(1), errno(51), errno(150), Ok(550)]);
}

#[test]
fn notify_gives_a_listener() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/unused","listenerMetadata":"text",
            "flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    );
    assert_eq!(filter.listener_metadata, "text");
    let listener = confined(&filter, |listener| listener).expect("a descriptor");
    let flags = rustix::io::fcntl_getfd(&listener).expect("an open descriptor");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}
