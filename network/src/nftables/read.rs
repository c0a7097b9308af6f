//! What the kernel says of its rules.

use super::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TYPE, DATA_VALUE, ELEMENT_DATA, ELEMENT_FLAGS, ELEMENT_KEY,
    ELEMENTS, EXPRESSION_DATA, EXPRESSION_NAME, GETCHAIN, GETOBJ, GETRULE, GETSET, GETSETELEM, GETTABLE,
    HOOK_NUMBER, HOOK_PRIORITY, Hook, LIST_ELEMENT, NF_DROP, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6,
    OBJECT_COUNTER, OBJECT_DATA, OBJECT_NAME, OBJECT_TYPE, RULE_CHAIN, RULE_EXPRESSIONS, SET_FLAGS, SET_NAME,
    TABLE, TABLE_NAME, failed, fixed, kind,
};
use crate::Error;
use nucleus_netlink::{Attributes, Request, Socket, attributes};
use rustix::io::Errno;
use std::fmt::Write;

const COUNTER_PACKETS: u16 = 2;
const TARGET_NAME: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
/// All families.
const NFPROTO_UNSPEC: u8 = 0;

fn ask(message: u16, family: u8, about: Attributes) -> Result<Request, nucleus_netlink::Error> {
    Request::new(kind(message), 0, &fixed(family)).with(about)
}

fn dump<T: Default>(
    socket: &mut Socket,
    message: u16,
    family: u8,
    about: Attributes,
    mut each: impl FnMut(&mut T, u8, &[u8]),
) -> Result<T, Error> {
    let list = |socket: &mut Socket| {
        let request = ask(message, family, about)?;
        socket.dump(&request, "recv", |all: &mut T, payload| {
            if let Some((header, payload)) = payload.split_first_chunk::<4>() {
                each(all, header[0], payload);
            }
            Ok(())
        })
    };
    list(socket).map_err(|error| failed("read the rules", String::new(), error))
}

/// The first attribute of this type.
fn get(payload: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(payload)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

fn text(payload: &[u8], wanted: u16) -> Option<String> {
    let value = get(payload, wanted)?;
    Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned())
}

fn number(payload: &[u8], wanted: u16) -> Option<u32> {
    get(payload, wanted)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// Whether our table is there.
///
/// # Errors
/// The kernel's.
pub fn there_is(socket: &mut Socket) -> Result<bool, Error> {
    let about = Attributes::new().text(TABLE_NAME, TABLE);
    exists(socket, GETTABLE, NFPROTO_INET, about, || {
        format!("table inet {TABLE}")
    })
}

fn exists(
    socket: &mut Socket,
    message: u16,
    family: u8,
    about: Attributes,
    object: impl FnOnce() -> String,
) -> Result<bool, Error> {
    let asked = ask(message, family, about).and_then(|request| socket.get(request, "recv", |_| Ok(())));
    match asked {
        Ok(()) => Ok(true),
        Err(error) if error.errno == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(failed("look for", object(), error)),
    }
}

/// The elements in an answer about a set.
fn members(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    attributes(get(payload, ELEMENTS).unwrap_or_default())
        .filter(|(kind, _)| *kind == LIST_ELEMENT)
        .map(|(_, element)| element)
}

/// How many packets a counter of our table has seen.
///
/// # Errors
/// The kernel's: there is none.
pub fn counter(socket: &mut Socket, name: &str) -> Result<u64, Error> {
    let mut packets = None;
    let about = Attributes::new()
        .text(TABLE_NAME, TABLE)
        .text(OBJECT_NAME, name)
        .be32(OBJECT_TYPE, OBJECT_COUNTER);
    ask(GETOBJ, NFPROTO_INET, about)
        .and_then(|request| {
            socket.get(request, "recv", |payload| {
                let data = payload.get(4..).and_then(|payload| get(payload, OBJECT_DATA));
                let seen = data.and_then(|data| get(data, COUNTER_PACKETS));
                packets = seen.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?)));
                Ok(())
            })
        })
        .map_err(|error| failed("read", format!("counter {name}"), error))?;
    packets.ok_or_else(|| Error::Answer {
        object: format!("the counter {name}"),
        lacks: "packets",
    })
}

/// A key of a set, and its value in a map.
pub type Found = (Vec<u8>, Option<Vec<u8>>);

