//! Control groups: their place, limits and device rules.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{Feature, once_in, one, some};
use crate::host::View;

const MEGABYTE: i64 = 1024 * 1024;

pub(super) fn add(rng: &mut Rng, view: View, features: &mut Vec<Feature>) {
    let path = one(
        rng,
        &["/nucleus-diff", "/nucleus-diff/deep/er", "nucleus-diff/relative"],
    );
    features.push(Feature::new("cgroupsPath").set("/linux/cgroupsPath", json!(path)));
    if once_in(rng, 2) {
        features.push(Feature::new("device rules").set("/linux/resources/devices", device_rules(rng)));
    }
    if view == View::V2 {
        // The controllers are on the other hierarchies of a hybrid host.
        return;
    }
    if once_in(rng, 2) {
        features.push(Feature::new("memory").set("/linux/resources/memory", memory(rng)));
    }
    if once_in(rng, 2) {
        let limit = one(rng, &[50, 100, -1]);
        features.push(Feature::new("pids").set("/linux/resources/pids", json!({"limit": limit})));
    }
    if once_in(rng, 2) {
        features.push(Feature::new("cpu").set("/linux/resources/cpu", cpu(rng)));
    }
}

fn memory(rng: &mut Rng) -> Value {
    let limit = rng.i64(128..512) * MEGABYTE;
    let mut memory = json!({"limit": limit});
    if rng.bool() {
        memory["swap"] = json!(one(rng, &[limit, 2 * limit, -1]));
    }
    if rng.bool() {
        memory["reservation"] = json!(limit / 2);
    }
    if rng.bool() {
        memory["swappiness"] = json!(one(rng, &[0, 60, 100]));
    }
    if rng.bool() {
        memory["disableOOMKiller"] = json!(rng.bool());
    }
    memory
}

fn cpu(rng: &mut Rng) -> Value {
    let mut cpu = json!({});
    if rng.bool() {
        cpu["shares"] = json!(one(rng, &[2, 512, 1024, 4096]));
    }
    if rng.bool() {
        cpu["period"] = json!(one(rng, &[50_000, 100_000]));
        cpu["quota"] = json!(one(rng, &[20_000, 150_000, -1]));
    }
    if rng.bool() {
        cpu["cpus"] = json!("0");
    }
    if rng.bool() {
        cpu["mems"] = json!("0");
    }
    cpu
}

fn device_rules(rng: &mut Rng) -> Value {
    let all = [
        json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}),
        json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}),
        json!({"allow": true, "type": "c", "major": 4, "access": "rw"}),
        json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
        json!({"allow": true, "type": "b", "major": 7, "access": "rwm"}),
        json!({"allow": false, "type": "b", "major": 7, "minor": 99, "access": "w"}),
        json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}),
    ];
    // Version 1 cannot mix them freely.
    let allow = once_in(rng, 3);
    let mut rules = vec![json!({"allow": allow, "access": "rwm"})];
    rules.extend(some(rng, &all).into_iter().filter(|rule| rule["allow"] != allow));
    Value::Array(rules)
}
