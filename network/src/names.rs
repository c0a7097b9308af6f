//! Names that a workload may ask for: exactly one, or all below one.
//!
//! `*.example.com` stands for one label or more in front of `example.com`, and not for `example.com` itself. It has a
//! risk that an exact name has not: whoever runs the servers of `example.com` sees the labels that the workload makes
//! up, so that they can carry data out to them, a few dozen bytes a question.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The most octets of a name in text, without the dot at its end (RFC 1035, 2.3.4).
const LONGEST: usize = 253;
/// The most octets of a label.
const LONGEST_LABEL: usize = 63;

/// A domain name: lower case, ASCII, without the dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// What a permitted name may be. Its text is what is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    /// This name alone.
    Exactly(Name),
    /// `*.` and this name: every name below it.
    Below(Name),
}

/// Why a text is no name, with the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing there, or nothing between two dots.
    #[error("an empty label")]
    Empty,
    /// Longer than the protocol allows.
    #[error("longer than {LONGEST} octets, or a label longer than {LONGEST_LABEL}")]
    Long,
    /// Not ASCII.
    #[error(
        "not ASCII: give it as DNS has it, with xn-- (python3 -c 'print(\"NAME\".encode(\"idna\"))' converts it)"
    )]
    NotAscii,
    /// A character that host names do not have.
    #[error("{0:?} is not in a host name: give the name alone, without scheme, port or path")]
    Character(char),
    /// `-` at an end.
    #[error("a label begins or ends with -")]
    Hyphen,
    /// An address is not looked up.
    #[error("an address, not a name: --egress-allow permits it")]
    Address,
    /// A name of the loopback interface.
    #[error("localhost is never asked for: it is the sandbox itself")]
    Localhost,
    /// A `*` that is not the first label.
    #[error("* stands in front of a name alone, as *.example.com")]
    Star,
    /// `*` or `*.com`.
    #[error(
        "* needs two labels behind it, as *.example.com: everything below a top-level domain is everything"
    )]
    Everything,
}

impl Name {
    /// The name, without a dot at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name as it came in a question. Labels there can hold any octet; those that no permitted name has are `None`.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut text = String::new();
        for label in labels {
            let label = std::str::from_utf8(label).ok()?;
            // Before the labels are joined: a dot inside one would make two of it.
            check_label(label).ok()?;
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(label);
        }
        text.parse().ok()
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if !text.is_ascii() {
            return Err(Error::NotAscii);
        }
        if is_address(text) {
            return Err(Error::Address);
        }
        for label in text.split('.') {
            check_label(label)?;
        }
        if text.len() > LONGEST {
            return Err(Error::Long);
        }
        let name = text.to_ascii_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        if last == "localhost" {
            return Err(Error::Localhost);
        }
        // As browsers and resolvers read it: a number at the end is the end of an IPv4 address.
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::Address);
        }
        Ok(Self(name))
    }
}

fn is_address(text: &str) -> bool {
    let text = text.split('/').next().unwrap_or_default();
    let text = text.trim_start_matches('[').trim_end_matches(']');
    text.parse::<std::net::IpAddr>().is_ok()
}

