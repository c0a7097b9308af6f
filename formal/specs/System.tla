------------------------------ MODULE System ------------------------------
(***************************************************************************
One `nucleus run` from the request to the last file removed, as the front-end
sees it: the specs of the parts, put together.

The nine parts are composed in two modules.  This one has P: Policy; G: Gvisor,
here as the road of the front-end with the native runtime; E: Egress; S: Sandbox;
R: Resources and L: Lifecycle, of one `run` and one `delete --force`.  Creation
has what happens meanwhile inside the runtime and the container's first process:
Handshake, Isolation and Filesystem, and the same R and L again.  Each part has
its own variables, and each step below is a step of one or more parts *at the
same time*: that is what the parts have to do with each other.

WHAT IS MODELLED.  The policy is loaded and applied before anything is made (the
process of the runtime may be there sooner: it waits for its configuration);
the network, if there is one, is complete before the runtime is called; the
runtime makes and records the container; the front-end lets it go only when
policy, rules and limits are in force; the container is taken down before its
network and its files, and the sandbox's directory last.  The policy can be refused or swapped, the network and each step of the
runtime can fail, the front-end can be killed while it prepares, starts or
waits, and the runtime at any moment: whatever happens, all is freed.

WHAT IS ASSUMED.  What the parts assume.  Beyond that: a runtime whose
front-end is gone gives the container up (it reads the end of a pipe).
Fairness: front-end, runtime, first process and `delete` each go on while they
can, a program and the processes that it has forked end at last, the resolver
goes on.

WHAT IS LEFT OUT.  What the parts leave out; `--detach`; runsc in the place of the
runtime, which takes the front-end's road without what the runtime does (spec
Gvisor has it); SIGKILL of who cleans up, questions to the resolver, cgroup2, and
more of the adversary than a pipe in the place of the policy: each part has all
that in its own spec.

THE CLAIM.  This spec is checked to refine each of its six parts, fairness
included (properties Is...), and Creation each of its own: what was shown of the
parts alone, under what they assume of their neighbours, holds of the whole run.
The whole run is both modules at once, in step in what they share: each makes
exactly the steps of R and L that the other makes, and both together come to
their end: neither waits for the other for ever (formal/tests/halves.rs).

THE CODE.  shim/src/run.rs and runtime/src/create.rs, run.rs, in their order.
***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, Halves

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
    Static,
    \* @type: Set(Str);
    Answers,
    \* @type: Set(Str);
    Short,
    \* @type: Set(Str);
    Long,
    \* @type: Set(Str);
    Networks    \* that are asked for: "none", "bridge"

VARIABLES
    \* @type: Str;
    phase,
    \* @type: { mode: Str, consent: Bool, network: Str, host_consent: Bool, rootfs: Str, user: Bool, limits: Str,
    \*          asked: Bool, cgroups: Bool, landlock: Bool };
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
    \* @type: { runtime: Str, mode: Str, network: Str, consent: Bool, host_consent: Bool, root: Bool,
    \*          asks: Set(Str) };
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
    front,
    \* @type: Str;
    noted,
    \* @type: Str;
    netns,
    \* @type: Set(Str);
    covers,
    \* @type: Set(Str);
    fixed,
    \* @type: Str;
    table,
    \* @type: Str;
    link,
    \* @type: Str;
    ports,
    \* @type: Str;
    resolver,
    \* @type: Str;
    workload,
    \* @type: Str;
    dns,
    \* @type: Str -> Int;
    life,
    \* @type: Str;
    pending,
    \* @type: Int;
    lasts,
    \* @type: Str;
    query,
    \* @type: Str;
    upstream,
    \* @type: Str;
    known,
    \* @type: Int;
    fresh,
    \* @type: Str;
    holds,
    \* @type: Int;
    left,
    \* @type: Str;
    network,
    \* @type: Set(Str);
    there,
    \* @type: Str;
    holder,
    \* @type: Str;
    act

pvars == <<phase, ask, refused, without, warned, pinned, named, text, opened, first, second, caps, profile>>
gvars == <<wish, road, denied, informed, space, stack, container>>
evars == <<front, noted, netns, covers, fixed, table, link, ports, resolver, workload, dns, life, pending, lasts, query,
           upstream, known, fresh, holds, left>>
svars == <<network, there, holder, act>>
vars == <<phase, ask, refused, without, warned, pinned, named, text, opened, first, second, caps, profile,
          version, pidns, runtime, record, group, place, program, deleter, wish, road, denied, informed, space,
          stack, container, front, noted, netns, covers, fixed, table, link, ports, resolver, workload, dns, life,
          pending, lasts, query, upstream, known, fresh, holds, left, dir, recorded, fifo, proc, told, killed, cgroup, frozen, lock, op, todo,
          handle, network, there, holder, act>>

