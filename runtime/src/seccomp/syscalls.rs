//! From a system call's name to its numbers, without allocation.

use super::table::SYSCALLS;

/// How i386 reaches a call besides its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplexer {
    /// Only by its own number.
    Direct,
    /// `socketcall(2)` with this value as first argument.
    Socketcall(u8),
    /// `ipc(2)` with this value as first argument.
    Ipc(u8),
}

/// A system call in the three ABIs: name, x86_64, x32 (without `__X32_SYSCALL_BIT`), i386, and i386's
/// multiplexer. A negative number says that the ABI has no such call.
pub(super) struct Syscall(
    pub(super) &'static str,
    pub(super) i16,
    pub(super) i16,
    pub(super) i16,
    pub(super) Multiplexer,
);

/// Slots of the hash index: a power of two, sparse enough that most lookups compare one string.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// Open-addressed hash of the names, built by the compiler: a binary search over strings would cost
/// half of the compile time of a filter.
static INDEX: [u16; SLOTS] = index();

const fn slot(name: &[u8]) -> usize {
    // FNV-1a.
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}

const fn index() -> [u16; SLOTS] {
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < SYSCALLS.len() {
        let mut at = slot(SYSCALLS[row].0.as_bytes());
        while index[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        index[at] = row as u16;
        row += 1;
    }
    index
}

/// The system call called `name`, if any architecture has one.
pub(super) fn find(name: &str) -> Option<&'static Syscall> {
    let mut at = slot(name.as_bytes());
    while INDEX[at] != EMPTY {
        let row = &SYSCALLS[usize::from(INDEX[at])];
        if row.0 == name {
            return Some(row);
        }
        at = (at + 1) % SLOTS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_the_table_is_sorted() {
        assert!(SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
        for row in &SYSCALLS {
            assert_eq!(find(row.0).map(|found| found.0), Some(row.0));
        }
    }

    #[test]
    fn unknown_names_are_not_found() {
        for name in ["", "x", "opena", "OPENAT", "accept5"] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn numbers_agree_with_the_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("openat2", libc::SYS_openat2),
            ("clone3", libc::SYS_clone3),
            ("seccomp", libc::SYS_seccomp),
            ("statx", libc::SYS_statx),
            ("mseal", libc::SYS_mseal),
        ] {
            assert_eq!(find(name).map(|row| i64::from(row.1)), Some(number), "{name}");
        }
    }

    #[test]
    fn no_number_is_given_twice_within_an_abi() {
        for number in [
            |row: &Syscall| row.1,
            |row: &Syscall| row.2,
            |row: &Syscall| row.3,
        ] {
            let mut numbers: Vec<i16> = SYSCALLS.iter().map(number).filter(|n| *n >= 0).collect();
            numbers.sort_unstable();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            assert!(
                numbers
                    .iter()
                    .all(|n| (*n as usize) < super::super::rules::NUMBERS)
            );
        }
    }
}
