//! What was refused: the counter and the destinations that the rules of a namespace remember.

use crate::Error;
use serde::Serialize;
use serde_json::Value;

/// What a workload tried in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// How many packets.
    pub packets: u64,
    /// Whereto, the first 256: address, protocol and port.
    pub destinations: Vec<String>,
}

/// Reads what nft(8) prints of the table.
pub(crate) fn parse(text: &str) -> Result<Refused, Error> {
    let all: Value = serde_json::from_str(text).map_err(|error| Error::Rules {
        what: "list rules",
        why: error.to_string(),
    })?;
    let mut refused = Refused::default();
    for object in all["nftables"].as_array().into_iter().flatten() {
        if object["counter"]["name"] == "refused" {
            refused.packets = object["counter"]["packets"].as_u64().unwrap_or(0);
        }
        let set = &object["set"];
        if set["name"] == "refused4" || set["name"] == "refused6" {
            let elements = set["elem"].as_array().into_iter().flatten();
            refused.destinations.extend(elements.filter_map(destination));
        }
    }
    refused.destinations.sort();
    Ok(refused)
}

/// Rules without what changes while they are in force: counters, the addresses of names, what was refused.
pub(crate) fn lasting(text: &str) -> Result<String, Error> {
    let mut all: Value = serde_json::from_str(text).map_err(|error| Error::Rules {
        what: "list rules",
        why: error.to_string(),
    })?;
    for object in all["nftables"].as_array_mut().into_iter().flatten() {
        let fixed = object["set"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("networks"));
        if let Some(set) = object.get_mut("set").and_then(Value::as_object_mut) {
            set.retain(|key, _| fixed || key != "elem");
        }
        if let Some(counter) = object.get_mut("counter").and_then(Value::as_object_mut) {
            counter.retain(|key, _| !matches!(key.as_str(), "packets" | "bytes"));
        }
    }
    Ok(all["nftables"].to_string())
}

fn destination(element: &Value) -> Option<String> {
    let element = element.get("elem").map_or(element, |inner| &inner["val"]);
    let [address, protocol, port] = element["concat"].as_array()?.as_slice() else {
        return None;
    };
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let address: std::net::IpAddr = word(address).parse().ok()?;
    let to = std::net::SocketAddr::new(address, u16::try_from(port.as_u64()?).ok()?);
    Some(format!("{to}/{}", word(protocol)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_from_what_counts() {
        let with = |packets: u32, elements: &str, policy: &str| {
            lasting(&format!(
                r#"{{"nftables": [{{"counter": {{"name": "refused", "packets": {packets}}}}}, {{"set": {{"name": "names4"
                {elements}}}}}, {{"chain": {{"name": "output", "policy": "{policy}"}}}}]}}"#
            ))
            .expect("read")
        };
        assert_eq!(with(0, "", "drop"), with(7, r#", "elem": ["192.0.2.1"]"#, "drop"));
        assert_ne!(with(0, "", "drop"), with(0, "", "accept"));
    }

    #[test]
    fn what_nft_prints_is_read() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"family": "inet", "name": "refused", "table": "nucleus", "packets": 3, "bytes": 180}},
            {"set": {"name": "networks4", "elem": ["192.0.2.1"]}},
            {"set": {"name": "refused4", "elem": [{"concat": ["192.0.2.9", "tcp", 443]}]}},
            {"set": {"name": "refused6", "elem": [{"elem": {"val": {"concat": ["2001:db8::1", "udp", 53]}}}]}}]}"#;
        let refused = parse(text).expect("parsed");
        assert_eq!(refused.packets, 3);
        assert_eq!(
            refused.destinations,
            ["192.0.2.9:443/tcp", "[2001:db8::1]:53/udp"]
        );
        assert!(parse("nothing").is_err());
    }
}
