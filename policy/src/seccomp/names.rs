//! The names that a profile may use: system calls and errno(3) values.
//!
//! Source of the calls: the kernel's `syscall_64.tbl` and `syscall_32.tbl` through Linux 6.19, and the calls that
//! only other architectures have.

/// A system call that Linux has, or had, on some architecture: its place in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call(usize);

impl Call {
    /// How many there are.
    pub(crate) const COUNT: usize = X86_64.len() + ELSEWHERE.len();

    /// The call of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let elsewhere = || Some(X86_64.len() + ELSEWHERE.binary_search(&name).ok()?);
        X86_64.binary_search(&name).ok().or_else(elsewhere).map(Self)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self.0.checked_sub(X86_64.len()) {
            None => X86_64[self.0],
            Some(elsewhere) => ELSEWHERE[elsewhere],
        }
    }

    /// A number below [`Call::COUNT`].
    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// Whether x86_64 has it.
    pub(crate) fn is_native(self) -> bool {
        self.0 < X86_64.len()
    }
}

/// The number of the error called `name` on x86_64.
pub(crate) fn errno(name: &str) -> Option<u32> {
    ERRNO
        .binary_search_by_key(&name, |row| row.0)
        .ok()
        .map(|row| ERRNO[row].1)
}

/// The calls of x86_64, sorted.
#[rustfmt::skip]
pub(crate) static X86_64: [&str; 385] = [
    "_sysctl", "accept", "accept4", "access", "acct", "add_key", "adjtimex", "afs_syscall", "alarm",
    "arch_prctl", "bind", "bpf", "brk", "cachestat", "capget", "capset", "chdir", "chmod", "chown",
    "chroot", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep", "clock_settime",
    "clone", "clone3", "close", "close_range", "connect", "copy_file_range", "creat", "create_module",
    "delete_module", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd",
    "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
    "fallocate", "fanotify_init", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2",
    "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "file_getattr", "file_setattr",
    "finit_module", "flistxattr", "flock", "fork", "fremovexattr", "fsconfig", "fsetxattr", "fsmount",
    "fsopen", "fspick", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue",
    "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_kernel_syms", "get_mempolicy",
    "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64", "getegid",
    "geteuid", "getgid", "getgroups", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid",
    "getpmsg", "getppid", "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit",
    "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr",
    "getxattrat", "init_module", "inotify_add_watch", "inotify_init", "inotify_init1",
    "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup",
    "io_submit", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioctl", "ioperm", "iopl",
    "ioprio_get", "ioprio_set", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr",
    "link", "linkat", "listen", "listmount", "listns", "listxattr", "listxattrat", "llistxattr",
    "lookup_dcookie", "lremovexattr", "lseek", "lsetxattr", "lsm_get_self_attr", "lsm_list_modules",
    "lsm_set_self_attr", "lstat", "madvise", "map_shadow_stack", "mbind", "membarrier", "memfd_create",
    "memfd_secret", "migrate_pages", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock",
    "mlock2", "mlockall", "mmap", "modify_ldt", "mount", "mount_setattr", "move_mount", "move_pages",
    "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall",
    "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "nfsservctl", "open", "open_by_handle_at",
    "open_tree", "open_tree_attr", "openat", "openat2", "pause", "perf_event_open", "personality",
    "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pivot_root", "pkey_alloc",
    "pkey_free", "pkey_mprotect", "poll", "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
    "process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev", "pselect6",
    "ptrace", "putpmsg", "pwrite64", "pwritev", "pwritev2", "query_module", "quotactl", "quotactl_fd",
    "read", "readahead", "readlink", "readlinkat", "readv", "reboot", "recvfrom", "recvmmsg", "recvmsg",
    "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
    "request_key", "restart_syscall", "rmdir", "rseq", "rseq_slice_yield", "rt_sigaction",
    "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "seccomp", "security", "select", "semctl", "semget", "semop",
    "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_mempolicy",
    "set_mempolicy_home_node", "set_robust_list", "set_thread_area", "set_tid_address", "setdomainname",
    "setfsgid", "setfsuid", "setgid", "setgroups", "sethostname", "setitimer", "setns", "setpgid",
    "setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid",
    "setsockopt", "settimeofday", "setuid", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt",
    "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "socket", "socketpair", "splice",
    "stat", "statfs", "statmount", "statx", "swapoff", "swapon", "symlink", "symlinkat", "sync",
    "sync_file_range", "syncfs", "sysfs", "sysinfo", "syslog", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create",
    "timerfd_gettime", "timerfd_settime", "times", "tkill", "truncate", "tuxcall", "umask", "umount2",
    "uname", "unlink", "unlinkat", "unshare", "uprobe", "uretprobe", "uselib", "userfaultfd", "ustat",
    "utime", "utimensat", "utimes", "vfork", "vhangup", "vmsplice", "vserver", "wait4", "waitid",
    "write", "writev",
];

