//! Unit properties that the bundle asks for: the annotations `org.systemd.property.NAME`, as runc and crun take them.
//!
//! The value is GVariant text, of which the forms are read that properties of a unit have: booleans, integers, texts,
//! and arrays and tuples of them. A bare integer is an `int32`; another type stands before it, as in `uint64 5` or
//! `@au [1, 2]`. A name that ends with `Sec`, as unit files spell it, is the property `USec` in µs.

use std::collections::HashMap;

use super::gvariant;
use super::message::{Property, Value};
use crate::cgroup::Error;

/// What an annotation's name begins with.
pub(crate) const PREFIX: &str = "org.systemd.property.";

/// What the runtime decides by itself, or by `linux.cgroupsPath`.
const OURS: [&str; 4] = ["Delegate", "DelegateSubgroup", "PIDs", "Slice"];

/// The properties, in the order of their names.
///
/// # Errors
/// A name or value that is none, or a property that is not the bundle's to set.
pub(in crate::cgroup) fn properties(annotations: &HashMap<String, String>) -> Result<Vec<Property>, Error> {
    let mut properties = annotations
        .iter()
        .filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)))
        .map(|(name, text)| {
            property(name, text)
                .map_err(|reason| Error::invalid(format!("annotations.{PREFIX}{name}"), reason))
        })
        .collect::<Result<Vec<_>, _>>()?;
    properties.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(properties)
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("no property of a unit is called that".to_owned());
    }
    if OURS.contains(&name) {
        return Err("the runtime sets that itself: linux.cgroupsPath names slice and scope".to_owned());
    }
    // `TimeoutStopUSec` is no such name: a small letter is before `Sec`.
    let stem = name.strip_suffix("Sec");
    match stem.filter(|stem| stem.ends_with(|last: char| last.is_ascii_lowercase())) {
        Some(stem) => Ok((format!("{stem}USec").into(), Value::Number(microseconds(text)?))),
        None => Ok((name.to_owned().into(), gvariant::parse(text)?)),
    }
}

/// From seconds, whole or not.
fn microseconds(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is not a number of seconds");
    let words = text.trim();
    let number = match words.split_once(' ') {
        None => words,
        Some((_, number)) if words.starts_with("double ") => number.trim(),
        Some(_) => "",
    };
    if let Some((whole, fraction)) = number.split_once('.') {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(refuse());
        }
        // Six digits are microseconds; what is below is cut off.
        let fraction = format!("{fraction:0<6}");
        let fraction: u64 = fraction[..6].parse().map_err(|_| refuse())?;
        let whole = whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(1_000_000));
        return whole
            .and_then(|whole| whole.checked_add(fraction))
            .ok_or_else(refuse);
    }
    let seconds = match gvariant::parse(text)? {
        Value::Number(number) => Some(number),
        Value::Integer(_, number) => u64::try_from(number).ok(),
        _ => None,
    };
    seconds
        .and_then(|seconds| seconds.checked_mul(1_000_000))
        .ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::systemd::message::Integer;

    fn of(name: &str, text: &str) -> Result<Vec<Property>, String> {
        let annotations = HashMap::from([
            (format!("{PREFIX}{name}"), text.to_owned()),
            ("org.systemd".to_owned(), "other".to_owned()),
        ]);
        properties(&annotations).map_err(|error| error.to_string())
    }

    #[test]
    fn annotations_become_properties() {
        for (name, text, property, value) in [
            (
                "CollectMode",
                "'inactive'",
                "CollectMode",
                Value::Text("inactive".into()),
            ),
            (
                "TimeoutStopUSec",
                "uint64 123456789",
                "TimeoutStopUSec",
                Value::Number(123_456_789),
            ),
            ("TimeoutStopSec", "7", "TimeoutStopUSec", Value::Number(7_000_000)),
            (
                "TimeoutStopSec",
                "uint64 7",
                "TimeoutStopUSec",
                Value::Number(7_000_000),
            ),
            ("RuntimeMaxSec", "1.5", "RuntimeMaxUSec", Value::Number(1_500_000)),
            (
                "RuntimeMaxSec",
                "double 0.0000019",
                "RuntimeMaxUSec",
                Value::Number(1),
            ),
            (
                "OOMScoreAdjust",
                "-5",
                "OOMScoreAdjust",
                Value::Integer(Integer::Int32, -5),
            ),
        ] {
            assert_eq!(of(name, text), Ok(vec![(property.to_owned().into(), value)]));
        }
        assert_eq!(properties(&HashMap::new()).unwrap(), []);
    }

    #[test]
    fn others_are_refused_by_name() {
        for (name, text) in [
            ("", "1"),
            ("A", "1"),
            ("Two Words", "1"),
            ("Slice", "'a.slice'"),
            ("PIDs", "@au [1]"),
            ("Delegate", "false"),
            ("TimeoutStopSec", "'infinity'"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopSec", "1."),
            ("TimeoutStopSec", "18446744073709551615"),
            ("TimeoutStopSec", "uint64 18446744073710"),
            ("TimeoutStopSec", "18446744073709.6"),
            ("CollectMode", "inactive"),
        ] {
            let error = of(name, text).expect_err(name);
            assert!(
                error.contains(&format!("annotations.{PREFIX}{name}: ")),
                "{name} = {text}: {error}"
            );
        }
        assert!(
            of("TimeoutStopSec", "uint64 18446744073710")
                .unwrap_err()
                .contains("TimeoutStopSec")
        );
    }
}
