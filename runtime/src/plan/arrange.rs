//! The steps of a plan in the [`order`](super::order) that is decided for their kinds.

use super::order::{Asked, Kind, Misplaced, follows, road};
use super::step::{ChildHooks, Step};

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
