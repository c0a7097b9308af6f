//! What is made on the host, and what joins it to the namespace.

use super::record::{ALIAS, Record};
use super::{Connected, Wish, publish};
use crate::egress::Publish;
use crate::host::{self, Changed, Locked};
use crate::link::{self, Link, Target};
use crate::namespace::Space;
use crate::nftables;
use crate::pool::{Addresses, GATEWAY6, PREFIX, Pool};
use crate::{Error, firewall, own, table};
use ipnet::Ipv4Net;
use nucleus_netlink::Socket;
use rustix::fd::AsFd;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A network while its steps are made.
pub(super) struct Making<'a> {
    wish: &'a Wish,
    host: Socket,
    shared: Socket,
    record: Record,
    /// From the table on, until all is made.
    held: Option<Held>,
    /// From the link on.
    addresses: Option<Addresses>,
}

/// What is shared, and what was seen of the host.
struct Held {
    _locked: Locked,
    mtu: u32,
    /// Of a table that was made just now; `None`: others have theirs in it.
    warnings: Option<Vec<String>>,
}

impl<'a> Making<'a> {
    pub(super) fn new(wish: &'a Wish) -> Result<Self, Error> {
        Ok(Self {
            wish,
            host: super::open_socket()?,
            shared: nftables::open()?,
            record: Record::at(&wish.record),
            held: None,
            addresses: None,
        })
    }

    /// Notes whose the link is going to be.
    pub(super) fn note(&self) -> Result<(), Error> {
        self.record.write(&self.wish.record)
    }

    pub(super) fn make_table(&mut self) -> Result<(), Error> {
        let mut locked = Locked::wait(&self.host)?;
        let links = link::links(&mut self.host)?;
        let routes = link::routes(&mut self.host)?;
        collision(self.wish.pool, &links, &routes)?;
        let warnings = share(&mut self.host, &mut self.shared, &mut locked, &links)?;
        self.held = Some(Held {
            _locked: locked,
            mtu: mtu(&links, &routes),
            warnings,
        });
        Ok(())
    }

    /// Claims addresses, and clears away what the last who had them has left if it was killed: it would lead here.
    pub(super) fn claim(&mut self, space: &Space) -> Result<(), Error> {
        let held = self.held.as_ref().ok_or(Error::Order("the link"))?;
        let addresses = claim(self.wish, &mut self.host, space, held.mtu)?;
        if held.warnings.is_none() {
            let found = table::SETS.iter().map(|set| {
                let members = nftables::members_of(&mut self.shared, set.name)?;
                Ok((set, members))
            });
            let left = table::leftovers(&found.collect::<Result<Vec<_>, Error>>()?, &addresses);
            left.map_or(Ok(()), |left| {
                left.commit(&mut self.shared, "clear away what was left")
            })?;
        }
        self.addresses = Some(addresses);
        Ok(())
    }

    fn claimed(&self, step: &'static str) -> Result<&Addresses, Error> {
        self.addresses.as_ref().ok_or(Error::Order(step))
    }

    /// Notes what the sandbox is going to have in the table.
    pub(super) fn list(&mut self) -> Result<(), Error> {
        let addresses = self.claimed("the list of ports")?;
        let own = own::addresses().map_err(|error| Error::io("read", Path::new(own::SOURCE), error))?;
        // Beside another sandbox the gateway is one of the host's own already.
        let gateway = IpAddr::V4(addresses.gateway);
        let meant: BTreeSet<IpAddr> = own
            .into_iter()
            .chain([gateway])
            .filter(|own| self.wish.egress.means(*own))
            .collect();
        self.record.elements = table::elements(addresses, &self.wish.published, &meant);
        self.record.write(&self.wish.record)
    }

    /// From here on there is a way out.
    pub(super) fn connect(&mut self, space: &mut Space) -> Result<(), Error> {
        let addresses = self.claimed("the connection")?.clone();
        outside(
            &mut self.host,
            &addresses,
            &self.record.alias,
            &self.wish.published,
        )?;
        inside(&mut space.socket, &addresses)
    }

    pub(super) fn publish(&mut self) -> Result<(), Error> {
        publish::publish(self.wish, &self.record.elements, &mut self.shared)
    }

    /// All of it is made: others may change what is shared.
    pub(super) fn done(self, rules: Socket) -> Result<Connected, Error> {
        let addresses = self.claimed("the end")?.clone();
        Ok(Connected {
            rules,
            shared: self.shared,
            addresses,
            warnings: self.held.and_then(|held| held.warnings).unwrap_or_default(),
        })
    }
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

/// Makes the shared table where there is none; `None` if there was one.
fn share(
    host: &mut Socket,
    shared: &mut Socket,
    locked: &mut Locked,
    links: &BTreeMap<String, Link>,
) -> Result<Option<Vec<String>>, Error> {
    const MAKE: &str = "make the host's table";
    let before = locked.changed;
    if before.table && link::in_use(links) {
        if !nftables::there_is(shared)? {
            // Somebody has emptied all tables (`nft flush ruleset`): those that run get theirs back.
            let mut all = table::anew(before);
            for record in links.values().filter_map(|link| link.alias.strip_prefix(ALIAS)) {
                table::add(
                    &mut all,
                    &Record::read(Path::new(record)).unwrap_or_default().elements,
                );
            }
            all.commit(shared, MAKE)?;
        }
        return Ok(None);
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
    Ok(Some(warnings))
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
