//! The kernel's rules, made and read through `NETLINK_NETFILTER`, subsystem `NFNL_SUBSYS_NFTABLES`; the messages are
//! those of `linux/netfilter/nf_tables.h`, and what nft(8) sends for the same rules, so that it lists them as they
//! are written in `tests/*.nft`.
//!
//! nft(8) itself is not called. A call takes about 2 ms, of which the kernel's part is 0.2, and a sandbox with a network
//! took four of them. Of the crates for it rustables is under the GPL, nftnl links a C library, nftables calls the program, and
//! netlink-packet-netfilter 0.4 knows no ct, fib, nat, masq, reject, limit, log, counter or dynset.

mod read;
mod rule;
mod set;
mod transaction;

pub use read::{Chain, Found, counter, dropping, elements, in_force, members_of, speaks_of, there_is};
pub use rule::{Field, Part, Rule};
pub(crate) use set::octets;
pub use set::{Kind, Member, Set, concatenated, intervals};
pub use transaction::{Hook, Transaction};

pub use nucleus_netlink::Socket;

use crate::Error;
use rustix::io::Errno;

/// The name of our tables, inside and on the host. Their family is inet.
pub const TABLE: &str = "nucleus";

const SUBSYSTEM: u16 = 10;
const NFPROTO_INET: u8 = 1;
/// Families of packets, as `meta nfproto` has them.
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

const GETTABLE: u16 = 1;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const NEWSET: u16 = 9;
const GETSET: u16 = 10;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const NEWOBJ: u16 = 18;
const GETOBJ: u16 = 19;

/// In all messages about a table, and about what is in one.
const TABLE_NAME: u16 = 1;
/// `NFTA_LIST_ELEM`: one of many, in an attribute that holds many.
const LIST_ELEMENT: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const DATA_VALUE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const OBJECT_COUNTER: u32 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// The type of a message, with its subsystem.
fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// `struct nfgenmsg`.
fn fixed(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// A socket for the rules of this thread's network namespace.
///
/// # Errors
/// This kernel has no nf_tables, or as socket(2).
pub fn open() -> Result<Socket, Error> {
    Socket::open_netfilter().map_err(|error| failed("open a socket", String::new(), error))
}

fn failed(what: &'static str, object: String, source: nucleus_netlink::Error) -> Error {
    let lacks = matches!(
        source.errno,
        Some(Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT)
    ) || source.errno == Some(Errno::NOENT) && object.starts_with("rule");
    let remedy = if lacks {
        " (it needs a kernel with CONFIG_NF_TABLES and NF_TABLES_INET, and the modules nft_ct, nft_fib_inet, nft_limit, \
         nft_log, nft_masq, nft_nat and nft_reject_inet)"
    } else {
        ""
    };
    Error::Rules {
        what,
        object,
        remedy,
        source,
    }
}
