//! `linux.netDevices`: network devices that move into the container's network namespace;
//! `config-linux.md#network-devices`.

use crate::fault::{Call, Fault};
use nucleus_netlink::{Request, Socket, attributes};
use nucleus_sys::clone::setns;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::Pid;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
/// Linux 5.13.
const IFLA_NEW_IFINDEX: u16 = 49;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_ANYCAST: u16 = 5;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;

const IFF_UP: u32 = 1;
const IFA_F_PERMANENT: u32 = 0x80;
/// Flags that a caller may set; the others say what the kernel has found out.
const SETTABLE_ADDRESS_FLAGS: u32 = NODAD | HOMEADDRESS | MANAGETEMPADDR | NOPREFIXROUTE | MCAUTOJOIN;
const NODAD: u32 = 0x02;
const HOMEADDRESS: u32 = 0x10;
const MANAGETEMPADDR: u32 = 0x100;
const NOPREFIXROUTE: u32 = 0x200;
const MCAUTOJOIN: u32 = 0x400;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// How many indexes are tried in a namespace that has other devices.
const INDEX_TRIES: u32 = 4096;

/// Devices that were moved, and the way back.
#[derive(Debug)]
pub struct Moved {
    container: Side,
    runtime: Side,
    devices: Vec<Device>,
}

/// A network namespace with a socket in it.
#[derive(Debug)]
struct Side {
    namespace: OwnedFd,
    socket: Socket,
}

/// A device on its way.
#[derive(Debug)]
struct Device {
    outside: String,
    inside: String,
    /// In the namespace in which it is now.
    index: u32,
    /// Whether it was up before it was moved.
    up: bool,
    addresses: Vec<Address>,
}

/// An address as the kernel has told it, ready to be told back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix: u8,
    index: u32,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Moves network devices into the network namespace of a process: renamed, with their permanent global
/// addresses, and up. Nothing is moved unless every device is there and every name is free.
///
/// # Errors
/// The failed call with the device; what was moved already is moved back.
pub fn move_into(pid: Pid, devices: &[(String, String)]) -> Result<Moved, Fault> {
    let mut runtime = Side::here()?;
    let container = Side::of(pid, runtime.namespace.as_fd())?;
    let mut found = Vec::with_capacity(devices.len());
    for (outside, inside) in devices {
        found.push(find(&mut runtime.socket, outside, inside)?);
    }
    let addresses = permanent_addresses(&mut runtime.socket)?;
    for device in &mut found {
        let own = addresses.iter().filter(|address| address.index == device.index);
        device.addresses = own.cloned().collect();
    }
    let mut moved = Moved {
        container,
        runtime,
        devices: Vec::with_capacity(found.len()),
    };
    match moved.enter(found) {
        Ok(()) => Ok(moved),
        Err(fault) => {
            moved.back();
            Err(fault)
        }
    }
}

impl Moved {
    fn enter(&mut self, devices: Vec<Device>) -> Result<(), Fault> {
        for device in &devices {
            check_free(&mut self.container.socket, device)?;
        }
        for mut device in devices {
            let (outside, inside) = (device.outside.clone(), device.inside.clone());
            device.index = transfer(&mut self.runtime, &self.container, device.index, &inside)
                .map_err(|fault| on(fault, &outside))?;
            self.devices.push(device);
            let device = &self.devices[self.devices.len() - 1];
            settle(&mut self.container.socket, device, &inside, true).map_err(|fault| on(fault, &outside))?;
        }
        Ok(())
    }

    /// Moves the devices back to where they were, with their names and addresses. What cannot be moved any
    /// more stays: there is nobody to tell.
    pub fn back(&mut self) {
        for device in self.devices.drain(..).rev() {
            let moved = transfer(&mut self.container, &self.runtime, device.index, &device.outside);
            if let Ok(index) = moved {
                let device = Device { index, ..device };
                let _ = settle(&mut self.runtime.socket, &device, &device.outside, device.up);
            }
        }
    }
}