P == INSTANCE Policy
G == INSTANCE Gvisor
E == INSTANCE Egress
S == INSTANCE Sandbox

-----------------------------------------------------------------------------
(* A request that its mode takes, and one that it refuses for its root file system. *)
Plain(m, root) ==
    [mode |-> m, consent |-> FALSE, network |-> "none", host_consent |-> FALSE, rootfs |-> root, user |-> TRUE,
     limits |-> "memory", asked |-> FALSE, cgroups |-> TRUE, landlock |-> TRUE, userns |-> TRUE]

(* First what is fixed, so that no checker enumerates what each part would leave open. *)
Init ==
    /\ ask \in {Plain(m, root) : m \in Modes, root \in {"plain", "attested"}}
    /\ wish \in {[runtime |-> "native", mode |-> ask.mode, network |-> n, consent |-> FALSE,
                   host_consent |-> FALSE, root |-> TRUE, asks |-> {}] : n \in Networks}
    /\ network = wish.network
    /\ P!Init
    /\ G!Init
    /\ R!Init
    /\ E!Init
    /\ L!Init
    /\ S!Init

Bridge == wish.network = "bridge"

-----------------------------------------------------------------------------
(* The front-end decides and loads. *)

Decide == P!Decide /\ G!Decide /\ UNCHANGED <<rvars, evars, lvars, svars>>

Begin == P!Begin(TRUE) /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>

Open == P!Open /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
ReadHalf == P!ReadHalf /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
ReadRest == P!ReadRest /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
Check == P!Check /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
Parse == P!Parse /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
Compose == P!Compose({"kill", "admin"}, "none") /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
Apply == phase = "parsed" /\ caps # {} /\ P!Apply /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
PolicyFails == P!Fail /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>
Swap == phase = "loading" /\ (\E file \in Files : P!Swap(file)) /\ UNCHANGED <<gvars, rvars, evars, lvars, svars>>

NoPolicy == phase \in {"refused", "failed"} /\ road = "taken" /\ G!Fail /\ UNCHANGED <<pvars, rvars, evars, lvars, svars>>

Verified == phase = "applied"

-----------------------------------------------------------------------------
(* It makes its directory, files and the network. *)

Preparing == Verified /\ road = "taken"
Networking == Preparing /\ Bridge

MakeDirectory == Preparing /\ S!MakeDirectory /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
MakeFiles == Preparing /\ S!MakeFiles /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
(* One after the other here; in Egress the namespace and the host are seen to at the same time. *)
BeginNetwork == Networking /\ E!Begin /\ S!MakeNetwork /\ UNCHANGED <<pvars, gvars, rvars, lvars>>
MakeNetns == Networking /\ E!MakeNetns /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
LoadRules == Networking /\ E!LoadRules /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Note == Networking /\ covers # {} /\ E!Note /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
MakeTable == Networking /\ E!MakeTable /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Claim == Networking /\ E!Claim /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
List == Networking /\ E!List /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Connect == Networking /\ E!Connect /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Publish == Networking /\ E!Publish /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
StartResolver == Networking /\ ports = "there" /\ E!StartResolver /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
NetworkFails == Networking /\ E!Fail /\ G!Fail /\ S!End /\ UNCHANGED <<pvars, rvars, lvars>>

Prepare ==
    /\ Preparing
    /\ "files" \in there
    /\ Bridge => resolver = "running"
    /\ G!Prepare
    /\ UNCHANGED <<pvars, rvars, evars, lvars, svars>>

-----------------------------------------------------------------------------
(* It calls the runtime, which makes the container. *)

MakeState ==
    /\ road = "prepared"
    /\ R!MakeState
    /\ L!MakeDirectory("c1", "run")
    /\ S!Start
    /\ UNCHANGED <<pvars, gvars, evars>>
