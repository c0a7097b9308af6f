//! Each attack, how it is refused, and where it works.

use crate::settings::Setting::{self, *};
use Control::*;

/// Where an attack gets through, so that it is known to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Outside of any sandbox, as root.
    Outside,
    /// In the sandbox of the victim.
    Beside,
    /// Nowhere on this host, for this reason.
    Nowhere(&'static str),
}

/// An attack, with the error that each kind of sandbox gives, or [`THROUGH`].
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Whether it is made on a process of the host, and on one of another sandbox.
    pub(crate) on_victims: bool,
    /// Under the built-in seccomp profile.
    pub(crate) guarded: i32,
    /// Under one that refuses nothing.
    pub(crate) open: i32,
    pub(crate) gvisor: i32,
    pub(crate) control: Control,
}

const fn row(name: &'static str, guarded: i32, open: i32, gvisor: i32, control: Control) -> Attack {
    Attack {
        name,
        on_victims: false,
        guarded,
        open,
        gvisor,
        control,
    }
}

const fn both(name: &'static str, guarded: i32, open: i32, gvisor: i32, control: Control) -> Attack {
    Attack {
        on_victims: true,
        ..row(name, guarded, open, gvisor, control)
    }
}

/// What the seccomp profile alone stands against, which says nothing of others.
pub(crate) const THROUGH: i32 = 0;
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EBADF: i32 = 9;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const ENOTTY: i32 = 25;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const ENODATA: i32 = 61;
/// No descriptor was handed in: gVisor reaches no socket of the host.
const EPROTO: i32 = 71;
const ECONNREFUSED: i32 = 111;
const ENOKEY: i32 = 126;

const LIMITS: &str = "root lacks CAP_SYS_RESOURCE on some hosts";
const KERNEL: &str = "not every kernel has it";

