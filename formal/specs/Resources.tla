----------------------------- MODULE Resources -----------------------------
(***************************************************************************
What a container costs the host, and that all of it comes back.

One container is created, runs and is deleted.  The runtime first writes a
record of what it is going to make (the state directory), then makes the
control group, sets its limits, clones the first process, and at last
publishes the complete record.  Whatever fails is undone in reverse: the
processes, the control group, the record.  `delete --force` does the same to
what another command, or a killed one, has left.

HOW TO READ IT.  `runtime`, `program` and `deleter` say how far the runtime, the
first process and `delete --force` are; `record`, `group` and `place` what there
is of the container: its state directory, its control group, and where each
process is.  Each action below is one step of one of the three, something that
a process of the workload does, or a SIGKILL.

WHAT IS MODELLED.  Both ways into a control group: cgroup2 clones the process
into it, version 1 lets the single-threaded child write itself into `tasks`.
Containers with and without a pid namespace of their own (without one, the
death of the first process does not end the others).  Hooks and the workload
fork, the workload moves processes into groups below its own, `exec` brings
in another process without taking the lock, and a process ends when it likes.
Every step of the runtime can fail, SIGKILL can hit the runtime and the
deleting command between any two steps, and `delete` can run into processes
that are still there and give up with an error.

WHAT IS ASSUMED.  The kernel: a child is born in the group of its parent; a
group with a process in it cannot be removed; `cgroup.kill`, or freeze, list,
kill, thaw on version 1, hits all processes of the group and of those below.
The workload cannot write to groups outside of its own (its cgroup file system
is read-only or begins at its own group).  Fairness: the runtime goes on unless
it is killed; a process in set-up that has lost its runtime sees that and ends;
processes of hooks end at last; somebody deletes the container at last, and
SIGKILL does not hit `delete` at the very same step for ever.

WHAT IS LEFT OUT.  The values of limits, parents of the group, network devices
and intelRdt (undone on the same road, in the same order), several containers,
and the files of the state directory one by one (spec Lifecycle).

THE CODE.  runtime/src/create.rs (creation and its undoing), spawn.rs (which takes
cgroup::Entered: only what has set every limit makes one, so that the order of
SetLimits and Clone is one of types and not of a comparison),
cgroup/create.rs, cgroup/kill.rs, cgroup/record.rs (`intended`: a record that
was written before anything was made, through which nothing is ever killed),
container.rs, run.rs (the foreground), lifecycle.rs (TAKE_DOWN: the order of
taking back, as data; formal/bindings/lifecycle.rs holds it against this spec).
***************************************************************************)
EXTENDS Naturals

CONSTANTS
    \* @type: Set(Str);
    Versions,       \* of control groups: "v1", "v2"
    \* @type: Set(Bool);
    PidNamespaces,  \* whether the container has a pid namespace of its own
    \* @type: Set(Str);
    Others          \* names for the processes beside the first one

VARIABLES
    \* @type: Str;
    version,
    \* @type: Bool;
    pidns,
    \* @type: Str;
    runtime,        \* how far `create` or `run` is; "killing", "removing", "forgetting" are its way back
    \* @type: Str;
    record,         \* the state directory: "empty", with the "intent" alone, or "full", with the first process
    \* @type: Str;
    group,          \* the control group: "none", "made" without limits, or "limited"
    \* @type: Str -> Str;
    place,          \* where each process is: "entering" its group, "inside" it, or in one "below"
    \* @type: Str;
    program,        \* how far the first process is
    \* @type: Str;
    deleter         \* how far `delete --force` is

vars == <<version, pidns, runtime, record, group, place, program, deleter>>

Processes == {"init"} \cup Others

Runtime == {"idle", "recording", "recorded", "made", "limited", "forked", "published", "foreground",
            "killing", "removing", "forgetting", "left", "dead"}

TypeOK ==
    /\ version \in Versions
    /\ pidns \in PidNamespaces
    /\ runtime \in Runtime
    /\ record \in {"none", "empty", "intent", "full"}
    /\ group \in {"none", "made", "limited"}
    /\ place \in [Processes -> {"none", "entering", "inside", "below"}]
    /\ program \in {"none", "setup", "ready", "released", "running"}
    /\ deleter \in {"idle", "killing", "removing", "forgetting"}

