//! Links, addresses and routes: `rtnetlink(7)`.

use crate::Error;
use crate::pool::{Addresses, GATEWAY6, PREFIX};
use ipnet::Ipv4Net;
use nucleus_netlink::{Attributes, Request, Socket, attributes};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: nobody else can have it on this link, and it takes seconds.
const IFA_F_NODAD: u8 = 0x02;
const SCOPE_LINK: u8 = 253;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
/// Learnt from router advertisements.
const RTPROT_RA: u8 = 9;
const RTN_UNICAST: u8 = 1;
/// The gateway is on the link although no address says so.
const RTNH_F_ONLINK: u32 = 4;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The name of the link inside.
pub const INSIDE: &str = "eth0";

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Bytes in a packet.
    pub mtu: u32,
    /// Whose it is, if it is a sandbox's.
    pub alias: String,
}

/// A route of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Whereto.
    pub to: Ipv4Net,
    /// Through which link.
    pub link: u32,
}

fn link_message(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn octets(address: IpAddr) -> (u8, u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, 32, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, 128, address.octets().to_vec()),
    }
}

fn number(payload: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*payload.get(at..at + 4)?.first_chunk()?))
}

fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// Every link, by its name.
///
/// # Errors
/// The kernel's.
pub fn links(socket: &mut Socket) -> Result<BTreeMap<String, Link>, Error> {
    let request = Request::new(RTM_GETLINK, 0, &link_message(0, 0, 0));
    let all = socket.dump(
        &request,
        "RTM_GETLINK",
        |list: &mut BTreeMap<String, Link>, payload| {
            let (mut name, mut mtu, mut alias) = (None, 0, String::new());
            for (kind, value) in attributes(payload.get(16..).unwrap_or_default()) {
                match kind {
                    IFLA_IFNAME => name = Some(string(value)),
                    IFLA_IFALIAS => alias = string(value),
                    IFLA_MTU => mtu = number(value, 0).unwrap_or(0),
                    _ => {}
                }
            }
            if let (Some(name), Some(index)) = (name, number(payload, 4)) {
                list.insert(name, Link { index, mtu, alias });
            }
            Ok(())
        },
    );
    all.map_err(Error::link("list the links"))
}

/// Whether a sandbox has a link. One without an alias, seen by who holds the lock, is of one that has ended, or of a
/// `nucleus` that was killed while it made it, and goes by itself.
pub fn in_use(links: &BTreeMap<String, Link>) -> bool {
    let mut links = links.iter();
    links.any(|(name, link)| name.starts_with(PREFIX) && !link.alias.is_empty())
}

/// Every route of version 4, in all tables.
///
/// # Errors
/// The kernel's.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let mut fixed = [0; 12];
    fixed[0] = AF_INET;
    let request = Request::new(RTM_GETROUTE, 0, &fixed);
    let all = socket.dump(&request, "RTM_GETROUTE", |list: &mut Vec<Route>, payload| {
        let (mut to, mut link) = (Ipv4Addr::UNSPECIFIED, 0);
        for (kind, value) in attributes(payload.get(12..).unwrap_or_default()) {
            match kind {
                RTA_DST => {
                    to = value
                        .first_chunk::<4>()
                        .map_or(to, |octets| Ipv4Addr::from(*octets));
                }
                RTA_OIF => link = number(value, 0).unwrap_or(0),
                _ => {}
            }
        }
        let length = payload.get(1).copied().unwrap_or(0);
        list.extend(Ipv4Net::new(to, length).ok().map(|to| Route { to, link }));
        Ok(())
    });
    all.map_err(Error::link("list the routes"))
}

/// Whether a router has told this host of its version 6 route to the world.
///
/// # Errors
/// The kernel's.
pub fn is_advertised(socket: &mut Socket) -> Result<bool, Error> {
    let mut fixed = [0; 12];
    fixed[0] = AF_INET6;
    let request = Request::new(RTM_GETROUTE, 0, &fixed);
    let found = socket.dump(&request, "RTM_GETROUTE", |found: &mut bool, payload| {
        *found |= matches!(*payload, [_, 0, _, _, _, RTPROT_RA, _, RTN_UNICAST, ..]);
        Ok(())
    });
    found.map_err(Error::link("list the routes"))
}

/// Makes the link of a sandbox with its other end in a network namespace; `None` if the name is taken.
///
/// # Errors
/// The kernel's.
pub fn make(
    socket: &mut Socket,
    of: &Addresses,
    mtu: u32,
    inside: BorrowedFd<'_>,
) -> Result<Option<()>, Error> {
    let failed = || Error::link(format!("make the link {}", of.link));
    let mtu = mtu.to_ne_bytes();
    let peer = Attributes::behind(&link_message(0, 0, 0))
        .text(IFLA_IFNAME, INSIDE)
        .bytes(IFLA_NET_NS_FD, &inside.as_raw_fd().to_ne_bytes())
        .bytes(IFLA_ADDRESS, &of.hardware())
        .bytes(IFLA_MTU, &mtu);
    let info = Attributes::new()
        .bytes(IFLA_INFO_KIND, b"veth")
        .nested(IFLA_INFO_DATA, Attributes::new().nested(VETH_INFO_PEER, peer));
    let ours = Attributes::new()
        .text(IFLA_IFNAME, &of.link)
        .bytes(IFLA_MTU, &mtu)
        .nested(IFLA_LINKINFO, info);
    let made = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_message(0, 0, 0))
        .with(ours)
        .and_then(|request| socket.change(request, "RTM_NEWLINK"));
    match made {
        Ok(()) => Ok(Some(())),
        Err(error) if error.errno == Some(Errno::EXIST) => Ok(None),
        Err(error) => Err(failed()(error)),
    }
}

