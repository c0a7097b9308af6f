---------------------------- MODULE Filesystem ----------------------------
(***************************************************************************
From the inherited mount tree to the container's own, while somebody renames.

The runtime's child keeps what it mounts off the host's mount tree, attaches the
root file system, mounts what the configuration lists, lets the hooks run,
makes paths read-only, masks paths, pivots, detaches the old root, makes the
root read-only and executes the program.  A mount's target is a path inside
the root file system, and part of that is a volume that another container
shares: its processes rename, exchange and replace directories by symbolic
links at any moment, also between two steps of one lookup.

HOW TO READ IT.  `stage` says how far the child is, and `walk`, `cut`, `turn`, `at` and
`rest` where its lookup of a path is.  `x` and `above` are the tree that the
adversary changes; the variables from `propagation` on are the mounts.  Each action
is one component of a lookup, one step of the child, or one rename.

WHAT IS MODELLED.  The lookup of `/x/y`, component by component, from the
descriptor of the root (openat2(2), RESOLVE_IN_ROOT): absolute links begin at
the root, `..` at the root stays there, and `..` in a directory that was moved
away meanwhile is not decided but begins again (EAGAIN), a bounded number of
times.  If the target is missing, the lookup asks for the directory above, and
so on to one that is there; in that descriptor it makes one name, and looks what
it has made up again from the root, down to the target.  What has the name
already stays, and what is still missing then is an error.  What was found is
held by a descriptor and mounted on through it, so that a rename in between
changes nothing.  Where links would move procfs away from the masked paths,
none is followed.  The adversary removes the directory `x`, or exchanges it (it is
then called `d`) with a link to `../h`, to `/h`, to itself, or through its own
directory and back up, and moves `y` out of the root file system and in again.

Mounts that are shared with the host's are asked for, or not: then the root file
system covers `/`, which is made private, and the old root is cut off before it
is unmounted.  What is to be hidden is there, is not there, which is no error, or
cannot be looked at, which is one.  Every step can fail.

WHAT IS ASSUMED.  The kernel resolves as openat2(2) says and attaches a mount
to what a descriptor refers to; runtime/tests/threat_links.rs has the kernel do
it, with links to the host in every place and in a race of renames.  Nobody can
rename in procfs.  Fairness: the child goes on.  The adversary may act for ever and
need not.

WHAT IS LEFT OUT.  Contents of file systems, id-mapped mounts, recursive
attributes, --no-pivot (weaker, and documented as such), more than one target: so
also that the directory of the last one made is kept open for the next one, and
is then where that lookup begins.  Whether a target is a file or a directory, and
that sources of bind mounts are paths of the host.

THE CODE.  runtime/src/plan/tree.rs (the order, and what is kept off the host) and
runtime/src/rootfs/lookup.rs (what is asked of the kernel next): held against this
spec in formal/bindings.  runtime/src/rootfs (resolve.rs, mount.rs, hide.rs,
pivot.rs) carries it out.  The contrast, looking a checked path up again, is a
mutant of this spec: it escapes.
***************************************************************************)
EXTENDS Sequences, Naturals

CONSTANTS
    \* @type: Set(Str);
    Swaps,        \* what the adversary puts in the place of `x`: the links "up", "abs", "loop", "through", or "nothing"
    \* @type: Bool;
    Moves,        \* whether it moves `y` out of the root file system
    \* @type: Int;
    MaxLinks,     \* followed in one lookup (40 in Linux)
    \* @type: Int;
    MaxRetries,   \* of an undecided lookup
    \* @type: Set(Str);
    Propagations, \* that may be asked for: "slave", which is the usual one, "shared"
    \* @type: Set(Str);
    Protections   \* that are asked for, of "readonly", "masked" and "root"

