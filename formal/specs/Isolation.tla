------------------------------ MODULE Isolation ------------------------------
(****************************************************************************)
(* The order in which a process isolates itself, from clone to exec.        *)
(*                                                                          *)
(* How to read it: `asked` is what the configuration wants. Road(asked) is  *)
(* the order of the steps as the code decides it. Each step is tried in a   *)
(* small model of the kernel, which refuses what the process has no         *)
(* privilege for any more and remembers what is in force. The properties    *)
(* speak of that model alone, not of the order.                             *)
(*                                                                          *)
(* Modelled: create, run and exec; with and without a user namespace,       *)
(* no_new_privs, Landlock, a seccomp filter (with a listener or not), a     *)
(* terminal, hooks, and a caller that traces the waiting process; failure   *)
(* and SIGKILL at each step; the death of the runtime.                      *)
(*                                                                          *)
(* Assumed, of the kernel: only CAP_SYS_ADMIN over the own user namespace   *)
(* may mount, pivot, and load filters or Landlock rules without             *)
(* no_new_privs; a change of user gives it up; Landlock forbids mounts and  *)
(* may forbid to open any path; a filter may forbid any call but those of   *)
(* exec, unless it was loaded without no_new_privs, where it has to allow   *)
(* what changes the user (runtime-spec). Steps go on (weak fairness).       *)
(*                                                                          *)
(* Left out: what a step does in detail, namespaces but the user namespace, *)
(* limits and labels, which need no order but that before the user changes. *)
(*                                                                          *)
(* The code: Road is runtime/src/plan/order.rs, against which every plan is *)
(* held; compared with it for every configuration in formal/bindings/order. *)
(* rs, and real runs under strace with this graph in formal/tests/traces.rs.*)
(* The @type annotations are for Apalache and not tested with it.           *)
(****************************************************************************)
EXTENDS Naturals, Sequences

CONSTANTS
    \* "none", "plain", "listener".
    \* @type: Set(Str);
    Filters

VARIABLES
    \* What is asked for.
    \* @type: { enters: Bool, userns: Bool, nnp: Bool, landlock: Bool, filter: Str, terminal: Bool, hooks: Bool,
    \*          traced: Bool };
    asked,
    \* The steps that are still to do.
    \* @type: Seq(Str);
    todo,
    \* The steps that are done.
    \* @type: Set(Str);
    done,
    \* "works", "program" or "failed".
    \* @type: Str;
    at,
    \* Whether it holds CAP_SYS_ADMIN over its own user namespace.
    \* @type: Bool;
    admin,
    \* Whether the runtime lives.
    \* @type: Bool;
    runtime

vars == <<asked, todo, done, at, admin, runtime>>

If(condition, steps) == IF condition THEN steps ELSE <<>>

