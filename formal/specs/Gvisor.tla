------------------------------ MODULE Gvisor ------------------------------
(***************************************************************************
The same policies into gVisor: which requests are refused, what the workload
reaches in each network mode, and that the sandbox is gone at last.

runsc takes an OCI bundle, but leaves out in silence what it does not know
(limits, sysctls, id-mapped mounts, ...), and would reject other things late.
So the front-end decides before it makes anything: what the runtime cannot take
is refused in every mode; what it would leave out is refused in the strict
modes, and needs consent and is told in agent mode.  Landlock is lost under
every runtime but ours: agent mode tells it, strict-agent takes gVisor's own
kernel in its place, production, which demands a version of it, takes ours
alone.  The networks: `none` is a sandbox without any; `bridge` is the network
of a namespace that the front-end has prepared with rules (spec Egress), which
runsc uses with `--network=host` *inside that namespace*; `host` is the host's
network, and `gvisor-host` the same through gVisor alone, for agent mode and
with consent only.  With the network of a namespace that it takes over, runsc
loses its capabilities in any user namespace in which the host's root is not
root: it is given none.  So the strict modes, which promise one, refuse these
networks, and agent mode wants consent.  Without root only our runtime can take
over a bridge, and runsc makes nothing at all.  runsc has to be told the network
with every command: one that is not told uses a stack of its own.

HOW TO READ IT.  `wish` is the request and `road` how far the front-end is with it;
`denied` and `informed` are what was decided.  `space`, `stack` and `container` are
what runsc has made of it.  Each action is one step of the front-end, one command
of runsc, or something that the sandbox does by itself.

WHAT IS MODELLED.  Every request as far as the decision looks at it, for our
runtime and for others (runc, crun) too.  create, start, kill, state and delete
of runsc, each of which can fail; the workload and the whole sandbox can end at any
moment; the front-end can be killed between any two steps, and somebody sweeps
up.  A kill takes effect later; a delete before that is refused by runsc.

WHAT IS ASSUMED.  gVisor isolates, and does what its flags say.  Fairness: the
front-end goes on; a killed sandbox dies; somebody sweeps up.

WHAT IS LEFT OUT.  Which fields of a configuration are ignored or rejected (one
representative each here, and none for our runtime; the table is shim's, and the
tests of the front-end hold it), a Landlock policy that was asked for (spec
Policy), seccomp inside gVisor, the platform.

THE CODE.  shim/src/reach.rs decides the network, and where and how runsc is
called for it; shim/src/mode.rs decides the rest.  formal/bindings/reach.rs and
mode.rs hold both against every request of this spec.
***************************************************************************)
EXTENDS FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Runtimes,  \* "native", "gvisor", "other"
    \* @type: Set(Str);
    Modes      \* "agent", "strict-agent", "production"

VARIABLES
    \* @type: { runtime: Str, mode: Str, network: Str, consent: Bool, host_consent: Bool, root: Bool, asks: Set(Str) };
    wish,       \* the request
    \* @type: Str;
    road,       \* how far the front-end is
    \* @type: Set(Str);
    denied,     \* fields of the request that are refused
    \* @type: Set(Str);
    informed,   \* what is left out, as far as the user was told
    \* @type: Str;
    space,      \* the namespace that runsc is started in: "host", "empty", "ruled", or "none" yet
    \* @type: Str;
    stack,      \* the network that the running sandbox has
    \* @type: Str;
    container   \* as runsc sees it

vars == <<wish, road, denied, informed, space, stack, container>>

(* "ignored" and "rejected" stand for something that another runtime leaves out in silence, and for something that
   it cannot be given. *)
Asks == [runtime : Runtimes, mode : Modes, network : {"none", "bridge", "host", "gvisor-host"}, consent : BOOLEAN,
         host_consent : BOOLEAN, root : BOOLEAN, asks : SUBSET {"ignored", "rejected"}]

Phases == {"asked", "taken", "refused", "prepared", "created", "started", "killing", "deleting", "clearing", "done", "dead"}

TypeOK ==
    /\ wish \in Asks
    /\ road \in Phases
    /\ denied \in SUBSET {"network", "runtime", "terminal", "landlock-policy"}
    /\ informed \in SUBSET {"ignored", "user namespace", "landlock"}
    /\ space \in {"none", "host", "empty", "ruled"}
    /\ stack \in {"none", "host", "sandbox"}
    /\ container \in {"none", "created", "running", "stopped"}

