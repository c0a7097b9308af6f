//! The built-in Landlock policy knows the places of every sandbox, not those that a request adds: they get their
//! rules here. A policy file is never added to: it says what it says.

use crate::launch::Launch;
use nucleus_policy::landlock::annotation::Annotation;
use nucleus_policy::landlock::annotation::PathBeneath;
use oci_spec::runtime::Spec;

const READ: [&str; 2] = ["read_file", "read_dir"];
const WRITE: [&str; 11] = [
    "write_file",
    "remove_dir",
    "remove_file",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_sym",
    "refer",
    "truncate",
    "ioctl_dev",
];

/// Adds rules for what the request brings into the sandbox, with no more rights than its mount gives.
///
/// # Errors
/// The annotation is not what the policy writes.
pub fn admit(spec: &mut Spec, launch: &Launch) -> Result<(), serde_json::Error> {
    let Some(text) = spec
        .annotations_mut()
        .as_mut()
        .and_then(|annotations| annotations.get_mut(crate::LANDLOCK))
    else {
        return Ok(());
    };
    let mut annotation: Annotation = serde_json::from_str(text)?;
    let handled = annotation.ruleset.handled_access_fs.clone();
    let mut add = |path: &str, access: Vec<&str>| {
        let allowed_access: Vec<String> = access
            .into_iter()
            .filter(|right| handled.iter().any(|handled| handled == right))
            .map(str::to_owned)
            .collect();
        annotation.rules.path_beneath.push(PathBeneath {
            allowed_access,
            paths: vec![path.to_owned()],
            optional: false,
        });
    };
    // Directories can be listed; what is in them is for the other rules.
    add("/", vec!["read_dir"]);
    for bind in &launch.binds {
        add(&bind.destination, rights(bind.writable, bind.executable));
    }
    for (destination, _) in &launch.tmpfs {
        add(destination, rights(true, true));
    }
    if launch.context_copy.is_some() {
        add("/context", rights(true, true));
    }
    for (_, destination) in &launch.secrets {
        add(destination, READ.to_vec());
    }
    *text = serde_json::to_string(&annotation)?;
    Ok(())
}

/// Lets the first process of `--init` be executed, under a policy file too: it is a program of ours, and nothing else
/// is under that path.
///
/// # Errors
/// The annotation is not what the policy writes.
pub fn admit_init(spec: &mut Spec) -> Result<(), serde_json::Error> {
    let annotations = spec.annotations_mut().as_mut();
    let Some(text) = annotations.and_then(|annotations| annotations.get_mut(crate::LANDLOCK)) else {
        return Ok(());
    };
    let mut annotation: Annotation = serde_json::from_str(text)?;
    let handled = &annotation.ruleset.handled_access_fs;
    let needed = ["read_file", "execute"].map(str::to_owned).into_iter();
    let allowed_access: Vec<String> = needed.filter(|right| handled.contains(right)).collect();
    if !allowed_access.is_empty() {
        annotation.rules.path_beneath.push(PathBeneath {
            allowed_access,
            paths: vec![crate::init::PATH.to_owned()],
            optional: false,
        });
        *text = serde_json::to_string(&annotation)?;
    }
    Ok(())
}

fn rights(writable: bool, executable: bool) -> Vec<&'static str> {
    let mut rights = READ.to_vec();
    rights.extend(writable.then_some(WRITE).into_iter().flatten());
    rights.extend(executable.then_some("execute"));
    rights
}
