//! What becomes of the mount tree on the way from the host's to the container's own, decided in one place: the order
//! of what is done to it, against which [`follows`] holds every plan, and how its mounts are kept from reaching the
//! host. `formal/specs/Filesystem.tla` shows that on this road nothing leaks and all that was asked for is hidden.

use crate::plan::step::Place;
use crate::rootfs::mount::Propagation;

/// What decides about the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// There are hooks that run before the pivot: prestart, createRuntime or createContainer.
    pub hooks: bool,
    /// `linux.readonlyPaths` names a path.
    pub readonly_paths: bool,
    /// `linux.maskedPaths` names a path.
    pub masked_paths: bool,
    /// `linux.rootfsPropagation`.
    pub propagation: bool,
    /// `root.readonly`.
    pub readonly_root: bool,
}

/// The steps whose order matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Set the propagation of the tree that was inherited from the host.
    Inherited,
    /// Attach the root file system.
    Root,
    /// Mount or make what is in it: several steps.
    Content,
    /// Let the hooks change it: one or two steps.
    Hooks,
    /// Make paths read-only.
    ReadonlyPaths,
    /// Mask paths.
    Mask,
    /// Leave the host's tree and detach it.
    Pivot,
    /// Set the propagation of the root mount.
    Propagation,
    /// Make the root mount read-only.
    ReadonlyRoot,
}

/// A plan that takes another road.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mount tree is made in the order {0:?}")]
pub struct Misplaced(pub Vec<Kind>);

/// All kinds that belong to what is asked for, in their order.
///
/// Nothing is mounted before events of the inherited tree are kept off the host. Hooks may mount over what was hidden
/// before, so paths are hidden after them; masking takes the host's null device, so before the pivot. The root is made
/// read-only when nothing has to be made in it any more.
pub fn road(asked: Asked) -> impl Iterator<Item = Kind> {
    [
        (Kind::Inherited, true),
        (Kind::Root, true),
        (Kind::Content, true),
        (Kind::Hooks, asked.hooks),
        (Kind::ReadonlyPaths, asked.readonly_paths),
        (Kind::Mask, asked.masked_paths),
        (Kind::Pivot, true),
        (Kind::Propagation, asked.propagation),
        (Kind::ReadonlyRoot, asked.readonly_root),
    ]
    .into_iter()
    .filter_map(|(kind, there)| there.then_some(kind))
}

/// Holds steps against the road.
///
/// # Errors
/// A step is missing, was not asked for, or is not where it has to be.
pub fn follows(asked: Asked, kinds: impl IntoIterator<Item = Kind>) -> Result<(), Misplaced> {
    let mut kinds: Vec<Kind> = kinds.into_iter().collect();
    kinds.dedup_by(|next, last| next == last && matches!(last, Kind::Content | Kind::Hooks));
    if kinds.iter().copied().eq(road(asked)) {
        return Ok(());
    }
    Err(Misplaced(kinds))
}

/// How mounts are kept from reaching the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagations {
    /// Of the inherited tree, while the container is set up.
    pub inherited: Propagation,
    /// Where the root file system is attached.
    pub place: Place,
    /// The inherited tree is still shared with the host when it is detached, which must not reach there.
    pub shared: bool,
}

/// Decides it from `linux.rootfsPropagation` and `--no-pivot`.
///
/// Only `shared` keeps the inherited tree shared, so that volumes can be peers of the host's mounts: then the root file
/// system goes over the root directory, the one mount that can be made private. `unbindable` must not apply before
/// the binds are made.
pub fn propagations(asked: Option<Propagation>, no_pivot: bool) -> Propagations {
    let flag = match asked.map(|asked| asked.flag) {
        None => libc::MS_SLAVE,
        Some(libc::MS_UNBINDABLE) => libc::MS_PRIVATE,
        Some(flag) => flag,
    };
    let shared = flag == libc::MS_SHARED;
    Propagations {
        inherited: Propagation {
            flag,
            recursive: true,
        },
        place: if shared || no_pivot {
            Place::OverRoot
        } else {
            Place::Path
        },
        shared,
    }
}
