//! The few forms of D-Bus messages that starting and stopping a unit takes (D-Bus specification, "Message
//! Format" and "Marshaling"): little-endian, without descriptors.

use std::borrow::Cow;

/// The types of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroup) enum Integer {
    Byte,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
}

impl Integer {
    pub(super) const ALL: [Integer; 7] = [
        Self::Byte,
        Self::Int16,
        Self::Uint16,
        Self::Int32,
        Self::Uint32,
        Self::Int64,
        Self::Uint64,
    ];

    /// Its letter, its name in text, how many bytes it has, and whether it can be negative.
    fn facts(self) -> (&'static str, &'static str, usize, bool) {
        match self {
            Self::Byte => ("y", "byte", 1, false),
            Self::Int16 => ("n", "int16", 2, true),
            Self::Uint16 => ("q", "uint16", 2, false),
            Self::Int32 => ("i", "int32", 4, true),
            Self::Uint32 => ("u", "uint32", 4, false),
            Self::Int64 => ("x", "int64", 8, true),
            Self::Uint64 => ("t", "uint64", 8, false),
        }
    }

    pub(super) fn signature(self) -> &'static str {
        self.facts().0
    }

    pub(super) fn keyword(self) -> &'static str {
        self.facts().1
    }

    fn size(self) -> usize {
        self.facts().2
    }

    pub(super) fn holds(self, number: i128) -> bool {
        let (.., size, signed) = self.facts();
        let values = 1_i128 << (8 * size);
        let (least, most) = if signed {
            (-values / 2, values / 2)
        } else {
            (0, values)
        };
        (least..most).contains(&number)
    }
}

/// A value inside a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroup) enum Value {
    Bool(bool),
    /// The most usual of the integers, `t`.
    Number(u64),
    /// One that its type holds.
    Integer(Integer, i128),
    Text(String),
    /// An object's.
    Path(String),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
    /// The elements and the type that all of them have.
    Array(String, Vec<Value>),
    Tuple(Vec<Value>),
}

impl Value {
    pub(super) fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".into(),
            Self::Number(_) => "t".into(),
            Self::Integer(kind, _) => kind.signature().into(),
            Self::Text(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Numbers(_) => "au".into(),
            Self::Bytes(_) => "ay".into(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Tuple(values) => {
                let inner: String = values.iter().map(Self::signature).collect();
                format!("({inner})")
            }
        }
    }
}

/// A unit's property and its value.
pub(in crate::cgroup) type Property = (Cow<'static, str>, Value);

/// Where and what to call.
pub(super) struct Call<'a> {
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// The types of the body.
    pub(super) signature: &'a str,
    pub(super) body: Writer,
}

/// Where values of a type begin.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'(') => 8,
        _ => 4,
    }
}

/// Bytes under construction; their start is aligned to 8.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        // The kernel's and the bus's limits are far below.
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.u32(value.into());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        // Ours are a few letters long.
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array; its length does not count the padding before the first element.
    fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        fill(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(&value.signature());
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.boolean(*value),
            Value::Number(number) => self.integer(Integer::Uint64, (*number).into()),
            Value::Integer(kind, number) => self.integer(*kind, *number),
            Value::Text(text) | Value::Path(text) => self.text(text),
            Value::Numbers(list) => self.array(4, |array| list.iter().for_each(|number| array.u32(*number))),
            Value::Bytes(bytes) => self.array(1, |array| array.0.extend(bytes)),
            Value::Array(element, values) => {
                self.array(alignment(element), |array| {
                    for value in values {
                        array.value(value);
                    }
                });
            }
            Value::Tuple(values) => {
                self.align(8);
                values.iter().for_each(|value| self.value(value));
            }
        }
    }

    fn integer(&mut self, kind: Integer, number: i128) {
        self.align(kind.size());
        // The low bytes of a two's complement are the number's in every size that holds it.
        self.0.extend(&number.to_le_bytes()[..kind.size()]);
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |array| {
            for (name, value) in properties {
                array.align(8);
                array.text(name);
                array.variant(value);
            }
        });
    }

    /// An empty array of structures.
    pub(super) fn nothing(&mut self) {
        self.array(8, |_| {});
    }
}

/// A header field: code, type and value.
fn field(fields: &mut Writer, code: u8, kind: &str, value: &str) {
    fields.align(8);
    fields.0.push(code);
    fields.signature(kind);
    match kind {
        "g" => fields.signature(value),
        _ => fields.text(value),
    }
}

/// A whole method call.
pub(super) fn encode(serial: u32, call: &Call<'_>) -> Vec<u8> {
    // Little-endian, METHOD_CALL, no flags, protocol 1.
    let mut message = Writer(vec![b'l', 1, 0, 1]);
    message.length(call.body.0.len());
    message.u32(serial);
    message.array(8, |fields| {
        field(fields, 1, "o", call.path);
        field(fields, 2, "s", call.interface);
        field(fields, 3, "s", call.member);
        field(fields, 6, "s", "org.freedesktop.systemd1");
        if !call.signature.is_empty() {
            field(fields, 8, "g", call.signature);
        }
    });
    message.align(8);
    message.0.extend(&call.body.0);
    message.0
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Return,
    Error,
    Signal,
    Other,
}

