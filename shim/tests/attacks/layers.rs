//! Sandboxes that lack a layer, so that the others are seen to hold without it.

use crate::support::{Place, liar};
use sha2::Digest;
use std::fs;

/// What can be left out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layer {
    Seccomp,
    Landlock,
    /// The read-only mounts.
    ReadOnly,
    /// The network namespace.
    Network,
}

/// The path of a runtime that leaves these out of every configuration.
pub(crate) fn without(place: &Place, layers: &[Layer]) -> String {
    let lies = layers.iter().map(|layer| match layer {
        Layer::Seccomp => "l.pop('seccomp', None)",
        Layer::Landlock => "c['annotations'].pop('dev.nucleus.landlock', None)",
        Layer::ReadOnly => "m['/volume'].update(options=['rbind', 'rw', 'nosuid', 'nodev'])",
        Layer::Network => "l['namespaces'] = [n for n in l['namespaces'] if n['type'] != 'network']",
    });
    let path = liar(place, &lies.collect::<Vec<_>>().join("; "));
    path.display().to_string()
}

/// A seccomp profile that refuses nothing: its path and its digest.
pub(crate) fn permissive(place: &Place) -> (String, String) {
    let path = place.path("permissive.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}"#;
    fs::write(&path, profile).expect("write");
    let digest = sha2::Sha256::digest(profile);
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (path.display().to_string(), digest)
}
