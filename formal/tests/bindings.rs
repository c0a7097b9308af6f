//! The comparisons of `formal/bindings`: the shipped code against the specs. Their mutants are run by
//! `nucleus-formal check`.

use nucleus_formal::binding::Property;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

fn agree(properties: &[Property]) {
    for (name, property) in properties {
        let outcome = property();
        assert!(outcome.is_ok(), "{name}: {}", outcome.unwrap_err());
    }
}

#[test]
fn commands_are_decided_as_the_spec_lifecycle_says() {
    agree(lifecycle::binding::PROPERTIES);
}

#[test]
fn messages_are_answered_as_the_spec_handshake_says() {
    agree(protocol::binding::PROPERTIES);
}

#[test]
fn steps_are_ordered_as_the_spec_isolation_says() {
    agree(order::binding::PROPERTIES);
}

#[test]
fn mount_trees_are_made_as_the_spec_filesystem_says() {
    agree(tree::binding::PROPERTIES);
}

#[test]
fn paths_are_found_and_made_as_the_spec_filesystem_says() {
    agree(lookup::binding::PROPERTIES);
}

#[test]
fn requests_are_decided_as_the_spec_policy_says() {
    agree(mode::binding::PROPERTIES);
}