VARIABLES
    \* @type: Str;
    asked,       \* the propagation
    \* @type: Str;
    stage,       \* of the child
    \* @type: Str;
    walk,        \* of its lookup
    \* @type: Int;
    cut,         \* components at the end of the path that this lookup leaves out
    \* @type: Str;
    turn,        \* "up": to a directory that is there; "down": what is below has been made
    \* @type: Str;
    at,          \* the directory that the lookup has reached: a descriptor
    \* @type: Seq(Str);
    rest,        \* components left
    \* @type: Int;
    followed,    \* links in this lookup
    \* @type: Int;
    retries,     \* of this lookup
    \* @type: Str;
    x,           \* what the name `x` is in the root: the directory, a link, nothing, or a directory made anew
    \* @type: Str;
    above,       \* the parent of the directory `y`
    \* @type: Str;
    made,        \* where the missing target was made
    \* @type: Str;
    propagation, \* of the inherited tree
    \* @type: Str;
    mountpoint,       \* where the root file system is attached: at its own "path", or "over" the root directory
    \* @type: Bool;
    peer,        \* whether what is mounted in the root file system appears on the host
    \* @type: Bool;
    leaked,      \* whether a mount, or its end, has reached the host
    \* @type: Str;
    seen,        \* what is at the path to hide: "there", "absent", or "denied" if that cannot be told
    \* @type: Set(Str);
    hidden,      \* protections in force: "masked", "readonly", "root"
    \* @type: Set(Str);
    absent,      \* protections that had nothing to hide
    \* @type: Str;
    oldroot      \* the host's tree, for this process

tree == <<x, above>>
lookup == <<walk, cut, turn, at, rest, followed, retries, made>>
hiding == <<seen, hidden, absent>>
mounts == <<asked, propagation, mountpoint, peer, leaked, seen, hidden, absent, oldroot>>
vars == <<asked, stage, walk, cut, turn, at, rest, followed, retries, x, above, made, propagation, mountpoint, peer,
          leaked, seen, hidden, absent, oldroot>>

Links == Swaps \ {"nothing"}
Path == <<"x", "y">>
Own == {"root", "x", "y", "new", "new x"}
Nodes == Own \cup {"host", "secret"}

Stages == {"begin", "inherited", "rooted", "bind", "bound", "proc", "mounted", "hooked", "readonly", "masked", "pivoted",
           "detached", "ready", "running", "failed"}

TypeOK ==
    /\ asked \in Propagations
    /\ stage \in Stages
    /\ walk \in {"idle", "walking", "making", "found"}
    /\ cut \in 0..2
    /\ turn \in {"up", "down"}
    /\ at \in Nodes
    /\ followed \in 0..MaxLinks
    /\ retries \in 0..MaxRetries
    /\ x \in {"dir", "new"} \cup Swaps
    /\ above \in {"x", "host"}
    /\ made \in {"none"} \cup Nodes
    /\ propagation \in {"shared", "slave"}
    /\ mountpoint \in {"none", "path", "over"}
    /\ peer \in BOOLEAN
    /\ leaked \in BOOLEAN
    /\ seen \in {"unknown", "there", "absent", "denied"}
    /\ hidden \in SUBSET {"masked", "readonly", "root"}
    /\ absent \in SUBSET {"masked", "readonly"}
    /\ oldroot \in {"root", "covering", "gone"}

Init ==
    /\ asked \in Propagations
    /\ stage = "begin"
    /\ walk = "idle"
    /\ cut = 0
    /\ turn = "up"
    /\ at = "root"
    /\ rest = <<>>
    /\ followed = 0
    /\ retries = 0
    /\ x = "dir"
    /\ above = "x"
    /\ made = "none"
    /\ propagation = "shared"
    /\ mountpoint = "none"
    /\ peer = FALSE
    /\ leaked = FALSE
    /\ seen = "unknown"
    /\ hidden = {}
    /\ absent = {}
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
      [] node = "new x" -> "root"
      [] node = "y" -> above
      [] node = "new" -> made
      [] OTHER -> "host"

Beneath(node) == node \in {"root", "x", "new", "new x"} \/ (node = "y" /\ above = "x")

(* What the name `x` is. *)
X ==
    CASE x = "dir" -> "x"
      [] x = "new" -> "new x"
      [] x = "nothing" -> "absent"
      [] OTHER -> x

