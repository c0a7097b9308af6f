//! Looking at a process at its next exec, before the first instruction of the new program, and letting it make
//! system calls there: `ptrace(2)`.

use crate::check;
use rustix::io::{Errno, Result};
use std::cell::{Cell, RefCell};

/// A process that was seized. It ends with this one, and when this is dropped, until [`Tracee::detach`].
#[derive(Debug)]
pub struct Tracee {
    pid: libc::pid_t,
    /// Whether it has ended, and its number may be another's.
    ended: Cell<bool>,
    /// Signals that arrived while calls were made; it gets them when it is let go.
    held: RefCell<Vec<i32>>,
}

/// What a traced process has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    None,
    /// It stands before the first instruction of a new program.
    Exec,
    /// It has ended.
    Ended,
}

/// A call that was made in the place of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Where the registers of a stopped process point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointers {
    /// The next instruction.
    pub instruction: u64,
    /// The top of the stack.
    pub stack: u64,
}

/// How often a single step may stop before the call has been made.
const STEPS: usize = 8;

impl Tracee {
    /// Seizes a process, which goes on. `PTRACE_SEIZE`.
    ///
    /// # Errors
    /// `EPERM` without the right, `ESRCH` when it is gone.
    pub fn seize(pid: i32) -> Result<Self> {
        let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
        request(libc::PTRACE_SEIZE, pid, 0, options as u64)?;
        Ok(Self {
            pid,
            ended: Cell::default(),
            held: RefCell::default(),
        })
    }

    /// What it has come to; signals that are delivered to it meanwhile are let through. Does not wait: `SIGCHLD`
    /// tells when to look again. `waitpid(2)`.
    ///
    /// # Errors
    /// As `waitpid(2)` and `ptrace(2)`.
    pub fn event(&self) -> Result<Event> {
        loop {
            let Some(status) = self.wait(libc::WNOHANG)? else {
                return Ok(Event::None);
            };
            if !libc::WIFSTOPPED(status) {
                return Ok(Event::Ended);
            }
            match status >> 16 {
                libc::PTRACE_EVENT_EXEC => return self.leave_exec(),
                libc::PTRACE_EVENT_STOP => request(libc::PTRACE_CONT, self.pid, 0, 0)?,
                _ => request(libc::PTRACE_CONT, self.pid, 0, libc::WSTOPSIG(status) as u64)?,
            }
        }
    }

    /// The event comes within execve(2), whose result would overwrite a register: on to its exit.
    fn leave_exec(&self) -> Result<Event> {
        request(libc::PTRACE_SYSCALL, self.pid, 0, 0)?;
        Ok(match self.wait(0)? {
            Some(status) if libc::WIFSTOPPED(status) => Event::Exec,
            _ => Event::Ended,
        })
    }

