//! Values in GVariant's text form (docs.gtk.org, "GVariant Text Format"), as far as properties of units have them.

use super::message::{Integer, Value};

/// Deeper ones no property has.
const MAX_DEPTH: u32 = 8;

/// Reads one value.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let parsed = parser.value(None).and_then(|value| {
        parser.space();
        match parser.rest {
            "" => Ok(value),
            rest => Err(format!("{rest:?} follows")),
        }
    });
    parsed.map_err(|problem| {
        format!("{text:?} is not a value in GVariant's text form, such as 'text', 5, uint64 5, true or ['a']: {problem}")
    })
}

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Parser<'a> {
    /// A value, of the type whose signature is given.
    fn value(&mut self, expected: Option<&str>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("too many levels".to_owned());
        }
        self.space();
        let value = match self.rest.chars().next().ok_or("it ends too early")? {
            '\'' | '"' => text(self.quoted()?, expected),
            '[' => self.array(expected),
            '(' => self.tuple(expected),
            '@' => self.annotated(expected),
            _ => self.word(expected),
        }?;
        self.depth -= 1;
        Ok(value)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Whether this comes next, which is passed then.
    fn take(&mut self, mark: char) -> bool {
        self.space();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `@` and a signature before a value.
    fn annotated(&mut self, expected: Option<&str>) -> Result<Value, String> {
        let (signature, rest) = self.rest[1..]
            .split_once(char::is_whitespace)
            .ok_or("a value is to follow the type")?;
        if !is_type(signature) {
            return Err(format!("no property has the type {signature:?}"));
        }
        self.rest = rest;
        match expected {
            Some(expected) if expected != signature => Err(format!("type {signature} beside {expected}")),
            _ => self.value(Some(signature)),
        }
    }

    fn word(&mut self, expected: Option<&str>) -> Result<Value, String> {
        let end = self
            .rest
            .find(|next: char| next.is_whitespace() || ",])".contains(next));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let keyword = match word {
            "true" | "false" => {
                let value = Value::Bool(word == "true");
                return fits(value, expected);
            }
            "boolean" => Some("b"),
            "string" => Some("s"),
            "objectpath" => Some("o"),
            word => Integer::ALL
                .iter()
                .find(|kind| kind.keyword() == word)
                .map(|kind| kind.signature()),
        };
        match (keyword, expected) {
            (Some(keyword), Some(expected)) if keyword != expected => {
                Err(format!("type {keyword} beside {expected}"))
            }
            (Some(keyword), _) => self.value(Some(keyword)),
            (None, expected) => integer(word, expected.unwrap_or("i")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut characters = self.rest.chars();
        let quote = characters.next();
        let mut text = String::new();
        loop {
            let next = characters.next().ok_or("a quote is missing")?;
            if Some(next) == quote {
                self.rest = characters.as_str();
                return Ok(text);
            }
            text.push(match next {
                '\\' => escaped(&mut characters)?,
                next => next,
            });
        }
    }

    fn array(&mut self, expected: Option<&str>) -> Result<Value, String> {
        self.take('[');
        let mut element = match expected {
            None => None,
            Some(expected) => Some(
                expected
                    .strip_prefix('a')
                    .ok_or("an array is not expected")?
                    .to_owned(),
            ),
        };
        let mut values = Vec::new();
        while !self.take(']') {
            if !values.is_empty() && !self.take(',') {
                return Err("',' or ']' is missing".to_owned());
            }
            let value = self.value(element.as_deref())?;
            element.get_or_insert_with(|| value.signature());
            values.push(value);
        }
        let element = element.ok_or("an empty array needs its type before it, such as @as []")?;
        Ok(Value::Array(element, values))
    }

    fn tuple(&mut self, expected: Option<&str>) -> Result<Value, String> {
        self.take('(');
        let mut rest = match expected {
            None => None,
            Some(expected) => Some(
                expected
                    .strip_prefix('(')
                    .and_then(|inner| inner.strip_suffix(')'))
                    .ok_or("a tuple is not expected")?,
            ),
        };
        let mut values = Vec::new();
        while !self.take(')') {
            if !values.is_empty() && !self.take(',') {
                return Err("',' or ')' is missing".to_owned());
            }
            // A tuple of one has a comma at its end.
            if values.len() == 1 && self.take(')') {
                break;
            }
            let first = match rest {
                None => None,
                Some(types) => {
                    let length = type_length(types).ok_or("more values than the tuple's type has")?;
                    rest = Some(&types[length..]);
                    Some(&types[..length])
                }
            };
            values.push(self.value(first)?);
        }
        if values.is_empty() || rest.is_some_and(|rest| !rest.is_empty()) {
            return Err("fewer values than the tuple's type has".to_owned());
        }
        Ok(Value::Tuple(values))
    }
}

fn text(text: String, expected: Option<&str>) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("no text has a NUL".to_owned());
    }
    match expected {
        Some("o") if text.starts_with('/') => Ok(Value::Path(text)),
        _ => fits(Value::Text(text), expected),
    }
}

fn fits(value: Value, expected: Option<&str>) -> Result<Value, String> {
    match expected {
        Some(expected) if expected != value.signature() => {
            Err(format!("type {} where {expected} is expected", value.signature()))
        }
        _ => Ok(value),
    }
}

