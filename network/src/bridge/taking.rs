//! The way back.

use super::record::Record;
use crate::Error;
use crate::host::{self, Changed, Locked};
use crate::link;
use crate::nftables::{self, Transaction};
use crate::order::{TAKE_DOWN, Taken};
use crate::removal::Rest;
use crate::table::{self, Element};
use nucleus_netlink::Socket;
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::path::Path;

/// What the process that has made a network still holds of it.
#[derive(Debug)]
pub struct Held<K> {
    /// Who keeps it up: ends when it is dropped.
    pub kept: K,
    /// [`Network::shared`](super::Network::shared).
    pub shared: Option<Socket>,
    /// The namespace.
    pub namespace: OwnedFd,
}

/// Takes back what a record tells of, in the order [`TAKE_DOWN`]; the link and the namespace are gone with the
/// [`Rest`]. What is gone already is none to take back.
///
/// # Errors
/// What could not be taken back.
pub fn remove<K>(record: &Path, held: Option<Held<K>>) -> Result<Rest, Error> {
    let record = match Record::read(record) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Rest::nothing());
        }
        record => record?,
    };
    let (mut kept, shared, namespace) = match held {
        Some(held) => (Some(held.kept), held.shared, Some(held.namespace)),
        None => (None, None, None),
    };
    let mut taking = Taking {
        record,
        host: super::open_socket()?,
        shared,
        ours: Vec::new(),
        locked: None,
    };
    for part in TAKE_DOWN {
        match part {
            Taken::Kept => drop(kept.take()),
            Taken::Owner => taking.disown()?,
            Taken::Ports => taking.close_ports()?,
            Taken::Table => taking.remove_table()?,
        }
    }
    Ok(Rest::new(taking.host, taking.ours, taking.shared, namespace))
}

struct Taking {
    record: Record,
    host: Socket,
    shared: Option<Socket>,
    /// Numbers of its links.
    ours: Vec<u32>,
    /// What is shared, from the owner to the table; and whether others use it. `None`: there is nothing.
    locked: Option<(Locked, bool)>,
}

impl Taking {
    fn disown(&mut self) -> Result<(), Error> {
        let locked = Locked::find(&self.host)?;
        let alias = &self.record.alias;
        let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) = link::links(&mut self.host)?
            .into_iter()
            .partition(|(_, link)| !alias.is_empty() && link.alias == *alias);
        self.ours = ours.into_values().map(|link| link.index).collect();
        let Some(locked) = locked else {
            return Ok(());
        };
        for link in &self.ours {
            link::disown(&mut self.host, *link)?;
        }
        self.locked = Some((locked, link::in_use(&others)));
        Ok(())
    }

    /// With the table, if nobody else uses that.
    fn close_ports(&mut self) -> Result<(), Error> {
        if let Some((_, true)) = self.locked {
            let shared = shared(&mut self.shared)?;
            for element in &self.record.elements {
                take_back(shared, element);
            }
        }
        Ok(())
    }

    fn remove_table(&mut self) -> Result<(), Error> {
        let Some((mut locked, false)) = self.locked.take() else {
            return Ok(());
        };
        let changed = locked.changed;
        if changed.table {
            let shared = shared(&mut self.shared)?;
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
}

fn shared(socket: &mut Option<Socket>) -> Result<&mut Socket, Error> {
    Ok(match socket {
        Some(socket) => socket,
        none => none.insert(nftables::open()?),
    })
}

/// One that is another sandbox's by now stays; and where all tables were emptied there is none.
fn take_back(shared: &mut Socket, element: &Element) {
    let _ = table::take_back(element).commit(shared, "take a port back");
}
