//! What of the host a request brings into the sandbox.

use super::{Bind, CONTEXT, Faults, Ids, Launch, Root, WORKSPACE};
use crate::facts::Facts;
use crate::mode::Weaker;
use crate::parse;
use crate::request::{ContextMode, Request, WorkspaceMode};
use crate::secrets;
use crate::workspace::guard::Guard;
use nucleus_policy::Digest;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) fn root(request: &Request, faults: &mut Faults) -> Root {
    let (field, directory) = match (&request.rootfs, &request.toolchain_rootfs) {
        (Some(directory), _) => ("rootfs", directory),
        (None, Some(directory)) => ("toolchain-rootfs", directory),
        (None, None) => return Root::Host(system_directories()),
    };
    let found = faults.note(field, directory_at(directory));
    Root::Directory(found.unwrap_or_default())
}

fn system_directories() -> Vec<PathBuf> {
    [
        "/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/nix",
    ]
    .iter()
    .map(PathBuf::from)
    .filter(|path| path.is_dir())
    .collect()
}

fn directory_at(path: &Path) -> Result<PathBuf, String> {
    let found = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if found.is_dir() {
        Ok(found)
    } else {
        Err(format!("{}: not a directory", path.display()))
    }
}

fn bind(source: &Path, destination: &str, writable: bool, executable: bool) -> Result<Bind, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", source.display());
    let source = source.canonicalize().map_err(fault)?;
    let metadata = source.metadata().map_err(fault)?;
    Ok(Bind {
        directory: metadata.is_dir(),
        owner: (metadata.uid(), metadata.gid()),
        destination: parse::target(destination)?,
        source,
        writable,
        executable,
        owned: writable,
    })
}

/// What is mounted over a workspace that the workload may write to.
fn guard(workspace: &Bind) -> Result<Vec<Bind>, String> {
    let guard = Guard::of(&workspace.source)?;
    let over = |path: &PathBuf, writable: bool| {
        let inside = path
            .to_str()
            .ok_or_else(|| format!("{}: not UTF-8", path.display()))?;
        Ok(Bind {
            source: workspace.source.join(path),
            destination: format!("{}/{inside}", workspace.destination),
            writable,
            ..workspace.clone()
        })
    };
    let kept = guard.kept.iter().map(|path| over(path, true));
    kept.chain(guard.read_only.iter().map(|path| over(path, false)))
        .collect()
}

