//! A bed as a host whose sandboxes have networks: addresses of its own, and something that serves there.

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener};
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::beds::guest::{Guest, read};

/// Sandboxes are permitted the first of each version.
const ADDRESSES: [&str; 4] = ["10.99.1.1/32", "10.99.2.1/32", "fd99:1::1/128", "fd99:2::1/128"];

/// The host, which has these addresses as long as this is there. Ports 80 and 81 say `served`.
pub(super) struct Host<'a> {
    guest: &'a Guest,
}

impl<'a> Host<'a> {
    pub(super) fn new(guest: &'a Guest) -> Result<Self> {
        serve()?;
        let host = Self { guest };
        for address in ADDRESSES {
            host.ip(&["addr", "add", address, "dev", "lo"])?;
        }
        Ok(host)
    }

    fn ip(&self, words: &[&str]) -> Result<String> {
        Ok(self.guest.call("ip", words)?.success()?.stdout)
    }

    /// What networks change: links, routes, and whether it forwards.
    pub(super) fn network(&self) -> Result<String> {
        let mut all = String::new();
        for words in [&["-o", "link"][..], &["route"], &["-6", "route"]] {
            all += &self.ip(words)?;
        }
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            all += &read(format!("/proc/sys/net/{path}"))?;
        }
        Ok(all)
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        for address in ADDRESSES {
            let _ = self.ip(&["addr", "del", address, "dev", "lo"]);
        }
    }
}

/// Until the bed ends.
fn serve() -> Result<()> {
    static SERVED: OnceLock<Result<(), String>> = OnceLock::new();
    let listen = |port| -> std::io::Result<()> {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
        std::thread::Builder::new().spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"served\n");
            }
        })?;
        Ok(())
    };
    let served = SERVED.get_or_init(|| {
        [80, 81]
            .into_iter()
            .try_for_each(listen)
            .map_err(|error| error.to_string())
    });
    served
        .clone()
        .map_err(anyhow::Error::msg)
        .context("listen on ports 80 and 81")
}
