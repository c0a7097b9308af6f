------------------------------ MODULE Sandbox ------------------------------
(***************************************************************************
What the front-end leaves on the host, and that all of it comes back.

`nucleus run` makes four things: the sandbox's own directory, in which it notes
what it is going to make and which it holds a lock on; a network, where one is
asked for; files elsewhere (secrets in memory, a root directory that is not in
the bundle); and, through the runtime, the container.  However it ends, it takes
them back in one order.  If it is killed, the kernel gives its lock back, and the
next `nucleus run` or `nucleus rm` finds the directory, takes the lock and goes
the same way.

WHAT IS MODELLED.  The road of `run` with and without a network, with a failure
at each step, a workload that is left to itself (`--detach`), SIGKILL of who
makes and of who takes back between any two steps, any part that cannot be taken
back for a while, and who sweeps while `run` still lives.

WHAT IS ASSUMED.  A lock goes with its process and keeps others out; what can be
taken back is, when it is tried often enough.  Fairness: `run` goes on unless it
is killed, and somebody sweeps or removes at last, not killed at the very same
step for ever.

WHAT IS LEFT OUT.  The inside of the parts (specs Resources for the container,
Egress for the network), the copy of a workspace, which is to be reviewed after
the end, several sandboxes, and the moment between making the directory and
locking it, in which a lock on all sandboxes keeps sweepers away.

THE CODE.  shim/src/cleanup.rs (TAKE_DOWN: the order as data, walked by `remove`;
formal/bindings/cleanup.rs holds it against this spec), run.rs, store.rs; real
runs, killed at each step, are held against it in formal/tests/traces/sandbox.rs.
***************************************************************************)
CONSTANTS
    \* @type: Set(Str);
    Networks  \* that are asked for: "none", "bridge"

VARIABLES
    \* @type: Str;
    network,
    \* @type: Set(Str);
    there,    \* the parts that are there
    \* @type: Str;
    holder,   \* of the lock: "none", "run", or who "sweeps"
    \* @type: Str;
    act       \* of the holder: "none", "making", "running", "taking"; "new" before it all, "over" after it

vars == <<network, there, holder, act>>

Parts == {"directory", "network", "files", "container"}

TypeOK ==
    /\ network \in Networks
    /\ there \in SUBSET Parts
    /\ holder \in {"none", "run", "sweep"}
    /\ act \in {"new", "none", "making", "running", "taking", "over"}

Init ==
    /\ network \in Networks
    /\ there = {}
    /\ holder = "none"
    /\ act = "new"

-----------------------------------------------------------------------------
Bridge == network = "bridge"

MakeDirectory ==
    /\ act = "new"
    /\ act' = "making"
    /\ holder' = "run"
    /\ there' = {"directory"}
    /\ UNCHANGED network

(* In a thread of its own, at the same time as the files. *)
MakeNetwork ==
    /\ act = "making"
    /\ Bridge
    /\ "network" \notin there
    /\ there' = there \cup {"network"}
    /\ UNCHANGED <<network, holder, act>>

MakeFiles ==
    /\ act = "making"
    /\ "files" \notin there
    /\ there' = there \cup {"files"}
    /\ UNCHANGED <<network, holder, act>>

Start ==
    /\ act = "making"
    /\ "files" \in there
    /\ Bridge => "network" \in there
    /\ there' = there \cup {"container"}
    /\ act' = "running"
    /\ UNCHANGED <<network, holder>>

(* The workload has ended, or something has failed. *)
End ==
    /\ act \in {"making", "running"}
    /\ act' = "taking"
    /\ UNCHANGED <<network, there, holder>>

Detach ==
    /\ act = "running"
    /\ act' = "none"
    /\ holder' = "none"
    /\ UNCHANGED <<network, there>>

Kill ==
    /\ holder # "none"
    /\ act' = "none"
    /\ holder' = "none"
    /\ UNCHANGED <<network, there>>

(* The next `run` for who was killed, `rm` for who was detached or could not be removed. *)
Sweep ==
    /\ holder = "none"
    /\ "directory" \in there
    /\ holder' = "sweep"
    /\ act' = "taking"
    /\ UNCHANGED <<network, there>>

(* The runtime of a `run` that is gone ends its container by itself, sooner or later. *)
Follow ==
    /\ holder # "run"
    /\ "container" \in there
    /\ there' = there \ {"container"}
    /\ UNCHANGED <<network, holder, act>>

-----------------------------------------------------------------------------
(* The way back, the same for `run` and for who sweeps. *)

TakeContainer ==
    /\ act = "taking"
    /\ "container" \in there
    /\ there' = there \ {"container"}
    /\ UNCHANGED <<network, holder, act>>

TakeNetwork ==
    /\ act = "taking"
    /\ "container" \notin there
    /\ "network" \in there
    /\ there' = there \ {"network"}
    /\ UNCHANGED <<network, holder, act>>

TakeFiles ==
    /\ act = "taking"
    /\ "container" \notin there
    /\ "files" \in there
    /\ there' = there \ {"files"}
    /\ UNCHANGED <<network, holder, act>>

TakeDirectory ==
    /\ act = "taking"
    /\ there = {"directory"}
    /\ there' = {}
    /\ act' = "over"
    /\ holder' = "none"
    /\ UNCHANGED network

(* What cannot be taken back is told, and stays for the next who tries. *)
GiveUp ==
    /\ act = "taking"
    /\ act' = "none"
    /\ holder' = "none"
    /\ UNCHANGED <<network, there>>

Rest ==
    /\ act = "over"
    /\ UNCHANGED vars

-----------------------------------------------------------------------------
Next ==
    \/ MakeDirectory \/ MakeNetwork \/ MakeFiles \/ Start \/ End \/ Detach \/ Kill \/ Sweep \/ Follow
    \/ TakeContainer \/ TakeNetwork \/ TakeFiles \/ TakeDirectory \/ GiveUp \/ Rest

Fairness ==
    /\ WF_vars(MakeNetwork) /\ WF_vars(MakeFiles) /\ WF_vars(Start) /\ WF_vars(End) /\ WF_vars(Sweep)
    /\ SF_vars(TakeContainer) /\ SF_vars(TakeNetwork) /\ SF_vars(TakeFiles) /\ SF_vars(TakeDirectory)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* What is there can be found, whoever is killed: the directory comes first and goes last. *)
NothingLost == there # {} => "directory" \in there

(* No container without what it uses: its network with the rules, its secrets and its root. *)
UsedIsThere ==
    "container" \in there =>
        /\ "files" \in there
        /\ Bridge => "network" \in there

(* Who lives is not swept away: the lock changes hands only through nobody's. *)
HeldIsKept == [][holder = "run" => holder' # "sweep"]_vars

(* Only who holds the lock changes anything, but that a container may end. *)
OnlyTheHolder == [][there' # there => holder # "none" \/ act = "new" \/ there' = there \ {"container"}]_vars

(* All comes back at last. *)
Freed == ("directory" \in there) ~> (there = {})
=============================================================================