Init ==
    /\ version \in Versions
    /\ pidns \in PidNamespaces
    /\ runtime = "idle"
    /\ record = "none"
    /\ group = "none"
    /\ place = [p \in Processes |-> "none"]
    /\ program = "none"
    /\ deleter = "idle"

Alive(p) == place[p] # "none"
Within(p) == place[p] \in {"inside", "below"}
Empty == \A p \in Processes : ~Within(p)

(* The death of the first process; the kernel ends the rest of its pid namespace. *)
InitKilled == [p \in Processes |-> IF p = "init" \/ pidns THEN "none" ELSE place[p]]
(* `end`: first the first process, then all that are found in the group. *)
EndKilled == [p \in Processes |-> IF p = "init" \/ pidns \/ Within(p) THEN "none" ELSE place[p]]

-----------------------------------------------------------------------------
(* The runtime makes. *)

MakeState ==
    /\ runtime = "idle"
    /\ runtime' = "recording"
    /\ record' = "empty"
    /\ UNCHANGED <<version, pidns, group, place, program, deleter>>

WriteIntent ==
    /\ runtime = "recording"
    /\ runtime' = "recorded"
    /\ record' = "intent"
    /\ UNCHANGED <<version, pidns, group, place, program, deleter>>

MakeCgroup ==
    /\ runtime = "recorded"
    /\ runtime' = "made"
    /\ group' = "made"
    /\ UNCHANGED <<version, pidns, record, place, program, deleter>>

SetLimits ==
    /\ runtime = "made"
    /\ runtime' = "limited"
    /\ group' = "limited"
    /\ UNCHANGED <<version, pidns, record, place, program, deleter>>

Clone ==
    /\ runtime = "limited"
    /\ runtime' = "forked"
    /\ program' = "setup"
    /\ place' = [place EXCEPT !["init"] = IF version = "v2" THEN "inside" ELSE "entering"]
    /\ UNCHANGED <<version, pidns, record, group, deleter>>

Publish ==
    /\ runtime = "forked"
    /\ program = "ready"
    /\ runtime' = "published"
    /\ record' = "full"
    /\ UNCHANGED <<version, pidns, group, place, program, deleter>>

(* `create`: the first process waits for `start` from now on. *)
Leave ==
    /\ runtime = "published"
    /\ program \in {"ready", "none"}
    /\ runtime' = "left"
    /\ program' = IF program = "ready" THEN "released" ELSE program
    /\ UNCHANGED <<version, pidns, record, group, place, deleter>>

(* `run`: it goes on at once. *)
Follow ==
    /\ runtime = "published"
    /\ program = "ready"
    /\ runtime' = "foreground"
    /\ program' = "released"
    /\ UNCHANGED <<version, pidns, record, group, place, deleter>>

(* `run --detach`. *)
Detach ==
    /\ runtime = "foreground"
    /\ program = "running"
    /\ runtime' = "left"
    /\ UNCHANGED <<version, pidns, record, group, place, program, deleter>>

(* `run` has seen the end of the program. *)
Reap ==
    /\ runtime = "foreground"
    /\ program = "none"
    /\ runtime' = "killing"
    /\ UNCHANGED <<version, pidns, record, group, place, program, deleter>>

-----------------------------------------------------------------------------
(* The runtime takes back, after any failure and at the end of `run`. *)

Fail ==
    /\ runtime \in {"recording", "recorded", "made", "limited", "forked", "published"}
    /\ runtime' = "killing"
    /\ UNCHANGED <<version, pidns, record, group, place, program, deleter>>

(* It knows what it has made, whatever the record says. *)
UndoProcesses ==
    /\ runtime = "killing"
    /\ runtime' = "removing"
    /\ place' = EndKilled
    /\ program' = "none"
    /\ UNCHANGED <<version, pidns, record, group, deleter>>

UndoCgroup ==
    /\ runtime = "removing"
    /\ Empty
    /\ runtime' = "forgetting"
    /\ group' = "none"
    /\ UNCHANGED <<version, pidns, record, place, program, deleter>>

(* Somebody has come in meanwhile: the record stays, for `delete`. *)
UndoGivesUp ==
    /\ runtime = "removing"
    /\ ~Empty
    /\ runtime' = "left"
    /\ UNCHANGED <<version, pidns, record, group, place, program, deleter>>

UndoState ==
    /\ runtime = "forgetting"
    /\ runtime' = "left"
    /\ record' = "none"
    /\ UNCHANGED <<version, pidns, group, place, program, deleter>>

-----------------------------------------------------------------------------
(* The first process. *)

