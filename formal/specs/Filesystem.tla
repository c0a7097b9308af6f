---------------------------- MODULE Filesystem ----------------------------
(***************************************************************************
From the inherited mount tree to the container's own, while somebody renames.

The runtime's child detaches the inherited tree from the host's, attaches the
root file system, mounts what the configuration lists, lets the hooks run,
makes paths read-only, masks paths, pivots, detaches the old root, makes the
root read-only and executes the program.  A mount's target is a path inside
the root file system, and part of that is a volume that another container
shares: its processes rename, exchange and replace directories by symbolic
links at any moment, also between two steps of one lookup.

WHAT IS MODELLED.  The lookup of `/x/y`, component by component, from the
descriptor of the root (openat2(2), RESOLVE_IN_ROOT): absolute links begin at
the root, `..` at the root stays there, and `..` in a directory that was moved
away meanwhile is not decided but begins again (EAGAIN), a bounded number of
times.  A missing target is made below the descriptor of its directory.  What
was found is held by a descriptor and mounted on through it, so that a rename
in between changes nothing.  Where links would move procfs away from the
masked paths, none is followed.  The adversary exchanges the directory `x` (it
is then called `d`) with a link to `../h`, to `/h`, to itself, or through its
own directory and back up, and moves `y` out of the root file system and in again.
Every step can fail.

WHAT IS ASSUMED.  The kernel resolves as openat2(2) says and attaches a mount
to what a descriptor refers to.  Nobody can rename in procfs.  Fairness: the
child goes on.  The adversary may act for ever and need not.

WHAT IS LEFT OUT.  Contents of file systems, id-mapped mounts, recursive
attributes, --no-pivot (weaker, and documented as such), more than one target.

THE CODE.  runtime/src/rootfs (resolve.rs, mount.rs, hide.rs, pivot.rs) and
the order of plan/paths.rs.  The contrast, looking a checked path up again, is
a mutant of this spec: it escapes.
***************************************************************************)
EXTENDS Sequences, Naturals

CONSTANTS
    \* @type: Set(Str);
    Links,     \* the links that the adversary has: "up", "abs", "loop", "through"
    \* @type: Bool;
    Moves,     \* whether it moves `y` out of the root file system
    \* @type: Int;
    MaxLinks,  \* followed in one lookup (40 in Linux)
    \* @type: Int;
    MaxRetries \* of an undecided lookup

VARIABLES
    \* @type: Str;
    stage,       \* of the child
    \* @type: Str;
    walk,        \* of its lookup
    \* @type: Str;
    at,          \* the directory that the lookup has reached: a descriptor
    \* @type: Seq(Str);
    rest,        \* components left
    \* @type: Int;
    followed,    \* links in this lookup
    \* @type: Int;
    retries,     \* of this lookup
    \* @type: Str;
    x,           \* what the name `x` is in the root: the directory, or a link
    \* @type: Str;
    above,       \* the parent of the directory `y`
    \* @type: Str;
    made,        \* where the missing target was made
    \* @type: Str;
    propagation, \* of the inherited tree
    \* @type: Bool;
    leaked,      \* whether a mount has reached the host
    \* @type: Set(Str);
    hidden,      \* protections in force: "masked", "readonly", "root"
    \* @type: Str;
    oldroot      \* the host's tree, for this process

tree == <<x, above>>
lookup == <<walk, at, rest, followed, retries, made>>
mounts == <<propagation, leaked, hidden, oldroot>>
vars == <<stage, walk, at, rest, followed, retries, x, above, made, propagation, leaked, hidden, oldroot>>

Path == <<"x", "y">>
Own == {"root", "x", "y", "new"}
Nodes == Own \cup {"host", "secret"}

Stages == {"begin", "slaved", "rooted", "bind", "bound", "proc", "mounted", "hooked", "readonly", "masked", "pivoted",
           "detached", "ready", "running", "failed"}

TypeOK ==
    /\ stage \in Stages
    /\ walk \in {"idle", "walking", "found", "missing"}
    /\ at \in Nodes
    /\ followed \in 0..MaxLinks
    /\ retries \in 0..MaxRetries
    /\ x \in {"dir"} \cup Links
    /\ above \in {"x", "host"}
    /\ made \in {"none"} \cup Nodes
    /\ propagation \in {"shared", "slave"}
    /\ leaked \in BOOLEAN
    /\ hidden \in SUBSET {"masked", "readonly", "root"}
    /\ oldroot \in {"root", "covering", "gone"}

Init ==
    /\ stage = "begin"
    /\ walk = "idle"
    /\ at = "root"
    /\ rest = <<>>
    /\ followed = 0
    /\ retries = 0
    /\ x = "dir"
    /\ above = "x"
    /\ made = "none"
    /\ propagation = "shared"
    /\ leaked = FALSE
    /\ hidden = {}
    /\ oldroot = "root"