#[rustfmt::skip]
pub(crate) const ATTACKS: &[Attack] = &[
    // Files. gVisor's kernel looks at who owns a file before it looks at the mount.
    row("create in /", EROFS, EROFS, EACCES, Outside),
    row("create in /etc", EROFS, EROFS, EACCES, Outside),
    row("create in /usr", EROFS, EROFS, EACCES, Outside),
    row("create in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("write in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("write below a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("truncate in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("rename in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("rename in a read-only volume back", EROFS, EROFS, EROFS, Outside),
    row("link in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("symlink in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("unlink in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("mkdir in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("rmdir in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("chmod in a read-only volume", EROFS, EROFS, EPERM, Outside),
    row("set times in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("set attributes in a read-only volume", EROFS, EROFS, EROFS, Outside),
    row("remount a volume writable", EPERM, EPERM, EPERM, Outside),
    row("run what was written to /dev/shm", EACCES, EACCES, EACCES, Outside),
    row("a setuid file", EPERM, EPERM, EPERM, Outside),
    row("the program of a process, for writing", EACCES, EACCES, EACCES, Outside),
    row("host path: store", ENOENT, ENOENT, ENOENT, Outside),
    row("host path: victims-bundle", ENOENT, ENOENT, ENOENT, Outside),
    row("host path: frontend", ENOENT, ENOENT, ENOENT, Outside),
    row("host path: shadow", ENOENT, ENOENT, ENOENT, Outside),
    row("host path by the first process's root: store", ENOENT, ENOENT, EACCES, Outside),
    row("host path by the first process's root: victims-bundle", ENOENT, ENOENT, EACCES, Outside),
    row("host path by the first process's root: frontend", ENOENT, ENOENT, EACCES, Outside),
    row("host path by the first process's root: shadow", ENOENT, ENOENT, EACCES, Outside),
    // Mounts and namespaces.
    row("remount the root writable", EPERM, EPERM, EPERM, Outside),
    row("mount a tmpfs", EPERM, EPERM, EPERM, Outside),
    row("bind mount", EPERM, EPERM, EPERM, Outside),
    row("mount a proc", EPERM, EPERM, EPERM, Outside),
    row("open a file system", EPERM, EPERM, EPERM, Outside),
    row("clone a mount", EPERM, EPERM, EPERM, Outside),
    row("unmount", EPERM, EPERM, EPERM, Outside),
    row("pivot the root", EPERM, EPERM, EPERM, Outside),
    row("chroot", EPERM, EPERM, EPERM, Outside),
    row("open by handle", EPERM, EPERM, EPERM, Outside),
    row("unshare mounts", EPERM, EPERM, EPERM, Outside),
    row("unshare the network", EPERM, EPERM, EPERM, Outside),
    row("unshare users", EPERM, THROUGH, EPERM, Outside),
    row("clone3 with a user namespace", ENOSYS, THROUGH, EPERM, Outside),
    row("enter a namespace", EPERM, EPERM, EPERM, Outside),
    // Where a profile lets a workload be root of namespaces of its own, what was mounted for it stays as it is.
    row("own namespaces: remount the root writable", EPERM, EPERM, EPERM, Outside),
    row("own namespaces: remount a volume writable", EPERM, EPERM, EPERM, Outside),
    row("own namespaces: mount a proc without masks", EPERM, EPERM, EPERM, Outside),
    row("own namespaces: look below a mask", EPERM, EINVAL, EPERM, Outside),
    row("own namespaces: kernel settings of the network", EPERM, EROFS, EPERM, Outside),
    row("own namespaces: release_agent", EPERM, EPERM, EPERM, Outside),
    // Processes.
    both("signal", ESRCH, ESRCH, ESRCH, Outside),
    both("trace", EPERM, ESRCH, EPERM, Outside),
    both("read memory", EPERM, ESRCH, EPERM, Outside),
    both("root directory", ENOENT, ENOENT, ENOENT, Outside),
    both("memory as a file", ENOENT, ENOENT, ENOENT, Outside),
    both("environment", ENOENT, ENOENT, ENOENT, Outside),
    both("namespace as a file", ENOENT, ENOENT, ENOENT, Outside),
    both("process descriptor", ESRCH, ESRCH, ENOSYS, Outside),
    both("lower its priority", ESRCH, ESRCH, ESRCH, Outside),
    both("read its limits", ESRCH, ESRCH, ESRCH, Outside),
    both("enter its network by a handed descriptor", EPERM, EPERM, EPROTO, Outside),
    both("enter its mounts by a handed descriptor", EPERM, EPERM, EPROTO, Outside),
    both("signal by a handed descriptor", EINVAL, EINVAL, EPROTO, Outside),
    both("take a descriptor by a handed descriptor", EPERM, EPERM, EPROTO, Outside),
    row("trace a child", EPERM, THROUGH, EPERM, Outside),
    row("read a child's memory", EPERM, THROUGH, EPERM, Outside),
    row("trace the first process", EPERM, THROUGH, EPERM, Outside),
    row("write the first process's memory", EACCES, EACCES, EACCES, Outside),
    row("a descriptor of the caller's", EBADF, EBADF, EBADF, Outside),
    // Shared memory, queues and keys.
    both("shared memory", ENOENT, ENOENT, ENOENT, Beside),
    both("shared memory through /proc", ENOENT, ENOENT, ENOENT, Outside),
    both("message queue", EPERM, ENOENT, EPERM, Beside),
    both("System V segment", EPERM, EINVAL, EPERM, Beside),
    both("key by number", EPERM, EACCES, EPERM, Beside),
    both("key by name", EPERM, ENOKEY, EPERM, Beside),
    // The machine. A number of gVisor's own kernel is the only priority that changes there.
    row("become another user", EPERM, EPERM, EPERM, Outside),
    row("join groups", EPERM, EPERM, EPERM, Outside),
    row("take a capability", EPERM, EPERM, EPERM, Outside),
    row("name the host", EPERM, EPERM, EPERM, Outside),
    row("set the time", EPERM, EPERM, EPERM, Outside),
    row("raise a limit", EPERM, EPERM, EPERM, Nowhere(LIMITS)),
    row("raise the own priority", EACCES, EACCES, THROUGH, Outside),
    row("kernel settings: hostname", EACCES, EACCES, EACCES, Outside),
    row("kernel settings: core_pattern", EACCES, EACCES, ENOENT, Outside),
    row("kernel settings: forwarding", EACCES, EACCES, EACCES, Outside),
    row("sysrq", EACCES, EACCES, ENOENT, Nowhere(KERNEL)),
    row("list of keys", ENODATA, ENODATA, ENOENT, Outside),
    row("interrupts", ENODATA, ENODATA, ENOENT, Outside),
    row("kernel memory", ENODATA, ENODATA, ENOENT, Nowhere(KERNEL)),
    row("kernel log", ENOENT, ENOENT, ENOENT, Outside),
    row("console's log level", EPERM, EPERM, EPERM, Outside),
    row("control group: release_agent", ENOENT, ENOENT, ENOENT, Outside),
    row("control group: limit", ENOENT, ENOENT, ENOENT, Outside),
    row("control group: leave", ENOENT, ENOENT, ENOENT, Outside),
    row("io_uring", ENOSYS, THROUGH, EPERM, Outside),
    row("userfaultfd", EPERM, THROUGH, EPERM, Outside),
    row("reboot", EPERM, EPERM, EPERM, Outside),
    row("swap", EPERM, EPERM, EPERM, Outside),
    // Devices. Landlock refuses to make one before the kernel asks for the capability.
    row("make a disk", EPERM, EACCES, EPERM, Outside),
    row("make a device", EPERM, EACCES, EPERM, Outside),
    row("make a device in /dev", EPERM, EACCES, EPERM, Outside),
    row("open a device in a volume", EACCES, EACCES, EPERM, Outside),
    row("type into the caller's terminal", EPERM, EPERM, EPERM, Outside),
    // Sockets.
    both("TCP", ECONNREFUSED, ECONNREFUSED, ECONNREFUSED, Beside),
    both("TCP by a mapped address", ECONNREFUSED, ECONNREFUSED, ECONNREFUSED, Beside),
    both("abstract socket", ECONNREFUSED, ECONNREFUSED, ECONNREFUSED, Beside),
    row("socket of the host in a directory", ENOENT, ENOENT, ENOENT, Outside),
    row("raw socket", EPERM, EPERM, EPERM, Outside),
    row("raw IPv6 socket", EPERM, EPERM, EPERM, Outside),
    row("packet socket", ENOSYS, EPERM, EPERM, Outside),
    row("netfilter socket", ENOSYS, THROUGH, EPERM, Outside),
    row("audit socket", ENOSYS, THROUGH, EPERM, Outside),
    row("set an interface up", EPERM, EPERM, ENOTTY, Outside),
];

/// Where it is another error: a part of the name, the sandboxes, the error.
#[rustfmt::skip]
const OTHERWISE: &[(&str, &[Setting], i32)] = &[
    // It is root already, of nothing.
    ("a setuid file", &[AgentRoot], THROUGH),
    // The stricter modes' Landlock rules allow no TCP, not even inside.
    ("TCP", &[StrictAgent, Production, ProductionOpen, UserStrict], EACCES),
    // /dev is root's inside, which a user is.
    ("make a device in /dev", &[Bare, BareInit, BareUnmapped], EACCES),
    // Without Landlock the kernel goes on to what is asked for.
    ("make a d", &[Bare, BareInit, BareUnmapped, UserBare], EPERM),
    // A hierarchy of version 1 can be mounted there, and shows the sandbox's own group, which has no such file.
    ("own namespaces: release_agent", &[Bare, BareInit, BareUnmapped, UserBare], ENOENT),
    // The first process is ours, and of nobody in the sandbox; with production mode's /proc it cannot be seen.
    ("host path by the first process's root", &[AgentInit, InitOpen, BareInit], EACCES),
    ("trace the first process", &[InitOpen, ProductionOpen, BareInit], EPERM),
    ("write the first process's memory", &[Production, ProductionOpen], ENOENT),
    // The first process is the command itself, and Landlock is gone: the attack is one on itself.
    ("write the first process's memory", &[AgentWithoutLandlock, Bare, BareUnmapped, UserBare], THROUGH),
    // A user has one id: no other can be asked for, and keys of all sandboxes are the user's, so that only the
    // built-in profile keeps them apart.
    ("become another user", &[UserOpen, UserBare], EINVAL),
    ("key by number", &[UserOpen, UserBare], THROUGH),
];

impl Attack {
    /// What the attack's lines are called.
    pub(crate) fn names(&self) -> Vec<(String, Control)> {
        if !self.on_victims {
            return vec![(self.name.to_owned(), self.control)];
        }
        // The host is where the controls run: its victim can be reached there.
        vec![
            (format!("host: {}", self.name), Outside),
            (format!("other: {}", self.name), self.control),
        ]
    }

    pub(crate) fn expected(&self, setting: Setting) -> i32 {
        let mut others = OTHERWISE.iter();
        let other =
            others.find(|(name, settings, _)| self.name.contains(name) && settings.contains(&setting));
        match other {
            Some((_, _, errno)) => *errno,
            None if setting == Gvisor => self.gvisor,
            None if setting.is_open() => self.open,
            None => self.guarded,
        }
    }
}

/// What Landlock alone refuses, where seccomp, the read-only mounts and the network namespace are gone. Times and
/// attributes it does not know.
#[rustfmt::skip]
pub(crate) const BY_LANDLOCK_ALONE: &[(&str, i32)] = &[
    ("create in a read-only volume", EACCES),
    ("write in a read-only volume", EACCES),
    ("write below a read-only volume", EACCES),
    ("truncate in a read-only volume", EACCES),
    ("rename in a read-only volume", EACCES),
    ("symlink in a read-only volume", EACCES),
    ("link in a read-only volume", EACCES),
    ("mkdir in a read-only volume", EACCES),
    ("host: TCP", EACCES),
    ("host: TCP by a mapped address", EACCES),
    ("host: abstract socket", EPERM),
    ("own namespaces: release_agent", EPERM),
    ("make a disk", EACCES),
    ("write the first process's memory", EACCES),
];
