------------------------------ MODULE Egress ------------------------------
(***************************************************************************
What a workload with a network may reach, from its first packet to its last.

The front-end makes a network namespace and loads rules into it that refuse all
but a fixed set of addresses; at the same time it notes what it is going to make
on the host, and makes the table there that keeps sandboxes apart.  When both are
done it connects the namespace to the world, leads the published ports to it and
starts a resolver that answers for permitted names only; and only then it lets
the runtime start the workload.  While the workload runs, the addresses of the
names change in the world; the rules follow, one nf_tables transaction a change.

WHAT IS MODELLED.  Both address families.  What the workload *could* send at
any moment, so that no single packet needs a step of its own.  Its questions to
the resolver, for permitted and for other names, and what the resolver remembers.
Time, as it is counted down: how long the rules permit an address, how long the
workload may use one that it was told, how long an answer is remembered.  Answers
that name a private address of the host (DNS rebinding), and none at all.  A
transaction can be refused: then the old rules stay.  The front-end can fail in
set-up and be killed at any moment, also while it takes back; the kernel then
lets addresses expire and removes a namespace that nobody holds, the next command
sweeps up the rest, and another sandbox can be given the same link meanwhile.

WHAT IS ASSUMED.  The kernel applies a transaction whole or not at all; a network
namespace without a link reaches nothing; a namespace is there as long as the
front-end or the workload holds it, and its link goes with it; the resolver dies
with the front-end.  Fairness: the front-end goes on unless it is killed; a
server's answer comes or is given up; time passes; somebody sweeps up after a
killed front-end.

WHAT IS LEFT OUT.  Which ports, connection tracking, the minute for which the rules
permit an address beyond the answer's time, several names and several
addresses in one answer, address translation on the host, who else uses its
table, `--network host` (refused or agreed to by the mode: spec Policy).

THE CODE.  network/src/order.rs has both orders as data, which network/src/bridge
and removal.rs walk, and shim/src/egress.rs and upkeep.rs for a user, who has
nothing to make on the host: those steps are empty.  network/src/resolver has
settle.rs, which decides what an answer asks of the rules and when it is told,
address.rs, which addresses an answer may bring, and cache.rs, which remembers.
formal/bindings holds these four files against this spec.
***************************************************************************)
EXTENDS Integers, FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Static,   \* permitted addresses: {"s4"}
    \* @type: Set(Str);
    Answers,  \* what the permitted name resolves to, at one time or another: "n4", "n6", "private"
    \* @type: Set(Str);
    Short,    \* those whose answer may hold for a short time
    \* @type: Set(Str);
    Long      \* and for a long one

VARIABLES
    \* @type: Str;
    front,     \* "idle", "making", "running", "stopping", "done", "dead"
    \* @type: Str;
    noted,     \* what a sweep will find out: "nothing", the "link", or "all" of it, with the ports
    \* @type: Str;
    netns,
    \* @type: Set(Str);
    covers,    \* families that the rules speak of
    \* @type: Set(Str);
    fixed,     \* addresses that they permit always
    \* @type: Str;
    table,     \* of the host
    \* @type: Str;
    link,      \* "none", "down", "up", "left" when it is nobody's any more, "other" when it is another sandbox's
    \* @type: Str;
    ports,     \* of the host that lead to the link
    \* @type: Str;
    resolver,
    \* @type: Str;
    workload,
    \* @type: Str;
    dns,       \* the name's address in the world
    \* @type: Str -> Int;
    life,      \* for how long yet the rules permit each address of the name
    \* @type: Str;
    pending,   \* the address of the next transaction, or "none"
    \* @type: Int;
    lasts,     \* for how long the answer with it holds
    \* @type: Str;
    query,     \* of the workload: "none", "permitted", "other"
    \* @type: Str;
    upstream,  \* what the resolver has asked the world: for the workload, or a "refresh" of its own
    \* @type: Str;
    known,     \* the answer that the resolver remembers
    \* @type: Int;
    fresh,     \* for how long yet
    \* @type: Str;
    holds,     \* the address that the workload was told
    \* @type: Int;
    left       \* for how long yet it may use it

onhost == <<noted, table, ports>>
rules == <<covers, fixed, life>>
world == <<dns>>
questions == <<query, upstream>>
commit == <<pending, lasts>>
memory == <<known, fresh>>
heard == <<holds, left>>
names == <<pending, lasts, query, upstream, known, fresh, holds, left>>
vars == <<front, noted, netns, covers, fixed, table, link, ports, resolver, workload, dns, life, pending, lasts,
          query, upstream, known, fresh, holds, left>>