(* What a name is in a directory: a node, a link, or "absent". *)
Entry(node, name) ==
    CASE node = "root" /\ name = "x" -> X
      [] node = "root" /\ name = "d" -> (IF x = "dir" THEN "absent" ELSE "x")
      [] node = "x" /\ name = "y" /\ above = "x" -> "y"
      [] name = "y" /\ made = node -> "new"
      [] node = "host" /\ name = "h" -> "secret"
      [] OTHER -> "absent"

-----------------------------------------------------------------------------
(* One lookup: the path without its last `cut` components, from the root. Each of the questions to the kernel begins
   again there, and only what the last one has answered is held. *)

Busy == stage \notin {"running", "failed"}

LookUp(less, direction) ==
    /\ walk' = "walking"
    /\ cut' = less
    /\ turn' = direction
    /\ at' = "root"
    /\ rest' = SubSeq(Path, 1, 2 - less)
    /\ followed' = 0
    /\ retries' = 0

Begin(where) ==
    /\ stage' = where
    /\ LookUp(0, "up")
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
    /\ UNCHANGED <<stage, walk, cut, turn, followed, retries, made, tree, mounts>>

MayFollow == stage # "proc" /\ followed < MaxLinks

Follow ==
    /\ Walking
    /\ Head(rest) # ".."
    /\ Next1 \in Links
    /\ MayFollow
    /\ at' = LinkFrom(Next1, at)
    /\ rest' = LinkTo(Next1) \o Tail(rest)
    /\ followed' = followed + 1
    /\ UNCHANGED <<stage, walk, cut, turn, retries, made, tree, mounts>>

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
    /\ UNCHANGED <<stage, walk, cut, turn, followed, retries, made, tree, mounts>>

(* A rename has raced with `..`. *)
BeginAgain ==
    /\ Walking
    /\ Head(rest) = ".."
    /\ ~Beneath(at)
    /\ retries < MaxRetries
    /\ retries' = retries + 1
    /\ at' = "root"
    /\ rest' = SubSeq(Path, 1, 2 - cut)
    /\ followed' = 0
    /\ UNCHANGED <<stage, walk, cut, turn, made, tree, mounts>>

GiveUp ==
    /\ Walking
    /\ Head(rest) = ".."
    /\ ~Beneath(at)
    /\ retries = MaxRetries
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

Missing == Walking /\ Head(rest) # ".." /\ Next1 = "absent"

(* Is the directory there that it is to be made in? The root always is. *)
LookAbove ==
    /\ Missing
    /\ turn = "up"
    /\ LookUp(cut + 1, "up")
    /\ UNCHANGED <<stage, made, tree, mounts>>

(* What was made is gone, or a link to nowhere has its name. *)
NotThere ==
    /\ Missing
    /\ turn = "down"
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

FoundAbove ==
    /\ Busy
    /\ walk = "walking"
    /\ rest = <<>>
    /\ cut > 0
    /\ walk' = "making"
    /\ cut' = cut - 1
    /\ UNCHANGED <<stage, turn, at, rest, followed, retries, made, tree, mounts>>

(* One entry of the directory that is held. What has that name already stays, whatever it is. *)
Make ==
    /\ Busy
    /\ walk = "making"
    /\ made' = IF cut = 0 /\ Entry(at, "y") = "absent" THEN at ELSE made
    /\ x' = IF cut = 1 /\ X = "absent" THEN "new" ELSE x
    /\ LookUp(cut, "down")
    /\ UNCHANGED <<stage, above, mounts>>

Found ==
    /\ Busy
    /\ walk = "walking"
    /\ rest = <<>>
    /\ cut = 0
    /\ walk' = "found"
    /\ UNCHANGED <<stage, cut, turn, at, rest, followed, retries, made, tree, mounts>>

-----------------------------------------------------------------------------
(* The road. *)

Step(from, to) ==
    /\ stage = from
    /\ stage' = to

(* Only who asks for shared mounts leaves the tree as it was. *)
Inherit ==
    /\ Step("begin", "inherited")
    /\ propagation' = asked
    /\ UNCHANGED <<asked, lookup, tree, mountpoint, peer, leaked, hiding, oldroot>>