pub(super) fn paths(request: &Request, launch: &mut Launch, faults: &mut Faults) {
    if let Some(workspace) = &request.workspace {
        let mode = request.workspace_mode.unwrap_or(WorkspaceMode::BindRw);
        let found = directory_at(workspace).and_then(|source| {
            let writable = mode != WorkspaceMode::BindRo;
            bind(&source, WORKSPACE, writable, request.workspace_exec)
        });
        let found = faults.note("workspace", found);
        let directory = found.as_ref().map(|bind| bind.source.clone());
        let guarded = match (mode, &found) {
            (WorkspaceMode::BindRw, Some(bind)) if !request.workspace_unprotected => {
                launch.workspace_guarded = directory;
                faults.note("workspace", guard(bind))
            }
            (WorkspaceMode::CopyInOut, _) => {
                launch.workspace_copy = directory;
                None
            }
            _ => None,
        };
        launch.binds.extend(found);
        launch.binds.extend(guarded.into_iter().flatten());
    }
    if let Some(context) = &request.context {
        let found = faults.note("context", directory_at(context));
        let pin = request
            .verify_context
            .as_deref()
            .map(|text| text.parse::<Digest>().map_err(|error| error.to_string()));
        let pin = pin.and_then(|pin| faults.note("verify-context", pin));
        launch.context_pin = pin;
        match request.context_mode.unwrap_or(ContextMode::Copy) {
            ContextMode::Copy => {
                let found = found.map(|source| bind(&source, CONTEXT, false, true));
                let found = found.and_then(|bind| faults.note("context", bind));
                // The copies are the workload's, as in a workspace of its own.
                launch.context_copy = found.map(|bind| Bind { owned: true, ..bind });
            }
            ContextMode::Bind => {
                let found = found.map(|source| bind(&source, CONTEXT, false, false));
                launch
                    .binds
                    .extend(found.and_then(|bind| faults.note("context", bind)));
            }
        }
    }
    if request.context.is_none() && request.verify_context.is_some() {
        faults.push("verify-context", "there is no --context".into());
    }
    if let Some(home) = &request.home {
        let found = directory_at(home).and_then(|source| bind(&source, &launch.home, true, true));
        launch.binds.extend(faults.note("home", found));
    }
    let configs = [
        ("provider-config-ro", &request.provider_config_ro, false),
        ("provider-config-rw", &request.provider_config_rw, true),
    ];
    for (field, pairs, writable) in configs {
        for text in pairs {
            let found = parse::pair(text)
                .and_then(|(source, destination)| bind(Path::new(source), destination, writable, false));
            launch.binds.extend(faults.note(field, found));
        }
    }
    for text in &request.volume {
        let found = parse::volume(text)
            .and_then(|(source, destination, writable)| bind(Path::new(source), destination, writable, true));
        launch.binds.extend(faults.note("volume", found));
    }
    for text in &request.secret {
        let found = parse::pair(text).and_then(|(source, destination)| {
            let found = bind(Path::new(source), destination, false, false)?;
            let metadata = found.source.metadata().map_err(|error| error.to_string());
            let fits = metadata.and_then(|metadata| secrets::fits(&metadata));
            fits.map_err(|what| format!("{source}: {what}"))?;
            Ok((found.source, found.destination))
        });
        launch.secrets.extend(faults.note("secret", found));
    }
    for text in &request.tmpfs {
        launch.tmpfs.extend(faults.note("tmpfs", parse::tmpfs(text)));
    }
}

/// File systems whose mounts take no maps of ids (`mount_setattr(2)`, `EINVAL`), by `statfs(2)`.
const WITHOUT_ID_MAPS: [(i64, &str); 5] = [
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
];
/// It takes them since Linux 6.3.
const TMPFS: i64 = 0x0102_1994;

/// The file system of a path, if its mounts take no maps of ids.
fn without_id_maps(path: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    if kind == TMPFS {
        let kernel = Facts::kernel()?;
        return ((kernel.major, kernel.minor) < (6, 3)).then_some("tmpfs before Linux 6.3");
    }
    let found = WITHOUT_ID_MAPS.iter().find(|(other, _)| *other == kind);
    found.map(|(_, name)| *name)
}

/// Why the owner's files are not the workload's in there.
fn not_owned(bind: &Bind, ids: &Ids) -> Option<String> {
    // A user's own files are the workload's by the user namespace alone.
    if !bind.owned || ids.users.2 == 1 {
        return None;
    }
    let why = if ids.mapped {
        let kind = without_id_maps(&bind.source)?;
        format!("{kind} maps no ids, as other file systems do")
    } else {
        "without a user namespace no ids are mapped".into()
    };
    Some(format!(
        "{} for {}: {why}, so the workload may write there only what everyone may",
        bind.source.display(),
        bind.destination,
    ))
}

/// Where no ids are mapped, the copies of a context stay others' too: its workload reads what everyone may.
pub(crate) fn keep_owners_where_that_fails(launch: &mut Launch) {
    if let Some(context) = &mut launch.context_copy
        && let Some(what) = not_owned(context, &launch.ids)
    {
        context.owned = false;
        launch.decision.warnings.push(what);
    }
}

/// The workload of such a mount is another user to it, who may write what everyone may. That is less than was asked
/// for and no less protection: agent mode tells, the others refuse.
pub(super) fn map_no_ids_where_that_fails(launch: &mut Launch, faults: &mut Faults) {
    keep_owners_where_that_fails(launch);
    for bind in &mut launch.binds {
        let Some(what) = not_owned(bind, &launch.ids) else {
            continue;
        };
        if launch.decision.rules.weaker == Weaker::WithConsent {
            bind.owned = false;
            launch.decision.warnings.push(what);
        } else {
            faults.push("writable mount", what);
        }
    }
}
