//! What rustix lacks of `socket(7)`.

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

/// A number that the socket's network namespace shares with no other until the next boot: `SO_NETNS_COOKIE`,
/// Linux 5.14.
///
/// # Errors
/// As `getsockopt(2)`: `ENOPROTOOPT` on older kernels.
pub fn namespace_cookie(socket: BorrowedFd<'_>) -> Result<u64> {
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: both pointers are to live variables, and `length` is the size of the one that is written.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    crate::check(result.into()).map(|_| cookie)
}
