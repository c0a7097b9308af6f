//! The child: runs the plan's steps in order, decides nothing, and becomes the program.

use crate::credentials;
use crate::fault::{Call, ErrnoText, Fault, chain};
use crate::hooks;
use crate::plan::step::{ChildHooks, Lsm, Step};
use crate::plan::{Plan, Program};
use crate::rootfs::{Rootfs, device};
use crate::sync::{Channel, Failure, ToChild};
use crate::{landlock, program, terminal};
use nucleus_sys::process::Batch;
use nucleus_sys::signal::SignalMask;
use nucleus_sys::{clone, exec, keyring, process, signal};
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior as set_dumpable};
use std::ffi::CString;

/// What the child gets from the parent, all opened before the fork.
#[derive(Debug)]
pub struct Child<'plan> {
    /// What to do.
    pub plan: &'plan Plan,
    /// Namespaces and mount sources, by [`FdSlot`](crate::plan::step::FdSlot).
    pub opened: Vec<OwnedFd>,
    /// Version 1 `tasks` files.
    pub tasks: Batch,
    /// The protocol's end.
    pub channel: Channel,
    /// `create`: where the byte of `start` comes from, and where a later failure goes.
    pub start: Option<StartFifos>,
    /// Connected to `--console-socket`.
    pub console: Option<OwnedFd>,
    /// The signal mask that the program inherits.
    pub mask: SignalMask,
}

/// The two FIFOs between `start` and the waiting child.
#[derive(Debug)]
pub struct StartFifos {
    /// `start` writes one byte.
    pub start: OwnedFd,
    /// The child writes its failure; end of file means that exec succeeded.
    pub result: OwnedFd,
}

/// State that steps leave for later ones.
struct Init<'plan> {
    child: Child<'plan>,
    /// The runtime was started in a `chroot(2)`.
    in_chroot: bool,
    rootfs: Option<Rootfs>,
    program: Program,
    path: Option<CString>,
    /// The working directory could not be entered as root: try again as the user.
    retry_directory: Option<CString>,
    /// What was to be done before `start` is done.
    ready: bool,
}

/// Runs every step, then the program. Never returns.
pub fn run(child: Child<'_>) -> ! {
    // Rust's start-up ignores SIGPIPE; the program must not inherit that.
    signal::set_default(libc::SIGPIPE);
    let plan = child.plan;
    let mut program = plan.program.clone();
    if program.listens {
        let variable = format!("LISTEN_PID={}", std::process::id());
        program.env.push(CString::new(variable).unwrap_or_default());
    }
    let mut init = Init {
        child,
        in_chroot: false,
        rootfs: None,
        program,
        path: None,
        retry_directory: None,
        ready: false,
    };
    for (index, step) in plan.steps.iter().enumerate() {
        if let Err(fault) = init.step(step) {
            init.fail(Failure { step: index, fault });
        }
    }
    let fault = init.exec();
    init.fail(Failure {
        step: plan.steps.len(),
        fault,
    });
}