Init ==
    /\ wish \in Asks
    /\ wish.runtime = "native" => wish.asks = {}
    /\ road = "asked"
    /\ denied = {}
    /\ informed = {}
    /\ space = "none"
    /\ stack = "none"
    /\ container = "none"

-----------------------------------------------------------------------------
IsGvisor == wish.runtime = "gvisor"
IsOurs == wish.runtime = "native"
Agent == wish.mode = "agent"
Hosts == wish.network \in {"host", "gvisor-host"}

(* What is given up with the runtime. *)
LeftOut ==
    (IF "ignored" \in wish.asks THEN {"ignored"} ELSE {})
    \cup (IF IsGvisor /\ wish.network # "none" THEN {"user namespace"} ELSE {})

Landlock == IF IsOurs THEN {} ELSE {"landlock"}

Refusals ==
    (IF wish.network = "gvisor-host" /\ ~IsGvisor THEN {"network"} ELSE {})
    \cup (IF Hosts /\ ~(Agent /\ wish.host_consent) THEN {"network"} ELSE {})
    \cup (IF wish.network = "bridge" /\ ~IsOurs /\ ~wish.root THEN {"network"} ELSE {})
    \cup (IF "rejected" \in wish.asks THEN {"terminal"} ELSE {})
    \cup (IF IsGvisor /\ ~wish.root THEN {"runtime"} ELSE {})
    \cup (IF LeftOut # {} /\ ~(Agent /\ wish.consent) THEN {"runtime"} ELSE {})
    \cup (IF Landlock # {} /\ ~Agent /\ ~(IsGvisor /\ wish.mode = "strict-agent") THEN {"landlock-policy"} ELSE {})

Decide ==
    /\ road = "asked"
    /\ denied' = Refusals
    /\ road' = IF Refusals = {} THEN "taken" ELSE "refused"
    /\ informed' = IF Refusals = {} THEN LeftOut \cup Landlock ELSE {}
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

(* Around the workload, or around gVisor's kernel: runsc makes one where it makes the network, or none at all. *)
HasUserNamespace == ~IsGvisor \/ stack = "none"

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
        /\ Hosts => Reach = "host"

(* The host's network never without the word of consent, and never in a strict mode. *)
HostNeedsConsent == (Running /\ Reach = "host") => (Agent /\ wish.host_consent)

(* Nothing that was asked for is left out in silence, and nothing at all in the strict modes: they have their user
   namespace, and Landlock or a kernel of gVisor's. *)
NothingInSilence ==
    Running =>
        /\ "ignored" \in wish.asks => "ignored" \in informed
        /\ ~HasUserNamespace => "user namespace" \in informed
        /\ ~IsOurs => "landlock" \in informed
        /\ "ignored" \in wish.asks \/ ~HasUserNamespace => Agent /\ wish.consent
        /\ ~IsOurs => Agent \/ (IsGvisor /\ wish.mode = "strict-agent")

(* No runtime is called with what it would reject, or for a network that it cannot have. *)
NothingRejectedLate ==
    container # "none" =>
        /\ "rejected" \notin wish.asks
        /\ space = "ruled" => IsOurs \/ wish.root
        /\ IsGvisor => wish.root
        /\ wish.network = "gvisor-host" => IsGvisor

RefusalIsExplained == road = "refused" <=> denied # {}

(* The strict modes are served with all that holds what they promise: by gVisor without a network in strict-agent
   mode, by ours with a bridge too. Agent mode is served with whatever was consented to. *)
StrictIsServed ==
    wish.asks = {} /\ ~Hosts /\ (IsOurs \/ (IsGvisor /\ wish.root /\ wish.mode = "strict-agent" /\ wish.network = "none")) =>
        road # "refused"

AgentIsServed ==
    Agent /\ wish.consent /\ wish.host_consent /\ wish.root /\ "rejected" \notin wish.asks
    /\ wish.network # "gvisor-host" => road # "refused"

(* What is deleted is gone: no sandbox outlives its record, no namespace its container. *)
NothingLeft == road = "done" => container = "none" /\ space = "none" /\ stack = "none"
RulesOutlive == container # "none" => space # "none"

(* Deleted only after it has stopped. *)
DeletedStopped == [][(container # "none" /\ container' = "none") => container = "stopped"]_vars

Ends == <>(road \in {"refused", "done"})
=============================================================================