/// Calls that only other architectures have, i386 among them; sorted.
#[rustfmt::skip]
pub(crate) static ELSEWHERE: [&str; 119] = [
    "_llseek", "_newselect", "arm_fadvise64_64", "arm_sync_file_range", "bdflush", "break",
    "breakpoint", "cachectl", "cacheflush", "chown32", "clock_adjtime64", "clock_getres_time64",
    "clock_gettime64", "clock_nanosleep_time64", "clock_settime64", "fadvise64_64", "fchown32",
    "fcntl64", "fstat64", "fstatat64", "fstatfs64", "ftime", "ftruncate64", "futex_time64", "get_tls",
    "getegid32", "geteuid32", "getgid32", "getgroups32", "getresgid32", "getresuid32", "getuid32",
    "gtty", "idle", "io_pgetevents_time64", "ipc", "lchown32", "lock", "lstat64", "mmap2", "mpx",
    "mq_timedreceive_time64", "mq_timedsend_time64", "multiplexer", "nice", "oldfstat", "oldlstat",
    "oldolduname", "oldstat", "olduname", "pciconfig_iobase", "pciconfig_read", "pciconfig_write",
    "ppoll_time64", "prof", "profil", "pselect6_time64", "readdir", "recv", "recvmmsg_time64",
    "riscv_flush_icache", "rt_sigtimedwait_time64", "rtas", "s390_guarded_storage",
    "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr", "s390_sthyi",
    "sched_rr_get_interval_time64", "semtimedop_time64", "send", "sendfile64", "set_tls", "setfsgid32",
    "setfsuid32", "setgid32", "setgroups32", "setregid32", "setresgid32", "setresuid32", "setreuid32",
    "setuid32", "sgetmask", "sigaction", "signal", "sigpending", "sigprocmask", "sigreturn",
    "sigsuspend", "socketcall", "spu_create", "spu_run", "ssetmask", "stat64", "statfs64", "stime",
    "stty", "subpage_prot", "swapcontext", "switch_endian", "sync_file_range2", "sys_debug_setcontext",
    "syscall", "sysmips", "timer_gettime64", "timer_settime64", "timerfd", "timerfd_gettime64",
    "timerfd_settime64", "truncate64", "ugetrlimit", "ulimit", "umount", "usr26", "usr32",
    "utimensat_time64", "vm86", "vm86old", "waitpid",
];

