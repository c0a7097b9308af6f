------------------------------ MODULE Creation ------------------------------
(***************************************************************************
How a container comes to be and goes, as the runtime and the container's first
process see it: the other half of System, which has the front-end.

Each part is the spec of its name, with its own variables: H: Handshake and
I: Isolation and F: Filesystem, all three of the same first process; R: Resources
and L: Lifecycle, of one `run` and one `delete --force`, which System has too.
Each step below is a step of one or more parts *at the same time*: that is what
the parts have to do with each other.

HOW TO READ IT.  `R!Clone` is the action Clone of Resources.  A step names the
actions of the parts that happen at once, and under UNCHANGED the variables of
those parts that it leaves as they are.

WHAT IS MODELLED.  The child mounts only inside its control group, as root of its
user namespace and before it gives up any privilege; it hides and pivots after the
hooks; its messages go with the steps that send and await them; it hands over the
listener with the filter that it belongs to; it is ready only when its file system
is; it is recorded when it is ready, let go when it is recorded, and confined
before it executes the program.  With and without a user namespace, hooks and a
terminal; the filter loaded last, or before the change of user (without
no_new_privs, or with a listener).  Each step of the runtime and of the child can
fail, the runtime can be killed at any moment, and the caller can give up:
whatever happens, all is freed.

WHAT IS ASSUMED.  What the parts assume.  Fairness: runtime, first process and
`delete` each go on while they can, a program and the processes that it has forked
end at last.  `delete` comes when the program has ended, as System's does.

WHAT IS LEFT OUT.  What the parts leave out; `create` and `start` (they are in
Lifecycle and Handshake), `exec`, `--detach`; SIGKILL of who cleans up, cgroup2,
paths that are made read-only beside those that are masked, and the adversary who
renames: each part has that in its own spec.  A child that
fails after its file system is ready takes the same road here as a runtime that
fails: only the parts tell them apart.

THE CLAIM.  This spec is checked to refine each of its five parts, fairness
included (properties Is...); see System for the whole.

THE CODE.  runtime/src/create.rs and run.rs, and init of the child, in their order.
***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, Halves

CONSTANTS
    \* @type: Set(Str);
    Swaps,
    \* @type: Bool;
    Moves,
    \* @type: Int;
    MaxLinks,
    \* @type: Int;
    MaxRetries,
    \* @type: Set(Str);
    Propagations,
    \* @type: Set(Str);
    Protections,
    \* @type: Set(Str);
    Verbs,
    \* @type: Set(Str);
    Filters

VARIABLES
    \* @type: { mode: Str, proceed: Bool, terminal: Bool, hooks: Bool, listener: Bool, block: Bool };
    wanted,
    \* @type: Str;
    parent,
    \* @type: { terminal: Bool, hooks: Bool, listener: Bool };
    owed,
    \* @type: Seq(Str);
    script,
    \* @type: Str;
    child,
    \* @type: Seq(Str);
    toChild,
    \* @type: Seq(Str);
    toParent,
    \* @type: Set(Str);
    work,
    \* @type: Str;
    answer,
    \* @type: Str;
    starter,
    \* @type: Str;
    result,
    \* @type: Str;
    fault,
    \* @type: { enters: Bool, userns: Bool, nnp: Bool, landlock: Bool, filter: Str, terminal: Bool, hooks: Bool,
    \*          traced: Bool };
    plan,
    \* @type: Seq(Str);
    ahead,
    \* @type: Set(Str);
    taken,
    \* @type: Str;
    fate,
    \* @type: Bool;
    admin,
    \* @type: Bool;
    attended,
    \* @type: Str;
    asked,
    \* @type: Str;
    stage,
    \* @type: Str;
    walk,
    \* @type: Int;
    cut,
    \* @type: Str;
    turn,
    \* @type: Str;
    at,
    \* @type: Seq(Str);
    rest,
    \* @type: Int;
    followed,
    \* @type: Int;
    retries,
    \* @type: Str;
    x,
    \* @type: Str;
    above,
    \* @type: Str;
    made,
    \* @type: Str;
    propagation,
    \* @type: Str;
    mountpoint,
    \* @type: Bool;
    peer,
    \* @type: Bool;
    leaked,
    \* @type: Str;
    seen,
    \* @type: Set(Str);
    hidden,
    \* @type: Set(Str);
    absent,
    \* @type: Str;
    oldroot

hvars == <<wanted, parent, owed, script, child, toChild, toParent, work, answer, starter, result, fault>>
ivars == <<plan, ahead, taken, fate, admin, attended>>
fvars == <<asked, stage, walk, cut, turn, at, rest, followed, retries, x, above, made, propagation, mountpoint, peer,
           leaked, seen, hidden, absent, oldroot>>
vars == <<version, pidns, runtime, record, group, place, program, deleter, dir, recorded, fifo, proc, told,
          killed, cgroup, frozen, lock, op, todo, handle, wanted, parent, owed, script, child, toChild,
          toParent, work, answer, starter, result, fault, plan, ahead, taken, fate, admin, attended, asked,
          stage, walk, cut, turn, at, rest, followed, retries, x, above, made, propagation, mountpoint, peer,
          leaked, seen, hidden, absent, oldroot>>

H == INSTANCE Handshake
I == INSTANCE Isolation
F == INSTANCE Filesystem

-----------------------------------------------------------------------------
(* What can be asked for: with all that needs an answer of the runtime, or without; and each place of the filter. *)
Mixtures == {[all |-> TRUE, nnp |-> TRUE, filter |-> "plain"], [all |-> TRUE, nnp |-> TRUE, filter |-> "listener"],
             [all |-> FALSE, nnp |-> FALSE, filter |-> "plain"]}

Planned(m) == [enters |-> FALSE, userns |-> m.all, nnp |-> m.nnp, landlock |-> TRUE, filter |-> m.filter,
               terminal |-> m.all, hooks |-> m.all, traced |-> FALSE]

Wanted(p) == [mode |-> "run", proceed |-> p.userns, terminal |-> p.terminal, hooks |-> p.hooks,
              listener |-> p.filter = "listener", block |-> TRUE]

(* First what is fixed, so that no checker enumerates what each part would leave open. *)
Init ==
    /\ plan \in {Planned(m) : m \in Mixtures}
    /\ wanted = Wanted(plan)
    /\ R!Init
    /\ L!Init
    /\ H!Init
    /\ I!Init
    /\ F!Init

-----------------------------------------------------------------------------
(* The runtime makes the container. *)

MakeState == R!MakeState /\ L!MakeDirectory("c1", "run") /\ UNCHANGED <<fvars, hvars, ivars>>
OpenState == L!Open("c1") /\ UNCHANGED <<rvars, fvars, hvars, ivars>>
LockState == L!LockToCreate("c1") /\ UNCHANGED <<rvars, fvars, hvars, ivars>>
WriteIntent == R!WriteIntent /\ L!ClaimDirectory("c1") /\ UNCHANGED <<fvars, hvars, ivars>>
MakeCgroup == R!MakeCgroup /\ UNCHANGED <<lvars, fvars, hvars, ivars>>
SetLimits == R!SetLimits /\ UNCHANGED <<lvars, fvars, hvars, ivars>>
Clone == R!Clone /\ L!Spawn("c1") /\ H!Clones /\ I!Clone /\ UNCHANGED fvars
Join == R!Join /\ UNCHANGED <<lvars, fvars, hvars, ivars>>

(* The maps of its user namespace. *)
Proceed == runtime = "forked" /\ H!Proceeds /\ UNCHANGED <<rvars, lvars, fvars, ivars>>

(* The child, in its group: what it does next, and its file system with it. *)
InGroup == program = "setup" /\ R!Within("init") /\ fate = "works"
Does(step) == InGroup /\ I!Following = step

BecomeRoot == Does("become root") /\ I!BecomeRoot /\ H!Hears /\ UNCHANGED <<rvars, lvars, fvars>>

Walk == Does("root") /\ (F!Enter \/ F!Found) /\ UNCHANGED <<rvars, lvars, hvars, ivars>>
Mount ==
    /\ Does("root")
    /\ F!Inherit \/ F!AttachRoot \/ F!BeginBind \/ F!AttachBind \/ F!BeginProc
    /\ UNCHANGED <<rvars, lvars, hvars, ivars>>
MountLast == Does("root") /\ F!AttachProc /\ I!Root /\ UNCHANGED <<rvars, lvars, hvars>>

SendTerminal == Does("terminal") /\ I!Terminal /\ H!Sends /\ UNCHANGED <<rvars, lvars, fvars>>
SendMounted ==
    /\ Does("runtime hooks")
    /\ Head(script) = "mounted"
    /\ H!Sends
    /\ UNCHANGED <<rvars, lvars, fvars, ivars>>
HooksDone == Does("runtime hooks") /\ I!RuntimeHooks /\ H!Hears /\ UNCHANGED <<rvars, lvars, fvars>>
OwnHooks == Does("container hooks") /\ I!ContainerHooks /\ F!Hooks /\ UNCHANGED <<rvars, lvars, hvars>>
NoHooks == Does("hide") /\ ~plan.hooks /\ F!Hooks /\ UNCHANGED <<rvars, lvars, hvars, ivars>>
LookToHide == Does("hide") /\ F!Look("there") /\ UNCHANGED <<rvars, lvars, hvars, ivars>>
Hide == Does("hide") /\ F!Mask /\ I!Hide /\ UNCHANGED <<rvars, lvars, hvars>>
Pivot == Does("pivot") /\ F!Pivot /\ UNCHANGED <<rvars, lvars, hvars, ivars>>
Detach == Does("pivot") /\ F!DetachOldRoot /\ I!Pivot /\ UNCHANGED <<rvars, lvars, hvars>>
RootReadonly == Does("close") /\ F!RootReadonly /\ UNCHANGED <<rvars, lvars, hvars, ivars>>

GiveUpPrivileges ==
    /\ InGroup
    /\ stage = "ready"
    /\ Head(script) # "await listener"
    /\ I!Close \/ I!Directory \/ I!NoNewPrivileges \/ I!Home \/ I!Landlock \/ (I!Filter /\ plan.filter = "plain")
       \/ I!Credentials \/ I!Program \/ I!Release
    /\ UNCHANGED <<rvars, lvars, fvars, hvars>>

SendListener == Does("filter") /\ plan.filter = "listener" /\ I!Filter /\ H!Sends /\ UNCHANGED <<rvars, lvars, fvars>>
ListenerPassed == InGroup /\ Head(script) = "await listener" /\ H!Hears /\ UNCHANGED <<rvars, lvars, fvars, ivars>>

ChildFails == InGroup /\ stage # "ready" /\ F!Fail /\ H!Fails /\ I!Fail /\ UNCHANGED <<rvars, lvars>>

Ready == Does("ready") /\ R!Ready /\ I!Ready /\ H!Sends /\ UNCHANGED <<lvars, fvars>>

(* The runtime, which hears it. *)
Hear ==
    /\ runtime = "forked"
    /\ H!KeepsTerminal \/ H!RunsHooks \/ H!PassesListener \/ H!GoesOn
    /\ UNCHANGED <<rvars, lvars, fvars, ivars>>

Record == R!Publish /\ H!Records /\ L!Record("c1") /\ UNCHANGED <<fvars, ivars>>

(* The caller lets it go. *)
Go == R!Follow /\ H!CallerGoes /\ L!Go("c1") /\ UNCHANGED <<fvars, ivars>>

Released == program = "released" /\ fate = "works"
HearStart == Released /\ I!AwaitStart /\ H!Hears /\ UNCHANGED <<rvars, lvars, fvars>>
Confine ==
    /\ Released
    /\ I!StartHooks \/ I!Landlock \/ I!Filter
    /\ UNCHANGED <<rvars, lvars, fvars, hvars>>
Execute == Released /\ I!Exec /\ H!Execs /\ R!Start /\ F!Execute /\ UNCHANGED lvars
SeeExec == runtime = "foreground" /\ H!SeesExec /\ UNCHANGED <<rvars, lvars, fvars, ivars>>

-----------------------------------------------------------------------------
(* The workload. *)

Fork == program = "running" /\ (\E q \in Others : R!Fork("init", q)) /\ UNCHANGED <<lvars, fvars, hvars, ivars>>
OtherExits == (\E q \in Others : R!OtherExits(q)) /\ UNCHANGED <<lvars, fvars, hvars, ivars>>

-----------------------------------------------------------------------------
(* The end of the first process, whoever brings it, is an end for all parts. *)

FileSystemEnds == IF stage \in {"begin", "running", "failed"} THEN UNCHANGED fvars ELSE F!Fail
ChildEnds == IF child = "alive" THEN H!Dies ELSE UNCHANGED hvars
SetUpEnds == IF fate = "works" THEN I!Fail ELSE UNCHANGED ivars
Death == FileSystemEnds /\ ChildEnds /\ SetUpEnds

InitExits == R!InitExits /\ Death /\ L!Exit
FollowRuntime == R!FollowRuntime /\ Death /\ L!OrphanEnds
UndoProcesses ==
    /\ R!UndoProcesses
    /\ Death
    /\ IF L!Next1("c1") = "end" THEN L!End("c1") ELSE L!Relock("c1")
DeleteKills ==
    /\ R!DeleteKills
    /\ lock = "c2"
    /\ IF record = "full" THEN Death ELSE UNCHANGED <<fvars, hvars, ivars>>
    /\ IF L!Next1("c2") = "end" THEN L!End("c2") ELSE UNCHANGED lvars

(* The runtime fails by itself or because its caller is gone, and has to when the child has failed. *)
RuntimeFails ==
    /\ stage # "failed"
    /\ R!Fail
    /\ L!Fail("c1")
    /\ IF parent = "idle" THEN UNCHANGED hvars ELSE H!ParentFails
    /\ SetUpEnds
    /\ UNCHANGED fvars
RuntimeReports ==
    /\ stage = "failed"
    /\ R!Fail
    /\ L!Fail("c1")
    /\ IF toParent # <<>> /\ Head(toParent) = "failed" THEN H!Reports ELSE H!ParentFails
    /\ SetUpEnds
    /\ UNCHANGED fvars

Reap == parent = "done" /\ R!Reap /\ L!Await("c1") /\ UNCHANGED <<fvars, hvars, ivars>>
UndoCgroup == R!UndoCgroup /\ L!Free("c1") /\ UNCHANGED <<fvars, hvars, ivars>>
UndoState == R!UndoState /\ L!Remove("c1") /\ UNCHANGED <<fvars, hvars, ivars>>

-----------------------------------------------------------------------------
(* `delete --force`, for what a killed runtime has left. What was recorded is deleted when it has ended. *)

BeginDelete ==
    /\ record = "full" => program = "none"
    /\ R!BeginDelete
    /\ L!OpenToLock("c2", "force")
    /\ UNCHANGED <<fvars, hvars, ivars>>
LockToDelete == L!LockAndGo("c2") /\ UNCHANGED <<rvars, fvars, hvars, ivars>>
DeleteCgroup == R!DeleteCgroup /\ L!Free("c2") /\ UNCHANGED <<fvars, hvars, ivars>>
DeleteState == R!DeleteState /\ L!Remove("c2") /\ UNCHANGED <<fvars, hvars, ivars>>

-----------------------------------------------------------------------------
(* SIGKILL. *)

KillRuntime ==
    /\ R!KillRuntime
    /\ L!Crash("c1")
    /\ IF parent \in {"idle", "done", "failed"} THEN UNCHANGED hvars ELSE H!ParentDies
    /\ IF fate = "works" THEN I!RuntimeDies ELSE UNCHANGED ivars
    /\ UNCHANGED fvars

Over == runtime \in {"left", "dead"} /\ record = "none" /\ deleter = "idle"
Rest == Over /\ UNCHANGED vars

-----------------------------------------------------------------------------
RuntimeGoesOn ==
    \/ MakeState \/ OpenState \/ LockState \/ WriteIntent \/ MakeCgroup \/ SetLimits \/ Clone \/ Proceed \/ Hear
    \/ Record \/ Go \/ SeeExec \/ RuntimeReports \/ Reap \/ UndoProcesses \/ UndoCgroup \/ UndoState
ChildGoesOn ==
    \/ Join \/ BecomeRoot \/ Walk \/ Mount \/ MountLast \/ SendTerminal \/ SendMounted \/ HooksDone \/ OwnHooks
    \/ NoHooks \/ LookToHide \/ Hide \/ Pivot \/ Detach \/ RootReadonly \/ GiveUpPrivileges \/ SendListener
    \/ ListenerPassed \/ Ready \/ HearStart \/ Confine \/ Execute \/ FollowRuntime
DeleteGoesOn == BeginDelete \/ LockToDelete \/ DeleteKills \/ DeleteCgroup \/ DeleteState

Next ==
    \/ MakeState \/ OpenState \/ LockState \/ WriteIntent \/ MakeCgroup \/ SetLimits \/ Clone \/ Proceed \/ Join
    \/ BecomeRoot \/ Walk \/ Mount \/ MountLast \/ SendTerminal \/ SendMounted \/ HooksDone \/ OwnHooks \/ NoHooks
    \/ LookToHide \/ Hide \/ Pivot \/ Detach \/ RootReadonly \/ GiveUpPrivileges \/ SendListener \/ ListenerPassed
    \/ ChildFails \/ Ready \/ Hear \/ Record \/ Go \/ HearStart \/ Confine \/ Execute \/ SeeExec \/ Fork
    \/ OtherExits \/ InitExits \/ FollowRuntime \/ UndoProcesses \/ DeleteKills \/ RuntimeFails \/ RuntimeReports
    \/ Reap \/ UndoCgroup \/ UndoState \/ BeginDelete \/ LockToDelete \/ DeleteCgroup \/ DeleteState \/ KillRuntime
    \/ Rest

(* Each of these is one process that does one thing after the other. *)
Fairness ==
    /\ WF_vars(RuntimeGoesOn) /\ WF_vars(ChildGoesOn) /\ WF_vars(DeleteGoesOn)
    /\ WF_vars(InitExits) /\ WF_vars(OtherExits)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
TypeOK == R!TypeOK /\ L!TypeOK /\ H!TypeOK /\ I!TypeOK /\ F!TypeOK

(* The program runs with everything in force: limits, hidden paths, the process's own confinement. *)
AllInForce ==
    program = "running" =>
        /\ R!LimitsFirst
        /\ stage = "running" /\ F!HiddenAtLast
        /\ fate = "program" /\ I!ProtectedAtExec
        /\ child = "program" /\ H!ProgramAfterAll

(* What any part calls the program is the one that counts for Resources. *)
OneProgram == (stage = "running" \/ fate = "program" \/ child = "program") => program \in {"running", "none"}

(* Nothing is mounted outside of the control group and its limits. *)
MountedInside == (stage \notin {"begin", "failed"} /\ program # "none") => R!Within("init") /\ group = "limited"

(* A container is recorded only when its file system is complete and it has given up its privileges. *)
RecordedComplete == (record = "full" /\ program = "ready") => stage = "ready" /\ ~admin

(* When the runtime and who deletes are done, nothing is left of any part, and no child is at work. *)
NothingLeft == Over => group = "none" /\ R!Empty /\ ~cgroup /\ child # "alive" /\ fate # "works"

(* It ends, whoever is killed. *)
Ends == <>Over

-----------------------------------------------------------------------------
(* The parts; IsResources and IsLifecycle are in Halves. Fairness is written out, as both checkers want it. *)

(* `start` of another command is not a part of `run`, so its answer is never waited for. *)
IsHandshake ==
    /\ H!Init
    /\ [][H!Next]_hvars
    /\ WF_hvars(H!ChildGoesOn) /\ WF_hvars(H!ParentGoesOn) /\ WF_hvars(H!ReadsAnswer)

IsIsolation ==
    /\ I!Init
    /\ [][I!Next]_ivars
    /\ WF_ivars(I!Work)

IsFilesystem ==
    /\ F!Init
    /\ [][F!Next]_fvars
    /\ WF_fvars(stage # "begin" /\ (F!Lookup \/ F!Road))
=============================================================================
