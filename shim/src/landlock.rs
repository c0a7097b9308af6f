//! The built-in Landlock policy knows the places of every sandbox, not those that a request adds: they get their
//! rules here. A policy file is never added to: it says what it says.

use crate::bundle::MODE;
use crate::launch::Launch;
use crate::request::Mode;
use nucleus_policy::VerifiedPolicy;
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

/// Why a bundle's rules are not a policy's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are none, or what is there is no rules.
    #[error("landlock: it has no rules")]
    None,
    /// What is refused, or on which kernels, is not the policy's.
    #[error("landlock: its rules are not the policy's: {0}")]
    Other(&'static str),
    /// Something is allowed that the policy does not allow, nor a mount of the bundle's.
    #[error("landlock: its rules are not the policy's: they allow more below {0}")]
    More(String),
}

/// Holds a bundle's rules against the policy that it was made with: they are the policy's, and beside them only those
/// that [`admit`] and [`admit_init`] give, with no more rights than a mount of the bundle's has.
///
/// # Errors
/// What is not as it has to be.
pub fn hold(spec: &Spec, policy: &VerifiedPolicy, built_in: bool) -> Result<(), Error> {
    let word = |key: &str| spec.annotations().as_ref().and_then(|all| all.get(key));
    let text = word(crate::LANDLOCK).ok_or(Error::None)?;
    let found: Annotation = serde_json::from_str(text).map_err(|_| Error::None)?;
    let agents = word(MODE).is_some_and(|mode| mode == Mode::Agent.word());
    let Some(wanted) = policy.landlock().map(|policy| policy.compile(!agents)) else {
        return Ok(());
    };
    let same = [
        ("what is refused", wanted.ruleset == found.ruleset),
        ("ports", wanted.rules.net_port == found.rules.net_port),
        ("minABI", wanted.min_abi == found.min_abi),
        (
            "disableBestEffort",
            wanted.disable_best_effort == found.disable_best_effort,
        ),
        (
            "paths",
            found.rules.path_beneath.starts_with(&wanted.rules.path_beneath),
        ),
    ];
    if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
        return Err(Error::Other(what));
    }
    for added in &found.rules.path_beneath[wanted.rules.path_beneath.len()..] {
        for path in &added.paths {
            let may = admissible(spec, path, built_in);
            if !added
                .allowed_access
                .iter()
                .all(|right| may.contains(&right.as_str()))
            {
                return Err(Error::More(path.clone()));
            }
        }
    }
    Ok(())
}

/// The most that [`admit`] and [`admit_init`] allow below a path.
fn admissible(spec: &Spec, path: &str, built_in: bool) -> Vec<&'static str> {
    if path == crate::init::PATH {
        return vec!["read_file", "execute"];
    }
    if !built_in {
        return Vec::new();
    }
    let mut mounts = spec.mounts().iter().flatten().rev();
    match mounts.find(|mount| mount.destination().to_str() == Some(path)) {
        Some(mount) => {
            let has = |word: &str| mount.options().iter().flatten().any(|option| option == word);
            rights(!has("ro") && !has("rro"), !has("noexec"))
        }
        None if path == "/" => vec!["read_dir"],
        None => Vec::new(),
    }
}

fn rights(writable: bool, executable: bool) -> Vec<&'static str> {
    let mut rights = READ.to_vec();
    rights.extend(writable.then_some(WRITE).into_iter().flatten());
    rights.extend(executable.then_some("execute"));
    rights
}
