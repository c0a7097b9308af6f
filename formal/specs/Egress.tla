------------------------------ MODULE Egress ------------------------------
(***************************************************************************
What a workload with a network may reach, from its first packet to its last.

The front-end makes a network namespace, loads rules into it that refuse all
but a fixed set of addresses, starts a resolver that answers for the permitted
names only, connects the namespace to the world, and only then lets the runtime
start the workload in it.  While the workload runs, the addresses of the names
change in the world; the rules follow, one nf_tables transaction a change.

WHAT IS MODELLED.  Both address families.  What the workload *could* send at
any moment, so that no single packet needs a step of its own.  Its questions to
the resolver, for permitted and for other names.  Answers that name a private
address of the host (DNS rebinding).  A transaction can be refused: then the old
rules stay.  The front-end can fail in set-up and be killed at any moment; the
elements that names have brought then expire in the kernel, and the next command
sweeps up.

WHAT IS ASSUMED.  The kernel applies a transaction whole or not at all; a network
namespace without a link reaches nothing; the resolver dies with the front-end;
elements are refreshed before they expire.  Fairness: the front-end goes on
unless it is killed, and refreshes; a transaction is not refused for ever; an
answer's time to live ends; somebody sweeps up after a killed front-end.

WHAT IS LEFT OUT.  Ports, connection tracking, several names, the bridge and
address translation outside of the namespace, `--network host` (refused or
agreed to by the mode: spec Policy).

THE CODE.  network/src/bridge.rs makes and takes back, network/src/resolver answers.
What an answer brings (step Answered) is decided by resolver/address.rs, which
formal/bindings/address.rs holds against this spec; the rest is not bound to it.
One order differs: the resolver starts after the link, when still nothing is in
the namespace that could ask or send; the workload comes after both.
***************************************************************************)
EXTENDS FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Static,   \* permitted addresses: {"s4"}
    \* @type: Set(Str);
    Answers   \* what the permitted name resolves to, at one time or another: "n4", "n6", "private"

VARIABLES
    \* @type: Str;
    front,     \* how far the front-end is
    \* @type: Str;
    netns,
    \* @type: Set(Str);
    covers,    \* families that the rules speak of
    \* @type: Set(Str);
    loaded,    \* addresses that the rules permit
    \* @type: Str;
    link,
    \* @type: Str;
    resolver,
    \* @type: Str;
    workload,
    \* @type: Str;
    dns,       \* the name's address in the world
    \* @type: Set(Str);
    pending,   \* addresses of the next transaction; {} when there is none
    \* @type: Str;
    query,     \* of the workload: "none", "permitted", "other"
    \* @type: Str;
    upstream,  \* what the resolver has asked the world
    \* @type: Str;
    reply,     \* what the workload hears when the transaction is done: an address, "refused", or "none" of it
    \* @type: Str;
    holds       \* the address that the workload holds, while its time to live lasts

world == <<dns>>
rules == <<covers, loaded>>
names == <<pending, query, upstream, reply, holds>>
vars == <<front, netns, covers, loaded, link, resolver, workload, dns, pending, query, upstream, reply, holds>>

Families == {"v4", "v6"}
Family(a) == IF a \in {"n6", "x6"} THEN "v6" ELSE "v4"
Public(a) == a # "private"
Addresses == Static \cup Answers \cup {"x4", "x6", "private"}

TypeOK ==
    /\ front \in {"idle", "netns", "rules", "resolver", "link", "running", "stopping", "unlinked", "done", "dead"}
    /\ netns \in {"none", "present"}
    /\ covers \in SUBSET Families
    /\ loaded \in SUBSET Addresses
    /\ link \in {"none", "up"}
    /\ resolver \in {"none", "running"}
    /\ workload \in {"none", "running"}
    /\ dns \in Answers
    /\ pending \in SUBSET Addresses
    /\ query \in {"none", "permitted", "other"}
    /\ upstream \in {"none", "permitted", "refresh", "other"}
    /\ reply \in {"none", "refused"} \cup Addresses
    /\ holds \in {"none"} \cup Addresses

Init ==
    /\ front = "idle"
    /\ netns = "none"
    /\ covers = {}
    /\ loaded = {}
    /\ link = "none"
    /\ resolver = "none"
    /\ workload = "none"
    /\ dns \in Answers
    /\ pending = {}
    /\ query = "none"
    /\ upstream = "none"
    /\ reply = "none"
    /\ holds = "none"

-----------------------------------------------------------------------------
(* Set-up, in order. *)

