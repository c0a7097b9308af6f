//! SHA-256 digests of policy files.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest (FIPS 180-4). Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// One that is written in the code.
    ///
    /// # Panics
    /// It is none; where the value is a constant, that stops the build.
    pub(crate) const fn known(text: &str) -> Self {
        match hex(text.as_bytes()) {
            Some(bytes) => Self(bytes),
            None => panic!("not a SHA-256 digest"),
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// A text that is not a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest (64 hexadecimal digits): {0:?}")]
pub struct NotADigest(pub String);

impl FromStr for Digest {
    type Err = NotADigest;

    /// Takes 64 hexadecimal digits of either case, with or without `sha256:` before them.
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        hex(digits.as_bytes())
            .map(Self)
            .ok_or_else(|| NotADigest(text.to_owned()))
    }
}

const fn hex(digits: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let mut at = 0;
    while at < bytes.len() {
        match (digit(digits[2 * at]), digit(digits[2 * at + 1])) {
            (Some(high), Some(low)) => bytes[at] = high << 4 | low,
            _ => return None,
        }
        at += 1;
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digest_both_ways() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), text);
        for form in [text.to_owned(), text.to_uppercase(), format!("sha256:{text}")] {
            assert_eq!(form.parse(), Ok(Digest::of(b"")), "{form}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let text = Digest::of(b"").to_string();
        for form in [
            "",
            "sha256:",
            &text[1..],
            &format!("{text}0"),
            &format!("sha512:{text}"),
            &text.replace('e', "é"),
        ] {
            assert!(form.parse::<Digest>().is_err(), "{form}");
        }
        assert!(text.replacen('e', "+", 1).parse::<Digest>().is_err());
    }
}
