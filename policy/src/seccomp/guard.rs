//! `includes` and `excludes`: when a rule is there.

use oci_spec::runtime::{Capabilities, Capability};
use serde::Deserialize;

use crate::capabilities;
use crate::fault::Problem;
use crate::request::KernelVersion;

/// Capabilities that decide whether a rule is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// The bounding set must have all of these.
    pub includes: Vec<Capability>,
    /// The bounding set must have none of these.
    pub excludes: Vec<Capability>,
}

impl Guard {
    pub(crate) fn holds(&self, bounding: &Capabilities) -> bool {
        self.includes
            .iter()
            .all(|capability| bounding.contains(capability))
            && !self
                .excludes
                .iter()
                .any(|capability| bounding.contains(capability))
    }

    /// Whether one bounding set can satisfy both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let apart = |a: &Self, b: &Self| {
            a.includes
                .iter()
                .any(|capability| b.excludes.contains(capability))
        };
        !apart(self, other) && !apart(other, self)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FilterText {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What engines call x86_64.
const HERE: &str = "amd64";

/// What engines call the others.
const ELSEWHERE: [&str; 20] = [
    "386",
    "arm",
    "arm64",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64n32",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "mipsel",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv64",
    "s390",
    "s390x",
    "x32",
    "x86",
];

/// What a rule asks for, as far as it is known now: `None` where architecture or kernel rule it out.
pub(super) fn read(
    includes: Option<&FilterText>,
    excludes: Option<&FilterText>,
    kernel: Option<KernelVersion>,
    report: &mut dyn FnMut(&str, Problem),
) -> Option<Guard> {
    let nothing = FilterText::default();
    let (includes, excludes) = (includes.unwrap_or(&nothing), excludes.unwrap_or(&nothing));
    let arches_in = arches(includes, report);
    let arches_out = arches(excludes, report);
    let here = arches_in.is_none_or(|here| here) && !arches_out.unwrap_or(false);
    let new_enough = least_kernel(includes, kernel, report).unwrap_or(true);
    let too_new = least_kernel(excludes, kernel, report).unwrap_or(false);
    let guard = Guard {
        includes: caps(includes, report),
        excludes: caps(excludes, report),
    };
    (here && new_enough && !too_new).then_some(guard)
}

/// Whether x86_64 is among the architectures; `None` where there are none.
fn arches(filter: &FilterText, report: &mut dyn FnMut(&str, Problem)) -> Option<bool> {
    let arches = filter.arches.as_deref().filter(|arches| !arches.is_empty())?;
    for arch in arches {
        if arch != HERE && !ELSEWHERE.contains(&arch.as_str()) {
            report(arch, Problem::unknown("architecture", arch));
        }
    }
    Some(arches.iter().any(|arch| arch == HERE))
}

/// Whether the kernel is as new as `minKernel`; `None` where nothing is said.
fn least_kernel(
    filter: &FilterText,
    kernel: Option<KernelVersion>,
    report: &mut dyn FnMut(&str, Problem),
) -> Option<bool> {
    let text = filter.min_kernel.as_deref().filter(|text| !text.is_empty())?;
    match text.parse::<KernelVersion>() {
        Err(error) => report(text, Problem::Syntax(error.to_string())),
        Ok(least) => match kernel {
            Some(kernel) => return Some(kernel >= least),
            None => report(
                text,
                Problem::Missing("the kernel version that `minKernel` is compared with"),
            ),
        },
    }
    None
}

fn caps(filter: &FilterText, report: &mut dyn FnMut(&str, Problem)) -> Vec<Capability> {
    let mut found = Vec::new();
    for name in filter.caps.iter().flatten() {
        match capabilities::named(name) {
            None => report(name, Problem::unknown("capability", name)),
            Some(capability) if found.contains(&capability) => {
                report(name, Problem::duplicate("capability", name));
            }
            Some(capability) => found.push(capability),
        }
    }
    found
}
