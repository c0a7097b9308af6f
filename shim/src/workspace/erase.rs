//! Removes a tree that a workload made: as deep as it likes, with modes that forbid it.

use super::{Error, at};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::CString;
use std::path::Path;

/// Removes the directory and all that is in it. A tree deeper than a process may have descriptors is no obstacle:
/// directories in directories are first moved to the top.
///
/// # Errors
/// The failed call.
pub fn erase(path: &Path) -> Result<(), Error> {
    let top = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        top => top.map_err(at("open", path))?,
    };
    flatten(&top).map_err(at("remove", path))?;
    rustix::fs::rmdir(path).map_err(at("rmdir", path))
}

fn flatten(top: &OwnedFd) -> rustix::io::Result<()> {
    let mut moved = 0_u64;
    loop {
        let names = names(top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if unlinkat(top, &name, AtFlags::empty()).is_ok() {
                continue;
            }
            let directory = open(top, &name)?;
            for inner in self::names(&directory)? {
                match unlinkat(&directory, &inner, AtFlags::empty()) {
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    done => {
                        done?;
                        continue;
                    }
                }
                // Moving a directory writes its `..`, which its mode may forbid.
                drop(open(&directory, &inner)?);
                move_up(&directory, &inner, top, &mut moved)?;
            }
            unlinkat(top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, moved: &mut u64) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        let name_there = format!("nucleus-erase-{moved}");
        match rustix::fs::renameat_with(
            from,
            name,
            top,
            name_there.as_str(),
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            // A file system without that flag: an empty directory of that name is all that could be lost.
            Err(Errno::INVAL) => return renameat(from, name, top, name_there.as_str()),
            done => return done,
        }
    }
}

/// Opens a directory, whatever its mode.
fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&path)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        let link = format!("/proc/self/fd/{}", path.as_fd().as_raw_fd());
        rustix::fs::chmod(link, Mode::RWXU)?;
    }
    openat(&path, c".", flags | OFlags::RDONLY, Mode::empty())
}

fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("tree");
        std::fs::create_dir(&root).expect("mkdir");
        let mut at = std::fs::File::open(&root).expect("open").into();
        for depth in 0..1500 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("mkdirat");
            let file = openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
            drop(file.expect("create"));
            let flags = OFlags::DIRECTORY | OFlags::RDONLY;
            let next: OwnedFd = openat(&at, "d", flags, Mode::empty()).expect("open");
            if depth == 1000 {
                std::fs::File::from(at)
                    .set_permissions(PermissionsExt::from_mode(0o000))
                    .expect("chmod");
            }
            at = next;
        }
        erase(&root).expect("removed");
        assert!(!root.exists());
        erase(&root).expect("nothing to do");
    }
}
