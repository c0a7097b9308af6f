------------------------------ MODULE Gvisor ------------------------------
(***************************************************************************
The same policies into gVisor: which requests are refused, what the workload
reaches in each network mode, and that the sandbox is gone at last.

runsc takes an OCI bundle, but leaves out in silence what it does not know
(masked paths, sysctls, id-mapped mounts, ...), and rejects other things late
(CAP_BPF, an SELinux label, ...).  So the front-end decides before it makes
anything: what runsc would reject is refused in every mode; what runsc would
leave out is refused in the strict modes and needs consent, and is told, in
agent mode.  Its networks: `none` is a sandbox without any; `bridge` is the
network of a namespace that the front-end has prepared with rules (spec
Egress), which runsc uses with `--network=host` *inside that namespace*;
`gvisor-host` is the host's network, for agent mode and with consent only, and
only for gVisor.  runsc has to be told the network with every command: one
that is not told uses a stack of its own.

WHAT IS MODELLED.  Every request as far as the decision looks at it, for the
native runtime too.  create, start, kill, state and delete of runsc, each of
which can fail; the workload and the whole sandbox can end at any moment; the
front-end can be killed between any two steps, and somebody sweeps up.  A kill
takes effect later; a delete before that is refused by runsc.

WHAT IS ASSUMED.  gVisor isolates, and does what its flags say.  Fairness: the
front-end goes on; a killed sandbox dies; somebody sweeps up.

WHAT IS LEFT OUT.  Which fields of a configuration are ignored or rejected (one
representative each here; the table is shim's, and the tests of the front-end
hold it), seccomp inside gVisor, the platform.

THE CODE.  shim/src/mode.rs decides; see formal/README.md for what of this spec
is bound to it.
***************************************************************************)
EXTENDS FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Runtimes,  \* "native", "gvisor"
    \* @type: Set(Str);
    Modes      \* "agent", "strict-agent", "production"

VARIABLES
    \* @type: { runtime: Str, mode: Str, network: Str, consent: Bool, host_consent: Bool, asks: Set(Str) };
    wish,
    \* @type: Str;
    road,
    \* @type: Set(Str);
    denied,
    \* @type: Bool;
    informed,   \* whether the user was told what is left out
    \* @type: Str;
    space,      \* the namespace that runsc is started in: "host", "empty", "ruled", or "none" yet
    \* @type: Str;
    stack,      \* the network that the running sandbox has
    \* @type: Str;
    container   \* as runsc sees it

vars == <<wish, road, denied, informed, space, stack, container>>

(* "ignored" and "rejected" stand for a field that runsc leaves out in silence, or rejects late. *)
Asks == [runtime : Runtimes, mode : Modes, network : {"none", "bridge", "gvisor-host"}, consent : BOOLEAN,
         host_consent : BOOLEAN, asks : SUBSET {"ignored", "rejected"}]

Phases == {"asked", "taken", "refused", "prepared", "created", "started", "killing", "deleting", "clearing", "done", "dead"}

TypeOK ==
    /\ wish \in Asks
    /\ road \in Phases
    /\ denied \in SUBSET {"network", "ignored", "rejected"}
    /\ informed \in BOOLEAN
    /\ space \in {"none", "host", "empty", "ruled"}
    /\ stack \in {"none", "host", "sandbox"}
    /\ container \in {"none", "created", "running", "stopped"}

Init ==
    /\ wish \in Asks
    /\ road = "asked"
    /\ denied = {}
    /\ informed = FALSE
    /\ space = "none"
    /\ stack = "none"
    /\ container = "none"

-----------------------------------------------------------------------------
IsGvisor == wish.runtime = "gvisor"
LeftOut == IsGvisor /\ "ignored" \in wish.asks

Refusals ==
    (IF wish.network = "gvisor-host" /\ ~(IsGvisor /\ wish.mode = "agent" /\ wish.host_consent) THEN {"network"} ELSE {})
    \cup (IF IsGvisor /\ "rejected" \in wish.asks THEN {"rejected"} ELSE {})
    \cup (IF LeftOut /\ ~(wish.mode = "agent" /\ wish.consent) THEN {"ignored"} ELSE {})

Decide ==
    /\ road = "asked"
    /\ denied' = Refusals
    /\ road' = IF Refusals = {} THEN "taken" ELSE "refused"
    /\ informed' = (Refusals = {} /\ LeftOut)
    /\ UNCHANGED <<wish, space, stack, container>>

(* The rules are there before runsc is. *)
Prepare ==
    /\ road = "taken"
    /\ road' = "prepared"
    /\ space' = CASE wish.network = "none" -> "empty"
                  [] wish.network = "bridge" -> "ruled"
                  [] OTHER -> "host"
    /\ UNCHANGED <<wish, denied, informed, stack, container>>

(* `--network`, the same with each command. *)
Flag == IF wish.network = "none" THEN "none" ELSE "host"
Told == IF IsGvisor THEN Flag ELSE "host"

