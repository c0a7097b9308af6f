-------------------------------- MODULE Halves --------------------------------
(***************************************************************************
What System and Creation have in common: the variables of Resources and of
Lifecycle, for one `run` and one `delete --force`, and what it means that these
two parts are refined.  It is no spec by itself.
***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Versions,
    \* @type: Set(Bool);
    PidNamespaces,
    \* @type: Set(Str);
    Others,
    \* @type: Set(Str);
    Commands,
    \* @type: Set(Str);
    Asked,
    \* @type: Set(Str);
    AskedMeanwhile

VARIABLES
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
    dir,
    \* @type: Bool;
    recorded,
    \* @type: Str;
    fifo,
    \* @type: Str;
    proc,
    \* @type: Bool;
    told,
    \* @type: Bool;
    killed,
    \* @type: Bool;
    cgroup,
    \* @type: Bool;
    frozen,
    \* @type: Str;
    lock,
    \* @type: Str -> Str;
    op,
    \* @type: Str -> Seq(Str);
    todo,
    \* @type: Str -> Str;
    handle

rvars == <<version, pidns, runtime, record, group, place, program, deleter>>
lvars == <<dir, recorded, fifo, proc, told, killed, cgroup, frozen, lock, op, todo, handle>>

R == INSTANCE Resources
L == INSTANCE Lifecycle

(* Fairness is written out, as both checkers want it. *)

IsResources ==
    /\ R!Init
    /\ [][R!Next]_rvars
    /\ WF_rvars(R!Publish) /\ WF_rvars(R!Leave) /\ WF_rvars(R!MakeCgroup) /\ WF_rvars(R!WriteIntent)
    /\ WF_rvars(R!SetLimits) /\ WF_rvars(R!Clone) /\ WF_rvars(R!Reap) /\ WF_rvars(R!UndoProcesses)
    /\ SF_rvars(R!UndoCgroup) /\ WF_rvars(R!UndoGivesUp) /\ WF_rvars(R!UndoState)
    /\ WF_rvars(R!Join) /\ WF_rvars(R!Ready) /\ WF_rvars(R!Start) /\ WF_rvars(R!FollowRuntime)
    /\ \A q \in Others : SF_rvars(R!OtherExits(q) /\ (record # "full" \/ place[q] = "entering"))
    /\ WF_rvars(R!InitExits) /\ WF_rvars(R!BeginDelete)
    /\ SF_rvars(R!DeleteKills) /\ SF_rvars(R!DeleteCgroup) /\ WF_rvars(R!DeleteGivesUp) /\ SF_rvars(R!DeleteState)

IsLifecycle ==
    /\ L!Init
    /\ [][L!Next]_lvars
    /\ \A c \in Commands : WF_lvars(L!Step(c))
    /\ \A c \in Commands : SF_lvars(L!TakeLock(c))
    /\ WF_lvars(L!OrphanEnds) /\ WF_lvars(L!BecomeProgram) /\ WF_lvars(L!DieBySignal)
=============================================================================