/// Decimal, or hexadecimal or octal as in C.
fn integer(word: &str, signature: &str) -> Result<Value, String> {
    let kind = Integer::ALL.iter().find(|kind| kind.signature() == signature);
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(digits) => (16, digits),
        None if digits.starts_with('0') && digits.len() > 1 => (8, &digits[1..]),
        None => (10, digits),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = i128::from_str_radix(digits, radix).ok().filter(|_| plain);
    match (kind, number.map(|number| if negative { -number } else { number })) {
        (_, None) => Err(format!("{word:?} is none")),
        (None, Some(_)) => Err(format!("a number where {signature} is expected")),
        (Some(kind), Some(number)) if kind.holds(number) => Ok(match kind {
            Integer::Uint64 => Value::Number(number as u64),
            kind => Value::Integer(*kind, number),
        }),
        (Some(kind), Some(_)) => Err(format!("{word} does not fit into {}", kind.keyword())),
    }
}

fn escaped(characters: &mut std::str::Chars<'_>) -> Result<char, String> {
    let unicode = |characters: &mut std::str::Chars<'_>, count: usize| {
        let digits: String = characters.by_ref().take(count).collect();
        let code = u32::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| digits.len() == count);
        code.and_then(char::from_u32)
            .ok_or_else(|| format!("no character has the code {digits:?}"))
    };
    Ok(match characters.next().ok_or("a quote is missing")? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'u' => unicode(characters, 4)?,
        'U' => unicode(characters, 8)?,
        other => other,
    })
}

/// Whether this is the signature of one value that can be read here.
fn is_type(signature: &str) -> bool {
    type_length(signature) == Some(signature.len())
}

/// The length of the first type of a signature.
fn type_length(signature: &str) -> Option<usize> {
    // Deeper ones are refused with their value.
    let arrays = signature.bytes().take_while(|byte| *byte == b'a').count();
    let rest = &signature[arrays..];
    match rest.bytes().next()? {
        b'b' | b's' | b'o' => Some(arrays + 1),
        b'(' => {
            let mut at = 1;
            while rest.as_bytes().get(at) != Some(&b')') {
                if arrays + at > 64 {
                    return None;
                }
                at += type_length(rest.get(at..)?)?;
            }
            (at > 1).then_some(arrays + at + 1)
        }
        letter => Integer::ALL
            .iter()
            .any(|kind| kind.signature().as_bytes() == [letter])
            .then_some(arrays + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn values() {
        let int = |number| Value::Integer(Integer::Int32, number);
        for (form, value) in [
            ("true", Value::Bool(true)),
            (" boolean false ", Value::Bool(false)),
            ("'a b'", text("a b")),
            (r#""a 'b' \"c\"""#, text("a 'b' \"c\"")),
            (r"'tab\tand\u00e9'", text("tab\tandé")),
            ("5", int(5)),
            ("-5", int(-5)),
            ("0x1F", int(31)),
            ("017", int(15)),
            ("0", int(0)),
            ("uint64 18446744073709551615", Value::Number(u64::MAX)),
            ("@t 5", Value::Number(5)),
            ("byte 0xff", Value::Integer(Integer::Byte, 255)),
            ("uint32 7", Value::Integer(Integer::Uint32, 7)),
            ("int64 -7", Value::Integer(Integer::Int64, -7)),
            ("objectpath '/a'", Value::Path("/a".into())),
            ("['a', 'b']", Value::Array("s".into(), vec![text("a"), text("b")])),
            ("@as []", Value::Array("s".into(), vec![])),
            (
                "[uint64 1, 2]",
                Value::Array("t".into(), vec![Value::Number(1), Value::Number(2)]),
            ),
            ("@at [1]", Value::Array("t".into(), vec![Value::Number(1)])),
            (
                "[('/dev/null', 'rw')]",
                Value::Array(
                    "(ss)".into(),
                    vec![Value::Tuple(vec![text("/dev/null"), text("rw")])],
                ),
            ),
            ("('a',)", Value::Tuple(vec![text("a")])),
            (
                "@a(st) [('a', 1)]",
                Value::Array(
                    "(st)".into(),
                    vec![Value::Tuple(vec![text("a"), Value::Number(1)])],
                ),
            ),
        ] {
            assert_eq!(parse(form), Ok(value), "{form}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for form in [
            "",
            " ",
            "inactive",
            "'open",
            "'a' 'b'",
            "'a''",
            "5 6",
            "5x",
            "0x",
            "--5",
            "1.5",
            "1_0",
            "2147483648",
            "byte 256",
            "uint64 -1",
            "uint64 'a'",
            "uint64 uint32 1",
            "uint64 18446744073709551616",
            "string 5",
            "boolean 1",
            "objectpath 'a'",
            "[]",
            "['a', 5]",
            "['a' 'b']",
            "['a'",
            "['a',,'b']",
            "()",
            "('a', ",
            "@t 'a'",
            "@z 5",
            "@tt 5",
            "@a 5",
            "@(s) ('a', 'b')",
            "@(ss) ('a',)",
            "@as ['a'] x",
            "@at",
            "{'a': 1}",
            "<'a'>",
            "nothing",
            "[[[[[[[[[['a']]]]]]]]]]",
            r"'\uD800'",
            r"'\u0000'",
        ] {
            let error = parse(form).expect_err(form);
            assert!(error.starts_with(&format!("{form:?} is not a value")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(form in "\\PC*", marks in "[\\[\\]()@'\", a0-9tsu\\\\]{0,40}") {
            let _ = parse(&form);
            let _ = parse(&marks);
        }

        #[test]
        fn integers_are_what_they_were(number: i64) {
            prop_assert_eq!(parse(&format!("int64 {number}")), Ok(Value::Integer(Integer::Int64, number.into())));
        }
    }
}
