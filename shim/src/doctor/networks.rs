//! Networks: that one can be made, that its rules refuse and permit, and that this host lets through what they permit.

use super::probes::{Control, INSIDE, NONE, Probe, with_program};
use super::verdict::{self, Attempt, Finding, Outcome};
use super::{Doctor, attack};
use nucleus_network::own;
use nucleus_network::pool::Pool;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;

/// The port of the sandbox that is reached.
const SERVED: u16 = 7000;

impl Doctor {
    /// Without a network, which takes programs that nobody has to have, the one finding tells why.
    pub(super) fn networks(&mut self) -> io::Result<Vec<Finding>> {
        let address = address()?;
        let listener = listener(address)?;
        let rules = self.probe(&rules(self, listener.local_addr()?))?;
        let mut findings = vec![rules];
        if findings[0].outcome == Outcome::Holds {
            findings.push(self.forwarding(address)?);
        }
        Ok(findings)
    }

    /// A sandbox serves on a port that is published, another one goes there: its packets are forwarded.
    fn forwarding(&mut self, address: Ipv4Addr) -> io::Result<Finding> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let to = SocketAddr::from((address, free));
        let published = format!("{to}:{SERVED}");
        let flags = with_program(&self.means, &["--publish", &published]);
        let script = format!("exec {INSIDE} doctor --attempt serve:{SERVED}");
        // Not quiet: what it says of a firewall is wanted.
        let mut server = self
            .nucleus(None)
            .args(flags)
            .args(["--", "sh", "-c", &attack(&script)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let begun = server
            .stdout
            .as_mut()
            .map(|stdout| stdout.read_exact(&mut [0; 1]));
        let attempt = match begun {
            Some(Ok(())) => {
                let named = ["--egress-allow", &address.to_string()];
                let flags = with_program(&self.means, &named);
                self.sandbox(&flags, &format!("{INSIDE} doctor --attempt reach:{to}"))?
            }
            _ => Attempt::default(),
        };
        // The end of its input ends it.
        let served = server.wait_with_output()?;
        let told = String::from_utf8_lossy(&served.stderr).into_owned();
        Ok(verdict::forwarding(&attempt, &told))
    }
}

fn rules(doctor: &Doctor, to: SocketAddr) -> Probe {
    let with = |words: &[&str]| with_program(&doctor.means, words);
    Probe {
        name: "network rules",
        needed: NONE,
        flags: with(&["--network", "bridge"]),
        attack: format!("{INSIDE} doctor --attempt connect:{to}"),
        control: Control::Without(with(&["--egress-allow", &to.ip().to_string()])),
        remedy: "networks need nf_tables in the kernel, and without root slirp4netns and a /dev/net/tun for everyone; a firewall of this \
                 host may drop what sandboxes send to it",
    }
}

/// Where a sandbox reaches this host: root's at their gateway, which nobody else reaches; a user's at an address of the
/// host that is not loopback.
fn address() -> io::Result<Ipv4Addr> {
    if rustix::process::geteuid().is_root() {
        return Ok(Pool::default().addresses(0).gateway);
    }
    let own = own::addresses()?.into_iter().find_map(|address| match address {
        IpAddr::V4(four) if !four.is_loopback() => Some(four),
        _ => None,
    });
    Ok(own.unwrap_or(Ipv4Addr::LOCALHOST))
}

/// Listens there, before the address is there too.
fn listener(address: Ipv4Addr) -> io::Result<TcpListener> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_ip_freebind(&socket, true)?;
    bind(&socket, &SocketAddr::from((address, 0)))?;
    listen(&socket, 8)?;
    Ok(socket.into())
}
