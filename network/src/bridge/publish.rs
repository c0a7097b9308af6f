//! Ports of the host that lead into a sandbox.

use super::Wish;
use super::record::Record;
use crate::Error;
use crate::egress::{Protocol, Publish};
use crate::table::{self, Element};
use nucleus_netlink::Socket;
use rustix::io::Errno;
use std::net::{IpAddr, TcpListener, UdpSocket};

/// Gives a sandbox what it has in the shared table, unless it is taken.
pub(super) fn publish(wish: &Wish, elements: &[Element], shared: &mut Socket) -> Result<(), Error> {
    for publish in &wish.published {
        listening(publish)?;
    }
    for (number, element) in elements.iter().enumerate() {
        let added = table::create(element).commit(shared, "publish a port");
        let Err(error) = added else { continue };
        // What is not ours is not to be taken back.
        let record = Record {
            elements: elements[..number].to_vec(),
            ..Record::read(&wish.record)?
        };
        record.write(&wish.record)?;
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
