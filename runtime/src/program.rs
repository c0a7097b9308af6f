//! Finding the program that the container runs, inside the container.

use crate::fault::Fault;
use crate::plan::Program;
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// Finds the first argument as a shell would, and completes the environment with `HOME`.
///
/// Looked up in state `creating`, so that a missing program fails `create`, in the words by which Docker and
/// podman tell exit code 127 from 126.
///
/// # Errors
/// That the program is missing or may not run.
pub fn find(program: &mut Program) -> Result<CString, Fault> {
    complete_environment(program);
    let Some(name) = program.args.first() else {
        return Err(Fault::finding("process.args is empty"));
    };
    let shown = name.to_string_lossy();
    if name.to_bytes().contains(&b'/') {
        return match check(name) {
            Ok(()) => Ok(name.into()),
            Err(errno) => Err(refusal(&format!("exec: {shown:?}: stat {shown}"), errno)),
        };
    }
    let mut denied = false;
    for directory in search_path(program).split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let Ok(path) = CString::new([directory, b"/", name.to_bytes()].concat()) else {
            continue;
        };
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::ACCESS) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return Err(refusal(&format!("exec: {shown:?}"), Errno::ACCESS));
    }
    Err(Fault {
        call: format!("exec: {shown:?}: executable file not found in $PATH").into(),
        errno: Errno::NOENT.raw_os_error(),
    })
}

/// What a shell exits with: 127 where it finds no program, 126 where that may not run.
pub fn exit_code(fault: &Fault) -> i32 {
    match Errno::from_raw_os_error(fault.errno) {
        Errno::NOENT | Errno::NOTDIR => 127,
        _ => 126,
    }
}

/// All of it in words, which are what is told; the errno is for who has to tell them apart.
fn refusal(what: &str, errno: Errno) -> Fault {
    let words = match errno {
        Errno::NOENT | Errno::NOTDIR => "no such file or directory".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        // Docker's clients take "permission denied" for exit code 126.
        Errno::ISDIR => "is a directory: permission denied".to_owned(),
        other => crate::fault::ErrnoText(other.raw_os_error()).to_string(),
    };
    Fault {
        call: format!("{what}: {words}").into(),
        errno: errno.raw_os_error(),
    }
}

fn check(path: &CStr) -> rustix::io::Result<()> {
    let Some(stat) = unless_filtered(stat(path))? else {
        return Ok(());
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    // faccessat(2) without flags: real and effective ids are the same by now, and filters older than
    // faccessat2(2) refuse that. A file system mounted noexec refuses with EACCES here too.
    unless_filtered(accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())).map(drop)
}

/// A filter that was loaded already may refuse to look: then exec has to tell.
fn unless_filtered<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Err(Errno::PERM | Errno::NOSYS) => Ok(None),
        result => result.map(Some),
    }
}

fn search_path(program: &Program) -> Vec<u8> {
    const DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let found = program
        .env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    found.unwrap_or(DEFAULT).to_vec()
}

/// Adds `HOME` from the container's `/etc/passwd` (or `/`), as every runtime does, unless it is there.
pub fn complete_environment(program: &mut Program) {
    if program
        .env
        .iter()
        .any(|entry| entry.to_bytes().starts_with(b"HOME="))
    {
        return;
    }
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let home = home_of(&passwd, program.uid).unwrap_or(b"/");
    if let Ok(entry) = CString::new([b"HOME=", home].concat()) {
        program.env.push(entry);
    }
}

/// The sixth field of the first line whose third field is this user; `passwd(5)`.
fn home_of(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let id = fields.nth(2)?;
        (id == uid.as_bytes())
            .then(|| fields.nth(2))
            .flatten()
            .filter(|home| !home.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::home_of;

    #[test]
    fn home_comes_from_the_user_s_line() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\nodd:x:7\n";
        assert_eq!(home_of(passwd, 0), Some(&b"/root"[..]));
        assert_eq!(home_of(passwd, 1000), Some(&b"/home/me"[..]));
        assert_eq!(home_of(passwd, 7), None);
        assert_eq!(home_of(passwd, 5), None);
    }
}
