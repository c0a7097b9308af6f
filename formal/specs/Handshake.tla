------------------------------ MODULE Handshake ------------------------------
(****************************************************************************)
(* How the runtime (parent) and the container's first process (child) talk  *)
(* while a container is made.                                               *)
(*                                                                          *)
(* How to read it: the child works through `script`, a list of messages to  *)
(* send and to wait for; the parent answers what it hears, and keeps in     *)
(* `owed` what may still come. Each action is one message, one piece of the *)
(* parent's own work, or a failure.                                         *)
(*                                                                          *)
(* Modelled: every mixture of proceed, terminal, runtime hooks, a seccomp   *)
(* listener and a caller at --block-fd, for `create` (where the byte of     *)
(* `start` comes through a FIFO, and the answer through another) and `run`; *)
(* failure of the child with a word and without one, between any two steps; *)
(* a child that sends a message that does not belong there; failure and     *)
(* SIGKILL of the parent at any point; a caller that gives up, or never     *)
(* answers; and a further process that `exec` makes in a container, which   *)
(* is not recorded.                                                         *)
(*                                                                          *)
(* Assumed: the socket keeps the order of the messages and loses none; the  *)
(* end of a process closes its end, which is read after all that it sent    *)
(* ("closed"); exec closes the child's end. Parent, child and `start` go on *)
(* when they can (weak fairness); nothing is assumed of the caller.         *)
(*                                                                          *)
(* Left out: what the steps do (Isolation, Filesystem), PR_SET_PDEATHSIG,   *)
(* which ends an orphan sooner, and the text of a failure.                  *)
(*                                                                          *)
(* The code: Reply and After are `hear` in runtime/src/protocol.rs, which   *)
(* create, run and exec ask; compared with it state by state in             *)
(* formal/bindings/protocol.rs; the messages of real runs, killed before    *)
(* each of them, in formal/tests/traces/handshake.rs. The @type annotations *)
(* are for Apalache and not tested with it.                                 *)
(****************************************************************************)
EXTENDS Naturals, Sequences

CONSTANTS
    \* "create", "run" and "exec".
    \* @type: Set(Str);
    Verbs

VARIABLES
    \* What was asked for.
    \* @type: { mode: Str, proceed: Bool, terminal: Bool, hooks: Bool, listener: Bool, block: Bool };
    wanted,
    \* The parent: "idle" (no child yet), "proceed", "setup", "ready", "recorded", "started", "done", "failed", "dead".
    \* @type: Str;
    parent,
    \* What the parent may still hear before the child is ready.
    \* @type: { terminal: Bool, hooks: Bool, listener: Bool };
    owed,
    \* What the child still has to do.
    \* @type: Seq(Str);
    script,
    \* The child: "none", "alive", "program", "dead".
    \* @type: Str;
    child,
    \* Messages on their way.
    \* @type: Seq(Str);
    toChild,
    \* @type: Seq(Str);
    toParent,
    \* The parent's work that is done: "maps", "hooks", "listener", "record".
    \* @type: Set(Str);
    work,
    \* What the caller of create or run was told: "nothing", "ok", "failed".
    \* @type: Str;
    answer,
    \* `start`: "none", "byte" (written), "ok", "failed".
    \* @type: Str;
    starter,
    \* The FIFO of its answer: "open", "failed" (a word of the child), "closed".
    \* @type: Str;
    result,
    \* How the child has failed: "no", "word" (it has said why), "silent".
    \* @type: Str;
    fault

vars == <<wanted, parent, owed, script, child, toChild, toParent, work, answer, starter, result, fault>>
parentVars == <<parent, owed, work, answer>>
startVars == <<starter, result>>

FromChild == {"mounted", "terminal", "listener", "ready", "failed", "closed"}

(****************************************************************************)
(* The parent's decisions.                                                  *)
(****************************************************************************)
\* What the parent does when it hears m.
Reply(s, o, m) ==
    CASE m = "failed" -> "report"
      [] m = "closed" -> IF s = "started" THEN "executed" ELSE "died"
      [] s = "started" -> "unexpected"
      [] m = "mounted" -> IF o.hooks THEN "run hooks" ELSE "unexpected"
      [] m = "terminal" -> IF o.terminal THEN "keep terminal" ELSE "unexpected"
      [] m = "listener" -> IF o.listener THEN "pass listener" ELSE "unexpected"
      [] OTHER -> IF o.hooks \/ o.terminal \/ o.listener THEN "unexpected" ELSE "go on"

\* What is owed after it.
After(o, m) ==
    CASE m = "mounted" -> [o EXCEPT !.hooks = FALSE]
      [] m = "terminal" -> [o EXCEPT !.terminal = FALSE]
      [] m = "listener" -> [o EXCEPT !.listener = FALSE]
      [] OTHER -> o

(****************************************************************************)
(* The child.                                                               *)
(****************************************************************************)
If(condition, steps) == IF condition THEN steps ELSE <<>>

Script(a) ==
    If(a.proceed, <<"await proceed">>)
    \o If(a.terminal, <<"terminal">>)
    \o If(a.hooks, <<"mounted", "await hooks">>)
    \o If(a.listener, <<"listener", "await listener">>)
    \o <<"ready", "await start">>
    \o If(a.mode = "create", <<"await byte">>)
    \o <<"exec">>

Waits == [ w \in {"await proceed", "await hooks", "await listener", "await start"} |->
             CASE w = "await proceed" -> "proceed"
               [] w = "await hooks" -> "hooks done"
               [] w = "await listener" -> "listener sent"
               [] OTHER -> "start" ]

Sends ==
    /\ child = "alive"
    /\ Head(script) \in FromChild
    /\ toParent' = Append(toParent, Head(script))
    /\ script' = Tail(script)
    /\ UNCHANGED <<wanted, parentVars, child, toChild, startVars, fault>>

Hears ==
    /\ child = "alive"
    /\ Head(script) \in DOMAIN Waits
    /\ toChild # <<>>
    /\ Head(toChild) = Waits[Head(script)]
    /\ toChild' = Tail(toChild)
    /\ script' = Tail(script)
    /\ UNCHANGED <<wanted, parentVars, child, toParent, startVars, fault>>

Past(step) == \A i \in 1..Len(script) : script[i] # step

\* When `create` has stopped listening, the FIFO of `start` gets the word.
PastCreate == wanted.mode = "create" /\ Past("ready")

\* It waits for a parent that is gone: the end of file ends it.
HearsTheEnd ==
    /\ child = "alive"
    /\ Head(script) \in DOMAIN Waits
    /\ toChild = <<>>
    /\ parent \in {"failed", "dead"}
    /\ child' = "dead"
    /\ result' = IF PastCreate THEN "failed" ELSE "closed"
    /\ UNCHANGED <<wanted, parentVars, script, toChild, toParent, starter, fault>>

HearsByte ==
    /\ child = "alive"
    /\ Head(script) = "await byte"
    /\ starter = "byte"
    /\ script' = Tail(script)
    /\ UNCHANGED <<wanted, parentVars, child, toChild, toParent, startVars, fault>>

Execs ==
    /\ child = "alive"
    /\ script = <<"exec">>
    /\ child' = "program"
    /\ toParent' = Append(toParent, "closed")
    /\ result' = "closed"
    /\ UNCHANGED <<wanted, parentVars, script, toChild, starter, fault>>

Fails ==
    /\ child = "alive"
    /\ child' = "dead"
    /\ fault' = "word"
    /\ toParent' = toParent \o (IF PastCreate THEN <<"closed">> ELSE <<"failed", "closed">>)
    /\ result' = IF PastCreate THEN "failed" ELSE "closed"
    /\ UNCHANGED <<wanted, parentVars, script, toChild, starter>>

Dies ==
    /\ child = "alive"
    /\ child' = "dead"
    /\ fault' = "silent"
    /\ toParent' = Append(toParent, "closed")
    /\ result' = "closed"
    /\ UNCHANGED <<wanted, parentVars, script, toChild, starter>>

\* A message that may not belong here; then it ends.
Babbles(m) ==
    /\ child = "alive"
    /\ child' = "dead"
    /\ fault' = "silent"
    /\ toParent' = Append(Append(toParent, m), "closed")
    /\ result' = "closed"
    /\ UNCHANGED <<wanted, parentVars, script, toChild, starter>>

(****************************************************************************)
(* The parent.                                                              *)
(****************************************************************************)
Listens == parent \in {"setup", "started"} /\ toParent # <<>>

Clones ==
    /\ parent = "idle"
    /\ parent' = IF wanted.proceed THEN "proceed" ELSE "setup"
    /\ child' = "alive"
    /\ UNCHANGED <<wanted, owed, script, toChild, toParent, work, answer, startVars, fault>>

Proceeds ==
    /\ parent = "proceed"
    /\ parent' = "setup"
    /\ work' = work \union {"maps"}
    /\ toChild' = Append(toChild, "proceed")
    /\ UNCHANGED <<wanted, owed, script, child, toParent, answer, startVars, fault>>

Answers(reply) ==
    /\ Listens
    /\ Reply(parent, owed, Head(toParent)) = reply
    /\ owed' = After(owed, Head(toParent))
    /\ toParent' = Tail(toParent)

RunsHooks ==
    /\ Answers("run hooks")
    /\ work' = work \union {"hooks"}
    /\ toChild' = Append(toChild, "hooks done")
    /\ UNCHANGED <<wanted, parent, script, child, answer, startVars, fault>>

KeepsTerminal ==
    /\ Answers("keep terminal")
    /\ UNCHANGED <<wanted, parent, script, child, toChild, work, answer, startVars, fault>>

PassesListener ==
    /\ Answers("pass listener")
    /\ work' = work \union {"listener"}
    /\ toChild' = Append(toChild, "listener sent")
    /\ UNCHANGED <<wanted, parent, script, child, answer, startVars, fault>>

GoesOn ==
    /\ Answers("go on")
    /\ parent' = "ready"
    /\ UNCHANGED <<wanted, script, child, toChild, work, answer, startVars, fault>>

\* In `run` and `exec`: the child has become the program, or has ended without a word, which its exit status tells.
SeesExec ==
    /\ Answers("executed")
    /\ parent' = "done"
    /\ answer' = "ok"
    /\ UNCHANGED <<wanted, script, child, toChild, work, startVars, fault>>

\* Ends the child and says why.
GivesUp == /\ parent' = "failed"
           /\ answer' = "failed"
           /\ child' = IF child = "alive" THEN "dead" ELSE child

Reports ==
    /\ Answers("report")
    /\ GivesUp
    /\ UNCHANGED <<wanted, script, toChild, work, startVars, fault>>

SeesDeath ==
    /\ Answers("died")
    /\ GivesUp
    /\ UNCHANGED <<wanted, script, toChild, work, startVars, fault>>

Refuses ==
    /\ Answers("unexpected")
    /\ GivesUp
    /\ UNCHANGED <<wanted, script, toChild, work, startVars, fault>>

Records ==
    /\ parent = "ready"
    /\ wanted.mode # "exec"
    /\ parent' = "recorded"
    /\ work' = work \union {"record"}
    /\ UNCHANGED <<wanted, owed, script, child, toChild, toParent, answer, startVars, fault>>

Starts(next, word) ==
    /\ parent' = next
    /\ answer' = word
    /\ toChild' = Append(toChild, "start")
    /\ UNCHANGED <<wanted, owed, script, child, toParent, work, startVars, fault>>

\* The container is recorded; a further process need not be.
Tells == IF wanted.mode = "exec" THEN "ready" ELSE "recorded"

LeavesWaiting ==
    /\ parent = "recorded"
    /\ wanted.mode = "create"
    /\ Starts("done", "ok")

StartsAlone ==
    /\ parent = Tells
    /\ wanted.mode # "create"
    /\ ~wanted.block
    /\ Starts("started", answer)

\* The caller writes its byte; or it gives up, or never answers.
CallerGoes ==
    /\ parent = "recorded"
    /\ wanted.block
    /\ Starts("started", answer)

CallerGivesUp ==
    /\ parent = "recorded"
    /\ wanted.block
    /\ GivesUp
    /\ UNCHANGED <<wanted, owed, script, toChild, toParent, work, startVars, fault>>

\* While it waits for the caller it watches the child.
SeesDeathAtBlock ==
    /\ parent = "recorded"
    /\ wanted.block
    /\ child = "dead"
    /\ GivesUp
    /\ UNCHANGED <<wanted, owed, script, toChild, toParent, work, startVars, fault>>

\* A piece of the parent's own work fails.
ParentFails ==
    /\ parent \in {"proceed", "setup", "ready", "recorded"}
    /\ GivesUp
    /\ UNCHANGED <<wanted, owed, script, toChild, toParent, work, startVars, fault>>

ParentDies ==
    /\ parent \in {"proceed", "setup", "ready", "recorded", "started"}
    /\ parent' = "dead"
    /\ UNCHANGED <<wanted, owed, script, child, toChild, toParent, work, answer, startVars, fault>>

(****************************************************************************)
(* `start`.                                                                 *)
(****************************************************************************)
\* It goes by what is recorded, and does not know whether `create` has come to its end; but not before that is gone.
WritesByte ==
    /\ wanted.mode = "create"
    /\ "record" \in work
    /\ parent \in {"done", "dead"}
    /\ starter = "none"
    \* Who has told why it cannot go on may be there for a moment still.
    /\ child = "alive" \/ result = "failed"
    /\ starter' = "byte"
    /\ UNCHANGED <<wanted, parentVars, script, child, toChild, toParent, result, fault>>

ReadsAnswer ==
    /\ starter = "byte"
    /\ result # "open"
    /\ starter' = IF result = "failed" THEN "failed" ELSE "ok"
    /\ UNCHANGED <<wanted, parentVars, script, child, toChild, toParent, result, fault>>

\* Everybody has come to an end, or waits for a person: the caller, or whoever calls `start`.
Rests ==
    /\ parent \in {"done", "failed", "dead"} \/ (parent = "recorded" /\ wanted.block)
    /\ child # "alive" \/ Head(script) \in {"await byte", "await start"}
    /\ starter # "byte"
    /\ UNCHANGED vars

Init ==
    /\ wanted \in [mode : Verbs, proceed : BOOLEAN, terminal : BOOLEAN, hooks : BOOLEAN, listener : BOOLEAN,
                  block : BOOLEAN]
    /\ wanted.block => wanted.mode = "run"
    /\ wanted.mode = "exec" => ~wanted.hooks
    \* Before everything else, so it mixes with nothing: with a terminal, and what the front-end asks for, are enough.
    /\ \/ wanted.proceed = (wanted.terminal /\ wanted.mode # "exec")
       \/ wanted.proceed /\ wanted.block
    /\ parent = "idle"
    /\ owed = [terminal |-> wanted.terminal, hooks |-> wanted.hooks, listener |-> wanted.listener]
    /\ script = Script(wanted)
    /\ child = "none"
    /\ toChild = <<>>
    /\ toParent = <<>>
    /\ work = {}
    /\ answer = "nothing"
    /\ starter = "none"
    /\ result = "open"
    /\ fault = "no"

Next ==
    \/ Clones
    \/ Sends
    \/ Hears
    \/ HearsTheEnd
    \/ HearsByte
    \/ Execs
    \/ Fails
    \/ Dies
    \/ \E m \in FromChild \ {"failed", "closed"} : Babbles(m)
    \/ Proceeds
    \/ RunsHooks
    \/ KeepsTerminal
    \/ PassesListener
    \/ GoesOn
    \/ SeesExec
    \/ Reports
    \/ SeesDeath
    \/ Refuses
    \/ Records
    \/ LeavesWaiting
    \/ StartsAlone
    \/ CallerGoes
    \/ CallerGivesUp
    \/ SeesDeathAtBlock
    \/ ParentFails
    \/ ParentDies
    \/ WritesByte
    \/ ReadsAnswer
    \/ Rests

ChildGoesOn == Sends \/ Hears \/ HearsTheEnd \/ HearsByte \/ Execs
ParentGoesOn ==
    \/ Proceeds \/ RunsHooks \/ KeepsTerminal \/ PassesListener \/ GoesOn \/ SeesExec \/ Reports \/ SeesDeath
    \/ Refuses \/ Records \/ LeavesWaiting \/ StartsAlone \/ SeesDeathAtBlock

Fairness == WF_vars(ChildGoesOn) /\ WF_vars(ParentGoesOn) /\ WF_vars(ReadsAnswer)

Spec == Init /\ [][Next]_vars /\ Fairness

(****************************************************************************)
(* What must hold.                                                          *)
(****************************************************************************)
TypeOK ==
    /\ parent \in {"idle", "proceed", "setup", "ready", "recorded", "started", "done", "failed", "dead"}
    /\ child \in {"none", "alive", "program", "dead"}
    /\ Len(toChild) <= 3
    /\ Len(toParent) <= 4
    /\ work \subseteq {"maps", "hooks", "listener", "record"}
    /\ answer \in {"nothing", "ok", "failed"}
    /\ starter \in {"none", "byte", "ok", "failed"}
    /\ result \in {"open", "failed", "closed"}
    /\ fault \in {"no", "word", "silent"}

\* Nothing goes on before what it waits for is done.
MapsFirst == (wanted.proceed /\ Past("await proceed")) => "maps" \in work
HooksBeforePivot == (wanted.hooks /\ Past("await hooks")) => "hooks" \in work
ListenerBeforeReady == (wanted.listener /\ Past("await listener")) => "listener" \in work
RecordedBeforeProgram == (child = "program" /\ wanted.mode # "exec") => "record" \in work

\* The program runs only after everything that was asked for.
ProgramAfterAll ==
    child = "program" =>
        /\ wanted.hooks => "hooks" \in work
        /\ wanted.listener => "listener" \in work
        /\ ~owed.terminal

\* `create`, `run` and `exec` say ok only of what is complete.
OkMeansCreated ==
    answer = "ok" =>
        /\ wanted.mode # "exec" => "record" \in work
        /\ ~owed.hooks /\ ~owed.terminal /\ ~owed.listener

\* A failure that the child has put into words is never taken for success: not by run, not by start.
NoFalseSuccess ==
    (fault = "word" /\ child = "dead") =>
        /\ wanted.mode # "create" => answer # "ok"
        /\ starter = "ok" => FALSE

\* `start` never takes for started what was not told to wait for it. A process that was killed in silence it takes for
\* a program that has ended.
StartedWasCreated == (starter = "ok" /\ fault # "silent") => answer = "ok"

\* A parent that gave up has ended its child.
GivenUpMeansEnded == parent = "failed" => child # "alive"

\* What fails is told, unless nobody is left to tell. What fails in a created container is told by `start`
\* (NoFalseSuccess), or by the status: it is stopped.
FailureIsTold ==
    (fault = "word" /\ answer = "nothing" /\ ~PastCreate) ~> (answer = "failed" \/ parent = "dead")

\* create and run come to an end, unless the caller is silent.
ParentEnds ==
    (parent \in {"proceed", "setup", "ready", "started"}) ~> (parent \in {"done", "failed", "dead", "recorded"})

\* A child without a parent ends, unless it was told to wait for `start` or to go on.
OrphanEnds ==
    (parent \in {"dead", "failed"} /\ child = "alive") ~> (child # "alive" \/ Past("await start"))

\* `start` gets an answer.
StartIsAnswered == starter = "byte" ~> starter \in {"ok", "failed"}
=============================================================================
