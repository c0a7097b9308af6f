//! The order of the child's steps, decided in one place: what must be there when, and what has been given up by
//! then. [`follows`] holds every plan against it before anything is made; `formal/specs/Isolation.tla` shows that on
//! this road no step lacks a privilege, and that everything asked for is in force at exec.

use std::fmt;

/// What decides about the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Another process for a container that is there (`exec`): no root file system is made.
    pub enters: bool,
    /// The process becomes the root of a user namespace.
    pub user_namespace: bool,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// There are Landlock rules.
    pub landlock: bool,
    /// There is a filter.
    pub filter: bool,
    /// The filter has a listener, which is handed over.
    pub listener: bool,
    /// There is a terminal.
    pub terminal: bool,
    /// There are prestart or createRuntime hooks.
    pub runtime_hooks: bool,
    /// There are createContainer hooks.
    pub container_hooks: bool,
    /// There are startContainer hooks.
    pub start_hooks: bool,
    /// Who may trace the waiting process is decided anew, after the change of user.
    pub traced: bool,
}

/// The steps whose order matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Become the root of the user namespace.
    BecomeRoot,
    /// Make, or find, the root file system and what is in it.
    Root,
    /// Open the terminal.
    Terminal,
    /// Wait for the runtime's hooks.
    RuntimeHooks,
    /// Run the createContainer hooks.
    ContainerHooks,
    /// Mask paths and make them read-only.
    Hide,
    /// Leave the host's root.
    Pivot,
    /// Close the host's descriptors.
    Close,
    /// Enter the working directory.
    Directory,
    /// Forbid new privileges.
    NoNewPrivileges,
    /// Look for `HOME` in a file.
    Home,
    /// Restrict by Landlock.
    Landlock,
    /// Load the filter.
    Filter,
    /// Become the user and drop capabilities.
    Credentials,
    /// Find the program.
    Program,
    /// Decide who may trace the waiting process.
    Dumpable,
    /// Outlive the runtime.
    Release,
    /// Say that the container is created.
    Ready,
    /// Wait for `start`.
    AwaitStart,
    /// Run the startContainer hooks.
    StartHooks,
}

/// A step that is not where it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// It comes too late, twice, or was not asked for.
    #[error("the step {0:?} does not belong where it is")]
    Step(Kind),
    /// It was asked for and is not there.
    #[error("the step {0:?} is missing")]
    Missing(Kind),
}

/// All kinds that belong to what is asked for, in their order.
///
/// Without `no_new_privs` only `CAP_SYS_ADMIN` may load a filter, so the filter comes before the capabilities are
/// dropped; with it the filter comes last, so that it need not allow our calls. A listener is handed over to `create`:
/// after [`Kind::Ready`] nobody would take it.
///
/// Landlock demands the same of its caller, and comes right before the filter, which need not allow its calls then.
/// With `no_new_privs` and without a listener that is after everything that opens paths, the startContainer hooks
/// included. Otherwise these hooks are under Landlock as they are under the filter; of our own work only the look for
/// `HOME` would open a file after it, and is done before.
pub fn road(asked: Asked) -> impl Iterator<Item = Kind> {
    use Kind as K;
    let Asked {
        enters,
        no_new_privileges: nnp,
        landlock,
        filter,
        listener,
        ..
    } = asked;
    let confine = |here: bool| {
        [
            (K::Home, here && landlock && !nnp),
            (K::Landlock, here && landlock),
            (K::Filter, here && filter),
        ]
    };
    let before = [
        (K::BecomeRoot, asked.user_namespace),
        (K::Root, true),
        (K::Terminal, asked.terminal),
        (K::RuntimeHooks, asked.runtime_hooks),
        (K::ContainerHooks, asked.container_hooks),
        (K::Hide, !enters),
        (K::Pivot, !enters),
        (K::Close, true),
        (K::Directory, true),
        (K::NoNewPrivileges, nnp),
    ];
    let become_user = [(K::Credentials, true), (K::Program, true)];
    let wait = [
        (K::Dumpable, asked.traced),
        (K::Release, true),
        (K::Ready, true),
        (K::AwaitStart, true),
        (K::StartHooks, asked.start_hooks),
    ];
    before
        .into_iter()
        .chain(confine(!nnp))
        .chain(become_user)
        .chain(confine(nnp && listener))
        .chain(wait)
        .chain(confine(nnp && !listener))
        .filter_map(|(kind, there)| there.then_some(kind))
}

/// Holds steps against the road.
///
/// # Errors
/// The first step that is not where it has to be.
pub fn follows(asked: Asked, kinds: impl IntoIterator<Item = Kind>) -> Result<(), Misplaced> {
    let mut road = road(asked).peekable();
    let mut last = None;
    for kind in kinds {
        if last == Some(kind) && is_many(kind) {
            continue;
        }
        while road
            .peek()
            .is_some_and(|next| *next != kind && may_be_empty(*next))
        {
            road.next();
        }
        match road.next() {
            Some(next) if next == kind => last = Some(kind),
            _ => return Err(Misplaced::Step(kind)),
        }
    }
    match road.find(|kind| !may_be_empty(*kind)) {
        Some(kind) => Err(Misplaced::Missing(kind)),
        None => Ok(()),
    }
}

fn is_many(kind: Kind) -> bool {
    matches!(kind, Kind::Root | Kind::Hide)
}

/// A configuration may name nothing to hide.
fn may_be_empty(kind: Kind) -> bool {
    kind == Kind::Hide
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BecomeRoot => "become root",
            Self::Root => "root",
            Self::Terminal => "terminal",
            Self::RuntimeHooks => "runtime hooks",
            Self::ContainerHooks => "container hooks",
            Self::Hide => "hide",
            Self::Pivot => "pivot",
            Self::Close => "close",
            Self::Directory => "directory",
            Self::NoNewPrivileges => "no new privileges",
            Self::Home => "home",
            Self::Landlock => "landlock",
            Self::Filter => "filter",
            Self::Credentials => "credentials",
            Self::Program => "program",
            Self::Dumpable => "dumpable",
            Self::Release => "release",
            Self::Ready => "ready",
            Self::AwaitStart => "await start",
            Self::StartHooks => "start hooks",
        })
    }
}