-----------------------------------------------------------------------------
(* The tree. *)

LinkTo(l) ==
    CASE l = "up" -> <<"..", "h">>
      [] l = "abs" -> <<"h">>
      [] l = "loop" -> <<"x">>
      [] OTHER -> <<"d", "y", "..", "..", "h">>

LinkFrom(l, node) == IF l = "abs" THEN "root" ELSE node

Parent(node) ==
    CASE node = "root" -> "host"
      [] node = "x" -> "root"
      [] node = "y" -> above
      [] node = "new" -> made
      [] OTHER -> "host"

Beneath(node) == node \in {"root", "x", "new"} \/ (node = "y" /\ above = "x")

(* What a name is in a directory: a node, a link, or "absent". *)
Entry(node, name) ==
    CASE node = "root" /\ name = "x" -> (IF x = "dir" THEN "x" ELSE x)
      [] node = "root" /\ name = "d" -> (IF x = "dir" THEN "absent" ELSE "x")
      [] node = "x" /\ name = "y" /\ above = "x" -> "y"
      [] name = "y" /\ made = node -> "new"
      [] node = "host" /\ name = "h" -> "secret"
      [] OTHER -> "absent"

-----------------------------------------------------------------------------
(* One lookup. *)

Busy == stage \notin {"running", "failed"}

Begin(where) ==
    /\ stage' = where
    /\ walk' = "walking"
    /\ at' = "root"
    /\ rest' = Path
    /\ followed' = 0
    /\ retries' = 0
    /\ made' = "none"
    /\ UNCHANGED <<tree, mounts>>

Walking == Busy /\ walk = "walking" /\ rest # <<>>
Next1 == Entry(at, Head(rest))

Enter ==
    /\ Walking
    /\ Head(rest) # ".."
    /\ Next1 \in Nodes
    /\ at' = Next1
    /\ rest' = Tail(rest)
    /\ UNCHANGED <<stage, walk, followed, retries, made, tree, mounts>>

MayFollow == stage # "proc" /\ followed < MaxLinks

Follow ==
    /\ Walking
    /\ Head(rest) # ".."
    /\ Next1 \in Links
    /\ MayFollow
    /\ at' = LinkFrom(Next1, at)
    /\ rest' = LinkTo(Next1) \o Tail(rest)
    /\ followed' = followed + 1
    /\ UNCHANGED <<stage, walk, retries, made, tree, mounts>>

RefuseLink ==
    /\ Walking
    /\ Head(rest) # ".."
    /\ Next1 \in Links
    /\ ~MayFollow
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

GoUp ==
    /\ Walking
    /\ Head(rest) = ".."
    /\ Beneath(at)
    /\ at' = IF at = "root" THEN "root" ELSE Parent(at)
    /\ rest' = Tail(rest)
    /\ UNCHANGED <<stage, walk, followed, retries, made, tree, mounts>>

(* A rename has raced with `..`. *)
BeginAgain ==
    /\ Walking
    /\ Head(rest) = ".."
    /\ ~Beneath(at)
    /\ retries < MaxRetries
    /\ retries' = retries + 1
    /\ at' = "root"
    /\ rest' = Path
    /\ followed' = 0
    /\ UNCHANGED <<stage, walk, made, tree, mounts>>

GiveUp ==
    /\ Walking
    /\ Head(rest) = ".."
    /\ ~Beneath(at)
    /\ retries = MaxRetries
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

(* Only the last component of the path itself is ever made, and once. *)
Miss ==
    /\ Walking
    /\ Head(rest) # ".."
    /\ Next1 = "absent"
    /\ walk' = IF rest = <<"y">> /\ made = "none" THEN "missing" ELSE walk
    /\ stage' = IF rest = <<"y">> /\ made = "none" THEN stage ELSE "failed"
    /\ UNCHANGED <<at, rest, followed, retries, made, tree, mounts>>

Make ==
    /\ Busy
    /\ walk = "missing"
    /\ made' = at
    /\ walk' = "walking"
    /\ at' = "root"
    /\ rest' = Path
    /\ followed' = 0
    /\ UNCHANGED <<stage, retries, tree, mounts>>

Found ==
    /\ Busy
    /\ walk = "walking"
    /\ rest = <<>>
    /\ walk' = "found"
    /\ UNCHANGED <<stage, at, rest, followed, retries, made, tree, mounts>>

-----------------------------------------------------------------------------
(* The road. *)

Step(from, to) ==
    /\ stage = from
    /\ stage' = to

MakeSlave ==
    /\ Step("begin", "slaved")
    /\ propagation' = "slave"
    /\ UNCHANGED <<lookup, tree, leaked, hidden, oldroot>>