MakeNetns ==
    /\ front = "idle"
    /\ front' = "netns"
    /\ netns' = "present"
    /\ UNCHANGED <<rules, link, resolver, workload, world, names>>

LoadRules ==
    /\ front = "netns"
    /\ front' = "rules"
    /\ covers' = Families
    /\ loaded' = Static
    /\ UNCHANGED <<netns, link, resolver, workload, world, names>>

StartResolver ==
    /\ front = "rules"
    /\ front' = "resolver"
    /\ resolver' = "running"
    /\ UNCHANGED <<netns, rules, link, workload, world, names>>

Connect ==
    /\ front = "resolver"
    /\ front' = "link"
    /\ link' = "up"
    /\ UNCHANGED <<netns, rules, resolver, workload, world, names>>

Launch ==
    /\ front = "link"
    /\ front' = "running"
    /\ workload' = "running"
    /\ UNCHANGED <<netns, rules, link, resolver, world, names>>

-----------------------------------------------------------------------------
(* Names. *)

Ask(q) ==
    /\ workload = "running"
    /\ query = "none"
    /\ query' = q
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, pending, upstream, reply, holds>>

(* Another name: the question does not leave the host. *)
Refuse ==
    /\ resolver = "running"
    /\ query = "other"
    /\ query' = "none"
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, pending, upstream, reply, holds>>

Forward ==
    /\ resolver = "running"
    /\ query = "permitted"
    /\ upstream = "none"
    /\ pending = {}
    /\ upstream' = query
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, pending, query, reply, holds>>

(* On its own, before the elements expire. *)
Refresh ==
    /\ front = "running"
    /\ upstream = "none"
    /\ pending = {}
    /\ upstream' = "refresh"
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, pending, query, reply, holds>>

(* What the workload holds stays permitted while it holds it; a private address never becomes permitted. *)
Held == IF holds = "none" THEN {} ELSE {holds}
Answer == {a \in {dns} : Public(a)}

Answered ==
    /\ front = "running"
    /\ upstream # "none"
    /\ upstream' = "none"
    /\ pending' = Static \cup Answer \cup Held
    /\ reply' = IF upstream = "refresh" THEN "none" ELSE IF Public(dns) THEN dns ELSE "refused"
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, query, holds>>

(* One transaction. The workload hears the answer to its own question only now. *)
Load ==
    /\ front = "running"
    /\ pending # {}
    /\ loaded' = pending
    /\ pending' = {}
    /\ holds' = IF workload = "running" /\ reply \in Addresses THEN reply ELSE holds
    /\ query' = IF reply = "none" THEN query ELSE "none"
    /\ reply' = "none"
    /\ UNCHANGED <<front, netns, covers, link, resolver, workload, world, upstream>>

LoadFails ==
    /\ front = "running"
    /\ pending # {}
    /\ pending' = {}
    /\ query' = IF reply = "none" THEN query ELSE "none"
    /\ reply' = "none"
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, upstream, holds>>

TimeToLiveEnds ==
    /\ holds # "none"
    /\ holds' = "none"
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, pending, query, upstream, reply>>

(* Without a resolver the workload waits no longer than it likes. *)
TimeOut ==
    /\ resolver = "none"
    /\ query # "none"
    /\ query' = "none"
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, world, pending, upstream, reply, holds>>

NameMoves(a) ==
    /\ dns # a
    /\ dns' = a
    /\ UNCHANGED <<front, netns, rules, link, resolver, workload, names>>

-----------------------------------------------------------------------------
(* The end, in reverse. *)

Exit ==
    /\ workload = "running"
    /\ workload' = "none"
    /\ query' = "none"
    /\ holds' = "none"
    /\ UNCHANGED <<front, netns, rules, link, resolver, world, pending, upstream, reply>>

Stop ==
    /\ front = "running"
    /\ workload = "none"
    /\ front' = "stopping"
    /\ upstream' = "none"
    /\ pending' = {}
    /\ reply' = "none"
    /\ UNCHANGED <<netns, rules, link, resolver, workload, world, query, holds>>

Fail ==
    /\ front \in {"netns", "rules", "resolver", "link"}
    /\ front' = "stopping"
    /\ UNCHANGED <<netns, rules, link, resolver, workload, world, names>>

Disconnect ==
    /\ front = "stopping"
    /\ front' = "unlinked"
    /\ link' = "none"
    /\ UNCHANGED <<netns, rules, resolver, workload, world, names>>