    fn wait(&self, flags: i32) -> Result<Option<i32>> {
        let mut status = 0;
        loop {
            // SAFETY: the kernel writes one int to `status`, which lives through the call.
            let found = unsafe { libc::waitpid(self.pid, &raw mut status, flags | libc::__WALL) };
            match check(found.into()) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    self.ended.set(!libc::WIFSTOPPED(status));
                    return Ok(Some(status));
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Where it stands. Only while it is stopped.
    ///
    /// # Errors
    /// `ESRCH` when it is not stopped.
    pub fn pointers(&self) -> Result<Pointers> {
        let registers = self.registers()?;
        Ok(Pointers {
            instruction: registers.rip,
            stack: registers.rsp,
        })
    }

    /// Makes it carry out system calls with the `syscall` instruction at address `at` of its memory, and puts its
    /// registers back. Returns what each gave: a negative errno after a failure.
    ///
    /// # Errors
    /// `ESRCH` when it is not stopped or ends; `EIO` when the calls were not made.
    pub fn call(&self, at: u64, calls: &[Call]) -> Result<Vec<i64>> {
        let before = self.registers()?;
        let made = calls.iter().map(|call| self.one_call(at, call, before)).collect();
        self.set_registers(&before)?;
        made
    }

    fn one_call(&self, at: u64, call: &Call, before: libc::user_regs_struct) -> Result<i64> {
        let mut registers = before;
        let [rdi, rsi, rdx, r10, r8, r9] = call.arguments;
        registers.rip = at;
        registers.rax = call.number as u64;
        // No system call that could be made again.
        registers.orig_rax = u64::MAX;
        (registers.rdi, registers.rsi, registers.rdx) = (rdi, rsi, rdx);
        (registers.r10, registers.r8, registers.r9) = (r10, r8, r9);
        self.set_registers(&registers)?;
        for _ in 0..STEPS {
            request(libc::PTRACE_SINGLESTEP, self.pid, 0, 0)?;
            match self.wait(0)? {
                Some(status) if libc::WIFSTOPPED(status) => self.hold(libc::WSTOPSIG(status)),
                _ => return Err(Errno::SRCH),
            }
            // A signal stops it before anything was carried out.
            let now = self.registers()?;
            if now.rip == at + 2 {
                return Ok(now.rax as i64);
            }
            if now.rip != at {
                break;
            }
        }
        Err(Errno::IO)
    }

    fn hold(&self, signal: i32) {
        if signal != libc::SIGTRAP {
            self.held.borrow_mut().push(signal);
        }
    }

    /// Lets it go on by itself. `PTRACE_DETACH`.
    ///
    /// # Errors
    /// `ESRCH` when it has ended.
    pub fn detach(self) -> Result<()> {
        for signal in self.held.take() {
            // SAFETY: no memory is involved; the process is stopped, so the number is still its own.
            check(unsafe { libc::kill(self.pid, signal) }.into())?;
        }
        request(libc::PTRACE_DETACH, self.pid, 0, 0)?;
        // Nothing is to be ended any more.
        self.ended.set(true);
        Ok(())
    }

    fn registers(&self) -> Result<libc::user_regs_struct> {
        // SAFETY: the struct is plain data for which all-zero bytes are a valid value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS, self.pid, 0, (&raw mut registers) as u64)?;
        Ok(registers)
    }

    fn set_registers(&self, registers: &libc::user_regs_struct) -> Result<()> {
        request(
            libc::PTRACE_SETREGS,
            self.pid,
            0,
            std::ptr::from_ref(registers) as u64,
        )
    }
}

impl Drop for Tracee {
    /// Its parent hears of its end only when the tracer has.
    fn drop(&mut self) {
        while !self.ended.get() {
            // SAFETY: no memory is involved; the process was not waited for, so the number is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            if self.wait(0).is_err() {
                break;
            }
        }
    }
}

fn request(request: libc::c_uint, pid: i32, address: u64, data: u64) -> Result<()> {
    // SAFETY: of the requests made here, SEIZE, CONT, SINGLESTEP and DETACH take numbers; GETREGS writes and
    // SETREGS reads one user_regs_struct at `data`, which the caller holds through the call.
    check(unsafe { libc::ptrace(request, pid, address, data) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_makes_calls_at_its_exec_and_then_runs_as_if_nothing_had_been() {
        let mut command = Command::new("sh");
        command.args(["-c", "read line && exec sh -c 'umask; echo $$'"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let pid = i32::try_from(child.id()).expect("a pid");
        // The shell's own exec has to be over: it must not be taken for the second.
        while !std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .expect("cmdline")
            .starts_with("sh\0")
        {
            std::thread::yield_now();
        }
        let tracee = Tracee::seize(pid).expect("seize");
        drop(
            child
                .stdin
                .take()
                .map(|mut input| std::io::Write::write_all(&mut input, b"go\n")),
        );
        while tracee.event().expect("wait") != Event::Exec {
            std::thread::yield_now();
        }
        let at = syscall_instruction(pid);
        let call = |number, first| Call {
            number,
            arguments: [first, 0, 0, 0, 0, 0],
        };
        let made = tracee.call(
            at,
            &[
                call(libc::SYS_getpid, 0),
                call(libc::SYS_umask, 0o27),
                call(libc::SYS_close, 77),
            ],
        );
        assert_eq!(made.expect("calls")[0], i64::from(pid));
        assert_eq!(
            tracee.call(at, &[call(libc::SYS_close, 77)]),
            Ok(vec![-i64::from(libc::EBADF)])
        );
        tracee.detach().expect("detach");
        let output = child.wait_with_output().expect("wait");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("0027\n{pid}\n"));
    }

    fn syscall_instruction(pid: i32) -> u64 {
        use std::os::unix::fs::FileExt;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).expect("vdso");
        let (from, to) = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'))
            .expect("a range");
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).expect("hexadecimal"));
        let mut bytes = vec![0; usize::try_from(to - from).expect("small")];
        let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("mem");
        memory.read_exact_at(&mut bytes, from).expect("read");
        let at = bytes
            .windows(2)
            .position(|pair| pair == [0x0f, 0x05])
            .expect("syscall");
        from + at as u64
    }
}
