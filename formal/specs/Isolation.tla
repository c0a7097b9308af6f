------------------------------ MODULE Isolation ------------------------------
(****************************************************************************)
(* The order in which a process isolates itself, from clone to exec.        *)
(*                                                                          *)
(* How to read it: `plan` is what the configuration wants, Road(plan) the   *)
(* order of the steps as the code decides it. Each step is tried in a       *)
(* small model of the kernel, which refuses what the process has no         *)
(* privilege for any more and remembers what is in force. The properties    *)
(* speak of that model alone, not of the order.                             *)
(*                                                                          *)
(* Modelled: create, run and exec; with and without a user namespace,       *)
(* no_new_privs, Landlock, a seccomp filter (with a listener or not), a     *)
(* terminal, hooks, and a caller that traces the waiting process; failure   *)
(* and SIGKILL at each step; the death of the runtime, also before the      *)
(* process has asked to go with it.                                         *)
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
(* rs, and real runs under strace with this graph in                        *)
(* formal/tests/traces/isolation.rs.                                        *)
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
    plan,
    \* The steps that are still to do.
    \* @type: Seq(Str);
    ahead,
    \* The steps that are done.
    \* @type: Set(Str);
    taken,
    \* "none" (not cloned yet), "works", "program" or "failed".
    \* @type: Str;
    fate,
    \* Whether it holds CAP_SYS_ADMIN over its own user namespace.
    \* @type: Bool;
    admin,
    \* Whether the runtime lives.
    \* @type: Bool;
    attended

vars == <<plan, ahead, taken, fate, admin, attended>>

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

Following == IF ahead = <<>> THEN "exec" ELSE Head(ahead)

(****************************************************************************)
(* The kernel.                                                              *)
(****************************************************************************)
NeedsAdmin == {"root", "terminal", "hide", "pivot", "close"}
OpensPaths == {"root", "terminal", "hide", "pivot", "home"}

\* Whether the kernel lets it.
Allows(step) ==
    /\ step \in NeedsAdmin => admin
    /\ step \in OpensPaths => "landlock" \notin taken
    /\ step \in {"landlock", "filter"} => (admin \/ "no new privileges" \in taken)
    \* With no_new_privs a filter need allow nothing of ours but the hand-over of its listener and what follows it.
    /\ (plan.nnp /\ "filter" \in taken) =>
          (plan.filter = "listener" /\ step \in {"dumpable", "release", "ready", "await start", "start hooks"})
    \* Nobody listens to `create` once it is ready.
    /\ (step = "filter" /\ plan.filter = "listener") => "ready" \notin taken
    \* A change of user makes the process untraceable again.
    /\ step = "credentials" => "dumpable" \notin taken

\* Whether the runtime has to hear it, or to answer.
NeedsRuntime(step) ==
    \/ step \in {"runtime hooks", "ready"}
    \/ step = "filter" /\ plan.filter = "listener"

Does(step) ==
    /\ fate = "works"
    /\ Following = step
    /\ Allows(step)
    /\ attended \/ ~NeedsRuntime(step)
    /\ taken' = taken \union {step}
    /\ ahead' = Tail(ahead)

Keeps == UNCHANGED <<plan, fate, admin, attended>>

Clone ==
    /\ fate = "none"
    /\ fate' = "works"
    /\ UNCHANGED <<plan, ahead, taken, admin, attended>>

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
Credentials == Does("credentials") /\ admin' = FALSE /\ UNCHANGED <<plan, fate, attended>>
Program == Does("program") /\ Keeps
Dumpable == Does("dumpable") /\ Keeps
Release == Does("release") /\ Keeps
Ready == Does("ready") /\ Keeps
AwaitStart == Does("await start") /\ Keeps
StartHooks == Does("start hooks") /\ Keeps

Exec ==
    /\ fate = "works"
    /\ Following = "exec"
    /\ fate' = "program"
    /\ UNCHANGED <<plan, ahead, taken, admin, attended>>

\* Any step may fail for another reason, or the process be killed: it ends, and is never the program.
Fail ==
    /\ fate = "works"
    /\ fate' = "failed"
    /\ UNCHANGED <<plan, ahead, taken, admin, attended>>

\* The runtime dies: until it is released the process goes with it.
RuntimeDies ==
    /\ attended
    /\ fate = "works"
    /\ attended' = FALSE
    /\ fate' = IF "release" \in taken THEN fate ELSE "failed"
    /\ UNCHANGED <<plan, ahead, taken, admin>>