(* The rules go with it. *)
RemoveNetns ==
    /\ front = "unlinked"
    /\ front' = "done"
    /\ resolver' = "none"
    /\ netns' = "none"
    /\ covers' = {}
    /\ loaded' = {}
    /\ UNCHANGED <<link, workload, world, names>>

-----------------------------------------------------------------------------
(* SIGKILL of the front-end, and who comes after it. *)

Kill ==
    /\ front \notin {"idle", "done", "dead"}
    /\ front' = "dead"
    /\ resolver' = "none"
    /\ upstream' = "none"
    /\ pending' = {}
    /\ reply' = "none"
    /\ UNCHANGED <<netns, rules, link, workload, world, query, holds>>

Expire(a) ==
    /\ front = "dead"
    /\ a \in loaded \ Static
    /\ loaded' = loaded \ {a}
    /\ UNCHANGED <<front, netns, covers, link, resolver, workload, world, names>>

SweepWorkload ==
    /\ front = "dead"
    /\ workload = "running"
    /\ workload' = "none"
    /\ query' = "none"
    /\ holds' = "none"
    /\ UNCHANGED <<front, netns, rules, link, resolver, world, pending, upstream, reply>>

SweepLink ==
    /\ front = "dead"
    /\ workload = "none"
    /\ link = "up"
    /\ link' = "none"
    /\ UNCHANGED <<front, netns, rules, resolver, workload, world, names>>

SweepNetns ==
    /\ front = "dead"
    /\ workload = "none"
    /\ link = "none"
    /\ netns = "present"
    /\ netns' = "none"
    /\ covers' = {}
    /\ loaded' = {}
    /\ UNCHANGED <<front, link, resolver, workload, world, names>>

-----------------------------------------------------------------------------
Next ==
    \/ MakeNetns \/ LoadRules \/ StartResolver \/ Connect \/ Launch
    \/ Ask("permitted") \/ Ask("other")
    \/ Refuse \/ Forward \/ Refresh \/ Answered \/ Load \/ LoadFails \/ TimeToLiveEnds \/ TimeOut
    \/ \E a \in Answers : NameMoves(a)
    \/ Exit \/ Stop \/ Fail \/ Disconnect \/ RemoveNetns
    \/ Kill
    \/ \E a \in Addresses : Expire(a)
    \/ SweepWorkload \/ SweepLink \/ SweepNetns

Fairness ==
    /\ WF_vars(LoadRules) /\ WF_vars(StartResolver) /\ WF_vars(Connect) /\ WF_vars(Launch)
    /\ SF_vars(Refuse) /\ SF_vars(Forward) /\ SF_vars(Refresh) /\ WF_vars(Answered) /\ SF_vars(Load)
    /\ WF_vars(TimeToLiveEnds) /\ WF_vars(TimeOut)
    /\ WF_vars(Stop) /\ WF_vars(Disconnect) /\ WF_vars(RemoveNetns)
    /\ \A a \in Addresses : WF_vars(Expire(a))
    /\ WF_vars(SweepWorkload) /\ WF_vars(SweepLink) /\ WF_vars(SweepNetns)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* What a packet of the workload's, or of anything in its namespace, would reach now. *)
Reaches(a) == link = "up" /\ (Family(a) \notin covers \/ a \in loaded)

(* No packet before the rules, and none after them: while there is a way out, the rules are there, in both families. *)
RulesFirst == link = "up" => netns = "present" /\ covers = Families

(* Only what was granted: a fixed address, or a public address of the permitted name. *)
OnlyGranted == \A a \in Addresses : Reaches(a) => a \in Static \cup {n \in Answers : Public(n)}

(* No gap: while the workload runs, what is always permitted always is, also while names change. *)
NoGap == workload = "running" => \A a \in Static : Reaches(a)

(* An address that the workload was told is permitted before it hears of it, and while it holds it. *)
ToldIsPermitted == (holds # "none" /\ front = "running") => Reaches(holds)

(* No question for another name leaves the host. *)
NothingLeaksByName == upstream # "other"

(* The workload starts last and ends first. *)
InsideTheLink == workload = "running" => link = "up"

(* The rules follow the name. *)
Follows == ("n4" \in loaded /\ dns = "n6") ~> (dns # "n6" \/ "n4" \notin loaded)

(* Every question is answered, refused or given up. *)
Replied == (query # "none") ~> (query = "none")

(* Nothing stays behind, whoever was killed. *)
CleanedUp == (front \in {"stopping", "dead"}) ~> (netns = "none" /\ link = "none" /\ resolver = "none")
=============================================================================