(****************************************************************************)
(* The order.                                                               *)
(****************************************************************************)
Confine(a, here) ==
    If(here /\ a.landlock /\ ~a.nnp, <<"home">>)
    \o If(here /\ a.landlock, <<"landlock">>)
    \o If(here /\ a.filter # "none", <<"filter">>)

Road(a) ==
    If(a.userns /\ ~a.enters, <<"become root">>)
    \o <<"root">>
    \o If(a.terminal, <<"terminal">>)
    \o If(a.hooks, <<"runtime hooks", "container hooks">>)
    \o If(~a.enters, <<"hide", "pivot">>)
    \o <<"close", "directory">>
    \o If(a.nnp, <<"no new privileges">>)
    \o Confine(a, ~a.nnp)
    \o <<"credentials", "program">>
    \o Confine(a, a.nnp /\ a.filter = "listener")
    \o If(a.traced, <<"dumpable">>)
    \o <<"release", "ready", "await start">>
    \o If(a.hooks, <<"start hooks">>)
    \o Confine(a, a.nnp /\ a.filter # "listener")

Following == IF todo = <<>> THEN "exec" ELSE Head(todo)

(****************************************************************************)
(* The kernel.                                                              *)
(****************************************************************************)
NeedsAdmin == {"root", "terminal", "hide", "pivot", "close"}
OpensPaths == {"root", "terminal", "hide", "pivot", "home"}

\* Whether the kernel lets it.
Allows(step) ==
    /\ step \in NeedsAdmin => admin
    /\ step \in OpensPaths => "landlock" \notin done
    /\ step \in {"landlock", "filter"} => (admin \/ "no new privileges" \in done)
    \* With no_new_privs a filter need allow nothing of ours but the hand-over of its listener and what follows it.
    /\ (asked.nnp /\ "filter" \in done) =>
          (asked.filter = "listener" /\ step \in {"dumpable", "release", "ready", "await start", "start hooks"})
    \* Nobody listens to `create` once it is ready.
    /\ (step = "filter" /\ asked.filter = "listener") => "ready" \notin done
    \* A change of user makes the process untraceable again.
    /\ step = "credentials" => "dumpable" \notin done

Does(step) ==
    /\ at = "works"
    /\ Following = step
    /\ Allows(step)
    /\ runtime \/ step \notin {"runtime hooks", "ready"}
    /\ done' = done \union {step}
    /\ todo' = Tail(todo)

Keeps == UNCHANGED <<asked, at, admin, runtime>>

BecomeRoot == Does("become root") /\ Keeps
Root == Does("root") /\ Keeps
Terminal == Does("terminal") /\ Keeps
RuntimeHooks == Does("runtime hooks") /\ Keeps
ContainerHooks == Does("container hooks") /\ Keeps
Hide == Does("hide") /\ Keeps
Pivot == Does("pivot") /\ Keeps
Close == Does("close") /\ Keeps
Directory == Does("directory") /\ Keeps
NoNewPrivileges == Does("no new privileges") /\ Keeps
Home == Does("home") /\ Keeps
Landlock == Does("landlock") /\ Keeps
Filter == Does("filter") /\ Keeps
Credentials == Does("credentials") /\ admin' = FALSE /\ UNCHANGED <<asked, at, runtime>>
Program == Does("program") /\ Keeps
Dumpable == Does("dumpable") /\ Keeps
Release == Does("release") /\ Keeps
Ready == Does("ready") /\ Keeps
AwaitStart == Does("await start") /\ Keeps
StartHooks == Does("start hooks") /\ Keeps

Exec ==
    /\ at = "works"
    /\ Following = "exec"
    /\ at' = "program"
    /\ UNCHANGED <<asked, todo, done, admin, runtime>>

\* Any step may fail for another reason, or the process be killed: it ends, and is never the program.
Fail ==
    /\ at = "works"
    /\ at' = "failed"
    /\ UNCHANGED <<asked, todo, done, admin, runtime>>

\* The runtime dies: until it is released the process goes with it.
RuntimeDies ==
    /\ runtime
    /\ at = "works"
    /\ runtime' = FALSE
    /\ at' = IF "release" \in done THEN at ELSE "failed"
    /\ UNCHANGED <<asked, todo, done, admin>>

\* Without the runtime nobody hears that it is ready: it ends.
Deserted ==
    /\ at = "works"
    /\ ~runtime
    /\ Following \in {"ready"}
    /\ at' = "failed"
    /\ UNCHANGED <<asked, todo, done, admin, runtime>>

Rest ==
    /\ at # "works"
    /\ UNCHANGED vars

Init ==
    /\ asked \in [enters : BOOLEAN, userns : BOOLEAN, nnp : BOOLEAN, landlock : BOOLEAN, filter : Filters,
                  terminal : BOOLEAN, hooks : BOOLEAN, traced : BOOLEAN]
    /\ asked.enters => ~asked.hooks /\ ~asked.traced
    /\ asked.traced => asked.userns
    \* Half of the mixtures are enough: a terminal is opened with hooks and without in `exec`.
    /\ ~asked.enters => asked.terminal = asked.hooks
    /\ todo = Road(asked)
    /\ done = {}
    /\ at = "works"
    /\ admin = TRUE
    /\ runtime = TRUE

Work ==
    \/ BecomeRoot \/ Root \/ Terminal \/ RuntimeHooks \/ ContainerHooks \/ Hide \/ Pivot \/ Close \/ Directory
    \/ NoNewPrivileges \/ Home \/ Landlock \/ Filter \/ Credentials \/ Program \/ Dumpable \/ Release \/ Ready
    \/ AwaitStart \/ StartHooks \/ Exec \/ Deserted

Next ==
    \/ BecomeRoot
    \/ Root
    \/ Terminal
    \/ RuntimeHooks
    \/ ContainerHooks
    \/ Hide
    \/ Pivot
    \/ Close
    \/ Directory
    \/ NoNewPrivileges
    \/ Home
    \/ Landlock
    \/ Filter
    \/ Credentials
    \/ Program
    \/ Dumpable
    \/ Release
    \/ Ready
    \/ AwaitStart
    \/ StartHooks
    \/ Exec
    \/ Fail
    \/ RuntimeDies
    \/ Deserted
    \/ Rest

Spec == Init /\ [][Next]_vars /\ WF_vars(Work)

(****************************************************************************)
(* What must hold.                                                          *)
(****************************************************************************)
TypeOK ==
    /\ asked.filter \in Filters
    /\ at \in {"works", "program", "failed"}
    /\ admin \in BOOLEAN
    /\ runtime \in BOOLEAN
    /\ \A i \in 1..Len(todo) : todo[i] \notin done

\* No step lacks what was given up before it.
LacksNothing == (at = "works" /\ Following # "exec") => Allows(Following)

\* At exec everything that was asked for is in force.
ProtectedAtExec ==
    at = "program" =>
        /\ ~admin
        /\ {"root", "close", "directory", "credentials", "program"} \subseteq done
        /\ ~asked.enters => {"hide", "pivot"} \subseteq done
        /\ asked.userns /\ ~asked.enters => "become root" \in done
        /\ asked.nnp => "no new privileges" \in done
        /\ asked.landlock => "landlock" \in done
        /\ asked.filter # "none" => "filter" \in done
        /\ asked.terminal => "terminal" \in done
        /\ asked.hooks => {"runtime hooks", "container hooks", "start hooks"} \subseteq done

\* A created container, and every hook in it, is out of reach of the host's root and descriptors.
CreatedIsClosedIn ==
    ("ready" \in done \/ "start hooks" \in done) =>
        /\ {"close", "credentials", "release"} \subseteq done
        /\ ~asked.enters => {"hide", "pivot"} \subseteq done

\* What the program's user could reach is gone before the process is that user.
ClosedBeforeUser ==
    "credentials" \in done => ("close" \in done /\ (asked.enters \/ "pivot" \in done))

\* The files of the container belong to its root: it is that root before it makes any.
RootBeforeFiles == ("root" \in done /\ asked.userns /\ ~asked.enters) => "become root" \in done

\* Hooks that may change the root file system come before what hides a part of it.
HooksBeforeHiding == (asked.hooks /\ "hide" \in done) => "container hooks" \in done

\* The terminal is there before anything could be written to it.
TerminalBeforeHooks == (asked.terminal /\ "container hooks" \in done) => "terminal" \in done

\* Nobody may trace a process that still holds the host's descriptors or privileges.
TracedLate == "dumpable" \in done => {"close", "credentials"} \subseteq done

\* It dies with the runtime until everything is done that the runtime would have to undo.
ReleasedLate == "release" \in done => "program" \in done

\* Every mixture can be done: it ends as the program or by a failure.
Arrives == <>(at \in {"program", "failed"})

\* A process without a runtime does not stay half set up.
NotDeserted == ~runtime ~> (at # "works" \/ "ready" \in done)
=============================================================================
