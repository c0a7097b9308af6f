//! Attributes while they are being built.

use crate::{Error, append, pad};

/// The value is attributes itself.
const NLA_F_NESTED: u16 = 0x8000;

/// Attributes one after the other. One that is too long for its length is told at the end, by
/// [`Request::with`](crate::Request::with).
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    bytes: Vec<u8>,
    fault: Option<Error>,
}

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, behind a fixed part: what an attribute holds that is itself a message.
    pub fn behind(fixed: &[u8]) -> Self {
        let mut bytes = fixed.to_vec();
        pad(&mut bytes);
        Self { bytes, fault: None }
    }

    /// How many bytes they take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds one of these bytes.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        if let Err(fault) = append(&mut self.bytes, kind, value) {
            self.fault.get_or_insert(fault);
        }
        self
    }

    /// Adds one that holds a C string.
    pub fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), b"\0"].concat())
    }

    /// Adds one that holds a number in network byte order.
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds one that holds a number in network byte order.
    pub fn be64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds one that holds others.
    pub fn nested(mut self, kind: u16, inner: Self) -> Self {
        if let Some(fault) = inner.fault {
            self.fault.get_or_insert(fault);
        }
        self.bytes(kind | NLA_F_NESTED, &inner.bytes)
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        self.fault.map_or(Ok(self.bytes), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes;

    #[test]
    fn what_is_nested_is_read_again() {
        let inner = Attributes::new().be32(1, 7).text(2, "x");
        let bytes = Attributes::new().nested(4, inner).finish().unwrap();
        let (kind, value) = attributes(&bytes).next().unwrap();
        assert_eq!(kind, 4);
        let read: Vec<_> = attributes(value).collect();
        assert_eq!(read, [(1, &[0, 0, 0, 7][..]), (2, &b"x\0"[..])]);
    }

    #[test]
    fn one_that_is_too_long_is_told_from_any_depth() {
        let long = Attributes::new().bytes(9, &vec![0; 1 << 16]);
        let outer = Attributes::new().nested(1, Attributes::new().nested(2, long));
        let fault = outer.be32(3, 0).finish().unwrap_err();
        assert!(fault.call.contains("attribute 9 of 65536"), "{fault}");
    }
}
