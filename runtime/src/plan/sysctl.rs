//! `linux.sysctl`: only what belongs to a namespace of the container.

use super::{Builder, Error};
use crate::plan::step::Step;
use oci_spec::runtime::LinuxNamespaceType;

/// Parameters of the IPC namespace; `ipc_namespaces(7)`.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Adds the step, sorted by name so that a plan is the same each time.
pub(super) fn add(builder: &mut Builder<'_>) -> Result<(), Error> {
    let Some(entries) = builder.linux().and_then(|linux| linux.sysctl().as_ref()) else {
        return Ok(());
    };
    if entries.is_empty() {
        return Ok(());
    }
    let mut writes = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let name = dotted(name);
        check(builder, &name)?;
        writes.push((format!("sys/{}", slashed(&name)), value.clone()));
    }
    writes.sort();
    builder.steps.push(Step::Sysctl(writes));
    Ok(())
}

/// A name is written with dots or slashes, as sysctl(8) takes it: the first separator decides.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn slashed(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect()
}

fn check(builder: &Builder<'_>, name: &str) -> Result<(), Error> {
    let field = || format!("linux.sysctl {name:?}");
    if name.split(['.', '/']).any(str::is_empty) {
        return Err(Error::invalid(field(), "not the name of a kernel parameter"));
    }
    let needs = if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        LinuxNamespaceType::Ipc
    } else if name.starts_with("net.") {
        LinuxNamespaceType::Network
    } else if name == "kernel.domainname" {
        LinuxNamespaceType::Uts
    } else if name == "kernel.hostname" {
        return Err(Error::invalid(field(), "use the hostname property instead"));
    } else if name.starts_with("user.") {
        LinuxNamespaceType::User
    } else {
        return Err(Error::invalid(
            field(),
            "belongs to no namespace: writing it would change the host",
        ));
    };
    if builder.namespaces.has(needs) {
        return Ok(());
    }
    Err(Error::invalid(
        field(),
        format!("needs the container to have its own {needs} namespace"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_use_dots_or_slashes() {
        assert_eq!(
            dotted("net/ipv4/conf/eth0.1/forwarding"),
            "net.ipv4.conf.eth0/1.forwarding"
        );
        assert_eq!(
            slashed("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(slashed(&dotted("net.core.somaxconn")), "net/core/somaxconn");
    }
}
