------------------------------ MODULE System ------------------------------
(***************************************************************************
One `nucleus run` from the request to the last file removed: the specs of the
parts, put together.

Each part is the spec of its name, with its own variables (P: Policy; G: Gvisor,
here as the road of the front-end with the native runtime; R: Resources;
F: Filesystem; E: Egress; L: Lifecycle, of one `run` and one `delete --force`),
and each step below is a step of one or more of them *at the same time*: that is
what the parts have to do with each other.

WHAT IS MODELLED.  The policy is loaded and applied before anything is made;
the network, if there is one, is complete before the runtime is called; the
child mounts only inside its control group; it is ready only when its file
system is; it is recorded when it is ready; the front-end lets it go only when
rules, limits and file system are in force; the container is taken down before
its network.  The policy can be refused or swapped, the network and each step
of the runtime and of the child can fail, the front-end can be killed while it
prepares, starts or waits, and the runtime at any moment: whatever happens, all
is freed.

WHAT IS ASSUMED.  What the parts assume.  Beyond that: a runtime whose
front-end is gone gives the container up (it reads the end of a pipe).

WHAT IS LEFT OUT.  What the parts leave out; `--detach`; gVisor, which takes the
same road with fewer parts; SIGKILL of who cleans up, questions to the resolver,
cgroup2, and more of the adversary than a pipe in the place of the policy: each
part has all that in its own spec.  Handshake and Isolation, the inner life of the
child between Clone and Execute, are checked by themselves and not composed here.

THE CLAIM.  This spec is checked to refine each part, fairness included
(properties Is...): what was shown of the parts alone, under what they assume of
their neighbours, holds of the whole.

THE CODE.  shim/src/run.rs and runtime/src/create.rs, run.rs, in their order.
***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Modes,
    \* @type: Set(Str);
    Files,
    \* @type: Bool;
    Writes,
    \* @type: Set(Str);
    Runtimes,
    \* @type: Set(Str);
    Versions,
    \* @type: Set(Bool);
    PidNamespaces,
    \* @type: Set(Str);
    Others,
    \* @type: Set(Str);
    Links,
    \* @type: Bool;
    Moves,
    \* @type: Int;
    MaxLinks,
    \* @type: Int;
    MaxRetries,
    \* @type: Set(Str);
    Static,
    \* @type: Set(Str);
    Answers,
    \* @type: Set(Str);
    Commands,
    \* @type: Set(Str);
    Asked,
    \* @type: Set(Str);
    AskedMeanwhile,
    \* @type: Set(Str);
    Networks    \* that are asked for: "none", "bridge"

VARIABLES
    \* @type: Str;
    phase,
    \* @type: { mode: Str, consent: Bool, network: Str, host_consent: Bool, rootfs: Str, user: Bool, limits: Str, asked: Bool, cgroups: Bool, landlock: Bool };
    ask,
    \* @type: Set(Str);
    refused,
    \* @type: Set(Str);
    without,
    \* @type: Set(Str);
    warned,
    \* @type: Bool;
    pinned,
    \* @type: Str;
    named,
    \* @type: Str;
    text,
    \* @type: Str;
    opened,
    \* @type: Str;
    first,
    \* @type: Str;
    second,
    \* @type: Set(Str);
    caps,
    \* @type: Str;
    profile,
    \* @type: { runtime: Str, mode: Str, network: Str, consent: Bool, host_consent: Bool, root: Bool, asks: Set(Str) };
    wish,
    \* @type: Str;
    road,
    \* @type: Set(Str);
    denied,
    \* @type: Set(Str);
    informed,
    \* @type: Str;
    space,
    \* @type: Str;
    stack,
    \* @type: Str;
    container,
    \* @type: Str;
    version,
    \* @type: Bool;
    pidns,
    \* @type: Str;
    runtime,
    \* @type: Str;
    record,
    \* @type: Str;
    group,
    \* @type: Str -> Str;
    place,
    \* @type: Str;
    program,
    \* @type: Str;
    deleter,
    \* @type: Str;
    stage,
    \* @type: Str;
    walk,
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
    \* @type: Bool;
    leaked,
    \* @type: Set(Str);
    hidden,
    \* @type: Str;
    oldroot,
    \* @type: Str;
    front,
    \* @type: Str;
    netns,
    \* @type: Set(Str);
    covers,
    \* @type: Set(Str);
    loaded,
    \* @type: Str;
    link,
    \* @type: Str;
    resolver,
    \* @type: Str;
    workload,
    \* @type: Str;
    dns,
    \* @type: Set(Str);
    pending,
    \* @type: Str;
    query,
    \* @type: Str;
    upstream,
    \* @type: Str;
    reply,
    \* @type: Str;
    holds,
    \* The state directory: "none", "empty" or "filled" with the configuration.
    \* @type: Str;
    dir,
    \* Whether the first process is recorded.
    \* @type: Bool;
    recorded,
    \* The FIFO that `start` writes to, by its name: "none", "start", "starting".
    \* @type: Str;
    fifo,
    \* The first process: "none", "setup" (it ends with its creator), "waiting", "program", "dead".
    \* @type: Str;
    proc,
    \* Whether the byte of `start` was written.
    \* @type: Bool;
    told,
    \* Whether a SIGKILL is pending.
    \* @type: Bool;
    killed,
    \* Whether the control group is there.
    \* @type: Bool;
    cgroup,
    \* Whether it is frozen.
    \* @type: Bool;
    frozen,
    \* Who holds the lock of the directory, or "free".
    \* @type: Str;
    lock,
    \* What each command was asked to do, or "none".
    \* @type: Str -> Str;
    op,
    \* The acts that it still has to do.
    \* @type: Str -> Seq(Str);
    todo,
    \* The directory that it has opened: "none", the "live" one, or one that was removed ("stale").
    \* @type: Str -> Str;
    handle

pvars == <<phase, ask, refused, without, warned, pinned, named, text, opened, first, second,
      caps, profile>>
gvars == <<wish, road, denied, informed, space, stack, container>>
rvars == <<version, pidns, runtime, record, group, place, program, deleter>>
fvars == <<stage, walk, at, rest, followed, retries, x, above, made, propagation, leaked,
      hidden, oldroot>>
evars == <<front, netns, covers, loaded, link, resolver, workload, dns, pending, query,
      upstream, reply, holds>>
vars == <<phase, ask, refused, without, warned, pinned, named, text, opened, first,
          second, caps, profile, wish, road, denied, informed, space, stack, container,
          version, pidns, runtime, record, group, place, program, deleter, stage, walk,
          at, rest, followed, retries, x, above, made, propagation, leaked, hidden,
          oldroot, front, netns, covers, loaded, link, resolver, workload, dns, pending,
          query, upstream, reply, holds,
          dir, recorded, fifo, proc, told, killed, cgroup, frozen, lock, op, todo, handle>>

lvars == <<dir, recorded, fifo, proc, told, killed, cgroup, frozen, lock, op, todo, handle>>

P == INSTANCE Policy
G == INSTANCE Gvisor
R == INSTANCE Resources
F == INSTANCE Filesystem
E == INSTANCE Egress
L == INSTANCE Lifecycle

-----------------------------------------------------------------------------
(* A request that its mode takes, and one that it refuses for its root file system. *)
Plain(m, root) ==
    [mode |-> m, consent |-> FALSE, network |-> "none", host_consent |-> FALSE, rootfs |-> root, user |-> TRUE,
     limits |-> "memory", asked |-> FALSE, cgroups |-> TRUE, landlock |-> TRUE]

Init ==
    /\ P!Init
    /\ G!Init
    /\ R!Init
    /\ F!Init
    /\ E!Init
    /\ L!Init
    /\ ask \in {Plain(m, root) : m \in Modes, root \in {"plain", "attested"}}
    /\ wish.mode = ask.mode
    /\ wish.network \in Networks
    /\ ~wish.consent
    /\ ~wish.host_consent
    /\ wish.root
    /\ wish.asks = {}

Bridge == wish.network = "bridge"

-----------------------------------------------------------------------------
(* The front-end decides and loads. *)

Decide == P!Decide /\ G!Decide /\ UNCHANGED <<rvars, fvars, evars, lvars>>

Begin == P!Begin(TRUE) /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>

Open == P!Open /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
ReadHalf == P!ReadHalf /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
ReadRest == P!ReadRest /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
Check == P!Check /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
Parse == P!Parse /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
Compose == P!Compose({"kill", "admin"}, "none") /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
Apply == phase = "parsed" /\ caps # {} /\ P!Apply /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
PolicyFails == P!Fail /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>
Swap == phase = "loading" /\ (\E file \in Files : P!Swap(file)) /\ UNCHANGED <<gvars, rvars, fvars, evars, lvars>>

NoPolicy == phase \in {"refused", "failed"} /\ road = "taken" /\ G!Fail /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

Verified == phase = "applied"

-----------------------------------------------------------------------------
(* It prepares the network. *)

Networking == Verified /\ Bridge /\ road = "taken"

MakeNetns == Networking /\ E!MakeNetns /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
LoadRules == Networking /\ E!LoadRules /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
StartResolver == Networking /\ E!StartResolver /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
Connect == Networking /\ E!Connect /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
NetworkFails == Networking /\ E!Fail /\ G!Fail /\ UNCHANGED <<pvars, rvars, fvars, lvars>>

Prepare == Verified /\ (Bridge => front = "link") /\ G!Prepare /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

-----------------------------------------------------------------------------
(* It calls the runtime, which makes the container. *)

MakeState == road = "prepared" /\ R!MakeState /\ L!MakeDirectory("c1", "run") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
OpenState == L!Open("c1") /\ UNCHANGED <<pvars, gvars, rvars, fvars, evars>>
LockState == L!LockToCreate("c1") /\ UNCHANGED <<pvars, gvars, rvars, fvars, evars>>
WriteIntent == R!WriteIntent /\ L!ClaimDirectory("c1") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
MakeCgroup == R!MakeCgroup /\ UNCHANGED <<pvars, gvars, fvars, evars, lvars>>
SetLimits == R!SetLimits /\ UNCHANGED <<pvars, gvars, fvars, evars, lvars>>
Clone == R!Clone /\ L!Spawn("c1") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
Join == R!Join /\ UNCHANGED <<pvars, gvars, fvars, evars, lvars>>

(* The child, in its group. *)
InGroup == program = "setup" /\ R!Within("init")

Walk == InGroup /\ (F!Enter \/ F!Found) /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
Mount ==
    /\ InGroup
    /\ F!MakeSlave \/ F!AttachRoot \/ F!BeginBind \/ F!AttachBind \/ F!BeginProc \/ F!AttachProc
    /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
Hide == InGroup /\ (F!Hooks \/ F!ReadonlyPaths \/ F!Mask) /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
Pivot == InGroup /\ (F!Pivot \/ F!DetachOldRoot \/ F!RootReadonly) /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
ChildFails == InGroup /\ F!Fail /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>

Ready == stage = "ready" /\ R!Ready /\ UNCHANGED <<pvars, gvars, fvars, evars, lvars>>
Created == R!Publish /\ G!Create /\ L!Record("c1") /\ UNCHANGED <<pvars, fvars, evars>>

(* `nucleus` lets it go. *)
Go ==
    /\ R!Follow
    /\ G!Start
    /\ L!Go("c1")
    /\ IF Bridge THEN E!Launch ELSE UNCHANGED evars
    /\ UNCHANGED <<pvars, fvars>>

Execute == R!Start /\ F!Execute /\ UNCHANGED <<pvars, gvars, evars, lvars>>

-----------------------------------------------------------------------------
(* The workload. *)

Fork == program = "running" /\ (\E q \in Others : R!Fork("init", q)) /\ UNCHANGED <<pvars, gvars, fvars, evars, lvars>>
OtherExits == (\E q \in Others : R!OtherExits(q)) /\ UNCHANGED <<pvars, gvars, fvars, evars, lvars>>

Refresh == E!Refresh /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
Answered == E!Answered /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
Load == E!Load /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>

-----------------------------------------------------------------------------
(* The end of the first process, whoever brings it, is an end for all parts. *)

FileSystemEnds == IF stage \in {"begin", "running", "failed"} THEN UNCHANGED fvars ELSE F!Fail
ContainerEnds == IF container \in {"created", "running"} THEN G!End ELSE UNCHANGED gvars
NetworkEnds == IF workload = "running" THEN E!Exit ELSE UNCHANGED evars
Death == FileSystemEnds /\ ContainerEnds /\ NetworkEnds /\ UNCHANGED pvars

InitExits == R!InitExits /\ Death /\ L!Exit
FollowRuntime == R!FollowRuntime /\ Death /\ L!OrphanEnds
UndoProcesses ==
    /\ R!UndoProcesses
    /\ Death
    /\ IF L!Next1("c1") = "end" THEN L!End("c1") ELSE L!Relock("c1")
DeleteKills ==
    /\ R!DeleteKills
    /\ lock = "c2"
    /\ IF record = "full" THEN Death ELSE UNCHANGED <<pvars, gvars, fvars, evars>>
    /\ IF L!Next1("c2") = "end" THEN L!End("c2") ELSE UNCHANGED lvars

(* The runtime fails: for itself, because the child has failed, or because the front-end is gone. *)
RuntimeFails ==
    /\ R!Fail
    /\ L!Fail("c1")
    /\ IF road \in {"prepared", "created"} THEN G!Fail ELSE UNCHANGED gvars
    /\ UNCHANGED <<pvars, fvars, evars>>
MustFail == stage = "failed" \/ road \notin {"prepared", "created"}
RuntimeHasTo == MustFail /\ RuntimeFails

Reap == R!Reap /\ L!Await("c1") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
UndoCgroup == R!UndoCgroup /\ L!Free("c1") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
UndoState == R!UndoState /\ L!Remove("c1") /\ UNCHANGED <<pvars, gvars, fvars, evars>>

(* The front-end sees that its runtime is over without a word, or that it has started nothing. *)
RuntimeGone ==
    /\ runtime \in {"left", "dead"}
    /\ road \in {"prepared", "created"}
    /\ G!Fail
    /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

-----------------------------------------------------------------------------
(* The front-end takes all back. *)

Stop == G!Stop /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>
SeeStopped == program \notin {"released", "running"} /\ G!SeeStopped /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

LockFree == runtime \in {"idle", "left", "dead"}

BeginDelete == road = "deleting" /\ R!BeginDelete /\ L!OpenToLock("c2", "force") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
LockToDelete == L!LockAndGo("c2") /\ UNCHANGED <<pvars, gvars, rvars, fvars, evars>>
DeleteCgroup == R!DeleteCgroup /\ L!Free("c2") /\ UNCHANGED <<pvars, gvars, fvars, evars>>
DeleteState == R!DeleteState /\ L!Remove("c2") /\ UNCHANGED <<pvars, gvars, fvars, evars>>

Deleted == LockFree /\ record = "none" /\ deleter = "idle" /\ G!Delete /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

Clearing == road = "clearing"
StopNetwork == Clearing /\ (E!Stop \/ (front = "link" /\ E!Fail)) /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
Disconnect == Clearing /\ E!Disconnect /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
RemoveNetns == Clearing /\ E!RemoveNetns /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
SweepLink == Clearing /\ E!SweepLink /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
SweepNetns == Clearing /\ E!SweepNetns /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>
Expire == (\E a \in Answers : E!Expire(a)) /\ UNCHANGED <<pvars, gvars, rvars, fvars, lvars>>

Clear == netns = "none" /\ link = "none" /\ G!Clear /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

-----------------------------------------------------------------------------
(* SIGKILL, and who comes after it. *)

KillFrontEnd ==
    /\ road \in {"prepared", "created", "started"}
    /\ G!Kill
    /\ IF front \in {"idle", "done", "dead"} THEN UNCHANGED evars ELSE E!Kill
    /\ UNCHANGED <<pvars, rvars, fvars, lvars>>

KillRuntime == R!KillRuntime /\ L!Crash("c1") /\ UNCHANGED <<pvars, gvars, fvars, evars>>

Sweep == LockFree /\ G!Sweep /\ UNCHANGED <<pvars, rvars, fvars, evars, lvars>>

Rest == road = "done" /\ UNCHANGED vars

-----------------------------------------------------------------------------
Next ==
    \/ Decide \/ Begin \/ Open \/ ReadHalf \/ ReadRest \/ Check \/ Parse \/ Compose \/ Apply \/ PolicyFails
    \/ Swap \/ NoPolicy \/ MakeNetns \/ LoadRules \/ StartResolver \/ Connect \/ NetworkFails \/ Prepare
    \/ MakeState \/ WriteIntent \/ MakeCgroup \/ SetLimits \/ Clone \/ Join \/ Walk \/ Mount \/ Hide \/ Pivot
    \/ ChildFails \/ Ready \/ Created \/ Go \/ Execute \/ Fork \/ OtherExits
    \/ Refresh \/ Answered \/ Load \/ InitExits \/ FollowRuntime \/ UndoProcesses
    \/ DeleteKills \/ RuntimeFails \/ Reap \/ UndoCgroup \/ UndoState \/ RuntimeGone \/ Stop \/ SeeStopped
    \/ BeginDelete \/ DeleteCgroup \/ DeleteState \/ Deleted \/ StopNetwork \/ Disconnect
    \/ RemoveNetns \/ SweepLink \/ SweepNetns \/ Expire \/ Clear \/ KillFrontEnd \/ KillRuntime
    \/ Sweep \/ Rest
    \/ OpenState \/ LockState \/ LockToDelete

Fairness ==
    /\ WF_vars(Decide) /\ WF_vars(Begin) /\ WF_vars(Open) /\ WF_vars(ReadHalf) /\ WF_vars(ReadRest)
    /\ WF_vars(Check) /\ WF_vars(Parse) /\ WF_vars(Apply) /\ WF_vars(NoPolicy) /\ WF_vars(LoadRules)
    /\ WF_vars(StartResolver) /\ WF_vars(Connect) /\ WF_vars(Prepare) /\ WF_vars(WriteIntent)
    /\ WF_vars(MakeCgroup) /\ WF_vars(SetLimits) /\ WF_vars(Clone) /\ WF_vars(Join) /\ WF_vars(Walk)
    /\ WF_vars(Mount) /\ WF_vars(Hide) /\ WF_vars(Pivot) /\ WF_vars(Ready) /\ WF_vars(Created) /\ WF_vars(Go)
    /\ WF_vars(Execute) /\ WF_vars(Refresh) /\ WF_vars(Answered) /\ WF_vars(Load)
    /\ WF_vars(InitExits) /\ WF_vars(FollowRuntime)
    /\ WF_vars(UndoProcesses) /\ WF_vars(DeleteKills) /\ WF_vars(Reap) /\ WF_vars(UndoCgroup)
    /\ WF_vars(UndoState) /\ WF_vars(RuntimeGone) /\ WF_vars(Stop) /\ WF_vars(SeeStopped)
    /\ WF_vars(BeginDelete) /\ WF_vars(DeleteCgroup) /\ WF_vars(DeleteState)
    /\ WF_vars(Deleted) /\ WF_vars(StopNetwork) /\ WF_vars(Disconnect) /\ WF_vars(RemoveNetns)
    /\ WF_vars(SweepLink) /\ WF_vars(SweepNetns) /\ WF_vars(Expire) /\ WF_vars(Clear) /\ WF_vars(Sweep)
    /\ WF_vars(RuntimeHasTo) /\ WF_vars(MakeState) /\ WF_vars(MakeNetns) /\ WF_vars(OtherExits)
    /\ WF_vars(Compose)
    /\ WF_vars(OpenState) /\ WF_vars(LockState) /\ WF_vars(LockToDelete)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
TypeOK == P!TypeOK /\ G!TypeOK /\ R!TypeOK /\ F!TypeOK /\ E!TypeOK /\ L!TypeOK

(* Nothing is made before the policy is verified and applied. *)
PolicyFirst == (runtime # "idle" \/ front # "idle") => phase = "applied"

(* The program runs with everything in force: policy, limits, hidden paths, rules. *)
AllInForce ==
    stage = "running" /\ program = "running" =>
        /\ phase = "applied" /\ caps \subseteq P!Keep
        /\ R!LimitsFirst
        /\ F!HiddenAtLast
        /\ Bridge => link = "up" /\ covers = {"v4", "v6"}

(* The program is the executed one, and no other. *)
OneProgram == program = "running" => stage = "running"

(* The network outlives the container. *)
NetworkOutlives == (Bridge /\ program \in {"released", "running"}) => netns = "present"

(* When the front-end is done, nothing is left of any part. *)
NothingLeft ==
    road = "done" =>
        /\ record = "none" /\ group = "none" /\ R!Empty
        /\ netns = "none" /\ link = "none"

(* It ends, whoever is killed. *)
Ends == <>(road = "done")

(* A policy that is refused makes nothing. *)
RefusedMakesNothing == (phase \in {"refused", "failed"}) => record = "none" /\ netns = "none"

-----------------------------------------------------------------------------
(* The parts. Fairness is written out, as both checkers want it. *)

IsPolicy ==
    /\ P!Init
    /\ [][P!Next]_pvars
    /\ WF_pvars(P!Decide) /\ WF_pvars(\E pin \in BOOLEAN : P!Begin(pin)) /\ WF_pvars(P!Open) /\ WF_pvars(P!ReadHalf)
    /\ WF_pvars(P!ReadRest) /\ WF_pvars(P!Check) /\ WF_pvars(P!Parse) /\ WF_pvars(P!Apply)

IsFrontEnd ==
    /\ G!Init
    /\ [][G!Next]_gvars
    /\ WF_gvars(G!Decide) /\ WF_gvars(G!Prepare) /\ WF_gvars(G!Create) /\ WF_gvars(G!Start) /\ WF_gvars(G!FindEnded) /\ WF_gvars(G!End)
    /\ WF_gvars(G!Stop)
    /\ SF_gvars(G!SeeStopped) /\ SF_gvars(G!Delete) /\ SF_gvars(G!Clear) /\ WF_gvars(G!Sweep)

IsResources ==
    /\ R!Init
    /\ [][R!Next]_rvars
    /\ WF_rvars(R!Publish) /\ WF_rvars(R!Leave) /\ WF_rvars(R!MakeCgroup) /\ WF_rvars(R!WriteIntent) /\ WF_rvars(R!SetLimits)
    /\ WF_rvars(R!Clone) /\ WF_rvars(R!Reap) /\ WF_rvars(R!UndoProcesses) /\ SF_rvars(R!UndoCgroup) /\ WF_rvars(R!UndoGivesUp)
    /\ WF_rvars(R!UndoState)
    /\ WF_rvars(R!Join) /\ WF_rvars(R!Ready) /\ WF_rvars(R!Start) /\ WF_rvars(R!FollowRuntime)
    /\ \A q \in Others : SF_rvars(R!OtherExits(q) /\ (record # "full" \/ place[q] = "entering"))
    /\ WF_rvars(R!InitExits) /\ WF_rvars(R!BeginDelete)
    /\ SF_rvars(R!DeleteKills) /\ SF_rvars(R!DeleteCgroup) /\ WF_rvars(R!DeleteGivesUp) /\ SF_rvars(R!DeleteState)

IsFilesystem ==
    /\ F!Init
    /\ [][F!Next]_fvars
    /\ WF_fvars(stage # "begin" /\ (F!Lookup \/ F!Road))

IsEgress ==
    /\ E!Init
    /\ [][E!Next]_evars
    /\ WF_evars(E!LoadRules) /\ WF_evars(E!StartResolver) /\ WF_evars(E!Connect) /\ WF_evars(E!Launch)
    /\ SF_evars(E!Refuse) /\ SF_evars(E!Forward) /\ SF_evars(E!Refresh) /\ WF_evars(E!Answered) /\ SF_evars(E!Load)
    /\ WF_evars(E!TimeToLiveEnds) /\ WF_evars(E!TimeOut)
    /\ WF_evars(E!Stop) /\ WF_evars(E!Disconnect) /\ WF_evars(E!RemoveNetns)
    /\ \A a \in Answers : WF_evars(E!Expire(a))
    /\ WF_evars(E!SweepWorkload) /\ WF_evars(E!SweepLink) /\ WF_evars(E!SweepNetns)
IsLifecycle ==
    /\ L!Init
    /\ [][L!Next]_lvars
    /\ \A c \in Commands : WF_lvars(L!Step(c))
    /\ \A c \in Commands : SF_lvars(L!TakeLock(c))
    /\ WF_lvars(L!OrphanEnds) /\ WF_lvars(L!BecomeProgram) /\ WF_lvars(L!DieBySignal)
=============================================================================