impl Side {
    fn here() -> Result<Self, Fault> {
        Ok(Self {
            namespace: open("/proc/self/ns/net")?,
            socket: Socket::open()?,
        })
    }

    /// A socket belongs to the namespace of the process that made it: this one goes there for a moment.
    fn of(pid: Pid, way_back: BorrowedFd<'_>) -> Result<Self, Fault> {
        let namespace = open(&format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?;
        setns(namespace.as_fd(), libc::CLONE_NEWNET).call("setns net")?;
        let socket = Socket::open();
        setns(way_back, libc::CLONE_NEWNET).call("setns net back")?;
        Ok(Self {
            namespace,
            socket: socket?,
        })
    }
}

fn open(path: &str) -> Result<OwnedFd, Fault> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).call_on("open", || path.to_owned())
}

/// The `struct ifinfomsg` of a request; `change` says which bits of `flags` count.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// Index and flags of the device with this name.
fn look_up(socket: &mut Socket, name: &str) -> Result<(u32, u32), Fault> {
    let request = Request::new(RTM_GETLINK, 0, &link(0, 0, 0)).text(IFLA_IFNAME, name)?;
    let mut found = None;
    socket.get(request, "RTM_GETLINK", |payload| {
        let number = |at: usize| Some(u32::from_ne_bytes(*payload.get(at..at + 4)?.first_chunk()?));
        found = number(4).zip(number(8));
        Ok(())
    })?;
    found.ok_or_else(|| Fault::finding("RTM_GETLINK: no answer"))
}

fn find(socket: &mut Socket, outside: &str, inside: &str) -> Result<Device, Fault> {
    let (index, flags) = look_up(socket, outside).map_err(|fault| on(fault, outside))?;
    Ok(Device {
        outside: outside.to_owned(),
        inside: inside.to_owned(),
        index,
        up: flags & IFF_UP != 0,
        addresses: Vec::new(),
    })
}

/// The name in the container must be free; for a template such as `eth%d` the kernel finds a free one.
fn check_free(socket: &mut Socket, device: &Device) -> Result<(), Fault> {
    if device.inside.contains('%') {
        return Ok(());
    }
    match look_up(socket, &device.inside) {
        Err(fault) if fault.errno == Errno::NODEV.raw_os_error() => Ok(()),
        Err(fault) => Err(on(fault, &device.inside)),
        Ok(_) => {
            let Device { outside, inside, .. } = device;
            let taken = Fault {
                call: format!("the container's network namespace has a device {inside} already").into(),
                errno: Errno::EXIST.raw_os_error(),
            };
            Err(on(taken, outside))
        }
    }
}

/// Moves a device to another namespace under a name that may be a template, and returns its index there.
///
/// The index is chosen here: with a template it is the only way to know the device again.
fn transfer(from: &mut Side, to: &Side, index: u32, name: &str) -> Result<u32, Fault> {
    let namespace = to.namespace.as_raw_fd() as u32;
    let mut wanted = index;
    for _ in 0..INDEX_TRIES {
        let request = Request::new(RTM_SETLINK, 0, &link(index, 0, 0))
            .number(IFLA_NET_NS_FD, namespace)?
            .number(IFLA_NEW_IFINDEX, wanted)?
            .text(IFLA_IFNAME, name)?;
        match from.socket.change(request, "RTM_SETLINK") {
            Err(error) if error.errno == Some(Errno::BUSY) => wanted = (wanted + 1).max(1),
            result => return Ok(result.map(|()| wanted)?),
        }
    }
    Err(Errno::BUSY).call("RTM_SETLINK: no free index")
}

/// Gives a device its addresses where it is now, and sets it up.
fn settle(socket: &mut Socket, device: &Device, name: &str, up: bool) -> Result<(), Fault> {
    for address in &device.addresses {
        let request = address.request(device.index, &device.outside, name)?;
        socket.change(request, "RTM_NEWADDR")?;
    }
    if up {
        let request = Request::new(RTM_NEWLINK, 0, &link(device.index, IFF_UP, IFF_UP));
        socket.change(request, "RTM_NEWLINK up")?;
    }
    Ok(())
}

