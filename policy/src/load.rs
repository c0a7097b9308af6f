//! From a request to verified policies.

use crate::capabilities::CapabilityPolicy;
use crate::fault::{Document, Errors, Fault, Found, in_file};
use crate::landlock::LandlockPolicy;
use crate::request::{Kind, Origin, Request};
use crate::seccomp::{Conditions, SeccompPolicy};
use crate::source;
use crate::verified::{Policy, VerifiedPolicy};

/// Reads, checks and parses every policy of the request.
///
/// Each file is opened once and read once; its pin is checked before anything is parsed. A seccomp profile's
/// conditions on capabilities are decided by the capability policy of the same request, and by an empty
/// bounding set where there is none.
///
/// # Errors
/// All faults of all files. Of a file that is not JSON or TOML, or has an unknown field, that one fault.
pub fn load(request: &Request) -> Result<VerifiedPolicy, Errors> {
    let mut faults = Vec::new();
    let capabilities = one(Kind::Capabilities, request, &mut faults, CapabilityPolicy::parse);
    let conditions = Conditions {
        capabilities: capabilities.as_ref().map(|policy| policy.value.bounding.clone()).unwrap_or_default(),
        kernel: request.kernel,
    };
    // Capabilities are read first because the profile depends on them, and reported second.
    let later = std::mem::take(&mut faults);
    let seccomp =
        one(Kind::Seccomp, request, &mut faults, |text| SeccompPolicy::parse(text, &conditions));
    faults.extend(later);
    let landlock = one(Kind::Landlock, request, &mut faults, LandlockPolicy::parse);
    Errors::unless_empty(faults)?;
    Ok(VerifiedPolicy { seccomp, capabilities, landlock, landlock_strict: request.landlock_strict })
}

fn one<T>(
    kind: Kind,
    request: &Request,
    faults: &mut Vec<Fault>,
    parse: impl FnOnce(&str) -> Result<T, Found>,
) -> Option<Policy<T>> {
    let choice = request.choice(kind)?;
    let origin: &Origin = &choice.origin;
    let parsed = source::read(kind, choice, request.pins_required)
        .map_err(|problem| vec![(None, problem)])
        .and_then(|verified| Ok((verified.digest, parse(&verified.text)?)));
    match parsed {
        Ok((digest, value)) => Some(Policy { origin: origin.clone(), digest, value }),
        Err(found) => {
            faults.extend(in_file(found, Document::Policy(kind), origin));
            None
        }
    }
}
