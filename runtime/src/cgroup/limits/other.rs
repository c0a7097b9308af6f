//! `linux.resources`: pids, hugepageLimits, network, rdma and unified.

use std::borrow::Cow;
use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::{Setting, Settings, Version, limit, or_max};
use crate::cgroup::Error;
use crate::cgroup::writes::Write;

const PIDS: &str = "linux.resources.pids.limit";
const HUGE: &str = "linux.resources.hugepageLimits";
const CLASS: &str = "linux.resources.network.classID";
const PRIORITIES: &str = "linux.resources.network.priorities";
const RDMA: &str = "linux.resources.rdma";
const UNIFIED: &str = "linux.resources.unified";

/// Zero is "not set" as in runc before 1.4: a new cgroup has no limit, and an update changes nothing.
pub(super) fn pids(settings: &mut Settings<'_>, pids: &LinuxPids) -> Result<(), Error> {
    if let Some(count) = limit(PIDS, Some(pids.limit()))? {
        settings.version(PIDS, "pids")?;
        settings.set("pids", PIDS, "pids.max", or_max(count));
    }
    Ok(())
}

/// Limits both the use of pages and, where the kernel has it (5.7), their reservation by mmap(2), which would
/// otherwise go past the limit of use.
pub(super) fn hugepages(settings: &mut Settings<'_>, limit: &LinuxHugepageLimit) -> Result<(), Error> {
    let size = limit.page_size();
    let digits = size.trim_end_matches(|last: char| !last.is_ascii_digit());
    let unit = &size[digits.len()..];
    if digits.is_empty()
        || digits.starts_with('0')
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
        || !matches!(unit, "KB" | "MB" | "GB")
    {
        return Err(Error::invalid(
            HUGE,
            format!("page size {size:?} is not of the form 2MB"),
        ));
    }
    if limit.limit() < 0 {
        return Err(Error::invalid(
            HUGE,
            format!("limit {} is negative", limit.limit()),
        ));
    }
    let last = match settings.version(HUGE, "hugetlb")? {
        Version::V1 => "limit_in_bytes",
        Version::V2 => "max",
    };
    settings.set("hugetlb", HUGE, format!("hugetlb.{size}.{last}"), limit.limit());
    let reserved = Write::new(
        HUGE,
        format!("hugetlb.{size}.rsvd.{last}"),
        limit.limit().to_string(),
    );
    settings.push(
        "hugetlb",
        Write {
            optional: true,
            ..reserved
        },
    );
    Ok(())
}

pub(super) fn network(settings: &mut Settings<'_>, network: &LinuxNetwork) -> Result<(), Error> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        v1_hierarchy(settings, CLASS, "net_cls")?;
        settings.set("net_cls", CLASS, "net_cls.classid", class);
    }
    for priority in network.priorities().iter().flatten() {
        let name = priority.name();
        if name.is_empty()
            || name.len() > 15
            || name.contains(['/', '\0'])
            || name.contains(char::is_whitespace)
        {
            return Err(Error::invalid(
                PRIORITIES,
                format!("{name:?} is no interface name"),
            ));
        }
        v1_hierarchy(settings, PRIORITIES, "net_prio")?;
        settings.set(
            "net_prio",
            PRIORITIES,
            "net_prio.ifpriomap",
            format!("{name} {}", priority.priority()),
        );
    }
    Ok(())
}

/// net_cls and net_prio were never carried over to version 2.
fn v1_hierarchy(settings: &Settings<'_>, property: &'static str, controller: &str) -> Result<(), Error> {
    match (settings.version)(controller) {
        Some(Version::V1) => Ok(()),
        _ => Err(Error::unsupported(
            property,
            format!("no version 1 hierarchy has {controller}"),
        )),
    }
}

pub(super) fn rdma(settings: &mut Settings<'_>, rdma: &HashMap<String, LinuxRdma>) -> Result<(), Error> {
    let mut devices: Vec<_> = rdma.iter().collect();
    devices.sort_unstable_by_key(|(name, _)| *name);
    for (name, limits) in devices {
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains('\0') {
            return Err(Error::invalid(RDMA, format!("{name:?} is no device name")));
        }
        let mut value = name.clone();
        for (key, count) in [
            ("hca_handle", limits.hca_handles()),
            ("hca_object", limits.hca_objects()),
        ] {
            if let Some(count) = count {
                value.push_str(&format!(" {key}={count}"));
            }
        }
        if value.len() > name.len() {
            settings.version(RDMA, "rdma")?;
            settings.set("rdma", RDMA, "rdma.max", value);
        }
    }
    Ok(())
}

/// Files that hold processes or the shape of the tree, not resources.
const NOT_RESOURCES: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.kill",
    "cgroup.freeze",
];

/// The spec's direct way to files of cgroup2. On a hybrid host it is refused, as in runc: there most
/// controllers are on version 1, and the map says nothing about those.
pub(super) fn unified(settings: &mut Settings<'_>, unified: &HashMap<String, String>) -> Result<(), Error> {
    let mut entries: Vec<_> = unified.iter().collect();
    entries.sort_unstable();
    for (key, value) in entries {
        let property = || Cow::Owned(format!("{UNIFIED}[{key:?}]"));
        let (Some((controller, _)), false) = (key.split_once('.'), key.contains(['/', '\0', '\n'])) else {
            return Err(Error::invalid(property(), "it is not the name of a cgroup2 file"));
        };
        if controller.is_empty() || NOT_RESOURCES.contains(&key.as_str()) {
            return Err(Error::invalid(property(), "it is not a resource"));
        }
        // "cgroup" stands for the core: the version function answers for the hierarchy as a whole.
        if (settings.version)("cgroup") != Some(Version::V2) {
            return Err(Error::unsupported(
                property(),
                "this host does not have cgroup2 alone",
            ));
        }
        let core = controller == "cgroup";
        settings.list.push(Setting {
            controller: if core {
                Cow::Borrowed("")
            } else {
                Cow::Owned(controller.to_owned())
            },
            write: Write::new(property(), key.clone(), value.clone()),
        });
    }
    Ok(())
}
