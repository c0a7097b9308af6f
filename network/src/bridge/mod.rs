//! A sandbox's network, made and taken back in the orders of [`order`].

mod making;
mod publish;
mod record;
mod taking;

pub use taking::{Held, remove};

use crate::egress::{Egress, Publish};
use crate::namespace::{self, Space};
use crate::order::{self, Host, Joined};
use crate::pool::{Addresses, Pool};
use crate::{Error, rules};
use making::Making;
use nucleus_netlink::Socket;
use rustix::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

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
    let on_the_host = on_the_host(wish);
    let rules = ruled.join().map_err(|_| Error::Thread)?;
    let mut making = on_the_host?;
    // Not without the rules.
    let rules = rules?;
    let mut space = space.recv().map_err(|_| Error::Thread)?;
    for step in order::JOINED {
        match step {
            Joined::Link => making.claim(&space)?,
            Joined::List => making.list()?,
            Joined::Connection => making.connect(&mut space)?,
            Joined::Ports => making.publish()?,
        }
    }
    making.done(rules)
}

fn on_the_host(wish: &Wish) -> Result<Making<'_>, Error> {
    let mut making = Making::new(wish)?;
    for step in order::HOST {
        match step {
            Host::Note => making.note()?,
            Host::Table => making.make_table()?,
        }
    }
    Ok(making)
}

fn open_socket() -> Result<Socket, Error> {
    Socket::open().map_err(Error::link("open a socket"))
}
