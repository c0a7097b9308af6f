//! A sandbox's network, made in order: the namespace, the rules in it, what all sandboxes share on the host, the link with
//! its addresses and routes, published ports. Taken back: the link, then ports, and what is shared with the last link.

use crate::egress::{Egress, Protocol, Publish};
use crate::host::{self, Changed, Locked};
use crate::link::{self, Link, Target};
use crate::namespace::{self, Space};
use crate::nftables::{self, Transaction};
use crate::pool::{Addresses, GATEWAY6, PREFIX, Pool};
use crate::removal::Rest;
use crate::table::Element;
use crate::{Error, firewall, own, rules, table};
use ipnet::Ipv4Net;
use nucleus_netlink::Socket;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the alias of a sandbox's link begins with; behind it is the path of the record.
const ALIAS: &str = "nucleus sandbox ";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The sandbox's name.
    pub name: String,
    /// What it may reach.
    pub egress: Egress,
    /// What reaches it.
    pub published: Vec<Publish>,
    /// Where its addresses are from.
    pub pool: Pool,
    /// Where is noted what has to be taken back.
    pub record: PathBuf,
}

/// What has to be taken back of a sandbox's network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Record {
    /// The alias of its link.
    alias: String,
    /// What it has in the shared table.
    elements: Vec<Element>,
}

/// A network that is being prepared.
#[derive(Debug)]
pub struct Preparing {
    namespace: Option<OwnedFd>,
    rest: Option<JoinHandle<Result<Connected, Error>>>,
}

/// A network that is ready.
#[derive(Debug)]
pub struct Network {
    /// The namespace.
    pub namespace: OwnedFd,
    /// For the rules in it.
    pub rules: Socket,
    /// For those of the host, until [`remove`]: who closes it waits for what others have just deleted.
    pub shared: Socket,
    /// The sandbox's addresses.
    pub addresses: Addresses,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

#[derive(Debug)]
struct Connected {
    rules: Socket,
    shared: Socket,
    addresses: Addresses,
    warnings: Vec<String>,
}

/// Begins; returns when there is a namespace, and goes on in threads of its own.
///
/// # Errors
/// No namespace can be made.
pub fn begin(wish: Wish) -> Result<Preparing, Error> {
    let (made, space) = mpsc::channel();
    let (told, namespace) = mpsc::channel();
    let inside = rules::inside(&wish.egress, &wish.published);
    let ruled = thread(move || {
        namespace::make(inside, |space| {
            // Nobody waits for it only if the other thread has failed, and tells.
            let _ = told.send(space.namespace.try_clone());
            let _ = made.send(space);
        })
    });
    let rest = thread(move || connect(&wish, &space, ruled));
    let Ok(namespace) = namespace.recv() else {
        rest.join().map_err(|_| Error::Thread)??;
        return Err(Error::Thread);
    };
    let namespace = namespace.map_err(|error| Error::io("dup", Path::new("the namespace"), error))?;
    Ok(Preparing {
        namespace: Some(namespace),
        rest: Some(rest),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "namespaces are a thread's; all are joined before the runtime is started"
)]
fn thread<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(act)
}

impl Preparing {
    /// Where the namespace is as long as this, or what [`finish`](Self::finish) gives, is there. There are no rules in
    /// it yet, and no way out.
    pub fn path(&self) -> PathBuf {
        let number = self.namespace.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        PathBuf::from(format!("/proc/{}/fd/{number}", std::process::id()))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// What could not be made. What was, [`remove`] takes back.
    pub fn finish(mut self) -> Result<Network, Error> {
        let rest = self.rest.take().ok_or(Error::Thread)?;
        let connected = rest.join().map_err(|_| Error::Thread)??;
        Ok(Network {
            namespace: self.namespace.take().ok_or(Error::Thread)?,
            rules: connected.rules,
            shared: connected.shared,
            addresses: connected.addresses,
            warnings: connected.warnings,
        })
    }
}

impl Drop for Preparing {
    /// Who takes back what was made must not be overtaken by who makes it.
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            let _ = rest.join();
        }
    }
}

/// What is on the host is made while the namespace and its rules are.
fn connect(
    wish: &Wish,
    space: &Receiver<Space>,
    ruled: JoinHandle<Result<Socket, Error>>,
) -> Result<Connected, Error> {
    let mut host = open_socket()?;
    let mut shared = nftables::open()?;
    let mut record = Record {
        alias: format!("{ALIAS}{}", wish.record.display()),
        ..Record::default()
    };
    write(&wish.record, &record)?;
    let mut locked = Locked::wait(&host, true)?.ok_or(Error::Thread)?;
    let links = link::links(&mut host)?;
    let routes = link::routes(&mut host)?;
    collision(wish.pool, &links, &routes)?;
    let warnings = share(&mut host, &mut shared, &mut locked, &links)?;
    // From here on there is a way out: not before the rules.
    let rules = ruled.join().map_err(|_| Error::Thread)??;
    let mut space = space.recv().map_err(|_| Error::Thread)?;
    let addresses = claim(wish, &mut host, &space, mtu(&links, &routes))?;
    let own = own::addresses().map_err(|error| Error::io("read", Path::new(own::SOURCE), error))?;
    // Beside another sandbox the gateway is one of the host's own already.
    let gateway = IpAddr::V4(addresses.gateway);
    let meant: BTreeSet<IpAddr> = own
        .into_iter()
        .chain([gateway])
        .filter(|own| wish.egress.means(*own))
        .collect();
    record.elements = table::elements(&addresses, &wish.published, &meant);
    write(&wish.record, &record)?;
    outside(&mut host, &addresses, &record.alias, &wish.published)?;
    inside(&mut space.socket, &addresses)?;
    publish(wish, &record.elements, &mut shared)?;
    drop(locked);
    Ok(Connected {
        rules,
        shared,
        addresses,
        warnings,
    })
}