OpenState == L!Open("c1") /\ UNCHANGED <<pvars, gvars, rvars, evars, svars>>
LockState == L!LockToCreate("c1") /\ UNCHANGED <<pvars, gvars, rvars, evars, svars>>
WriteIntent == R!WriteIntent /\ L!ClaimDirectory("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>
MakeCgroup == R!MakeCgroup /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>
SetLimits == R!SetLimits /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>
Clone == R!Clone /\ L!Spawn("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>
Join == R!Join /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>

(* What the child does in its group is in Creation. *)
Ready == runtime = "forked" /\ R!Ready /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>
Created == R!Publish /\ G!Create /\ L!Record("c1") /\ UNCHANGED <<pvars, evars, svars>>

(* `nucleus` lets it go. *)
Go ==
    /\ R!Follow
    /\ G!Start
    /\ L!Go("c1")
    /\ IF Bridge THEN E!Launch ELSE UNCHANGED evars
    /\ UNCHANGED <<pvars, svars>>

Execute == R!Start /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>

-----------------------------------------------------------------------------
(* The workload. *)

Fork == program = "running" /\ (\E q \in Others : R!Fork("init", q)) /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>
OtherExits == (\E q \in Others : R!OtherExits(q)) /\ UNCHANGED <<pvars, gvars, evars, lvars, svars>>

Refresh == E!Refresh /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Answered == (\E t \in {1, 2} : E!Answered(t)) /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Load == E!Load /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Tick == E!Tick /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>

-----------------------------------------------------------------------------
(* The end of the first process, whoever brings it, is an end for all parts. *)

ContainerEnds == IF container \in {"created", "running"} THEN G!End ELSE UNCHANGED gvars
NetworkEnds == IF workload = "running" THEN E!Exit ELSE UNCHANGED evars
Death == ContainerEnds /\ NetworkEnds /\ UNCHANGED <<pvars, svars>>

InitExits == R!InitExits /\ Death /\ L!Exit
FollowRuntime == R!FollowRuntime /\ Death /\ L!OrphanEnds
UndoProcesses ==
    /\ R!UndoProcesses
    /\ Death
    /\ IF L!Next1("c1") = "end" THEN L!End("c1") ELSE L!Relock("c1")
DeleteKills ==
    /\ R!DeleteKills
    /\ lock = "c2"
    /\ IF record = "full" THEN Death ELSE UNCHANGED <<pvars, gvars, evars, svars>>
    /\ IF L!Next1("c2") = "end" THEN L!End("c2") ELSE UNCHANGED lvars

(* The runtime fails by itself or because the child has failed, and has to when the front-end is gone. *)
Missed == road \notin {"prepared", "created"}
RuntimeFails ==
    /\ ~Missed
    /\ R!Fail
    /\ L!Fail("c1")
    /\ G!Fail
    /\ S!End
    /\ UNCHANGED <<pvars, evars>>
RuntimeGivesUp == Missed /\ R!Fail /\ L!Fail("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>

Reap == R!Reap /\ L!Await("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>
UndoCgroup == R!UndoCgroup /\ L!Free("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>
UndoState == R!UndoState /\ L!Remove("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>

(* The front-end sees that its runtime is over without a word, or that it has started nothing. *)
RuntimeGone ==
    /\ runtime \in {"left", "dead"}
    /\ road \in {"prepared", "created"}
    /\ G!Fail
    /\ S!End
    /\ UNCHANGED <<pvars, rvars, evars, lvars>>

-----------------------------------------------------------------------------
(* The front-end takes all back. *)

Stop == G!Stop /\ S!End /\ UNCHANGED <<pvars, rvars, evars, lvars>>
SeeStopped == program \notin {"released", "running"} /\ G!SeeStopped /\ UNCHANGED <<pvars, rvars, evars, lvars, svars>>

LockFree == runtime \in {"idle", "left", "dead"}

BeginDelete == road = "deleting" /\ R!BeginDelete /\ L!OpenToLock("c2", "force") /\ UNCHANGED <<pvars, gvars, evars, svars>>
LockToDelete == L!LockAndGo("c2") /\ UNCHANGED <<pvars, gvars, rvars, evars, svars>>
DeleteCgroup == R!DeleteCgroup /\ L!Free("c2") /\ UNCHANGED <<pvars, gvars, evars, svars>>
DeleteState == R!DeleteState /\ L!Remove("c2") /\ UNCHANGED <<pvars, gvars, evars, svars>>

Deleted ==
    /\ LockFree
    /\ record = "none"
    /\ deleter = "idle"
    /\ G!Delete
    /\ IF "container" \in there THEN S!TakeContainer ELSE UNCHANGED svars
    /\ UNCHANGED <<pvars, rvars, evars, lvars>>

Clearing == road = "clearing"
StopNetwork == Clearing /\ (E!Stop \/ E!Fail) /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
StopResolver == Clearing /\ E!StopResolver /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Disown == Clearing /\ E!Disown /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
TakePorts == Clearing /\ E!TakePorts /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
RemoveTable == Clearing /\ E!RemoveTable /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Disconnect == Clearing /\ E!Disconnect /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
LetGo == Clearing /\ E!LetGo /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
Vanish == E!Vanish /\ UNCHANGED <<pvars, gvars, rvars, lvars, svars>>
NetworkTaken ==
    /\ Clearing
    /\ front \in {"done", "dead"}
    /\ netns = "none" /\ link = "none" /\ ports = "none" /\ table = "none"
    /\ S!TakeNetwork
    /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>
TakeFiles == Clearing /\ S!TakeFiles /\ UNCHANGED <<pvars, gvars, rvars, evars, lvars>>

Clear ==
    /\ netns = "none"
    /\ "network" \notin there
    /\ G!Clear
    /\ IF "directory" \in there THEN S!TakeDirectory ELSE UNCHANGED svars
    /\ UNCHANGED <<pvars, rvars, evars, lvars>>

-----------------------------------------------------------------------------
(* SIGKILL, and who comes after it. *)

KillFrontEnd ==
    /\ road \in {"prepared", "created", "started"}
    /\ G!Kill
    /\ IF front \in {"idle", "done", "dead"} THEN UNCHANGED evars ELSE E!Kill
    /\ S!Kill
    /\ UNCHANGED <<pvars, rvars, lvars>>

KillRuntime == R!KillRuntime /\ L!Crash("c1") /\ UNCHANGED <<pvars, gvars, evars, svars>>

Sweep == LockFree /\ G!Sweep /\ S!Sweep /\ UNCHANGED <<pvars, rvars, evars, lvars>>

Rest == road = "done" /\ UNCHANGED vars

-----------------------------------------------------------------------------
FrontEndGoesOn ==
    \/ Decide \/ Begin \/ Open \/ ReadHalf \/ ReadRest \/ Check \/ Parse \/ Compose \/ Apply \/ NoPolicy
    \/ MakeDirectory \/ MakeFiles \/ TakeFiles
    \/ BeginNetwork \/ MakeNetns \/ LoadRules \/ Note \/ MakeTable \/ Claim \/ List \/ Connect \/ Publish
    \/ StartResolver \/ Prepare \/ Created \/ Go \/ RuntimeGone \/ Stop \/ SeeStopped \/ Deleted \/ StopNetwork
    \/ StopResolver \/ Disown \/ TakePorts \/ RemoveTable \/ Disconnect \/ LetGo \/ Vanish \/ NetworkTaken
    \/ Clear \/ Sweep
RuntimeGoesOn ==
    \/ MakeState \/ OpenState \/ LockState \/ WriteIntent \/ MakeCgroup \/ SetLimits \/ Clone \/ RuntimeGivesUp
    \/ Reap \/ UndoProcesses \/ UndoCgroup \/ UndoState
ChildGoesOn == Join \/ Ready \/ Execute \/ FollowRuntime
DeleteGoesOn == BeginDelete \/ LockToDelete \/ DeleteKills \/ DeleteCgroup \/ DeleteState
ResolverGoesOn == Refresh \/ Answered \/ Load

Next ==
    \/ Decide \/ Begin \/ Open \/ ReadHalf \/ ReadRest \/ Check \/ Parse \/ Compose \/ Apply \/ PolicyFails
    \/ Swap \/ NoPolicy \/ MakeDirectory \/ MakeFiles \/ TakeFiles \/ BeginNetwork \/ MakeNetns \/ LoadRules
    \/ Note \/ MakeTable \/ Claim \/ List \/ Connect \/ Publish \/ StartResolver \/ NetworkFails \/ Prepare
    \/ MakeState \/ OpenState \/ LockState \/ WriteIntent \/ MakeCgroup \/ SetLimits \/ Clone \/ Join \/ Ready
    \/ Created \/ Go \/ Execute \/ Fork \/ OtherExits
    \/ Refresh \/ Answered \/ Load \/ Tick \/ InitExits \/ FollowRuntime \/ UndoProcesses \/ DeleteKills
    \/ RuntimeFails \/ RuntimeGivesUp \/ Reap \/ UndoCgroup \/ UndoState \/ RuntimeGone \/ Stop \/ SeeStopped
    \/ BeginDelete \/ LockToDelete \/ DeleteCgroup \/ DeleteState \/ Deleted \/ StopNetwork
    \/ StopResolver \/ Disown \/ TakePorts \/ RemoveTable \/ Disconnect \/ LetGo \/ Vanish \/ NetworkTaken \/ Clear \/ KillFrontEnd \/ KillRuntime
    \/ Sweep \/ Rest

(* Each of these is one process that does one thing after the other. *)
Fairness ==
    /\ WF_vars(FrontEndGoesOn) /\ WF_vars(RuntimeGoesOn) /\ WF_vars(ChildGoesOn) /\ WF_vars(DeleteGoesOn)
    /\ WF_vars(ResolverGoesOn) /\ WF_vars(Tick) /\ WF_vars(InitExits) /\ WF_vars(OtherExits)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
TypeOK == P!TypeOK /\ G!TypeOK /\ R!TypeOK /\ E!TypeOK /\ L!TypeOK /\ S!TypeOK

(* Nothing is made before the policy is verified and applied. *)
PolicyFirst == (runtime # "idle" \/ front # "idle" \/ act # "new") => phase = "applied"

(* The program runs with everything in force: policy, limits, rules; the rest is in Creation. *)
AllInForce ==
    program = "running" =>
        /\ phase = "applied" /\ caps \subseteq P!Keep
        /\ R!LimitsFirst
        /\ Bridge => link = "up" /\ covers = {"v4", "v6"} /\ table = "there"

(* The network outlives the container. *)
NetworkOutlives == (Bridge /\ program \in {"released", "running"}) => netns = "present"

(* When the front-end is done, nothing is left of any part. *)
NothingLeft ==
    road = "done" =>
        /\ record = "none" /\ group = "none" /\ R!Empty
        /\ netns = "none" /\ link = "none" /\ table = "none" /\ ports = "none"
        /\ there = {}

(* It ends, whoever is killed. *)
Ends == <>(road = "done")

(* A policy that is refused makes nothing. *)
RefusedMakesNothing == (phase \in {"refused", "failed"}) => record = "none" /\ netns = "none"

-----------------------------------------------------------------------------
(* The parts; IsResources and IsLifecycle are in Halves. Fairness is written out, as both checkers want it. *)

IsPolicy ==
    /\ P!Init
    /\ [][P!Next]_pvars
    /\ WF_pvars(P!Decide) /\ WF_pvars(\E pin \in BOOLEAN : P!Begin(pin)) /\ WF_pvars(P!Open) /\ WF_pvars(P!ReadHalf)
    /\ WF_pvars(P!ReadRest) /\ WF_pvars(P!Check) /\ WF_pvars(P!Parse) /\ WF_pvars(P!Apply)

IsFrontEnd ==
    /\ G!Init
    /\ [][G!Next]_gvars
    /\ WF_gvars(G!Decide) /\ WF_gvars(G!Prepare) /\ WF_gvars(G!Create) /\ WF_gvars(G!Start)
    /\ WF_gvars(G!FindEnded) /\ WF_gvars(G!End) /\ WF_gvars(G!Stop)
    /\ SF_gvars(G!SeeStopped) /\ SF_gvars(G!Delete) /\ SF_gvars(G!Clear) /\ WF_gvars(G!Sweep)

IsEgress ==
    /\ E!Init
    /\ [][E!Next]_evars
    /\ WF_evars(E!MakeNetns) /\ WF_evars(E!LoadRules) /\ WF_evars(E!Note) /\ WF_evars(E!MakeTable) /\ WF_evars(E!Claim)
    /\ WF_evars(E!List) /\ WF_evars(E!Connect) /\ WF_evars(E!Publish) /\ WF_evars(E!StartResolver) /\ WF_evars(E!Launch)
    /\ WF_evars(E!Refuse) /\ SF_evars(E!Recall) /\ SF_evars(E!Forward)
    /\ WF_evars(\E t \in {1, 2} : E!Answered(t)) /\ WF_evars(E!Load) /\ WF_evars(E!Tick) /\ WF_evars(E!TimeOut)
    /\ WF_evars(E!Stop) /\ WF_evars(E!StopResolver) /\ WF_evars(E!Disown) /\ WF_evars(E!TakePorts)
    /\ WF_evars(E!RemoveTable) /\ WF_evars(E!Disconnect) /\ WF_evars(E!LetGo) /\ WF_evars(E!SweepWorkload)
    /\ WF_evars(E!Vanish)

IsSandbox ==
    /\ S!Init
    /\ [][S!Next]_svars
    /\ WF_svars(S!MakeNetwork) /\ WF_svars(S!MakeFiles) /\ WF_svars(S!Start) /\ WF_svars(S!End) /\ WF_svars(S!Sweep)
    /\ SF_svars(S!TakeContainer) /\ SF_svars(S!TakeNetwork) /\ SF_svars(S!TakeFiles) /\ SF_svars(S!TakeDirectory)
=============================================================================
