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
(* answers.                                                                 *)
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
(* formal/bindings/protocol.rs. The @type annotations are for Apalache and  *)
(* not tested with it.                                                      *)
(****************************************************************************)
EXTENDS Naturals, Sequences

CONSTANTS
    \* "create" and "run".
    \* @type: Set(Str);
    Modes

VARIABLES
    \* What was asked for.
    \* @type: { mode: Str, proceed: Bool, terminal: Bool, hooks: Bool, listener: Bool, block: Bool };
    asked,
    \* The parent: "proceed", "setup", "ready", "recorded", "started", "done", "failed", "dead".
    \* @type: Str;
    stage,
    \* What the parent may still hear before the child is ready.
    \* @type: { terminal: Bool, hooks: Bool, listener: Bool };
    owed,
    \* What the child still has to do.
    \* @type: Seq(Str);
    script,
    \* The child: "alive", "program", "dead".
    \* @type: Str;
    child,
    \* Messages on their way.
    \* @type: Seq(Str);
    toChild,
    \* @type: Seq(Str);
    toParent,
    \* The parent's work that is done: "maps", "hooks", "listener", "record".
    \* @type: Set(Str);
    done,
    \* What the caller of create or run was told: "nothing", "ok", "failed".
    \* @type: Str;
    told,
    \* `start`: "none", "byte" (written), "ok", "failed".
    \* @type: Str;
    starter,
    \* The FIFO of its answer: "open", "failed" (a word of the child), "closed".
    \* @type: Str;
    result,
    \* How the child has failed: "no", "word" (it has said why), "silent".
    \* @type: Str;
    fault

vars == <<asked, stage, owed, script, child, toChild, toParent, done, told, starter, result, fault>>
parentVars == <<stage, owed, done, told>>
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
    /\ UNCHANGED <<asked, parentVars, child, toChild, startVars, fault>>

Hears ==
    /\ child = "alive"
    /\ Head(script) \in DOMAIN Waits
    /\ toChild # <<>>
    /\ Head(toChild) = Waits[Head(script)]
    /\ toChild' = Tail(toChild)
    /\ script' = Tail(script)
    /\ UNCHANGED <<asked, parentVars, child, toParent, startVars, fault>>

\* It waits for a parent that is gone: the end of file ends it.
HearsTheEnd ==
    /\ child = "alive"
    /\ Head(script) \in DOMAIN Waits
    /\ toChild = <<>>
    /\ stage \in {"failed", "dead"}
    /\ child' = "dead"
    /\ UNCHANGED <<asked, parentVars, script, toChild, toParent, startVars, fault>>

HearsByte ==
    /\ child = "alive"
    /\ Head(script) = "await byte"
    /\ starter = "byte"
    /\ script' = Tail(script)
    /\ UNCHANGED <<asked, parentVars, child, toChild, toParent, startVars, fault>>

Execs ==
    /\ child = "alive"
    /\ script = <<"exec">>
    /\ child' = "program"
    /\ toParent' = Append(toParent, "closed")
    /\ result' = "closed"
    /\ UNCHANGED <<asked, parentVars, script, toChild, starter, fault>>

Past(step) == \A i \in 1..Len(script) : script[i] # step

\* When `create` has stopped listening, the FIFO of `start` gets the word.
PastCreate == asked.mode = "create" /\ Past("ready")

Fails ==
    /\ child = "alive"
    /\ child' = "dead"
    /\ fault' = "word"
    /\ toParent' = toParent \o (IF PastCreate THEN <<"closed">> ELSE <<"failed", "closed">>)
    /\ result' = IF PastCreate THEN "failed" ELSE "closed"
    /\ UNCHANGED <<asked, parentVars, script, toChild, starter>>

Dies ==
    /\ child = "alive"
    /\ child' = "dead"
    /\ fault' = "silent"
    /\ toParent' = Append(toParent, "closed")
    /\ result' = "closed"
    /\ UNCHANGED <<asked, parentVars, script, toChild, starter>>

\* A message that may not belong here; then it ends.
Babbles(m) ==
    /\ child = "alive"
    /\ child' = "dead"
    /\ fault' = "silent"
    /\ toParent' = Append(Append(toParent, m), "closed")
    /\ result' = "closed"
    /\ UNCHANGED <<asked, parentVars, script, toChild, starter>>