impl Init<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::OomScoreAdj(value) => credentials::set_oom_score_adj(*value),
            Step::NotDumpable => set_dumpable(DumpableBehavior::NotDumpable).call("prctl PR_SET_DUMPABLE"),
            Step::Dumpable => set_dumpable(DumpableBehavior::Dumpable).call("prctl PR_SET_DUMPABLE"),
            Step::FollowRuntime(follow) => {
                let signal = follow.then_some(rustix::process::Signal::KILL);
                rustix::process::set_parent_process_death_signal(signal).call("prctl PR_SET_PDEATHSIG")
            }
            Step::JoinNamespace { flag, fd, .. } => {
                clone::setns(self.child.opened[fd.0].as_fd(), *flag).call("setns")
            }
            Step::JoinCgroups => self.join_cgroups(),
            Step::AwaitProceed => self.child.channel.expect(ToChild::Proceed),
            Step::BecomeRoot { uid, gid } => credentials::become_root(*uid, *gid),
            Step::NewNamespace { flag, .. } => clone::unshare(*flag).call("unshare"),
            Step::TimeOffsets(offsets) => {
                std::fs::write("/proc/self/timens_offsets", offsets).call("write /proc/self/timens_offsets")
            }
            Step::NewSession => rustix::process::setsid().call("setsid").map(drop),
            Step::SessionKeyring(name) => join_keyring(name),
            Step::Hostname(name) => rustix::system::sethostname(name.as_bytes()).call("sethostname"),
            Step::Domainname(name) => rustix::system::setdomainname(name.as_bytes()).call("setdomainname"),
            Step::LoopbackUp => crate::loopback::up(),
            _ => self.rootfs_step(step),
        }
    }

    fn rootfs_step(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::InheritedPropagation { propagation, whole } => {
                self.in_chroot = crate::rootfs::set_inherited_propagation(*propagation, *whole)?;
                Ok(())
            }
            Step::Root(root) => {
                // Modes of devices and directories are the plan's own: the caller's mask must not cut them.
                rustix::process::umask(rustix::fs::Mode::empty());
                let source = root.source.map(|slot| self.child.opened[slot.0].as_fd());
                self.rootfs = Some(Rootfs::attach(root, source)?);
                Ok(())
            }
            Step::CurrentRoot => {
                self.rootfs = Some(Rootfs::current()?);
                Ok(())
            }
            Step::Mount(mount) => {
                let opened = std::mem::take(&mut self.child.opened);
                let result = self.rootfs()?.mount(mount, &opened);
                self.child.opened = opened;
                result
            }
            Step::CgroupMount(mount) => self.rootfs()?.mount_cgroup(mount),
            Step::Devices(devices) => self.rootfs()?.create_devices(devices),
            Step::DevLinks => self.rootfs()?.link_devices(),
            Step::Terminal { size, console } => self.open_terminal(*size, *console),
            Step::Sysctl(entries) => entries
                .iter()
                .try_for_each(|(path, value)| self.rootfs()?.write_proc(path, value.as_bytes())),
            Step::Mask(paths) => {
                let null = device::host_null()?;
                self.rootfs()?.mask(paths, &null)
            }
            Step::ReadonlyPaths(paths) => self.rootfs()?.make_paths_readonly(paths),
            Step::WorkingDirectory(cwd) => crate::rootfs::resolve::make_directories(self.rootfs()?.fd(), cwd),
            Step::PivotRoot { chroot: true, .. } => self.rootfs()?.chroot(),
            Step::PivotRoot {
                chroot: false,
                shared,
            } => {
                let in_chroot = self.in_chroot;
                self.rootfs()?.pivot(*shared, in_chroot)
            }
            Step::ReadonlyRoot => self.rootfs()?.make_readonly(),
            Step::RootPropagation(propagation) => self.rootfs()?.set_propagation(*propagation),
            _ => self.process_step(step),
        }
    }

    fn process_step(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::ExecLabel {
                lsm: Lsm::AppArmor,
                label,
            } => {
                let value = format!("exec {label}");
                self.rootfs()?
                    .write_proc("thread-self/attr/apparmor/exec", value.as_bytes())
            }
            Step::ExecLabel {
                lsm: Lsm::Selinux,
                label,
            } => self
                .rootfs()?
                .write_proc("thread-self/attr/exec", label.as_bytes()),
            Step::Limits(limits) => credentials::set_limits(limits),
            Step::Scheduler(attr) => process::sched_setattr(attr).call("sched_setattr"),
            Step::IoPriority { class, level } => process::ioprio_set(*class, *level).call("ioprio_set"),
            Step::MemoryPolicy { mode, nodes } => process::set_mempolicy(*mode, nodes).call("set_mempolicy"),
            Step::Affinity(cpus) => set_affinity(cpus),
            Step::Personality(persona) => process::personality(*persona).call("personality"),
            Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true).call("prctl PR_SET_NO_NEW_PRIVS"),
            Step::FindHome => {
                program::complete_environment(&mut self.program);
                Ok(())
            }
            Step::Landlock(rules) => landlock::enforce(rules),
            Step::Seccomp(filter) => self.load_seccomp(filter),
            Step::Credentials {
                identity,
                capabilities,
            } => {
                terminal::give_streams(identity.uid)?;
                credentials::assume(identity, capabilities)?;
                self.enter_directory_again()
            }
            Step::CloseDescriptors => self.close_descriptors(),
            Step::EnterDirectory(cwd) => self.enter_directory(cwd),
            Step::FindProgram => {
                self.path = Some(program::find(&mut self.program)?);
                Ok(())
            }
            _ => self.protocol_step(step),
        }
    }

    fn protocol_step(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::AwaitRuntimeHooks => {
                self.child.channel.mounted()?;
                self.child.channel.expect(ToChild::HooksDone)
            }
            Step::Hooks(kind) => self.run_hooks(*kind),
            Step::Ready => {
                self.child.channel.ready()?;
                self.ready = true;
                Ok(())
            }
            Step::AwaitStart => self.await_start(),
            _ => Err(Fault::finding("a step without an executor")),
        }
    }

    fn rootfs(&mut self) -> Result<&mut Rootfs, Fault> {
        self.rootfs
            .as_mut()
            .ok_or_else(|| Fault::finding("no root file system yet"))
    }

    fn join_cgroups(&self) -> Result<(), Fault> {
        // "0" is the writer itself; a process with one thread need not wait as cgroup.procs does.
        self.child
            .tasks
            .iter()
            .try_for_each(|tasks| rustix::io::write(tasks, b"0").call("write tasks").map(drop))
    }

    fn open_terminal(&mut self, size: Option<(u16, u16)>, console: bool) -> Result<(), Fault> {
        let terminal = terminal::open(self.rootfs()?, size)?;
        if console {
            self.rootfs()?.attach_console(terminal.slave.as_fd())?;
        }
        match &self.child.console {
            Some(socket) => terminal::send_master(socket.as_fd(), &terminal)?,
            None => self.child.channel.terminal(terminal.master.as_fd())?,
        }
        terminal::adopt(terminal.slave.as_fd())
    }

    fn load_seccomp(&self, filter: &crate::seccomp::Filter) -> Result<(), Fault> {
        let listener =
            nucleus_sys::seccomp::seccomp_set_filter(&filter.program, filter.flags).call("seccomp")?;
        let Some(listener) = listener else { return Ok(()) };
        self.child.channel.listener(listener.as_fd())?;
        self.child.channel.expect(ToChild::ListenerSent)
    }

    /// Closes everything but the standard streams, what the caller asked to preserve, and the protocol.
    fn close_descriptors(&mut self) -> Result<(), Fault> {
        let mut keep: Vec<RawFd> = vec![self.child.channel.fd().as_raw_fd()];
        if let Some(fifos) = &self.child.start {
            keep.extend([fifos.start.as_raw_fd(), fifos.result.as_raw_fd()]);
        }
        keep.sort_unstable();
        let mut first = self.program.first_closed_fd();
        for fd in keep {
            if fd > first {
                process::close_range(first, fd - 1).call("close_range")?;
            }
            first = first.max(fd + 1);
        }
        process::close_range(first, RawFd::MAX).call("close_range")?;
        // The numbers are gone: forget the owners without closing again.
        std::mem::forget((
            std::mem::take(&mut self.child.opened),
            std::mem::take(&mut self.child.tasks),
        ));
        std::mem::forget((self.rootfs.take(), self.child.console.take()));
        Ok(())
    }

    fn enter_directory(&mut self, cwd: &CString) -> Result<(), Fault> {
        match rustix::process::chdir(&**cwd) {
            Ok(()) => check_directory(),
            Err(Errno::ACCESS | Errno::PERM) => {
                self.retry_directory = Some(cwd.clone());
                Ok(())
            }
            Err(errno) => Err(errno).call("chdir"),
        }
    }

    fn enter_directory_again(&mut self) -> Result<(), Fault> {
        let Some(cwd) = self.retry_directory.take() else {
            return Ok(());
        };
        rustix::process::chdir(&*cwd).call_on("chdir to cwd", || cwd.to_string_lossy().into_owned())?;
        check_directory()
    }

    fn run_hooks(&mut self, kind: ChildHooks) -> Result<(), Fault> {
        let plan = self.child.plan;
        let (hooks, status) = match kind {
            ChildHooks::CreateContainer => {
                // Mounts have left the process in a directory that they cover. As runc does.
                rustix::process::fchdir(self.rootfs()?.fd()).call("fchdir")?;
                (&plan.hooks.create_container, "creating")
            }
            ChildHooks::StartContainer => (&plan.hooks.start_container, "created"),
        };
        let state = plan.hook_state.json(status, Some(std::process::id()));
        hooks::run_all(hooks, &state).map_err(|error| Fault::finding(chain(&error)))
    }

    fn await_start(&mut self) -> Result<(), Fault> {
        self.child.channel.expect(ToChild::Start)?;
        let Some(fifos) = &self.child.start else {
            return Ok(());
        };
        let mut byte = [0u8];
        loop {
            match rustix::io::read(&fifos.start, &mut byte) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).call("read the start FIFO"),
            }
        }
        Ok(())
    }

    fn exec(&mut self) -> Fault {
        let Some(path) = self.path.take() else {
            return Fault::finding("no program was found");
        };
        signal::restore(&self.child.mask);
        let errno = exec::execve(&path, &self.program.args, &self.program.env);
        signal::block_all();
        let program = path.to_string_lossy();
        Fault {
            call: format!("exec {program:?}").into(),
            errno: errno.raw_os_error(),
        }
    }

    /// Reports to whoever listens: `run`, or `create` until this process is ready, and `start` from then on.
    fn fail(&self, failure: Failure) -> ! {
        match &self.child.start {
            Some(fifos) if self.ready => {
                // `start` has no plan that would tell the step.
                let fault = Fault::finding(describe(&failure, self.child.plan));
                let failure = Failure { fault, ..failure };
                let _ = rustix::io::write(&fifos.result, &crate::sync::encode(&failure));
            }
            _ => self.child.channel.failed(&failure),
        }
        process::exit_now(1)
    }
}

