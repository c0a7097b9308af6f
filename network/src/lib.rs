//! Networks for sandboxes: what a workload may reach, and nothing else.
//!
//! A network is made before the runtime is called and handed to it by path: the runtime itself never configures one,
//! so that every runtime joins the same. The order is that of `formal/specs/Egress.tla`: the namespace, its rules, the
//! resolver for permitted names, the link to the world, and only then the workload; back in reverse.

pub mod admit;
pub mod egress;
pub mod names;
pub mod resolver;