/// errno(3) names and numbers, sorted by name.
#[rustfmt::skip]
static ERRNO: [(&str, u32); 130] = [
    ("E2BIG", 7), ("EACCES", 13), ("EADDRINUSE", 98), ("EADDRNOTAVAIL", 99), ("EADV", 68),
    ("EAFNOSUPPORT", 97), ("EAGAIN", 11), ("EALREADY", 114), ("EBADE", 52), ("EBADF", 9), ("EBADFD", 77), ("EBADMSG", 74), ("EBADR", 53), ("EBADRQC", 56), ("EBADSLT", 57), ("EBFONT", 59), ("EBUSY", 16), ("ECANCELED", 125), ("ECHILD", 10), ("ECHRNG", 44), ("ECOMM", 70), ("ECONNABORTED", 103),
    ("ECONNREFUSED", 111), ("ECONNRESET", 104), ("EDEADLOCK", 35), ("EDESTADDRREQ", 89), ("EDOM", 33),
    ("EDOTDOT", 73), ("EDQUOT", 122), ("EEXIST", 17), ("EFAULT", 14), ("EFBIG", 27), ("EHOSTDOWN", 112),
    ("EHOSTUNREACH", 113), ("EIDRM", 43), ("EILSEQ", 84), ("EINPROGRESS", 115), ("EINTR", 4), ("EINVAL", 22), ("EIO", 5), ("EISCONN", 106), ("EISDIR", 21), ("EISNAM", 120), ("EKEYEXPIRED", 127),
    ("EKEYREJECTED", 129), ("EKEYREVOKED", 128), ("EL2HLT", 51), ("EL2NSYNC", 45), ("EL3HLT", 46),
    ("EL3RST", 47), ("ELIBACC", 79), ("ELIBBAD", 80), ("ELIBEXEC", 83), ("ELIBMAX", 82), ("ELIBSCN", 81), ("ELNRNG", 48), ("ELOOP", 40), ("EMEDIUMTYPE", 124), ("EMFILE", 24), ("EMLINK", 31),
    ("EMSGSIZE", 90), ("EMULTIHOP", 72), ("ENAMETOOLONG", 36), ("ENAVAIL", 119), ("ENETDOWN", 100),
    ("ENETRESET", 102), ("ENETUNREACH", 101), ("ENFILE", 23), ("ENOANO", 55), ("ENOBUFS", 105),
    ("ENOCSI", 50), ("ENODATA", 61), ("ENODEV", 19), ("ENOENT", 2), ("ENOEXEC", 8), ("ENOKEY", 126),
    ("ENOLCK", 37), ("ENOLINK", 67), ("ENOMEDIUM", 123), ("ENOMEM", 12), ("ENOMSG", 42), ("ENONET", 64),
    ("ENOPKG", 65), ("ENOPROTOOPT", 92), ("ENOSPC", 28), ("ENOSR", 63), ("ENOSTR", 60), ("ENOSYS", 38),
    ("ENOTBLK", 15), ("ENOTCONN", 107), ("ENOTDIR", 20), ("ENOTEMPTY", 39), ("ENOTNAM", 118),
    ("ENOTRECOVERABLE", 131), ("ENOTSOCK", 88), ("ENOTSUP", 95), ("ENOTTY", 25), ("ENOTUNIQ", 76),
    ("ENXIO", 6), ("EOVERFLOW", 75), ("EOWNERDEAD", 130), ("EPERM", 1), ("EPFNOSUPPORT", 96), ("EPIPE", 32), ("EPROTO", 71), ("EPROTONOSUPPORT", 93), ("EPROTOTYPE", 91), ("ERANGE", 34), ("EREMCHG", 78),
    ("EREMOTE", 66), ("EREMOTEIO", 121), ("ERESTART", 85), ("ERFKILL", 132), ("EROFS", 30),
    ("ESHUTDOWN", 108), ("ESOCKTNOSUPPORT", 94), ("ESPIPE", 29), ("ESRCH", 3), ("ESRMNT", 69),
    ("ESTALE", 116), ("ESTRPIPE", 86), ("ETIME", 62), ("ETIMEDOUT", 110), ("ETOOMANYREFS", 109),
    ("ETXTBSY", 26), ("EUCLEAN", 117), ("EUNATCH", 49), ("EUSERS", 87), ("EXDEV", 18), ("EXFULL", 54),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_apart() {
        assert!(X86_64.is_sorted_by(|a, b| a < b) && ELSEWHERE.is_sorted_by(|a, b| a < b));
        assert!(ERRNO.is_sorted_by(|a, b| a.0 < b.0));
        assert!(X86_64.iter().all(|name| !ELSEWHERE.contains(name)));
        assert_eq!(
            (errno("EPERM"), errno("ENOSYS"), errno("EWHAT")),
            (Some(1), Some(38), None)
        );
        let native = |name| Call::named(name).map(Call::is_native);
        assert_eq!(
            (native("socketcall"), native("openat2"), native("opena")),
            (Some(false), Some(true), None)
        );
        let all = X86_64
            .iter()
            .chain(&ELSEWHERE)
            .map(|name| Call::named(name).map(Call::index));
        assert!(all.eq((0..Call::COUNT).map(Some)));
    }

    #[test]
    fn the_built_in_profiles_decide_every_native_call() {
        for name in ["default", "service"] {
            let text = crate::builtin::text(crate::Kind::Seccomp, name).expect("a built-in profile");
            let policy = crate::SeccompPolicy::parse(text, None).expect("a valid profile");
            let decided = |call: &&str| {
                policy
                    .rules()
                    .iter()
                    .any(|rule| rule.names.iter().any(|n| n == call))
            };
            let left: Vec<_> = X86_64.iter().filter(|call| !decided(call)).collect();
            assert!(left.is_empty(), "{name} has no rule for {left:?}");
        }
    }
}