fn check_label(label: &str) -> Result<(), Error> {
    if label.is_empty() {
        return Err(Error::Empty);
    }
    if label.contains('*') {
        return Err(Error::Star);
    }
    let strange = |char: &char| !(char.is_ascii_alphanumeric() || matches!(char, '-' | '_'));
    if let Some(char) = label.chars().find(strange) {
        return Err(Error::Character(char));
    }
    if label.len() > LONGEST_LABEL {
        return Err(Error::Long);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(Error::Hyphen);
    }
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether a name is permitted by it.
    pub fn permits(&self, name: &Name) -> bool {
        match self {
            Self::Exactly(only) => only == name,
            Self::Below(top) => name
                .0
                .strip_suffix(top.as_str())
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|front| !front.is_empty()),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim_end_matches('.') == "*" {
            return Err(Error::Everything);
        }
        let Some(top) = text.strip_prefix("*.") else {
            return Ok(Self::Exactly(text.parse()?));
        };
        let top: Name = top.parse()?;
        if !top.0.contains('.') {
            return Err(Error::Everything);
        }
        Ok(Self::Below(top))
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_name_is_the_same_in_any_case_and_with_a_dot_at_its_end() {
        for text in ["Example.COM", "example.com.", "EXAMPLE.com."] {
            assert_eq!(name(text).as_str(), "example.com");
        }
        assert_eq!(
            name("_acme.xn--mnchen-3ya.de").as_str(),
            "_acme.xn--mnchen-3ya.de"
        );
        assert_eq!(name("db").as_str(), "db");
    }

    #[test]
    fn what_is_no_name_is_told_with_a_remedy() {
        let long = format!("{}.com", "a".repeat(64));
        let longer = vec!["a".repeat(63); 4].join(".");
        for (text, error) in [
            ("", Error::Empty),
            (".", Error::Empty),
            ("a..b", Error::Empty),
            (".a", Error::Empty),
            ("a.com..", Error::Empty),
            (&long, Error::Long),
            (&longer, Error::Long),
            ("münchen.de", Error::NotAscii),
            ("https://a.com", Error::Character(':')),
            ("a.com:443", Error::Character(':')),
            ("a.com/x", Error::Character('/')),
            ("a b.com", Error::Character(' ')),
            ("-a.com", Error::Hyphen),
            ("a-.com", Error::Hyphen),
            ("10.0.0.1", Error::Address),
            ("10.0.0.0/8", Error::Address),
            ("[::1]", Error::Address),
            ("2001:db8::1", Error::Address),
            ("10.1", Error::Address),
            ("localhost", Error::Localhost),
            ("a.LocalHost.", Error::Localhost),
            ("*", Error::Everything),
            ("*.", Error::Everything),
            ("*.com", Error::Everything),
            ("a.*.com", Error::Star),
            ("*.*.com", Error::Star),
            ("a*.example.com", Error::Star),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_star_is_one_label_or_more_and_never_none() {
        let below: Pattern = "*.Example.com".parse().expect("a pattern");
        for permitted in ["a.example.com", "a.b.example.com", "A.EXAMPLE.COM."] {
            assert!(below.permits(&name(permitted)), "{permitted}");
        }
        for other in [
            "example.com",
            "badexample.com",
            "example.com.evil.net",
            "a.example.org",
        ] {
            assert!(!below.permits(&name(other)), "{other}");
        }
        let exact: Pattern = "example.com".parse().expect("a pattern");
        assert!(exact.permits(&name("example.com.")));
        assert!(!exact.permits(&name("a.example.com")));
    }

    #[test]
    fn a_dot_inside_of_a_label_does_not_make_two() {
        let labels = |labels: &[&'static [u8]]| Name::from_labels(labels.iter().copied());
        assert_eq!(labels(&[b"A", b"example", b"com"]), Some(name("a.example.com")));
        assert_eq!(labels(&[b"a.example", b"com"]), None);
        assert_eq!(labels(&[b"a\0", b"example", b"com"]), None);
        assert_eq!(labels(&[]), None);
    }

    fn label() -> impl Strategy<Value = String> {
        "[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?"
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_an_error(text in any::<String>()) {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string().parse::<Pattern>(), Ok(pattern));
            }
        }

        #[test]
        fn what_a_pattern_permits_ends_in_its_name(
            front in proptest::collection::vec(label(), 0..4),
            top in proptest::collection::vec(label(), 2..4),
            case in any::<u64>(),
        ) {
            let top = format!("{}.test", top.join("."));
            let whole = front.iter().map(|label| format!("{label}.")).collect::<String>() + &top;
            let mixed: String = whole.chars().enumerate().map(|(index, char)| {
                if case >> (index % 64) & 1 == 1 { char.to_ascii_uppercase() } else { char }
            }).collect();
            let asked = name(&mixed);
            let below: Pattern = format!("*.{top}").parse().expect("a pattern");
            prop_assert_eq!(below.permits(&asked), !front.is_empty());
            let exact: Pattern = top.parse().expect("a pattern");
            prop_assert_eq!(exact.permits(&asked), front.is_empty());
            let labels = mixed.split('.').map(str::as_bytes);
            prop_assert_eq!(Name::from_labels(labels), Some(asked));
        }
    }
}