Create ==
    /\ road = "prepared"
    /\ road' = "created"
    /\ container' = "created"
    /\ stack' = Told
    /\ UNCHANGED <<wish, denied, informed, space>>

Start ==
    /\ road = "created"
    /\ container = "created"
    /\ road' = "started"
    /\ container' = "running"
    /\ stack' = Told
    /\ UNCHANGED <<wish, denied, informed, space>>

Fail ==
    /\ road \in {"taken", "prepared", "created"}
    /\ road' = "killing"
    /\ UNCHANGED <<wish, denied, informed, space, stack, container>>

(* The workload ends, or the whole sandbox does. *)
End ==
    /\ container \in {"created", "running"}
    /\ container' = "stopped"
    /\ stack' = "none"
    /\ UNCHANGED <<wish, road, denied, informed, space>>

(* Nothing is left to start. *)
FindEnded ==
    /\ road = "created"
    /\ container = "stopped"
    /\ road' = "killing"
    /\ UNCHANGED <<wish, denied, informed, space, stack, container>>

Stop ==
    /\ road = "started"
    /\ road' = "killing"
    /\ UNCHANGED <<wish, denied, informed, space, stack, container>>

(* SIGKILL; `state` is asked until it says stopped. *)
SeeStopped ==
    /\ road = "killing"
    /\ container \in {"none", "stopped"}
    /\ road' = "deleting"
    /\ UNCHANGED <<wish, denied, informed, space, stack, container>>

Delete ==
    /\ road = "deleting"
    /\ road' = "clearing"
    /\ container' = "none"
    /\ UNCHANGED <<wish, denied, informed, space, stack>>

Clear ==
    /\ road = "clearing"
    /\ road' = "done"
    /\ space' = "none"
    /\ UNCHANGED <<wish, denied, informed, stack, container>>

-----------------------------------------------------------------------------
Kill ==
    /\ road \in {"prepared", "created", "started", "killing", "deleting", "clearing"}
    /\ road' = "dead"
    /\ UNCHANGED <<wish, denied, informed, space, stack, container>>

(* The next command finds what the killed one has left, and ends it on the same road. *)
Sweep ==
    /\ road = "dead"
    /\ road' = "killing"
    /\ UNCHANGED <<wish, denied, informed, space, stack, container>>

Rest ==
    /\ road \in {"refused", "done"}
    /\ UNCHANGED vars

-----------------------------------------------------------------------------
Next ==
    \/ Decide \/ Prepare \/ Create \/ Start \/ Fail \/ End \/ FindEnded \/ Stop \/ SeeStopped \/ Delete \/ Clear
    \/ Kill \/ Sweep \/ Rest

(* A workload ends at last, by itself or because it is killed. The front-end may be killed often, but not at the
   same step for ever. *)
Fairness ==
    /\ WF_vars(Decide) /\ WF_vars(Prepare) /\ WF_vars(Create) /\ WF_vars(Start) /\ WF_vars(FindEnded) /\ WF_vars(End)
    /\ WF_vars(Stop)
    /\ SF_vars(SeeStopped) /\ SF_vars(Delete) /\ SF_vars(Clear) /\ WF_vars(Sweep)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
Running == container = "running"

(* What the workload reaches. *)
Reach ==
    CASE stack = "none" -> "nothing"
      [] stack = "sandbox" -> "unknown"
      [] space = "empty" -> "nothing"
      [] space = "ruled" -> "rules"
      [] space = "host" -> "host"
      [] OTHER -> "unknown"

NetworkAsAsked ==
    Running =>
        /\ wish.network = "none" => Reach = "nothing"
        /\ wish.network = "bridge" => Reach = "rules"
        /\ wish.network = "gvisor-host" => Reach = "host"

(* The host's network never without the word of consent, and never in a strict mode. *)
HostNeedsConsent == (Running /\ Reach = "host") => (IsGvisor /\ wish.mode = "agent" /\ wish.host_consent)

(* Nothing that was asked for is left out in silence, and nothing at all in the strict modes. *)
NothingInSilence == (Running /\ LeftOut) => (informed /\ wish.mode = "agent" /\ wish.consent)

(* runsc is not called with what it would reject. *)
NothingRejectedLate == container # "none" => ~(IsGvisor /\ "rejected" \in wish.asks)

RefusalIsExplained == road = "refused" <=> denied # {}

(* The strict modes are served with what gVisor enforces. *)
StrictIsServed == (wish.asks = {} /\ wish.network # "gvisor-host") => road # "refused"

(* What is deleted is gone: no sandbox outlives its record, no namespace its container. *)
NothingLeft == road = "done" => container = "none" /\ space = "none" /\ stack = "none"
RulesOutlive == container # "none" => space # "none"

(* Deleted only after it has stopped. *)
DeletedStopped == [][(container # "none" /\ container' = "none") => container = "stopped"]_vars

Ends == <>(road \in {"refused", "done"})
=============================================================================