/// A working directory above the root means that a descriptor of the host was reached (CVE-2024-21626).
fn check_directory() -> Result<(), Fault> {
    let cwd = rustix::process::getcwd(Vec::new()).call("getcwd")?;
    if cwd.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    Err(Fault::finding(
        "the working directory is outside of the container's root file system",
    ))
}

fn join_keyring(name: &CString) -> Result<(), Fault> {
    match keyring::join_session_keyring(name) {
        // A kernel without keyrings has nothing to separate.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).call("keyctl KEYCTL_JOIN_SESSION_KEYRING"),
    }
}

fn set_affinity(cpus: &[usize]) -> Result<(), Fault> {
    let mut set = rustix::thread::CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    rustix::thread::sched_setaffinity(None, &set).call("sched_setaffinity")
}

/// Prints what failed in words that name step and object; `steps` are the plan's.
pub fn describe(failure: &Failure, plan: &Plan) -> String {
    let Fault { call, errno } = &failure.fault;
    match plan.steps.get(failure.step) {
        // Clients tell 126 from 127 by these words, which are runc's.
        Some(Step::FindProgram) => call.to_string(),
        Some(step) if *errno == 0 => format!("{step}: {call}"),
        Some(step) => format!("{step}: {call}: {}{}", ErrnoText(*errno), hint(step, *errno)),
        None => format!("{call}: {}", ErrnoText(*errno)),
    }
}

/// What the kernel's answer does not tell: with `CONFIG_RT_GROUP_SCHED` a version 1 group gives real-time policies no
/// time that was not set. The parent has the policy that the child came with.
fn hint(step: &Step, errno: i32) -> &'static str {
    let real_time = |policy: i32| matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR);
    match (step, Errno::from_raw_os_error(errno)) {
        (Step::JoinCgroups, Errno::INVAL) if process::sched_getscheduler().is_ok_and(real_time) => {
            "; this runtime was started with a real-time policy, for which the cgroup has no time: start it with another \
             (chrt --other 0), or set linux.resources.cpu.realtimeRuntime"
        }
        (Step::Scheduler(attr), Errno::PERM) if i32::try_from(attr.policy).is_ok_and(real_time) => {
            "; a real-time policy needs CAP_SYS_NICE, and in a version 1 cgroup linux.resources.cpu.realtimeRuntime"
        }
        _ => "",
    }
}