(* In a tree that is shared with the host's, a mount appears there too: so it goes over the root directory, which is
   one mount that can be made private, and is made private itself. *)
AttachRoot ==
    /\ Step("inherited", "rooted")
    /\ mountpoint' = IF asked = "shared" THEN "over" ELSE "path"
    /\ peer' = (propagation = "shared" /\ mountpoint' = "path")
    /\ leaked' = (leaked \/ (propagation = "shared" /\ mountpoint' = "path"))
    /\ UNCHANGED <<asked, lookup, tree, propagation, hiding, oldroot>>

BeginBind ==
    /\ stage = "rooted"
    /\ Begin("bind")

(* On what the descriptor refers to. *)
AttachBind ==
    /\ walk = "found"
    /\ Step("bind", "bound")
    /\ walk' = "idle"
    /\ at' = at
    /\ turn' = "up"
    /\ followed' = 0
    /\ retries' = 0
    /\ made' = "none"
    /\ leaked' = (leaked \/ peer)
    /\ UNCHANGED <<asked, cut, rest, tree, propagation, mountpoint, peer, hiding, oldroot>>

BeginProc ==
    /\ stage = "bound"
    /\ Begin("proc")

(* A new mount shows what the old one hid. *)
AttachProc ==
    /\ walk = "found"
    /\ Step("proc", "mounted")
    /\ walk' = "idle"
    /\ at' = "root"
    /\ turn' = "up"
    /\ followed' = 0
    /\ retries' = 0
    /\ made' = "none"
    /\ leaked' = (leaked \/ peer)
    /\ hidden' = {}
    /\ UNCHANGED <<asked, cut, rest, tree, propagation, mountpoint, peer, seen, absent, oldroot>>

(* They may mount what they like. *)
Hooks ==
    /\ Step("mounted", "hooked")
    /\ hidden' = {}
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, leaked, seen, absent, oldroot>>

(* The steps that hide, where they are asked for: first what is read-only, then what is masked. *)
Hides == IF stage = "hooked" /\ "readonly" \in Protections THEN "readonly"
         ELSE IF stage \in {"hooked", "readonly"} /\ "masked" \in Protections THEN "masked"
         ELSE "nothing"

Look(k) ==
    /\ Hides # "nothing"
    /\ seen = "unknown"
    /\ seen' = k
    /\ UNCHANGED <<asked, stage, lookup, tree, propagation, mountpoint, peer, leaked, hidden, absent, oldroot>>

ReadonlyPaths ==
    /\ Hides = "readonly"
    /\ seen = "there"
    /\ stage' = "readonly"
    /\ seen' = "unknown"
    /\ hidden' = hidden \cup {"readonly"}
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, leaked, absent, oldroot>>

Mask ==
    /\ Hides = "masked"
    /\ seen = "there"
    /\ stage' = "masked"
    /\ seen' = "unknown"
    /\ hidden' = hidden \cup {"masked"}
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, leaked, absent, oldroot>>

(* What is not there needs no hiding. *)
NothingToHide ==
    /\ Hides # "nothing"
    /\ seen = "absent"
    /\ stage' = Hides
    /\ seen' = "unknown"
    /\ absent' = IF seen = "absent" THEN absent \cup {Hides} ELSE absent
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, leaked, hidden, oldroot>>

(* What is there and cannot be hidden is refused. *)
RefuseToHide ==
    /\ Hides # "nothing"
    /\ seen = "denied"
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

Pivot ==
    /\ stage \in {"hooked", "readonly", "masked"}
    /\ Hides = "nothing"
    /\ stage' = "pivoted"
    /\ oldroot' = "covering"
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, leaked, hiding>>

(* Or its unmounting would reach the host. *)
LetOldRootGo ==
    /\ stage = "pivoted"
    /\ propagation = "shared"
    /\ propagation' = "slave"
    /\ UNCHANGED <<asked, stage, lookup, tree, mountpoint, peer, leaked, hiding, oldroot>>