fn on(fault: Fault, device: &str) -> Fault {
    Fault {
        call: format!("{device}: {}", fault.call).into(),
        ..fault
    }
}

/// All permanent addresses of global scope, of every device.
fn permanent_addresses(socket: &mut Socket) -> Result<Vec<Address>, Fault> {
    let request = Request::new(RTM_GETADDR, 0, &[0; 8]);
    let addresses = socket.dump(&request, "RTM_GETADDR", |list: &mut Vec<Address>, payload| {
        list.extend(Address::parse(payload));
        Ok(())
    });
    Ok(addresses?)
}

impl Address {
    /// The address in an `RTM_NEWADDR` payload, if it is one that moves with its device.
    fn parse(payload: &[u8]) -> Option<Self> {
        let [family, prefix, flags, scope] = *payload.first_chunk::<4>()?;
        let index = u32::from_ne_bytes(*payload.get(4..8)?.first_chunk()?);
        let mut address = Self {
            family,
            prefix,
            index,
            flags: u32::from(flags),
            attributes: Vec::new(),
        };
        for (kind, value) in attributes(payload.get(8..)?) {
            match kind {
                IFA_FLAGS => address.flags = u32::from_ne_bytes(*value.first_chunk()?),
                IFA_ADDRESS | IFA_LOCAL | IFA_LABEL | IFA_BROADCAST | IFA_ANYCAST | IFA_RT_PRIORITY => {
                    address.attributes.push((kind, value.to_owned()));
                }
                _ => {}
            }
        }
        (scope == RT_SCOPE_UNIVERSE && address.flags & IFA_F_PERMANENT != 0).then_some(address)
    }

    /// The request that gives this address to the device with this index and name.
    fn request(&self, index: u32, old_name: &str, name: &str) -> Result<Request, Fault> {
        let mut fixed = [0; 8];
        fixed[..4].copy_from_slice(&[self.family, self.prefix, 0, RT_SCOPE_UNIVERSE]);
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &fixed);
        for (kind, value) in &self.attributes {
            // A label starts with its device's name: it stays with a device that keeps its own.
            if *kind != IFA_LABEL || old_name == name {
                request = request.attribute(*kind, value)?;
            }
        }
        Ok(request.number(IFA_FLAGS, self.flags & SETTABLE_ADDRESS_FLAGS)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(family: u8, flags: u8, scope: u8, more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![family, 24, flags, scope];
        bytes.extend(7u32.to_ne_bytes());
        for (kind, value) in more {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn only_permanent_global_addresses_move() {
        let permanent = IFA_F_PERMANENT as u8;
        let address = [(IFA_ADDRESS, &[10, 0, 0, 1][..])];
        let parse = |flags, scope| Address::parse(&payload(2, flags, scope, &address));
        assert_eq!(parse(permanent, RT_SCOPE_UNIVERSE).unwrap().index, 7);
        assert_eq!(parse(0, RT_SCOPE_UNIVERSE), None, "a lease");
        assert_eq!(parse(permanent, 253), None, "link scope");
        // The long flags say what the short ones cannot.
        let long = (IFA_F_PERMANENT | NOPREFIXROUTE).to_ne_bytes();
        let parsed = Address::parse(&payload(10, 0, 0, &[(IFA_FLAGS, &long)])).unwrap();
        assert_eq!(parsed.flags, IFA_F_PERMANENT | NOPREFIXROUTE);
    }

    #[test]
    fn cut_payloads_are_no_addresses() {
        let whole = payload(2, IFA_F_PERMANENT as u8, 0, &[]);
        for length in 0..whole.len() {
            assert_eq!(Address::parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(
            Address::parse(&payload(2, 0x80, 0, &[(IFA_FLAGS, &[1, 2])])),
            None
        );
    }
}