(****************************************************************************)
(* The parent.                                                              *)
(****************************************************************************)
Listens == stage \in {"setup", "started"} /\ toParent # <<>>

Proceeds ==
    /\ stage = "proceed"
    /\ stage' = "setup"
    /\ done' = done \union {"maps"}
    /\ toChild' = Append(toChild, "proceed")
    /\ UNCHANGED <<asked, owed, script, child, toParent, told, startVars, fault>>

Answers(reply) ==
    /\ Listens
    /\ Reply(stage, owed, Head(toParent)) = reply
    /\ owed' = After(owed, Head(toParent))
    /\ toParent' = Tail(toParent)

RunsHooks ==
    /\ Answers("run hooks")
    /\ done' = done \union {"hooks"}
    /\ toChild' = Append(toChild, "hooks done")
    /\ UNCHANGED <<asked, stage, script, child, told, startVars, fault>>

KeepsTerminal ==
    /\ Answers("keep terminal")
    /\ UNCHANGED <<asked, stage, script, child, toChild, done, told, startVars, fault>>

PassesListener ==
    /\ Answers("pass listener")
    /\ done' = done \union {"listener"}
    /\ toChild' = Append(toChild, "listener sent")
    /\ UNCHANGED <<asked, stage, script, child, told, startVars, fault>>

GoesOn ==
    /\ Answers("go on")
    /\ stage' = "ready"
    /\ UNCHANGED <<asked, script, child, toChild, done, told, startVars, fault>>

\* In `run`: the child has become the program, or has ended without a word, which its exit status tells.
SeesExec ==
    /\ Answers("executed")
    /\ stage' = "done"
    /\ told' = "ok"
    /\ UNCHANGED <<asked, script, child, toChild, done, startVars, fault>>

\* Ends the child and says why.
GivesUp == /\ stage' = "failed"
           /\ told' = "failed"
           /\ child' = IF child = "alive" THEN "dead" ELSE child

Reports ==
    /\ Answers("report")
    /\ GivesUp
    /\ UNCHANGED <<asked, script, toChild, done, startVars, fault>>

SeesDeath ==
    /\ Answers("died")
    /\ GivesUp
    /\ UNCHANGED <<asked, script, toChild, done, startVars, fault>>

Refuses ==
    /\ Answers("unexpected")
    /\ GivesUp
    /\ UNCHANGED <<asked, script, toChild, done, startVars, fault>>

Records ==
    /\ stage = "ready"
    /\ stage' = "recorded"
    /\ done' = done \union {"record"}
    /\ UNCHANGED <<asked, owed, script, child, toChild, toParent, told, startVars, fault>>

Starts(next, word) ==
    /\ stage' = next
    /\ told' = word
    /\ toChild' = Append(toChild, "start")
    /\ UNCHANGED <<asked, owed, script, child, toParent, done, startVars, fault>>

LeavesWaiting ==
    /\ stage = "recorded"
    /\ asked.mode = "create"
    /\ Starts("done", "ok")

StartsAlone ==
    /\ stage = "recorded"
    /\ asked.mode = "run"
    /\ ~asked.block
    /\ Starts("started", told)

\* The caller writes its byte; or it gives up, or never answers.
CallerGoes ==
    /\ stage = "recorded"
    /\ asked.block
    /\ Starts("started", told)

CallerGivesUp ==
    /\ stage = "recorded"
    /\ asked.block
    /\ GivesUp
    /\ UNCHANGED <<asked, owed, script, toChild, toParent, done, startVars, fault>>

\* While it waits for the caller it watches the child.
SeesDeathAtBlock ==
    /\ stage = "recorded"
    /\ asked.block
    /\ child = "dead"
    /\ GivesUp
    /\ UNCHANGED <<asked, owed, script, toChild, toParent, done, startVars, fault>>

\* A piece of the parent's own work fails.
ParentFails ==
    /\ stage \in {"proceed", "setup", "ready", "recorded"}
    /\ GivesUp
    /\ UNCHANGED <<asked, owed, script, toChild, toParent, done, startVars, fault>>

ParentDies ==
    /\ stage \in {"proceed", "setup", "ready", "recorded", "started"}
    /\ stage' = "dead"
    /\ UNCHANGED <<asked, owed, script, child, toChild, toParent, done, told, startVars, fault>>