Join ==
    /\ program = "setup"
    /\ place["init"] = "entering"
    /\ group # "none"
    /\ place' = [place EXCEPT !["init"] = "inside"]
    /\ UNCHANGED <<version, pidns, runtime, record, group, program, deleter>>

Ready ==
    /\ program = "setup"
    /\ Within("init")
    /\ program' = "ready"
    /\ UNCHANGED <<version, pidns, runtime, record, group, place, deleter>>

Start ==
    /\ program = "released"
    /\ program' = "running"
    /\ UNCHANGED <<version, pidns, runtime, record, group, place, deleter>>

(* It sees the end of its runtime: by the signal that it asked for, or by the end of the channel. *)
FollowRuntime ==
    /\ runtime = "dead"
    /\ program \in {"setup", "ready"}
    /\ place' = InitKilled
    /\ program' = "none"
    /\ UNCHANGED <<version, pidns, runtime, record, group, deleter>>

-----------------------------------------------------------------------------
(* The workload, and the operator's hooks before it. *)

Fork(p, q) ==
    /\ program \in {"setup", "running"}
    /\ Within(p)
    /\ ~Alive(q)
    /\ q # "init"
    /\ place' = [place EXCEPT ![q] = place[p]]
    /\ UNCHANGED <<version, pidns, runtime, record, group, program, deleter>>

MoveBelow(p) ==
    /\ program = "running"
    /\ place[p] = "inside"
    /\ place' = [place EXCEPT ![p] = "below"]
    /\ UNCHANGED <<version, pidns, runtime, record, group, program, deleter>>

InitExits ==
    /\ program = "running"
    /\ place' = InitKilled
    /\ program' = "none"
    /\ UNCHANGED <<version, pidns, runtime, record, group, deleter>>

OtherExits(p) ==
    /\ p # "init"
    /\ Alive(p)
    /\ place' = [place EXCEPT ![p] = "none"]
    /\ UNCHANGED <<version, pidns, runtime, record, group, program, deleter>>

(* `exec` looks at the container without its lock. *)
Exec(q) ==
    /\ program = "running"
    /\ record = "full"
    /\ q # "init"
    /\ ~Alive(q)
    /\ place' = [place EXCEPT ![q] = IF version = "v2" THEN "inside" ELSE "entering"]
    /\ UNCHANGED <<version, pidns, runtime, record, group, program, deleter>>

ExecJoin(q) ==
    /\ q # "init"
    /\ place[q] = "entering"
    /\ group # "none"
    /\ place' = [place EXCEPT ![q] = "inside"]
    /\ UNCHANGED <<version, pidns, runtime, record, group, program, deleter>>

-----------------------------------------------------------------------------
(* `delete --force`. It needs the lock, which goes with the process that holds it. *)

BeginDelete ==
    /\ deleter = "idle"
    /\ record # "none"
    /\ runtime \in {"left", "dead"}
    /\ deleter' = "killing"
    /\ UNCHANGED <<version, pidns, runtime, record, group, place, program>>

(* Through a record that was written before anything was made nobody is killed: the group may be another's. *)
DeleteKills ==
    /\ deleter = "killing"
    /\ deleter' = "removing"
    /\ place' = IF record = "full" THEN EndKilled ELSE place
    /\ program' = IF record = "full" THEN "none" ELSE program
    /\ UNCHANGED <<version, pidns, runtime, record, group>>

DeleteCgroup ==
    /\ deleter = "removing"
    /\ Empty
    /\ deleter' = "forgetting"
    /\ group' = "none"
    /\ UNCHANGED <<version, pidns, runtime, record, place, program>>

(* An error: the record stays, so that it can be repeated. *)
DeleteGivesUp ==
    /\ deleter = "removing"
    /\ ~Empty
    /\ deleter' = "idle"
    /\ UNCHANGED <<version, pidns, runtime, record, group, place, program>>

DeleteState ==
    /\ deleter = "forgetting"
    /\ deleter' = "idle"
    /\ record' = "none"
    /\ UNCHANGED <<version, pidns, runtime, group, place, program>>

-----------------------------------------------------------------------------
(* SIGKILL. *)

KillRuntime ==
    /\ runtime \notin {"idle", "left", "dead"}
    /\ runtime' = "dead"
    /\ UNCHANGED <<version, pidns, record, group, place, program, deleter>>

KillDeleter ==
    /\ deleter # "idle"
    /\ deleter' = "idle"
    /\ UNCHANGED <<version, pidns, runtime, record, group, place, program>>

(* All is over. *)
Over == runtime \in {"left", "dead"} /\ record = "none" /\ program = "none" /\ \A p \in Processes : ~Alive(p)

Rest ==
    /\ Over
    /\ UNCHANGED vars

-----------------------------------------------------------------------------
Next ==
    \/ MakeState \/ WriteIntent \/ MakeCgroup \/ SetLimits \/ Clone \/ Publish
    \/ Leave \/ Follow \/ Detach \/ Reap
    \/ Fail \/ UndoProcesses \/ UndoCgroup \/ UndoGivesUp \/ UndoState
    \/ Join \/ Ready \/ Start \/ FollowRuntime \/ InitExits
    \/ \E p \in Processes : MoveBelow(p)
    \/ \E p \in Processes : OtherExits(p)
    \/ \E p \in Processes : \E q \in Processes : Fork(p, q)
    \/ \E q \in Processes : Exec(q)
    \/ \E q \in Processes : ExecJoin(q)
    \/ BeginDelete \/ DeleteKills \/ DeleteCgroup \/ DeleteGivesUp \/ DeleteState
    \/ KillRuntime \/ KillDeleter
    \/ Rest

(* The runtime and the first process go on; foreground `run` need not detach, a program need not end. *)
RuntimeGoesOn ==
    /\ WF_vars(Publish) /\ WF_vars(Leave)
    /\ WF_vars(MakeCgroup) /\ WF_vars(WriteIntent) /\ WF_vars(SetLimits) /\ WF_vars(Clone)
    /\ WF_vars(Reap)
    /\ WF_vars(UndoProcesses) /\ SF_vars(UndoCgroup) /\ WF_vars(UndoGivesUp) /\ WF_vars(UndoState)

ChildGoesOn == WF_vars(Join) /\ WF_vars(Ready) /\ WF_vars(Start) /\ WF_vars(FollowRuntime)

(* Processes of hooks end at last, and so does who is only on its way in; the workload's own need not. *)
OthersEnd == \A p \in Processes : SF_vars(OtherExits(p) /\ (record # "full" \/ place[p] = "entering"))

(* Somebody ends a container that runs in the foreground, and deletes one that does not. *)
SomebodyDeletes ==
    /\ WF_vars(InitExits)
    /\ WF_vars(BeginDelete)
    /\ SF_vars(DeleteKills) /\ SF_vars(DeleteCgroup) /\ WF_vars(DeleteGivesUp) /\ SF_vars(DeleteState)

Fairness == RuntimeGoesOn /\ ChildGoesOn /\ OthersEnd /\ SomebodyDeletes

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* Limits are in force, and the first process is inside, before the workload's first instruction. *)
LimitsFirst == program = "running" => group = "limited" /\ Within("init")

(* No group is entered before its limits are set. *)
NoUnlimitedMember == ~Empty => group = "limited"

(* Nothing that the workload or a hook has forked is outside; only who is on its way in, still under the runtime's
   own code, may be. *)
NothingEscapes ==
    \A p \in Processes : place[p] = "entering" =>
        /\ version = "v1"
        /\ p = "init" => program \in {"setup", "none"}

(* What is there can be found: the record is written before anything is made and goes last. *)
NothingLost == (group # "none" \/ (Alive("init") /\ runtime # "dead")) => record # "none"

(* A record that says that all is there is right. *)
RecordIsTrue == (record = "full" /\ program # "none") => group = "limited"

(* A creation that has failed leaves nothing behind; only who comes in through `exec` can keep the end of `run`. *)
FailureLeavesNothing == (runtime = "left" /\ record # "none") => record = "full"

(* Only what was recorded in full is started. *)
RecordedFirst == program \in {"released", "running"} => record = "full"

Gone == record = "none" /\ group = "none" /\ \A p \in Processes : ~Alive(p)

(* Everything is freed at last, wherever SIGKILL has hit. *)
FreedAtLast == <>[]Gone

(* Once a deletion has removed the group, no process is left in a later state, and the group does not come back. *)
StaysFreed == [](record = "none" /\ runtime \in {"left", "dead"} => [](group = "none" /\ record = "none"))

(* A child that has lost its runtime before it was recorded does not linger. *)
OrphansEnd == (runtime = "dead" /\ program \in {"setup", "ready"}) ~> (program = "none")
=============================================================================
