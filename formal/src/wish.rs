//! What the spec Gvisor asks for, in the front-end's words.

use crate::graph::text;
use nucleus_shim::facts::Runtime;
use nucleus_shim::request::Network;
use serde_json::Value;

/// The runtimes that the spec does not tell apart.
pub fn runtimes(wish: &Value) -> &'static [Runtime] {
    match text(&wish["runtime"]) {
        "native" => &[Runtime::Native],
        "gvisor" => &[Runtime::Gvisor],
        _ => &[Runtime::Runc, Runtime::Crun, Runtime::Other],
    }
}

/// The network; `None` if it is a word of the spec alone.
pub fn network(wish: &Value) -> Option<Network> {
    let networks = [Network::None, Network::Bridge, Network::Host, Network::GvisorHost];
    networks
        .into_iter()
        .find(|network| network.word() == text(&wish["network"]))
}