(* A mount in a tree that is shared with the host's appears there too. *)
Leaks == leaked \/ propagation = "shared"

AttachRoot ==
    /\ Step("slaved", "rooted")
    /\ leaked' = Leaks
    /\ UNCHANGED <<lookup, tree, propagation, hidden, oldroot>>

BeginBind ==
    /\ stage = "rooted"
    /\ Begin("bind")

(* On what the descriptor refers to. *)
AttachBind ==
    /\ walk = "found"
    /\ Step("bind", "bound")
    /\ walk' = "idle"
    /\ at' = at
    /\ leaked' = Leaks
    /\ UNCHANGED <<rest, followed, retries, made, tree, propagation, hidden, oldroot>>

BeginProc ==
    /\ stage = "bound"
    /\ Begin("proc")

(* A new mount shows what the old one hid. *)
AttachProc ==
    /\ walk = "found"
    /\ Step("proc", "mounted")
    /\ walk' = "idle"
    /\ leaked' = Leaks
    /\ hidden' = {}
    /\ UNCHANGED <<at, rest, followed, retries, made, tree, propagation, oldroot>>

(* They may mount what they like. *)
Hooks ==
    /\ Step("mounted", "hooked")
    /\ hidden' = {}
    /\ UNCHANGED <<lookup, tree, propagation, leaked, oldroot>>

ReadonlyPaths ==
    /\ Step("hooked", "readonly")
    /\ hidden' = hidden \cup {"readonly"}
    /\ UNCHANGED <<lookup, tree, propagation, leaked, oldroot>>

Mask ==
    /\ Step("readonly", "masked")
    /\ hidden' = hidden \cup {"masked"}
    /\ UNCHANGED <<lookup, tree, propagation, leaked, oldroot>>

Pivot ==
    /\ Step("masked", "pivoted")
    /\ oldroot' = "covering"
    /\ UNCHANGED <<lookup, tree, propagation, leaked, hidden>>

DetachOldRoot ==
    /\ Step("pivoted", "detached")
    /\ oldroot' = "gone"
    /\ UNCHANGED <<lookup, tree, propagation, leaked, hidden>>

RootReadonly ==
    /\ Step("detached", "ready")
    /\ hidden' = hidden \cup {"root"}
    /\ UNCHANGED <<lookup, tree, propagation, leaked, oldroot>>

Execute ==
    /\ Step("ready", "running")
    /\ UNCHANGED <<lookup, tree, mounts>>

Fail ==
    /\ stage \notin {"running", "failed"}
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

-----------------------------------------------------------------------------
(* The other container. *)

Exchange(l) ==
    /\ x' = IF x = "dir" THEN l ELSE "dir"
    /\ UNCHANGED <<stage, lookup, above, mounts>>

Move ==
    /\ Moves
    /\ above' = IF above = "x" THEN "host" ELSE "x"
    /\ UNCHANGED <<stage, lookup, x, mounts>>

-----------------------------------------------------------------------------
Lookup == Enter \/ Follow \/ RefuseLink \/ GoUp \/ BeginAgain \/ GiveUp \/ Miss \/ Make \/ Found

Road ==
    \/ MakeSlave \/ AttachRoot \/ BeginBind \/ AttachBind \/ BeginProc \/ AttachProc \/ Hooks \/ ReadonlyPaths \/ Mask
    \/ Pivot \/ DetachOldRoot \/ RootReadonly \/ Execute

Next ==
    \/ Enter \/ Follow \/ RefuseLink \/ GoUp \/ BeginAgain \/ GiveUp \/ Miss \/ Make \/ Found
    \/ MakeSlave \/ AttachRoot \/ BeginBind \/ AttachBind \/ BeginProc \/ AttachProc \/ Hooks \/ ReadonlyPaths \/ Mask
    \/ Pivot \/ DetachOldRoot \/ RootReadonly \/ Execute
    \/ Fail
    \/ \E l \in Links : Exchange(l)
    \/ Move

(* Who has begun goes on. *)
Fairness == WF_vars(stage # "begin" /\ (Lookup \/ Road))

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* No lookup is ever outside, whatever is renamed: what is mounted on and what is made belongs to the container. *)
StaysInside == at \in Own

MadeInside == made \in {"none"} \cup Own

(* The targets of procfs and sysfs are reached without any link. *)
ProcWithoutLinks == stage = "proc" => followed = 0

(* No mount appears on the host. *)
NothingLeaks == ~leaked

(* When the program runs, all that was to be hidden is, and no path leads to the host's tree. *)
HiddenAtLast == stage = "running" => hidden = {"masked", "readonly", "root"} /\ oldroot = "gone"

(* The root is written to (targets, the working directory) only while it is writable. *)
WritableWhileNeeded == walk # "idle" /\ Busy => "root" \notin hidden

(* Whatever the adversary does, the child ends its set-up or fails. *)
Ends == (stage = "slaved") ~> (stage \in {"running", "failed"})

(* What is hidden stays hidden. *)
StaysHidden == [][hidden \subseteq hidden']_vars
=============================================================================
