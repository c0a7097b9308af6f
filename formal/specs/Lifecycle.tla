------------------------------ MODULE Lifecycle ------------------------------
(****************************************************************************)
(* The life of one container id under commands that run at the same time    *)
(* and may be killed at any point.                                          *)
(*                                                                          *)
(* How to read it: `op` and `todo` are the commands at work, each with the  *)
(* list of acts that it still has to do; everything else is what lies on    *)
(* disk or in the kernel. Each action below is one act of one command, or   *)
(* something that the container's first process does by itself.             *)
(*                                                                          *)
(* Modelled: create, run, start, kill, delete, delete --force, exec, pause, *)
(* resume and update, by as many commands as the configuration names; the   *)
(* state directory and what happens when it is removed and made again under *)
(* a command that has opened the old one; its lock; the record of the first *)
(* process; the start FIFO under its two names; the control group and its   *)
(* freezer (version 1's, where even SIGKILL waits for the thaw); failure of *)
(* each act of a creation; SIGKILL of each command between any two acts;    *)
(* the end of the first process at any time.                                *)
(*                                                                          *)
(* Assumed: a file appears whole or not at all (rename), mkdir is atomic,   *)
(* the kernel drops a dead command's lock and kills the child of a dead     *)
(* creator (PR_SET_PDEATHSIG, or the end of its channel). A command that    *)
(* goes on asking for a lock which is free time and again gets it at last   *)
(* (strong fairness); the code gives up after 10 seconds and says so. Every *)
(* command that is not killed goes on (weak fairness). Nothing is assumed   *)
(* of the program: it may run for ever or end at any time.                  *)
(*                                                                          *)
(* Left out: run --keep, containers without a control group, damaged files, *)
(* hooks, further processes of exec (they end with the pid namespace or the *)
(* control group), reuse of process ids (the code compares start times).    *)
(*                                                                          *)
(* The code: Decide and Status are runtime/src/lifecycle.rs, compared with  *)
(* it state by state in formal/bindings/lifecycle.rs.                       *)
(* The @type annotations are for Apalache and not tested with it.           *)
(****************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Commands,
    \* What the first of them is asked to do. update, which changes nothing here, and the second ways of kill and exec
    \* are left out of the check, and are in the comparison with the code.
    \* @type: Set(Str);
    Asked,
    \* What the others are asked to do meanwhile.
    \* @type: Set(Str);
    AskedMeanwhile

VARIABLES
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

disk == <<dir, recorded, fifo, cgroup, frozen>>
process == <<proc, told, killed>>
vars == <<dir, recorded, fifo, proc, told, killed, cgroup, frozen, lock, op, todo, handle>>

Creators == {"create", "run"}
Unlocked == {"kill", "kill all", "exec", "exec in paused"}
Ops == Creators \union Unlocked \union {"start", "delete", "force", "pause", "resume", "update"}
AskedOf(c) == IF c = "c1" THEN Asked ELSE AskedMeanwhile
Alive == {"setup", "waiting", "program"}

(****************************************************************************)
(* The decisions.                                                           *)
(****************************************************************************)
\* What a command finds; `locked` is whether it holds the lock, for then nobody is creating the container.
Status(locked) ==
    IF ~recorded THEN (IF locked THEN "stopped" ELSE "creating")
    ELSE IF proc \notin Alive THEN "stopped"
    ELSE IF frozen THEN "paused"
    ELSE IF fifo = "start" THEN "created"
    ELSE "running"

Refused == <<"refused">>

Claimed == fifo = "starting"

TakeDown == <<"end", "free", "remove">>

\* The acts of an operation on a container that is found in status s.
Decide(o, s, claimed) ==
    CASE o = "start" -> IF s = "created" THEN <<"claim start", "tell", "forget">>
                        ELSE IF s = "running" /\ claimed THEN <<"tell", "forget">>
                        ELSE Refused
      [] o = "kill" -> IF s \in {"created", "running", "paused"} THEN <<"signal">> ELSE Refused
      [] o = "kill all" -> IF s # "creating" THEN <<"signal">> ELSE Refused
      [] o = "delete" -> IF s = "created" THEN TakeDown
                         ELSE IF s = "stopped" THEN Tail(TakeDown)
                         ELSE Refused
      [] o = "force" -> IF s = "stopped" THEN Tail(TakeDown) ELSE TakeDown
      [] o = "exec" -> IF s \in {"created", "running"} THEN <<"enter">> ELSE Refused
      [] o = "exec in paused" -> IF s \in {"created", "running", "paused"} THEN <<"enter">> ELSE Refused
      [] o = "pause" -> IF s \in {"created", "running"} THEN <<"freeze">> ELSE Refused
      [] o = "resume" -> IF s = "paused" THEN <<"thaw">> ELSE Refused
      [] OTHER -> IF s \in {"created", "running", "paused"} THEN <<"limit">> ELSE Refused

\* What follows when a creator has made the directory.
Creation(o) ==
    IF o = "create" THEN <<"open", "lock", "claim", "spawn", "record", "leave">>
    ELSE <<"open", "lock", "claim", "spawn", "record", "go", "await", "relock", "free", "remove">>

(****************************************************************************)
(* What a command does.                                                     *)
(****************************************************************************)
Next1(c) == IF todo[c] = <<>> THEN "nothing" ELSE Head(todo[c])
Advance(c) == todo' = [todo EXCEPT ![c] = Tail(@)]
Become_(c, acts) == todo' = [todo EXCEPT ![c] = acts]
Release(c) == lock' = IF lock = c THEN "free" ELSE lock
\* The command is over: by its own end or by a signal.
Over(c) == /\ op' = [op EXCEPT ![c] = "none"]
           /\ todo' = [todo EXCEPT ![c] = <<>>]
           /\ handle' = [handle EXCEPT ![c] = "none"]
           /\ Release(c)

Begin(c, o, acts, held) ==
    /\ op[c] = "none"
    /\ op' = [op EXCEPT ![c] = o]
    /\ todo' = [todo EXCEPT ![c] = acts]
    /\ handle' = [handle EXCEPT ![c] = held]

\* create and run begin with mkdir, of which only one can succeed.
MakeDirectory(c, o) ==
    /\ o \in Creators
    /\ dir = "none"
    /\ dir' = "empty"
    /\ Begin(c, o, Creation(o), "none")
    /\ UNCHANGED <<recorded, fifo, cgroup, frozen, process, lock>>

\* The other commands open it; where there is none, they are over before they begin.
OpenToLock(c, o) ==
    /\ o \notin Creators \union Unlocked
    /\ dir # "none"
    /\ Begin(c, o, <<"lock">>, "live")
    /\ UNCHANGED <<disk, process, lock>>

\* kill and exec look without the lock. What is refused is over before it begins.
Look(c, o) ==
    /\ o \in Unlocked
    /\ dir # "none"
    /\ Decide(o, Status(FALSE), Claimed) # Refused
    /\ Begin(c, o, Decide(o, Status(FALSE), Claimed), "live")
    /\ UNCHANGED <<disk, process, lock>>

Open(c) ==
    /\ Next1(c) = "open"
    /\ dir # "none"
    /\ handle' = [handle EXCEPT ![c] = "live"]
    /\ Advance(c)
    /\ UNCHANGED <<disk, process, lock, op>>

\* It was removed again already.
Missing(c) ==
    /\ Next1(c) = "open"
    /\ dir = "none"
    /\ Over(c)
    /\ UNCHANGED <<disk, process>>

\* What was opened has been removed meanwhile.
Gone(c) ==
    /\ Next1(c) \in {"lock", "relock"}
    /\ handle[c] = "stale"
    /\ Over(c)
    /\ UNCHANGED <<disk, process>>

LockToCreate(c) ==
    /\ Next1(c) = "lock"
    /\ op[c] \in Creators
    /\ handle[c] = "live"
    /\ lock = "free"
    /\ lock' = c
    /\ Advance(c)
    /\ UNCHANGED <<disk, process, op, handle>>

LockAndGo(c) ==
    /\ Next1(c) = "lock"
    /\ op[c] \notin Creators
    /\ handle[c] = "live"
    /\ lock = "free"
    /\ Decide(op[c], Status(TRUE), Claimed) # Refused
    /\ lock' = c
    /\ Become_(c, Decide(op[c], Status(TRUE), Claimed))
    /\ UNCHANGED <<disk, process, op, handle>>

LockAndRefuse(c) ==
    /\ Next1(c) = "lock"
    /\ op[c] \notin Creators
    /\ handle[c] = "live"
    /\ lock = "free"
    /\ Decide(op[c], Status(TRUE), Claimed) = Refused
    /\ Over(c)
    /\ UNCHANGED <<disk, process>>

\* The configuration gets its name, unless there is one: then another creation was quicker.
ClaimDirectory(c) ==
    /\ Next1(c) = "claim"
    /\ dir = "empty"
    /\ dir' = "filled"
    /\ Advance(c)
    /\ UNCHANGED <<recorded, fifo, cgroup, frozen, process, lock, op, handle>>

ClaimLost(c) ==
    /\ Next1(c) = "claim"
    /\ dir = "filled"
    /\ Over(c)
    /\ UNCHANGED <<disk, process>>

\* The control group, and clone3 into it.
Spawn(c) ==
    /\ Next1(c) = "spawn"
    /\ cgroup' = TRUE
    /\ proc' = "setup"
    /\ Advance(c)
    /\ UNCHANGED <<dir, recorded, fifo, frozen, told, killed, lock, op, handle>>

Record(c) ==
    /\ Next1(c) = "record"
    /\ proc = "setup"
    /\ recorded' = TRUE
    /\ fifo' = IF op[c] = "create" THEN "start" ELSE "none"
    /\ Advance(c)
    /\ UNCHANGED <<dir, cgroup, frozen, process, lock, op, handle>>

\* `create` leaves the child waiting for `start`.
Leave(c) ==
    /\ Next1(c) = "leave"
    /\ proc' = IF proc = "setup" THEN "waiting" ELSE proc
    /\ Over(c)
    /\ UNCHANGED <<disk, told, killed>>

\* `run` lets it go on to the program, and lets other commands at the container.
Go(c) ==
    /\ Next1(c) = "go"
    /\ proc' = IF proc = "setup" THEN "program" ELSE proc
    /\ Advance(c)
    /\ Release(c)
    /\ UNCHANGED <<disk, told, killed, op, handle>>

\* Any act of a creation may fail, and the child too: all of it is undone.
Fail(c) ==
    /\ op[c] \in Creators
    /\ Next1(c) \in {"spawn", "record", "leave", "go"}
    /\ Become_(c, TakeDown)
    /\ UNCHANGED <<disk, process, lock, op, handle>>

Await(c) ==
    /\ Next1(c) = "await"
    /\ handle[c] = "live" => proc = "dead"
    /\ Advance(c)
    /\ UNCHANGED <<disk, process, lock, op, handle>>

Relock(c) ==
    /\ Next1(c) = "relock"
    /\ handle[c] = "live"
    /\ lock = "free"
    /\ lock' = c
    /\ Advance(c)
    /\ UNCHANGED <<disk, process, op, handle>>

ClaimStart(c) ==
    /\ Next1(c) = "claim start"
    /\ fifo' = "starting"
    /\ Advance(c)
    /\ UNCHANGED <<dir, recorded, cgroup, frozen, process, lock, op, handle>>

Tell(c) ==
    /\ Next1(c) = "tell"
    /\ told' = (proc = "waiting")
    /\ Advance(c)
    /\ UNCHANGED <<disk, proc, killed, lock, op, handle>>

\* The answer is there: the child has become the program, or has ended.
Forget(c) ==
    /\ Next1(c) = "forget"
    /\ proc # "waiting"
    /\ fifo' = "none"
    /\ Over(c)
    /\ UNCHANGED <<dir, recorded, cgroup, frozen, process>>

\* A signal; the hardest one. What was opened before may be gone: the process descriptor finds nobody then.
Signal(c) ==
    /\ Next1(c) = "signal"
    /\ killed' = (killed \/ (handle[c] = "live" /\ proc \in Alive))
    /\ Over(c)
    /\ UNCHANGED <<disk, proc, told>>

\* A further process enters, and changes nothing of what is modelled here.
Enter(c) ==
    /\ Next1(c) = "enter"
    /\ Over(c)
    /\ UNCHANGED <<disk, process>>

Freeze(c) ==
    /\ Next1(c) = "freeze"
    /\ frozen' = TRUE
    /\ Over(c)
    /\ UNCHANGED <<dir, recorded, fifo, cgroup, process>>

Thaw(c) ==
    /\ Next1(c) = "thaw"
    /\ frozen' = FALSE
    /\ Over(c)
    /\ UNCHANGED <<dir, recorded, fifo, cgroup, process>>

\* Kills all, thaws, and waits for the end.
End(c) ==
    /\ Next1(c) = "end"
    /\ proc' = IF proc = "none" THEN "none" ELSE "dead"
    /\ killed' = FALSE
    /\ frozen' = FALSE
    /\ Advance(c)
    /\ UNCHANGED <<dir, recorded, fifo, cgroup, told, lock, op, handle>>

\* The kernel removes no control group that has a process.
Free(c) ==
    /\ Next1(c) = "free"
    /\ proc \notin Alive
    /\ cgroup' = FALSE
    /\ frozen' = FALSE
    /\ Advance(c)
    /\ UNCHANGED <<dir, recorded, fifo, process, lock, op, handle>>

Remove(c) ==
    /\ Next1(c) = "remove"
    /\ dir' = "none"
    /\ recorded' = FALSE
    /\ fifo' = "none"
    /\ proc' = IF proc \in Alive THEN proc ELSE "none"
    /\ told' = FALSE
    /\ killed' = FALSE
    /\ op' = [op EXCEPT ![c] = "none"]
    /\ todo' = [todo EXCEPT ![c] = <<>>]
    /\ handle' = [d \in Commands |-> IF d = c \/ handle[d] = "none" THEN "none" ELSE "stale"]
    /\ lock' = "free"
    /\ UNCHANGED <<cgroup, frozen>>

(****************************************************************************)
(* What nobody asks for.                                                    *)
(****************************************************************************)
\* SIGKILL of a command.
Crash(c) ==
    /\ op[c] # "none"
    /\ Over(c)
    /\ UNCHANGED <<disk, process>>

Tended == \E c \in Commands : Next1(c) \in {"record", "leave", "go", "end"} /\ op[c] \in Creators

\* The child of a creator that is gone.
OrphanEnds ==
    /\ proc = "setup"
    /\ ~Tended
    /\ proc' = "dead"
    /\ UNCHANGED <<disk, told, killed, lock, op, todo, handle>>

BecomeProgram ==
    /\ proc = "waiting"
    /\ told
    /\ ~frozen
    /\ proc' = "program"
    /\ UNCHANGED <<disk, told, killed, lock, op, todo, handle>>

\* The first process ends by itself, the program or a child that could not become it; or somebody outside ends it.
Exit ==
    /\ proc \in Alive
    /\ ~frozen
    /\ proc' = "dead"
    /\ UNCHANGED <<disk, told, killed, lock, op, todo, handle>>

DieBySignal ==
    /\ killed
    /\ proc \in Alive
    /\ ~frozen
    /\ proc' = "dead"
    /\ killed' = FALSE
    /\ UNCHANGED <<disk, told, lock, op, todo, handle>>

Init ==
    /\ dir = "none"
    /\ recorded = FALSE
    /\ fifo = "none"
    /\ proc = "none"
    /\ told = FALSE
    /\ killed = FALSE
    /\ cgroup = FALSE
    /\ frozen = FALSE
    /\ lock = "free"
    /\ op = [c \in Commands |-> "none"]
    /\ todo = [c \in Commands |-> <<>>]
    /\ handle = [c \in Commands |-> "none"]

Next ==
    \/ \E c \in Commands : \E o \in AskedOf(c) : MakeDirectory(c, o)
    \/ \E c \in Commands : \E o \in AskedOf(c) : OpenToLock(c, o)
    \/ \E c \in Commands : \E o \in AskedOf(c) : Look(c, o)
    \/ \E c \in Commands : Open(c)
    \/ \E c \in Commands : Missing(c)
    \/ \E c \in Commands : Gone(c)
    \/ \E c \in Commands : LockToCreate(c)
    \/ \E c \in Commands : LockAndGo(c)
    \/ \E c \in Commands : LockAndRefuse(c)
    \/ \E c \in Commands : ClaimDirectory(c)
    \/ \E c \in Commands : ClaimLost(c)
    \/ \E c \in Commands : Spawn(c)
    \/ \E c \in Commands : Record(c)
    \/ \E c \in Commands : Leave(c)
    \/ \E c \in Commands : Go(c)
    \/ \E c \in Commands : Fail(c)
    \/ \E c \in Commands : Await(c)
    \/ \E c \in Commands : Relock(c)
    \/ \E c \in Commands : ClaimStart(c)
    \/ \E c \in Commands : Tell(c)
    \/ \E c \in Commands : Forget(c)
    \/ \E c \in Commands : Signal(c)
    \/ \E c \in Commands : Enter(c)
    \/ \E c \in Commands : Freeze(c)
    \/ \E c \in Commands : Thaw(c)
    \/ \E c \in Commands : End(c)
    \/ \E c \in Commands : Free(c)
    \/ \E c \in Commands : Remove(c)
    \/ \E c \in Commands : Crash(c)
    \/ OrphanEnds
    \/ BecomeProgram
    \/ Exit
    \/ DieBySignal

\* A command that could go on without anybody's help does.
Step(c) ==
    \/ Open(c) \/ Missing(c) \/ Gone(c) \/ ClaimDirectory(c) \/ ClaimLost(c)
    \/ Spawn(c) \/ Record(c) \/ Leave(c) \/ Go(c) \/ Fail(c) \/ Await(c)
    \/ ClaimStart(c) \/ Tell(c) \/ Forget(c) \/ Signal(c) \/ Enter(c) \/ Freeze(c) \/ Thaw(c)
    \/ End(c) \/ Free(c) \/ Remove(c)

TakeLock(c) == LockToCreate(c) \/ LockAndGo(c) \/ LockAndRefuse(c) \/ Relock(c)

Fairness ==
    /\ \A c \in Commands : WF_vars(
           \/ Open(c) \/ Missing(c) \/ Gone(c) \/ ClaimDirectory(c) \/ ClaimLost(c)
           \/ Spawn(c) \/ Record(c) \/ Leave(c) \/ Go(c) \/ Fail(c) \/ Await(c)
           \/ ClaimStart(c) \/ Tell(c) \/ Forget(c) \/ Signal(c) \/ Enter(c) \/ Freeze(c) \/ Thaw(c)
           \/ End(c) \/ Free(c) \/ Remove(c))
    /\ \A c \in Commands : SF_vars(LockToCreate(c) \/ LockAndGo(c) \/ LockAndRefuse(c) \/ Relock(c))
    /\ WF_vars(OrphanEnds)
    /\ WF_vars(BecomeProgram)
    /\ WF_vars(DieBySignal)

Spec == Init /\ [][Next]_vars /\ Fairness

(****************************************************************************)
(* What must hold.                                                          *)
(****************************************************************************)
TypeOK ==
    /\ dir \in {"none", "empty", "filled"}
    /\ recorded \in BOOLEAN
    /\ fifo \in {"none", "start", "starting"}
    /\ proc \in {"none", "dead"} \union Alive
    /\ told \in BOOLEAN
    /\ killed \in BOOLEAN
    /\ cgroup \in BOOLEAN
    /\ frozen \in BOOLEAN
    /\ lock \in Commands \union {"free"}
    /\ \A c \in Commands : op[c] \in Ops \union {"none"}
    /\ \A c \in Commands : Len(todo[c]) <= 12
    /\ \A c \in Commands : handle[c] \in {"none", "live", "stale"}

\* No creation ever fills the directory of another: when it makes the process, nothing of a container is there.
OneCreator ==
    \A c \in Commands : Next1(c) = "spawn" => (~recorded /\ proc = "none" /\ ~cgroup)

\* Who changes the container holds its lock.
ChangesUnderLock ==
    \A c \in Commands :
        Next1(c) \in {"claim", "spawn", "record", "leave", "go", "claim start", "tell", "forget",
                      "freeze", "thaw", "limit", "end", "free", "remove"} => lock = c

\* A command never works on a directory that was removed under it.
NeverStale ==
    \A c \in Commands : lock = c => handle[c] = "live"

\* Whatever is left can be found: without a state directory there is no process and no control group.
NothingLost == dir = "none" => (proc = "none" /\ ~cgroup)

\* A program runs only in a container that every command can find.
ProgramIsRecorded == proc \in {"waiting", "program"} => recorded

\* delete without --force never ends a program.
DeleteSparesPrograms ==
    \A c \in Commands : (op[c] = "delete" /\ Next1(c) = "end") => proc # "program"

\* delete --force is never refused.
ForceIsNeverRefused ==
    \A c \in Commands :
        (op[c] = "force" /\ Next1(c) = "lock") => Decide("force", Status(TRUE), Claimed) # Refused

\* The program starts by a byte of `start`, or by `run` itself; nothing starts a second time.
StartsOnce ==
    [][(proc' = "program" /\ proc # "program") =>
          \/ proc = "waiting" /\ told
          \/ \E c \in Commands : op[c] = "run" /\ Next1(c) = "go" /\ proc = "setup"]_vars

\* What has stopped stays stopped until it is removed.
StoppedIsFinal ==
    [][(recorded /\ proc = "dead") => (proc' = "dead" \/ dir' = "none")]_vars

\* Every command ends, except that run waits for its program; nobody waits for a program to give a lock back.
CommandsEnd ==
    \A c \in Commands : (op[c] \notin {"none", "run"}) ~> (op[c] \in {"none", "run"})

\* A creator that was killed leaves no process.
OrphansEnd == (proc = "setup" /\ ~Tended) ~> (proc # "setup")

\* A killed process ends, unless it is frozen.
KilledEnds == killed ~> (~killed \/ frozen \/ proc \notin Alive)
=============================================================================