\* It dies before the process has asked to go with it, which is the first thing that it does.
RuntimeDiesFirst ==
    /\ attended
    /\ fate = "works"
    /\ taken = {}
    /\ attended' = FALSE
    /\ UNCHANGED <<plan, ahead, taken, fate, admin>>

\* Without the runtime nobody hears what it says, or answers: it ends.
Deserted ==
    /\ fate = "works"
    /\ ~attended
    /\ NeedsRuntime(Following)
    /\ fate' = "failed"
    /\ UNCHANGED <<plan, ahead, taken, admin, attended>>

Rest ==
    /\ fate \in {"program", "failed"}
    /\ UNCHANGED vars

Init ==
    /\ plan \in [enters : BOOLEAN, userns : BOOLEAN, nnp : BOOLEAN, landlock : BOOLEAN, filter : Filters,
                  terminal : BOOLEAN, hooks : BOOLEAN, traced : BOOLEAN]
    /\ plan.enters => ~plan.hooks /\ ~plan.traced
    /\ plan.traced => plan.userns
    \* Half of the mixtures are enough: a terminal is opened with hooks and without in `exec`.
    /\ ~plan.enters => plan.terminal = plan.hooks
    /\ ahead = Road(plan)
    /\ taken = {}
    /\ fate = "none"
    /\ admin = TRUE
    /\ attended = TRUE

Work ==
    \/ BecomeRoot \/ Root \/ Terminal \/ RuntimeHooks \/ ContainerHooks \/ Hide \/ Pivot \/ Close \/ Directory
    \/ NoNewPrivileges \/ Home \/ Landlock \/ Filter \/ Credentials \/ Program \/ Dumpable \/ Release \/ Ready
    \/ AwaitStart \/ StartHooks \/ Exec \/ Deserted

Next ==
    \/ Clone
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
    \/ RuntimeDiesFirst
    \/ Deserted
    \/ Rest

Spec == Init /\ [][Next]_vars /\ WF_vars(Work)

(****************************************************************************)
(* What must hold.                                                          *)
(****************************************************************************)
TypeOK ==
    /\ plan.filter \in Filters
    /\ fate \in {"none", "works", "program", "failed"}
    /\ admin \in BOOLEAN
    /\ attended \in BOOLEAN
    /\ \A i \in 1..Len(ahead) : ahead[i] \notin taken

\* No step lacks what was given up before it.
LacksNothing == (fate = "works" /\ Following # "exec") => Allows(Following)

\* At exec everything that was asked for is in force.
ProtectedAtExec ==
    fate = "program" =>
        /\ ~admin
        /\ {"root", "close", "directory", "credentials", "program"} \subseteq taken
        /\ ~plan.enters => {"hide", "pivot"} \subseteq taken
        /\ plan.userns /\ ~plan.enters => "become root" \in taken
        /\ plan.nnp => "no new privileges" \in taken
        /\ plan.landlock => "landlock" \in taken
        /\ plan.filter # "none" => "filter" \in taken
        /\ plan.terminal => "terminal" \in taken
        /\ plan.hooks => {"runtime hooks", "container hooks", "start hooks"} \subseteq taken

\* A created container, and every hook in it, is out of reach of the host's root and descriptors.
CreatedIsClosedIn ==
    ("ready" \in taken \/ "start hooks" \in taken) =>
        /\ {"close", "credentials", "release"} \subseteq taken
        /\ ~plan.enters => {"hide", "pivot"} \subseteq taken

\* What the program's user could reach is gone before the process is that user.
ClosedBeforeUser ==
    "credentials" \in taken => ("close" \in taken /\ (plan.enters \/ "pivot" \in taken))

\* The files of the container belong to its root: it is that root before it makes any.
RootBeforeFiles == ("root" \in taken /\ plan.userns /\ ~plan.enters) => "become root" \in taken

\* Hooks that may change the root file system come before what hides a part of it.
HooksBeforeHiding == (plan.hooks /\ "hide" \in taken) => "container hooks" \in taken

\* The terminal is there before anything could be written to it.
TerminalBeforeHooks == (plan.terminal /\ "container hooks" \in taken) => "terminal" \in taken

\* Nobody may trace a process that still holds the host's descriptors or privileges.
TracedLate == "dumpable" \in taken => {"close", "credentials"} \subseteq taken

\* It dies with the runtime until everything is done that the runtime would have to undo.
ReleasedLate == "release" \in taken => "program" \in taken

\* Every mixture can be done: who is cloned ends as the program or by a failure.
Arrives == (fate = "works") ~> (fate \in {"program", "failed"})

\* A process without a runtime does not stay half set up.
NotDeserted == ~attended ~> (fate # "works" \/ "ready" \in taken)
=============================================================================