(****************************************************************************)
(* `start`.                                                                 *)
(****************************************************************************)
WritesByte ==
    /\ asked.mode = "create"
    /\ told = "ok"
    /\ starter = "none"
    /\ child = "alive"
    /\ starter' = "byte"
    /\ UNCHANGED <<asked, parentVars, script, child, toChild, toParent, result, fault>>

ReadsAnswer ==
    /\ starter = "byte"
    /\ result # "open"
    /\ starter' = IF result = "failed" THEN "failed" ELSE "ok"
    /\ UNCHANGED <<asked, parentVars, script, child, toChild, toParent, result, fault>>

\* Everybody has come to an end, or waits for a person: the caller, or whoever calls `start`.
Rests ==
    /\ stage \in {"done", "failed", "dead"} \/ (stage = "recorded" /\ asked.block)
    /\ child # "alive" \/ Head(script) \in {"await byte", "await start"}
    /\ starter # "byte"
    /\ UNCHANGED vars

Init ==
    /\ asked \in [mode : Modes, proceed : BOOLEAN, terminal : BOOLEAN, hooks : BOOLEAN, listener : BOOLEAN,
                  block : BOOLEAN]
    /\ asked.block => asked.mode = "run"
    \* Before everything else, so it mixes with nothing: half of the mixtures are enough.
    /\ asked.proceed = asked.terminal
    /\ stage = IF asked.proceed THEN "proceed" ELSE "setup"
    /\ owed = [terminal |-> asked.terminal, hooks |-> asked.hooks, listener |-> asked.listener]
    /\ script = Script(asked)
    /\ child = "alive"
    /\ toChild = <<>>
    /\ toParent = <<>>
    /\ done = {}
    /\ told = "nothing"
    /\ starter = "none"
    /\ result = "open"
    /\ fault = "no"

Next ==
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
    /\ stage \in {"proceed", "setup", "ready", "recorded", "started", "done", "failed", "dead"}
    /\ child \in {"alive", "program", "dead"}
    /\ Len(toChild) <= 3
    /\ Len(toParent) <= 4
    /\ done \subseteq {"maps", "hooks", "listener", "record"}
    /\ told \in {"nothing", "ok", "failed"}
    /\ starter \in {"none", "byte", "ok", "failed"}
    /\ result \in {"open", "failed", "closed"}
    /\ fault \in {"no", "word", "silent"}

\* Nothing goes on before what it waits for is done.
MapsFirst == (asked.proceed /\ Past("await proceed")) => "maps" \in done
HooksBeforePivot == (asked.hooks /\ Past("await hooks")) => "hooks" \in done
ListenerBeforeReady == (asked.listener /\ Past("await listener")) => "listener" \in done
RecordedBeforeProgram == child = "program" => "record" \in done

\* The program runs only after everything that was asked for.
ProgramAfterAll ==
    child = "program" =>
        /\ asked.hooks => "hooks" \in done
        /\ asked.listener => "listener" \in done
        /\ ~owed.terminal

\* `create` says ok only of a container that is complete.
OkMeansCreated == told = "ok" => ("record" \in done /\ ~owed.hooks /\ ~owed.terminal /\ ~owed.listener)

\* A failure that the child has put into words is never taken for success: not by run, not by start.
NoFalseSuccess ==
    (fault = "word" /\ child = "dead") =>
        /\ asked.mode = "run" => told # "ok"
        /\ starter = "ok" => FALSE

\* A parent that gave up has ended its child.
GivenUpMeansEnded == stage = "failed" => child # "alive"

\* What fails is told, unless nobody is left to tell. What fails in a created container is told by `start`
\* (NoFalseSuccess), or by the status: it is stopped.
FailureIsTold ==
    (fault = "word" /\ told = "nothing" /\ ~PastCreate) ~> (told = "failed" \/ stage = "dead")

\* create and run come to an end, unless the caller is silent.
ParentEnds ==
    (stage \in {"proceed", "setup", "ready", "started"}) ~> (stage \in {"done", "failed", "dead", "recorded"})

\* A child without a parent ends, unless it was told to wait for `start` or to go on.
OrphanEnds ==
    (stage \in {"dead", "failed"} /\ child = "alive") ~> (child # "alive" \/ Past("await start"))

\* `start` gets an answer.
StartIsAnswered == starter = "byte" ~> starter \in {"ok", "failed"}
=============================================================================
