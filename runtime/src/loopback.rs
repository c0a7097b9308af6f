//! Bringing up `lo` in a new network namespace.

use crate::fault::{Call, Fault};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Sets the loopback interface up. `netdevice(7)`, `SIOCSIFFLAGS`.
///
/// # Errors
/// The failed call.
pub fn up() -> Result<(), Fault> {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).call("socket")?;
    nucleus_sys::process::set_interface_up(rustix::fd::AsFd::as_fd(&socket), c"lo")
        .call("ioctl SIOCSIFFLAGS lo")
}