DetachOldRoot ==
    /\ propagation = "slave"
    /\ Step("pivoted", "detached")
    /\ oldroot' = "gone"
    /\ leaked' = (leaked \/ propagation = "shared")
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, hiding>>

RootReadonly ==
    /\ "root" \in Protections
    /\ Step("detached", "ready")
    /\ hidden' = hidden \cup {"root"}
    /\ UNCHANGED <<asked, lookup, tree, propagation, mountpoint, peer, leaked, seen, absent, oldroot>>

Execute ==
    /\ stage = IF "root" \in Protections THEN "ready" ELSE "detached"
    /\ stage' = "running"
    /\ UNCHANGED <<lookup, tree, mounts>>

Fail ==
    /\ stage \notin {"running", "failed"}
    /\ stage' = "failed"
    /\ UNCHANGED <<lookup, tree, mounts>>

-----------------------------------------------------------------------------
(* The other container. How mounts propagate is nothing to it: it is there where what is usual is asked for. *)

Adversary == asked = "slave"

Exchange(l) ==
    /\ Adversary
    /\ x' = IF x = "dir" THEN l ELSE "dir"
    /\ UNCHANGED <<stage, lookup, above, mounts>>

Move ==
    /\ Adversary
    /\ Moves
    /\ above' = IF above = "x" THEN "host" ELSE "x"
    /\ UNCHANGED <<stage, lookup, x, mounts>>

Rest == ~Busy /\ UNCHANGED vars

-----------------------------------------------------------------------------
Lookup ==
    \/ Enter \/ Follow \/ RefuseLink \/ GoUp \/ BeginAgain \/ GiveUp \/ LookAbove \/ NotThere \/ FoundAbove \/ Make
    \/ Found

Seen == {"there", "absent", "denied"}

Road ==
    \/ Inherit \/ AttachRoot \/ BeginBind \/ AttachBind \/ BeginProc \/ AttachProc \/ Hooks
    \/ \E k \in Seen : Look(k)
    \/ ReadonlyPaths \/ Mask \/ NothingToHide \/ RefuseToHide
    \/ Pivot \/ LetOldRootGo \/ DetachOldRoot \/ RootReadonly \/ Execute

Next ==
    \/ Enter \/ Follow \/ RefuseLink \/ GoUp \/ BeginAgain \/ GiveUp \/ LookAbove \/ NotThere \/ FoundAbove \/ Make
    \/ Found
    \/ Inherit \/ AttachRoot \/ BeginBind \/ AttachBind \/ BeginProc \/ AttachProc \/ Hooks
    \/ \E k \in Seen : Look(k)
    \/ ReadonlyPaths \/ Mask \/ NothingToHide \/ RefuseToHide
    \/ Pivot \/ LetOldRootGo \/ DetachOldRoot \/ RootReadonly \/ Execute
    \/ Fail
    \/ \E l \in Swaps : Exchange(l)
    \/ Move
    \/ Rest

(* Who has begun goes on. *)
Fairness == WF_vars(stage # "begin" /\ (Lookup \/ Road))

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* No lookup is ever outside, whatever is renamed: what is mounted on and what is made belongs to the container. *)
StaysInside == at \in Own

MadeInside == made \in {"none"} \cup Own

(* The targets of procfs and sysfs are reached without any link. *)
ProcWithoutLinks == stage = "proc" => followed = 0

(* No mount appears on the host, and none of the host's goes. *)
NothingLeaks == ~leaked

(* When the program runs, all that was to be hidden is, or was not there, and no path leads to the host's tree. *)
HiddenAtLast == stage = "running" => hidden \cup absent = Protections /\ oldroot = "gone"

(* The root is written to (targets, the working directory) only while it is writable. *)
WritableWhileNeeded == walk # "idle" /\ Busy => "root" \notin hidden

(* Whatever the adversary does, the child ends its set-up or fails. *)
Ends == (stage = "inherited") ~> (stage \in {"running", "failed"})

(* What is hidden stays hidden. *)
StaysHidden == [][hidden \subseteq hidden']_vars
=============================================================================