/// The number of the link with this name.
///
/// # Errors
/// The kernel's.
pub fn find(socket: &mut Socket, name: &str) -> Result<u32, Error> {
    let mut found = None;
    let request = Request::new(RTM_GETLINK, 0, &link_message(0, 0, 0)).text(IFLA_IFNAME, name);
    request
        .and_then(|request| {
            socket.get(request, "RTM_GETLINK", |payload| {
                found = number(payload, 4);
                Ok(())
            })
        })
        .map_err(Error::link(format!("look for the link {name}")))?;
    found.ok_or_else(|| Error::Answer {
        object: format!("the link {name}"),
        lacks: "number",
    })
}

/// Removes a link, and its other end; one that is gone is none to remove. It takes tens of milliseconds.
///
/// # Errors
/// The kernel's.
pub fn remove(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let request = Request::new(RTM_DELLINK, 0, &link_message(index, 0, 0));
    gone(socket.change(request, "RTM_DELLINK"), "remove the link")
}

/// Notes that a link is nobody's any more. One that is gone is none.
///
/// # Errors
/// The kernel's.
pub fn disown(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let disowned = Request::new(RTM_NEWLINK, 0, &link_message(index, 0, 0))
        .attribute(IFLA_IFALIAS, &[])
        .and_then(|request| socket.change(request, "RTM_NEWLINK"));
    gone(disowned, "note that the link is nobody's")
}

fn gone(done: Result<(), nucleus_netlink::Error>, what: &str) -> Result<(), Error> {
    match done {
        Err(error) if error.errno != Some(Errno::NODEV) => Err(Error::link(what)(error)),
        _ => Ok(()),
    }
}

/// Notes whose a link is.
///
/// # Errors
/// The kernel's.
pub fn name_owner(socket: &mut Socket, index: u32, alias: &str) -> Result<(), Error> {
    Request::new(RTM_NEWLINK, 0, &link_message(index, 0, 0))
        .text(IFLA_IFALIAS, alias)
        .and_then(|request| socket.change(request, "RTM_NEWLINK"))
        .map_err(Error::link("note whose the link is"))
}

/// Sets a link up.
///
/// # Errors
/// The kernel's.
pub fn up(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let request = Request::new(RTM_NEWLINK, 0, &link_message(index, IFF_UP, IFF_UP));
    socket
        .change(request, "RTM_NEWLINK")
        .map_err(Error::link("set the link up"))
}

/// Gives a link an address of its own alone.
///
/// # Errors
/// The kernel's.
pub fn give(socket: &mut Socket, index: u32, address: IpAddr) -> Result<(), Error> {
    let (family, length, octets) = octets(address);
    let scope = if address == IpAddr::V6(GATEWAY6) {
        SCOPE_LINK
    } else {
        0
    };
    let mut fixed = [family, length, IFA_F_NODAD, scope, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &fixed)
        .attribute(IFA_LOCAL, &octets)
        .and_then(|request| request.attribute(IFA_ADDRESS, &octets))
        .and_then(|request| socket.change(request, "RTM_NEWADDR"))
        .map_err(Error::link(format!("give the link the address {address}")))
}

/// Whereto a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To this address, which is on the link.
    Neighbour(IpAddr),
    /// To everything, through this gateway on the link.
    World(IpAddr),
}

/// Adds a route through a link.
///
/// # Errors
/// The kernel's.
pub fn route(socket: &mut Socket, index: u32, target: Target) -> Result<(), Error> {
    let (address, onlink) = match target {
        Target::Neighbour(address) => (address, false),
        Target::World(gateway) => (gateway, true),
    };
    let (family, length, octets) = octets(address);
    let scope = if onlink || family == AF_INET6 {
        0
    } else {
        SCOPE_LINK
    };
    let mut fixed = [0; 12];
    fixed[..8].copy_from_slice(&[
        family,
        if onlink { 0 } else { length },
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        scope,
        RTN_UNICAST,
    ]);
    let flags = if onlink { RTNH_F_ONLINK } else { 0 };
    fixed[8..].copy_from_slice(&flags.to_ne_bytes());
    let kind = if onlink { RTA_GATEWAY } else { RTA_DST };
    Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &fixed)
        .attribute(kind, &octets)
        .and_then(|request| request.number(RTA_OIF, index))
        .and_then(|request| socket.change(request, "RTM_NEWROUTE"))
        .map_err(Error::link(format!("route {address}")))
}