/// The keys and the values of a map of our table; a set has no values.
///
/// # Errors
/// The kernel's.
pub fn members_of(socket: &mut Socket, set: &str) -> Result<Vec<Found>, Error> {
    let about = Attributes::new().text(TABLE_NAME, TABLE).text(SET_NAME, set);
    dump(
        socket,
        GETSETELEM,
        NFPROTO_INET,
        about,
        |all: &mut Vec<_>, _, payload| {
            let part = |element, of| Some(get(get(element, of)?, DATA_VALUE)?.to_vec());
            all.extend(
                members(payload)
                    .filter_map(|element| Some((part(element, ELEMENT_KEY)?, part(element, ELEMENT_DATA)))),
            );
        },
    )
}

/// The keys of a set of our table.
///
/// # Errors
/// The kernel's.
pub fn elements(socket: &mut Socket, set: &str) -> Result<Vec<Vec<u8>>, Error> {
    let members = members_of(socket, set)?;
    Ok(members.into_iter().map(|(key, _)| key).collect())
}

/// A chain that drops what it does not know, where packets are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
}

fn family_name(family: u8) -> Option<&'static str> {
    match family {
        NFPROTO_INET => Some("inet"),
        NFPROTO_IPV4 => Some("ip"),
        NFPROTO_IPV6 => Some("ip6"),
        _ => None,
    }
}

fn family_number(name: &str) -> u8 {
    let families = [NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6];
    let found = families
        .into_iter()
        .find(|family| family_name(*family) == Some(name));
    found.unwrap_or(NFPROTO_INET)
}

/// The chains of others that drop what is forwarded: by default, or with a rule for everything.
///
/// # Errors
/// The kernel's.
pub fn dropping(socket: &mut Socket) -> Result<Vec<Chain>, Error> {
    let forward = Some(Hook::Forward as u32);
    let forwarding = dump(
        socket,
        GETCHAIN,
        NFPROTO_UNSPEC,
        Attributes::new(),
        |all: &mut Vec<(Chain, bool)>, family, payload| {
            let hook = get(payload, CHAIN_HOOK).and_then(|hook| number(hook, HOOK_NUMBER));
            if hook != forward || text(payload, CHAIN_TYPE).as_deref() != Some("filter") {
                return;
            }
            let named = text(payload, TABLE_NAME).zip(text(payload, CHAIN_NAME));
            if let (Some((table, name)), Some(family)) = (named, family_name(family))
                && table != TABLE
            {
                let drops = number(payload, CHAIN_POLICY) == Some(NF_DROP);
                all.push((Chain { family, table, name }, drops));
            }
        },
    )?;
    let mut found = Vec::new();
    for (chain, by_default) in forwarding {
        if by_default || any_rule(socket, &chain, &chain.name, closes)? {
            found.push(chain);
        }
    }
    Ok(found)
}

/// Whether a rule drops or rejects whatever comes to it: that of firewalld, of `iptables -A FORWARD -j REJECT`.
fn closes(rule: &[u8]) -> bool {
    let mut closes = false;
    for (_, expression) in attributes(get(rule, RULE_EXPRESSIONS).unwrap_or_default()) {
        let data = get(expression, EXPRESSION_DATA).unwrap_or_default();
        closes = match text(expression, EXPRESSION_NAME).as_deref() {
            Some("counter" | "log") => closes,
            Some("reject") => true,
            Some("target") => text(data, TARGET_NAME).as_deref() == Some("REJECT"),
            Some("immediate") => {
                let verdict = get(data, IMMEDIATE_DATA).and_then(|data| get(data, DATA_VERDICT));
                verdict.and_then(|verdict| number(verdict, VERDICT_CODE)) == Some(NF_DROP)
            }
            // A condition.
            _ => return false,
        };
    }
    closes
}

fn any_rule(
    socket: &mut Socket,
    in_table_of: &Chain,
    chain: &str,
    is_one: impl Fn(&[u8]) -> bool,
) -> Result<bool, Error> {
    let family = family_number(in_table_of.family);
    let about = Attributes::new()
        .text(TABLE_NAME, &in_table_of.table)
        .text(RULE_CHAIN, chain);
    dump(socket, GETRULE, family, about, |found: &mut bool, _, payload| {
        let of_it = text(payload, RULE_CHAIN).as_deref() == Some(chain)
            && text(payload, TABLE_NAME).as_ref() == Some(&in_table_of.table);
        *found |= of_it && is_one(payload);
    })
}

