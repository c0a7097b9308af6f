//! The steps of a plan in the [`order`](super::order) that is decided for their kinds.

use super::order::{Asked, Kind, Misplaced, follows, road};
use super::step::{ChildHooks, Step};
use super::tree;

/// Sorts steps by the road; those without a kind must not be among them.
pub(super) fn arrange(steps: &mut [Step], asked: Asked) {
    steps.sort_by_key(|step| road(asked).position(|kind| kind_of(step) == Some(kind)));
}

/// Holds a plan against the road.
///
/// # Errors
/// The first step that is not where it has to be.
pub(super) fn check<'a>(asked: Asked, steps: impl IntoIterator<Item = &'a Step>) -> Result<(), Misplaced> {
    // Before anything else nobody may trace.
    let begun = steps
        .into_iter()
        .skip_while(|step| !matches!(kind_of(step), Some(kind) if kind != Kind::Dumpable));
    follows(asked, begun.filter_map(kind_of))
}

/// Holds what a plan does to the mount tree against its road.
///
/// # Errors
/// It is another one.
pub(super) fn check_tree<'a>(
    asked: tree::Asked,
    steps: impl IntoIterator<Item = &'a Step>,
) -> Result<(), tree::Misplaced> {
    tree::follows(asked, steps.into_iter().filter_map(tree_kind_of))
}

fn tree_kind_of(step: &Step) -> Option<tree::Kind> {
    use tree::Kind as K;
    Some(match step {
        Step::InheritedPropagation { .. } => K::Inherited,
        Step::Root(_) => K::Root,
        Step::Mount(_)
        | Step::CgroupMount(_)
        | Step::Devices(_)
        | Step::DevLinks
        | Step::WorkingDirectory(_)
        | Step::Terminal { .. } => K::Content,
        Step::AwaitRuntimeHooks | Step::Hooks(ChildHooks::CreateContainer) => K::Hooks,
        Step::ReadonlyPaths(_) => K::ReadonlyPaths,
        Step::Mask(_) => K::Mask,
        Step::PivotRoot { .. } => K::Pivot,
        Step::RootPropagation(_) => K::Propagation,
        Step::ReadonlyRoot => K::ReadonlyRoot,
        _ => return None,
    })
}

fn kind_of(step: &Step) -> Option<Kind> {
    Some(match step {
        Step::BecomeRoot { .. } => Kind::BecomeRoot,
        Step::Root(_)
        | Step::CurrentRoot
        | Step::Mount(_)
        | Step::CgroupMount(_)
        | Step::Devices(_)
        | Step::DevLinks
        | Step::Sysctl(_)
        | Step::WorkingDirectory(_) => Kind::Root,
        Step::Terminal { .. } => Kind::Terminal,
        Step::AwaitRuntimeHooks => Kind::RuntimeHooks,
        Step::Hooks(ChildHooks::CreateContainer) => Kind::ContainerHooks,
        Step::Mask(_) | Step::ReadonlyPaths(_) => Kind::Hide,
        Step::PivotRoot { .. } => Kind::Pivot,
        Step::CloseDescriptors => Kind::Close,
        Step::EnterDirectory(_) => Kind::Directory,
        Step::NoNewPrivileges => Kind::NoNewPrivileges,
        Step::FindHome => Kind::Home,
        Step::Landlock(_) => Kind::Landlock,
        Step::Seccomp(_) => Kind::Filter,
        Step::Credentials { .. } => Kind::Credentials,
        Step::FindProgram => Kind::Program,
        Step::Dumpable | Step::NotDumpable => Kind::Dumpable,
        Step::FollowRuntime(false) => Kind::Release,
        Step::Ready => Kind::Ready,
        Step::AwaitStart => Kind::AwaitStart,
        Step::Hooks(ChildHooks::StartContainer) => Kind::StartHooks,
        _ => return None,
    })
}