fn open_socket() -> Result<Socket, Error> {
    Socket::open().map_err(Error::link("open a socket"))
}

fn write(path: &Path, record: &Record) -> Result<(), Error> {
    let text = serde_json::to_vec(record).map_err(|error| Error::io("write", path, error.into()))?;
    std::fs::write(path, text).map_err(|error| Error::io("write", path, error))
}

/// The host must not know the pool's addresses for something else.
fn collision(pool: Pool, links: &BTreeMap<String, Link>, routes: &[link::Route]) -> Result<(), Error> {
    let ours: Vec<u32> = links
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(_, link)| link.index)
        .collect();
    let pool = pool.network();
    let within = |route: &Ipv4Net| route.prefix_len() > 0 && (pool.contains(route) || route.contains(&pool));
    let mut others = routes.iter().filter(|route| !ours.contains(&route.link));
    match others.find(|route| within(&route.to)) {
        Some(route) => Err(Error::Collision {
            route: route.to,
            pool,
        }),
        None => Ok(()),
    }
}

/// As the way to the world has it.
fn mtu(links: &BTreeMap<String, Link>, routes: &[link::Route]) -> u32 {
    let default = routes.iter().find(|route| route.to.prefix_len() == 0);
    let link = default.and_then(|route| links.values().find(|link| link.index == route.link));
    link.map_or(1500, |link| link.mtu.clamp(1280, 65_535))
}

/// Makes the shared table where there is none.
fn share(
    host: &mut Socket,
    shared: &mut Socket,
    locked: &mut Locked,
    links: &BTreeMap<String, Link>,
) -> Result<Vec<String>, Error> {
    const MAKE: &str = "make the host's table";
    let before = locked.changed;
    if before.table && link::in_use(links) {
        if !nftables::there_is(shared)? {
            // Somebody has emptied all tables (`nft flush ruleset`): those that run get theirs back.
            let mut all = table::anew(before);
            for record in links.values().filter_map(|link| link.alias.strip_prefix(ALIAS)) {
                table::add(&mut all, &read(Path::new(record)).unwrap_or_default().elements);
            }
            all.commit(shared, MAKE)?;
        }
        return Ok(Vec::new());
    }
    let (four, six) = host::forwarding_off()?;
    // With forwarding a host forgets what routers tell it, its way to the world included.
    let told = six && link::is_advertised(host)?;
    let warning = told.then(|| {
        "network: this host has its IPv6 route from a router, which it would forget if it forwarded IPv6: the \
         sandbox reaches nothing by IPv6 beyond this host (sysctl net.ipv6.conf.INTERFACE.accept_ra=2 and \
         net.ipv6.conf.all.forwarding=1 change that)"
            .to_owned()
    });
    let changed = Changed {
        table: true,
        forward4: before.forward4 || four,
        forward6: before.forward6 || six && !told,
    };
    locked.note(changed)?;
    // One of a killed `nucleus` may be there.
    let whole = if nftables::there_is(shared)? {
        table::anew(changed)
    } else {
        table::new(changed)
    };
    whole.commit(shared, MAKE)?;
    host::set_forwarding(changed, true)?;
    let mut warnings = firewall::warnings(shared)?;
    warnings.extend(warning);
    Ok(warnings)
}

/// How long it may take until an address is free whose sandbox has ended.
const FREE: Duration = Duration::from_secs(10);