/// A message from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The serial of the call that it answers.
    pub(super) answers: u32,
    /// The signal's name, or that of the error.
    pub(super) name: String,
    signature: String,
    body: Vec<u8>,
}

/// How long a message is all in all, from its first 16 bytes; nothing if this is no message that we read.
pub(super) fn total_length(start: [u8; 16]) -> Option<usize> {
    let number = |at: usize| {
        let bytes = start[at..at + 4].try_into().ok().map(u32::from_le_bytes)?;
        usize::try_from(bytes).ok()
    };
    let (body, fields) = (number(4)?, number(12)?);
    // Far more than systemd ever sends here.
    (start[0] == b'l' && start[3] == 1 && body < 1 << 20 && fields < 1 << 16)
        .then(|| 16 + fields.next_multiple_of(8) + body)
}

/// Reads a whole message; nothing if it is malformed.
pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader { bytes, at: 12 };
    let end = reader.u32()? as usize + 16;
    let kind = match bytes.get(1)? {
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Other,
    };
    let mut message = Message {
        kind,
        answers: 0,
        name: String::new(),
        signature: String::new(),
        body: vec![],
    };
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?) {
            (5, "u") => message.answers = reader.u32()?,
            (3 | 4, "s") => message.name = reader.text()?.to_owned(),
            (8, "g") => message.signature = reader.signature()?.to_owned(),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.u32()?),
            _ => return None,
        }
    }
    message.body = bytes.get(end.next_multiple_of(8)..)?.to_owned();
    Some(message)
}

impl Message {
    /// The texts and object paths at the front of the body, numbers between them passed over.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut reader = Reader {
            bytes: &self.body,
            at: 0,
        };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            let text = match kind {
                's' | 'o' => reader.text(),
                'u' => {
                    if reader.u32().is_none() {
                        break;
                    }
                    continue;
                }
                'v' => match reader.signature() {
                    Some("s" | "o") => reader.text(),
                    _ => None,
                },
                _ => None,
            };
            match text {
                Some(text) => texts.push(text),
                None => break,
            }
        }
        texts
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?.into();
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_padded_as_the_specification_says() {
        let mut body = Writer::default();
        body.text("a");
        body.properties(&[
            ("P".into(), Value::Number(3)),
            ("Q".into(), Value::Bytes(vec![7])),
        ]);
        let expected: Vec<u8> = [
            &[1, 0, 0, 0, b'a', 0, 0, 0][..], // text, padding to the array's length
            &[39, 0, 0, 0, 0, 0, 0, 0],       // length, padding to the first structure
            &[0; 0],
        ]
        .concat();
        // The length word stands at 8, the first structure at 16.
        assert_eq!(body.0[..8], expected[..8]);
        assert_eq!(body.0[12..16], [0; 4]);
        assert_eq!(body.0[16..24], [1, 0, 0, 0, b'P', 0, 1, b't']);
        assert_eq!(body.0[24..40], [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(body.0[40..48], [1, 0, 0, 0, b'Q', 0, 2, b'a']);
        assert_eq!(body.0[48..57], [b'y', 0, 0, 0, 1, 0, 0, 0, 7]);
        assert_eq!(body.0.len() - 16, usize::from(body.0[8]));
    }

    #[test]
    fn a_call_reads_back() {
        let mut body = Writer::default();
        body.text("unit");
        body.text("replace");
        let call = Call {
            path: "/o",
            interface: "i.f",
            member: "StopUnit",
            signature: "ss",
            body: body.clone(),
        };
        let bytes = encode(5, &call);
        assert_eq!(total_length(bytes[..16].try_into().unwrap()), Some(bytes.len()));
        let message = decode(&bytes).unwrap();
        assert_eq!((message.kind, message.name.as_str()), (Kind::Other, "StopUnit"));
        assert_eq!(message.texts(), ["unit", "replace"]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Some(message) = decode(&bytes) {
                message.texts();
            }
            if let Some(Ok(start)) = bytes.get(..16).map(<[u8; 16]>::try_from) {
                total_length(start);
            }
        }

        #[test]
        fn nor_do_damaged_messages(at in 0usize..120, value: u8) {
            let mut body = Writer::default();
            body.text("unit");
            let call = Call { path: "/o", interface: "i.f", member: "M", signature: "s", body };
            let mut bytes = encode(5, &call);
            let at = at % bytes.len();
            bytes[at] = value;
            if let Some(message) = decode(&bytes) {
                message.texts();
            }
        }
    }
}