/// Whether rules of a chain of others speak of interfaces whose names begin so; `None` if it is not there.
///
/// # Errors
/// The kernel's.
pub fn speaks_of(
    socket: &mut Socket,
    in_table_of: &Chain,
    chain: &str,
    prefix: &str,
) -> Result<Option<bool>, Error> {
    let about = Attributes::new()
        .text(TABLE_NAME, &in_table_of.table)
        .text(CHAIN_NAME, chain);
    let family = family_number(in_table_of.family);
    if !exists(socket, GETCHAIN, family, about, || format!("chain {chain}"))? {
        return Ok(None);
    }
    // In any comparison: a name is the same bytes in each of them.
    let speaks = |rule: &[u8]| rule.windows(prefix.len()).any(|part| part == prefix.as_bytes());
    any_rule(socket, in_table_of, chain, speaks).map(Some)
}

/// All that is in force in the namespace, a line each, without what changes by itself: counters, the addresses of names,
/// what was refused.
///
/// # Errors
/// The kernel's.
pub fn in_force(socket: &mut Socket) -> Result<String, Error> {
    let mut all = lines(socket, GETTABLE, |_| "table".into())?;
    all += &lines(socket, GETCHAIN, chain)?;
    all += &lines(socket, GETRULE, rule)?;
    let sets = dump(
        socket,
        GETSET,
        NFPROTO_UNSPEC,
        Attributes::new(),
        |sets: &mut Vec<(u8, Vec<u8>)>, family, payload| sets.push((family, payload.to_vec())),
    )?;
    for (family, payload) in sets {
        let set = set(socket, family, &payload)?;
        let _ = writeln!(all, "{} {set}", within(family, &payload));
    }
    Ok(all)
}

/// A line for each object, behind its family and table.
fn lines(socket: &mut Socket, message: u16, line: impl Fn(&[u8]) -> String) -> Result<String, Error> {
    let about = Attributes::new();
    dump(
        socket,
        message,
        NFPROTO_UNSPEC,
        about,
        |lines: &mut String, family, payload| {
            let _ = writeln!(lines, "{} {}", within(family, payload), line(payload));
        },
    )
}

fn within(family: u8, payload: &[u8]) -> String {
    let family = family_name(family).map_or_else(|| family.to_string(), str::to_owned);
    format!("{family} {}", text(payload, TABLE_NAME).unwrap_or_default())
}

fn chain(payload: &[u8]) -> String {
    let mut line = format!("chain {}", text(payload, CHAIN_NAME).unwrap_or_default());
    if let Some(hook) = get(payload, CHAIN_HOOK) {
        let kind = text(payload, CHAIN_TYPE).unwrap_or_default();
        let at = number(hook, HOOK_NUMBER).unwrap_or(u32::MAX);
        let priority = number(hook, HOOK_PRIORITY).unwrap_or(0).cast_signed();
        let dropped = number(payload, CHAIN_POLICY) == Some(NF_DROP);
        let policy = if dropped { "drop" } else { "accept" };
        let _ = write!(line, " {kind} hook {at} priority {priority} policy {policy}");
    }
    line
}

fn rule(payload: &[u8]) -> String {
    let mut line = format!("rule {}:", text(payload, RULE_CHAIN).unwrap_or_default());
    for (_, expression) in attributes(get(payload, RULE_EXPRESSIONS).unwrap_or_default()) {
        let name = text(expression, EXPRESSION_NAME).unwrap_or_default();
        let _ = write!(line, " {name}");
        if name != "counter" {
            hexadecimal(&mut line, get(expression, EXPRESSION_DATA).unwrap_or_default());
        }
    }
    line
}

fn set(socket: &mut Socket, family: u8, payload: &[u8]) -> Result<String, Error> {
    let [table, name] = [TABLE_NAME, SET_NAME].map(|of| text(payload, of).unwrap_or_default());
    let flags = number(payload, SET_FLAGS).unwrap_or(0);
    let line = format!("set {name} {flags:x}:");
    // Rules and names add to these.
    if flags & (super::Set::TIMEOUT | super::Set::DYNAMIC) != 0 {
        return Ok(line);
    }
    let about = Attributes::new().text(TABLE_NAME, &table).text(SET_NAME, &name);
    let mut all = dump(
        socket,
        GETSETELEM,
        family,
        about,
        |all: &mut Vec<String>, _, payload| {
            for element in members(payload) {
                let mut member = String::new();
                for part in [ELEMENT_KEY, ELEMENT_DATA, ELEMENT_FLAGS] {
                    hexadecimal(&mut member, get(element, part).unwrap_or_default());
                }
                all.push(member);
            }
        },
    )?;
    all.sort();
    Ok(line + &all.concat())
}

fn hexadecimal(text: &mut String, bytes: &[u8]) {
    text.push(' ');
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}