Families == {"v4", "v6"}
Family(a) == IF a \in {"n6", "x6"} THEN "v6" ELSE "v4"
Public(a) == a # "private"
Addresses == Static \cup Answers \cup {"x4", "x6"}
Never == [a \in Answers |-> 0]
Lasts == {1, 2}
Times == {0} \cup Lasts
May(a, t) == a \in (IF t = 1 THEN Short ELSE Long)

TypeOK ==
    /\ front \in {"idle", "making", "running", "stopping", "done", "dead"}
    /\ noted \in {"nothing", "link", "all"}
    /\ netns \in {"none", "present"}
    /\ covers \in SUBSET Families
    /\ fixed \in SUBSET Static
    /\ table \in {"none", "there"}
    /\ link \in {"none", "down", "up", "left", "other"}
    /\ ports \in {"none", "there"}
    /\ resolver \in {"none", "running"}
    /\ workload \in {"none", "running"}
    /\ dns \in Answers
    /\ life \in [Answers -> Times]
    /\ pending \in {"none"} \cup Answers
    /\ lasts \in Times
    /\ query \in {"none", "permitted", "other"}
    /\ upstream \in {"none", "permitted", "refresh", "other"}
    /\ known \in {"none"} \cup Answers
    /\ fresh \in Times
    /\ holds \in {"none"} \cup Answers
    /\ left \in Times

Init ==
    /\ front = "idle"
    /\ noted = "nothing"
    /\ netns = "none"
    /\ covers = {}
    /\ fixed = {}
    /\ table = "none"
    /\ link = "none"
    /\ ports = "none"
    /\ resolver = "none"
    /\ workload = "none"
    /\ dns \in Answers
    /\ life = Never
    /\ pending = "none"
    /\ lasts = 0
    /\ query = "none"
    /\ upstream = "none"
    /\ known = "none"
    /\ fresh = 0
    /\ holds = "none"
    /\ left = 0

-----------------------------------------------------------------------------
(* Set-up. The namespace and the host are seen to at the same time. *)

Begin ==
    /\ front = "idle"
    /\ front' = "making"
    /\ UNCHANGED <<onhost, netns, rules, link, resolver, workload, world, names>>

MakeNetns ==
    /\ front = "making"
    /\ netns = "none"
    /\ netns' = "present"
    /\ UNCHANGED <<front, onhost, rules, link, resolver, workload, world, names>>

LoadRules ==
    /\ front = "making"
    /\ netns = "present"
    /\ covers = {}
    /\ covers' = Families
    /\ fixed' = Static
    /\ UNCHANGED <<front, onhost, netns, link, resolver, workload, world, life, names>>

Note ==
    /\ front = "making"
    /\ noted = "nothing"
    /\ noted' = "link"
    /\ UNCHANGED <<front, netns, rules, table, link, ports, resolver, workload, world, names>>

MakeTable ==
    /\ front = "making"
    /\ noted = "link"
    /\ table = "none"
    /\ table' = "there"
    /\ UNCHANGED <<front, noted, netns, rules, link, ports, resolver, workload, world, names>>

Ruled == netns = "present" /\ covers # {}

