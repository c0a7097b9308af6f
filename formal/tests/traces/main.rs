//! What real runs do, against the specs. Everything is taken from the system calls of all processes of a run, as
//! strace(1) has seen them: the messages of both sides, what changes on disk and in the kernel, the steps by which a
//! process isolates itself, and who ends how. A trace is accepted only where the spec allows it in that order; with an
//! event left out, doubled or exchanged it is refused.

#![allow(unreachable_pub, reason = "modules of one test")]

mod bed;
mod front_end;
mod handshake;
mod hold;
mod isolation;
mod killed;
mod lifecycle;
mod runs;
mod sandbox;
mod seen;
mod strace;
mod subject;