fn claim(wish: &Wish, host: &mut Socket, space: &Space, mtu: u32) -> Result<Addresses, Error> {
    let begun = Instant::now();
    loop {
        for number in wish.pool.order(&wish.name) {
            let addresses = wish.pool.addresses(number);
            if link::make(host, &addresses, mtu, space.namespace.as_fd())?.is_some() {
                return Ok(addresses);
            }
        }
        // The kernel takes its time over the links of those that have ended.
        let links = link::links(host)?;
        let ending = (0..wish.pool.size())
            .filter_map(|number| links.get(&wish.pool.addresses(number).link))
            .any(|link| link.alias.is_empty());
        if !ending || begun.elapsed() > FREE {
            return Err(Error::Exhausted {
                pool: wish.pool.network(),
                size: wish.pool.size(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn outside(
    host: &mut Socket,
    addresses: &Addresses,
    alias: &str,
    published: &[Publish],
) -> Result<(), Error> {
    let index = link::find(host, &addresses.link)?;
    link::name_owner(host, index, alias)?;
    link::give(host, index, addresses.gateway.into())?;
    if host::has_version_6() {
        link::give(host, index, GATEWAY6.into())?;
    }
    link::up(host, index)?;
    link::route(host, index, Target::Neighbour(addresses.four.into()))?;
    if host::has_version_6() {
        link::route(host, index, Target::Neighbour(addresses.six.into()))?;
    }
    if published.is_empty() {
        return Ok(());
    }
    host::route_loopback(&addresses.link)
}

fn inside(socket: &mut Socket, addresses: &Addresses) -> Result<(), Error> {
    let index = link::find(socket, link::INSIDE)?;
    link::give(socket, index, addresses.four.into())?;
    if host::has_version_6() {
        link::give(socket, index, addresses.six.into())?;
    }
    link::up(socket, index)?;
    link::route(socket, index, Target::World(addresses.gateway.into()))?;
    if host::has_version_6() {
        link::route(socket, index, Target::World(GATEWAY6.into()))?;
    }
    Ok(())
}

fn publish(wish: &Wish, elements: &[Element], shared: &mut Socket) -> Result<(), Error> {
    for publish in &wish.published {
        listening(publish)?;
    }
    for (number, element) in elements.iter().enumerate() {
        let added = table::create(element).commit(shared, "publish a port");
        let Err(error) = added else { continue };
        // What is not ours is not to be taken back.
        let record = Record {
            elements: elements[..number].to_vec(),
            ..read(&wish.record)?
        };
        write(&wish.record, &record)?;
        return Err(match error {
            Error::Rules { source, .. } if matches!(source.errno, Some(Errno::EXIST | Errno::BUSY)) => {
                Error::PortTaken {
                    port: element.to_string(),
                    by: "another sandbox".into(),
                    remedy: "end that one (nucleus ps lists them)".into(),
                }
            }
            other => other,
        });
    }
    Ok(())
}

/// A port where somebody listens on the host is not taken from them.
fn listening(publish: &Publish) -> Result<(), Error> {
    let families: [IpAddr; 2] = [[0, 0, 0, 0].into(), [0u16; 8].into()];
    let addresses = publish.address.map_or(families.to_vec(), |address| vec![address]);
    for address in addresses {
        let tried = match publish.protocol {
            Protocol::Tcp => TcpListener::bind((address, publish.host)).map(drop),
            Protocol::Udp => UdpSocket::bind((address, publish.host)).map(drop),
        };
        match tried {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(Error::PortTaken {
                    port: publish.to_string(),
                    by: "a program of the host that listens there".into(),
                    remedy: "end it (ss -lnp shows which)".into(),
                });
            }
            Err(error) if publish.address.is_some() => {
                return Err(Error::Call {
                    call: "publish: bind to the address",
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Record, Error> {
    let text = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    // Cut off when its writer was killed: then there was no link yet.
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}

/// Takes back what a record tells of: its elements of the shared table, and the table with the last link; and the link,
/// which is nobody's any more at once and gone with the [`Rest`]. What is gone already is none to take back. `shared` is
/// [`Network::shared`], where this process has made it.
///
/// # Errors
/// What could not be taken back.
pub fn remove(record: &Path, mut shared: Option<Socket>) -> Result<Rest, Error> {
    let Record { alias, elements } = match read(record) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Rest::nothing());
        }
        record => record?,
    };
    let mut host = open_socket()?;
    let locked = Locked::wait(&host, false)?;
    let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) = link::links(&mut host)?
        .into_iter()
        .partition(|(_, link)| !alias.is_empty() && link.alias == alias);
    let ours: Vec<u32> = ours.into_values().map(|link| link.index).collect();
    if let Some(locked) = locked {
        for link in &ours {
            link::disown(&mut host, *link)?;
        }
        let shared = match &mut shared {
            Some(shared) => shared,
            none => none.insert(nftables::open()?),
        };
        tidy(shared, locked, link::in_use(&others), &elements)?;
    }
    Ok(Rest::new(host, ours, shared))
}

fn tidy(shared: &mut Socket, mut locked: Locked, in_use: bool, elements: &[Element]) -> Result<(), Error> {
    if in_use {
        for element in elements {
            // One that is another sandbox's by now stays; and where all tables were emptied there is none.
            let _ = table::take_back(element).commit(shared, "take a port back");
        }
        return Ok(());
    }
    let changed = locked.changed;
    if changed.table {
        if nftables::there_is(shared)? {
            let mut all = Transaction::new();
            all.delete_table();
            all.commit(shared, "remove the host's table")?;
        }
        host::set_forwarding(changed, false)?;
        locked.note(Changed::default())?;
    }
    locked.forget()
}