(* The link's name is the claim on its addresses. What somebody killed has left for them goes first. *)
Claim ==
    /\ front = "making"
    /\ Ruled
    /\ table = "there"
    /\ link = "none"
    /\ link' = "down"
    /\ UNCHANGED <<front, onhost, netns, rules, resolver, workload, world, names>>

List ==
    /\ front = "making"
    /\ link = "down"
    /\ noted = "link"
    /\ noted' = "all"
    /\ UNCHANGED <<front, netns, rules, table, link, ports, resolver, workload, world, names>>

Connect ==
    /\ front = "making"
    /\ link = "down"
    /\ noted = "all"
    /\ link' = "up"
    /\ UNCHANGED <<front, onhost, netns, rules, resolver, workload, world, names>>

Publish ==
    /\ front = "making"
    /\ link = "up"
    /\ ports = "none"
    /\ ports' = "there"
    /\ UNCHANGED <<front, noted, netns, rules, table, link, resolver, workload, world, names>>

(* By root after the link, by a user before it: nobody is there yet who could ask. *)
StartResolver ==
    /\ front = "making"
    /\ Ruled
    /\ resolver = "none"
    /\ resolver' = "running"
    /\ UNCHANGED <<front, onhost, netns, rules, link, workload, world, names>>

Launch ==
    /\ front = "making"
    /\ ports = "there"
    /\ resolver = "running"
    /\ front' = "running"
    /\ workload' = "running"
    /\ UNCHANGED <<onhost, netns, rules, link, resolver, world, names>>

-----------------------------------------------------------------------------
(* Names. *)

Ask(q) ==
    /\ workload = "running"
    /\ query = "none"
    /\ query' = q
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, upstream, memory, heard>>

(* Another name: the question does not leave the host. *)
Refuse ==
    /\ resolver = "running"
    /\ query = "other"
    /\ query' = "none"
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, upstream, memory, heard>>

(* What is remembered is told for the rest of its time. *)
Recall ==
    /\ resolver = "running"
    /\ query = "permitted"
    /\ upstream # "permitted"
    /\ pending = "none"
    /\ fresh > 0
    /\ query' = "none"
    /\ holds' = IF Public(known) THEN known ELSE holds
    /\ left' = IF Public(known) THEN fresh ELSE left
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, upstream, memory>>

(* Who asks what is on its way already waits for the same answer. *)
Forward ==
    /\ resolver = "running"
    /\ query = "permitted"
    /\ fresh = 0
    /\ upstream \in {"none", "refresh"}
    /\ pending = "none"
    /\ upstream' = query
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, query, memory, heard>>

(* On its own, before an answer's time is over. *)
Refresh ==
    /\ front = "running"
    /\ upstream = "none"
    /\ pending = "none"
    /\ upstream' = "refresh"
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, query, memory, heard>>

(* No server answers: nothing changes, and who asked is told that it failed. *)
Lost ==
    /\ front = "running"
    /\ upstream # "none"
    /\ pending = "none"
    /\ upstream' = "none"
    /\ query' = IF upstream = "permitted" THEN "none" ELSE query
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, memory, heard>>

(* An address that the rules permit for long enough is told at once, one that is not public never; any other one has
   to be in the rules first. *)
Lacks(t) == Public(dns) /\ life[dns] < t
Hears == upstream = "permitted" /\ Public(dns)

Answered(t) ==
    /\ front = "running"
    /\ upstream # "none"
    /\ pending = "none"
    /\ May(dns, t)
    /\ pending' = IF Lacks(t) THEN dns ELSE "none"
    /\ lasts' = IF Lacks(t) THEN t ELSE 0
    /\ upstream' = IF Lacks(t) THEN upstream ELSE "none"
    /\ query' = IF Lacks(t) \/ upstream # "permitted" THEN query ELSE "none"
    /\ known' = IF Lacks(t) THEN known ELSE dns
    /\ fresh' = IF Lacks(t) THEN fresh ELSE t
    /\ holds' = IF ~Lacks(t) /\ Hears THEN dns ELSE holds
    /\ left' = IF ~Lacks(t) /\ Hears THEN t ELSE left
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world>>

(* One transaction. The workload hears the answer to its own question only now. *)
Load ==
    /\ front = "running"
    /\ pending # "none"
    /\ life' = [life EXCEPT ![pending] = lasts]
    /\ known' = pending
    /\ fresh' = lasts
    /\ holds' = IF upstream = "permitted" THEN pending ELSE holds
    /\ left' = IF upstream = "permitted" THEN lasts ELSE left
    /\ query' = IF upstream = "permitted" THEN "none" ELSE query
    /\ upstream' = "none"
    /\ pending' = "none"
    /\ lasts' = 0
    /\ UNCHANGED <<front, onhost, netns, covers, fixed, link, resolver, workload, world>>

(* It is told that its question has failed. *)
LoadFails ==
    /\ front = "running"
    /\ pending # "none"
    /\ query' = IF upstream = "permitted" THEN "none" ELSE query
    /\ upstream' = "none"
    /\ pending' = "none"
    /\ lasts' = 0
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, memory, heard>>

(* Time passes for all alike. *)
Less(t) == IF t > 0 THEN t - 1 ELSE 0

Tick ==
    /\ life # Never \/ left > 0 \/ fresh > 0
    /\ life' = [a \in Answers |-> Less(life[a])]
    /\ fresh' = Less(fresh)
    /\ known' = IF fresh > 1 THEN known ELSE "none"
    /\ left' = Less(left)
    /\ holds' = IF left > 1 THEN holds ELSE "none"
    /\ UNCHANGED <<front, onhost, netns, covers, fixed, link, resolver, workload, world, commit, questions>>

(* Without a resolver the workload waits no longer than it likes. *)
TimeOut ==
    /\ resolver = "none"
    /\ query # "none"
    /\ query' = "none"
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, world, commit, upstream, memory, heard>>

NameMoves(a) ==
    /\ dns # a
    /\ dns' = a
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, workload, names>>

-----------------------------------------------------------------------------
(* The end of the workload, or of set-up. *)

Exit ==
    /\ workload = "running"
    /\ workload' = "none"
    /\ query' = "none"
    /\ upstream' = IF upstream = "permitted" THEN "refresh" ELSE upstream
    /\ holds' = "none"
    /\ left' = 0
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, world, commit, memory>>

Stop ==
    /\ front = "running"
    /\ workload = "none"
    /\ front' = "stopping"
    /\ UNCHANGED <<onhost, netns, rules, link, resolver, workload, world, names>>

Fail ==
    /\ front = "making"
    /\ front' = "stopping"
    /\ UNCHANGED <<onhost, netns, rules, link, resolver, workload, world, names>>

-----------------------------------------------------------------------------
(* All is taken back, by the front-end or, when that was killed, by who sweeps up. *)

Taking == front \in {"stopping", "dead"} /\ workload = "none"

StopResolver ==
    /\ Taking
    /\ resolver = "running"
    /\ resolver' = "none"
    /\ upstream' = "none"
    /\ pending' = "none"
    /\ lasts' = 0
    /\ known' = "none"
    /\ fresh' = 0
    /\ UNCHANGED <<front, onhost, netns, rules, link, workload, world, query, heard>>

(* Nobody's any more: who looks whether the table is needed does not count it. *)
Disown ==
    /\ Taking
    /\ resolver = "none"
    /\ link = "up"
    /\ link' = "left"
    /\ UNCHANGED <<front, onhost, netns, rules, resolver, workload, world, names>>

TakePorts ==
    /\ Taking
    /\ resolver = "none"
    /\ link # "up"
    /\ ports = "there"
    /\ ports' = "none"
    /\ UNCHANGED <<front, noted, netns, rules, table, link, resolver, workload, world, names>>

(* Another sandbox needs it. *)
RemoveTable ==
    /\ Taking
    /\ resolver = "none"
    /\ link \notin {"up", "other"}
    /\ ports = "none"
    /\ table = "there"
    /\ table' = "none"
    /\ UNCHANGED <<front, noted, netns, rules, link, ports, resolver, workload, world, names>>

Disconnect ==
    /\ Taking
    /\ ports = "none"
    /\ table = "none"
    /\ link = "left"
    /\ link' = "none"
    /\ UNCHANGED <<front, onhost, netns, rules, resolver, workload, world, names>>

(* The last who holds it lets go of the namespace: its rules go with it, and a link that was never up. *)
LetGo ==
    /\ front = "stopping"
    /\ resolver = "none"
    /\ ports = "none"
    /\ table = "none"
    /\ link \in {"none", "down"}
    /\ front' = "done"
    /\ netns' = "none"
    /\ covers' = {}
    /\ fixed' = {}
    /\ life' = Never
    /\ link' = "none"
    /\ UNCHANGED <<onhost, resolver, workload, world, names>>

-----------------------------------------------------------------------------
(* SIGKILL of the front-end, and who comes after it. *)

Kill ==
    /\ front \notin {"idle", "done", "dead"}
    /\ front' = "dead"
    /\ resolver' = "none"
    /\ upstream' = "none"
    /\ pending' = "none"
    /\ lasts' = 0
    /\ known' = "none"
    /\ fresh' = 0
    /\ UNCHANGED <<onhost, netns, rules, link, workload, world, query, heard>>

SweepWorkload ==
    /\ front = "dead"
    /\ workload = "running"
    /\ workload' = "none"
    /\ query' = "none"
    /\ holds' = "none"
    /\ left' = 0
    /\ UNCHANGED <<front, onhost, netns, rules, link, resolver, world, commit, upstream, memory>>

(* The kernel removes what nobody holds. *)
Vanish ==
    /\ front = "dead"
    /\ workload = "none"
    /\ netns = "present"
    /\ netns' = "none"
    /\ covers' = {}
    /\ fixed' = {}
    /\ life' = Never
    /\ link' = "none"
    /\ UNCHANGED <<front, onhost, resolver, workload, world, names>>

(* Another sandbox makes a link of this name, and clears away what leads to it. *)
Another ==
    /\ front \in {"dead", "done"}
    /\ netns = "none"
    /\ link = "none"
    /\ table = "there"
    /\ link' = "other"
    /\ ports' = "none"
    /\ UNCHANGED <<front, noted, netns, rules, table, resolver, workload, world, names>>

-----------------------------------------------------------------------------
Next ==
    \/ Begin \/ MakeNetns \/ LoadRules \/ Note \/ MakeTable \/ Claim \/ List \/ Connect \/ Publish \/ StartResolver
    \/ Launch
    \/ Ask("permitted") \/ Ask("other")
    \/ Refuse \/ Recall \/ Forward \/ Refresh \/ Lost
    \/ \E t \in Lasts : Answered(t)
    \/ Load \/ LoadFails \/ Tick \/ TimeOut
    \/ \E a \in Answers : NameMoves(a)
    \/ Exit \/ Stop \/ Fail
    \/ StopResolver \/ Disown \/ TakePorts \/ RemoveTable \/ Disconnect \/ LetGo
    \/ Kill \/ SweepWorkload \/ Vanish \/ Another

Fairness ==
    /\ WF_vars(MakeNetns) /\ WF_vars(LoadRules) /\ WF_vars(Note) /\ WF_vars(MakeTable) /\ WF_vars(Claim)
    /\ WF_vars(List) /\ WF_vars(Connect) /\ WF_vars(Publish) /\ WF_vars(StartResolver) /\ WF_vars(Launch)
    /\ WF_vars(Refuse) /\ SF_vars(Recall) /\ SF_vars(Forward)
    /\ WF_vars(\E t \in Lasts : Answered(t)) /\ WF_vars(Load) /\ WF_vars(Tick) /\ WF_vars(TimeOut)
    /\ WF_vars(Stop) /\ WF_vars(StopResolver) /\ WF_vars(Disown) /\ WF_vars(TakePorts) /\ WF_vars(RemoveTable)
    /\ WF_vars(Disconnect) /\ WF_vars(LetGo) /\ WF_vars(SweepWorkload) /\ WF_vars(Vanish)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* What a packet of the workload's, or of anything in its namespace, would reach now. *)
Out == link \in {"up", "left"}
Reaches(a) == Out /\ (Family(a) \notin covers \/ a \in fixed \/ (a \in Answers /\ life[a] > 0))

(* No packet before the rules, and none after them: while there is a way out, the rules are there, in both families. *)
RulesFirst == Out => netns = "present" /\ covers = Families

(* Only what was granted: a fixed address, or a public address of the permitted name. *)
OnlyGranted == \A a \in Addresses : Reaches(a) => a \in Static \cup {n \in Answers : Public(n)}

(* No gap: while the workload runs, what is always permitted always is, also while names change. *)
NoGap == workload = "running" => \A a \in Static : Reaches(a)

(* An address that the workload was told is permitted before it hears of it, and as long as it was told: also when
   the front-end is killed meanwhile. *)
ToldIsPermitted == holds # "none" => Reaches(holds) /\ left <= life[holds]

(* And so is one that it would be told from memory. *)
KnownIsPermitted == (known # "none" /\ Public(known)) => fresh <= life[known]

(* An answer goes into rules that are there. *)
RulesToChange == resolver = "running" => covers = Families

(* No question for another name leaves the host. *)
NothingLeaksByName == upstream # "other"

(* The workload starts last and ends first. *)
InsideTheLink == workload = "running" => link = "up" /\ table = "there" /\ ports = "there"

(* Sandboxes are kept apart while there is a link that is somebody's. *)
Apart == link = "up" => table = "there"

(* What is on the host can be found by who comes after, whoever is killed. *)
Found ==
    /\ (table = "there" \/ link \in {"down", "up"}) => noted # "nothing"
    /\ ports = "there" => noted = "all"

(* Who has the link next is not reached through the ports of the last one, and is let alone. *)
NobodyElses == link = "other" => ports = "none"
LetAlone == [][link = "other" => link' = "other" /\ table' = "there"]_vars

(* The rules follow the name. *)
Follows == (life["n4"] > 0 /\ dns = "n6") ~> (dns # "n6" \/ life["n4"] = 0)

(* Every question is answered, refused or given up. *)
Replied == (query # "none") ~> (query = "none")

(* Nothing stays behind, whoever was killed. *)
CleanedUp ==
    (front \in {"stopping", "dead"}) ~>
        (netns = "none" /\ resolver = "none" /\ ports = "none" /\ (link = "other" \/ (link = "none" /\ table = "none")))
=============================================================================
