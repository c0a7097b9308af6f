------------------------------ MODULE Policy ------------------------------
(***************************************************************************
From a request to a policy in a bundle, while somebody swaps the files.

The front-end first holds the request to its mode, without looking at any
file: the mode takes it, perhaps with warnings, or refuses it with all that is
wrong.  Then it opens the policy file, reads it once, compares the digest of
the bytes that it has read with the pin, parses these bytes and no others, and
narrows a configuration to what they say.

HOW TO READ IT.  `phase` says how far the front-end is.  `ask` is the request with
the facts of the host; `refused`, `without` and `warned` are what was decided.
`named` and `text` are the file as it is on disk, where the adversary acts;
`opened`, `first` and `second` what the front-end holds and has read of it, in two
halves, so that something can come between.  Good bytes are those of the pin.

WHAT IS MODELLED.  Every request as far as a mode looks at it, on every kind
of host.  The adversary may write to the file at any moment, also between two
reads, and may put another file, or a pipe, in its place.  The configuration
may have capabilities and a seccomp profile already; the policy is applied
once or twice.  Every step can fail.

WHAT IS ASSUMED.  The digest tells different bytes apart.  A descriptor goes on
naming the file that was opened.  Fairness: the front-end goes on.

WHAT IS LEFT OUT.  The syntax of policies, the three kinds (all take the same
road), lock files (read on the same road), Landlock's rules; the warnings'
words; the rootfs attestation itself (here: a fact of the root file system).

THE CODE.  shim/src/mode.rs `decide` (formal/bindings/mode.rs holds it against
the step Decide, for every request), policy/src/source.rs, verified.rs and
apply.rs (formal/tests/policy.rs).
***************************************************************************)
EXTENDS FiniteSets

CONSTANTS
    \* @type: Set(Str);
    Modes,     \* "agent", "strict-agent", "production"
    \* @type: Set(Str);
    Files,     \* what can be at the path: "file", "other", "pipe"
    \* @type: Bool;
    Writes     \* whether the adversary writes into the file

VARIABLES
    \* @type: Str;
    phase,     \* how far the front-end is
    \* @type: { mode: Str, consent: Bool, network: Str, host_consent: Bool, rootfs: Str, user: Bool, limits: Str, asked: Bool, cgroups: Bool, landlock: Bool, userns: Bool };
    ask,       \* the request and the facts of the host
    \* @type: Set(Str);
    refused,   \* fields of the request that its mode does not take
    \* @type: Set(Str);
    without,   \* what is left out: "limits", "landlock", "user namespace"
    \* @type: Set(Str);
    warned,    \* what of that the user was told
    \* @type: Bool;
    pinned,    \* whether the request has a pin: always the digest of the good bytes
    \* @type: Str;
    named,     \* the file at the path
    \* @type: Str;
    text,      \* what is in "file" now
    \* @type: Str;
    opened,    \* the file behind the descriptor
    \* @type: Str;
    first,     \* the first half that was read
    \* @type: Str;
    second,    \* and the second
    \* @type: Set(Str);
    caps,      \* of the configuration
    \* @type: Str;
    profile    \* of the configuration

request == <<ask, refused, without, warned, pinned>>
files == <<named, text>>
bytes == <<opened, first, second>>
config == <<caps, profile>>
vars == <<phase, ask, refused, without, warned, pinned, named, text, opened, first, second, caps, profile>>

Asks == [mode : Modes, consent : BOOLEAN, network : {"none", "host"}, host_consent : BOOLEAN,
         rootfs : {"none", "plain", "attested"}, user : BOOLEAN, limits : {"none", "other", "memory"},
         asked : BOOLEAN, cgroups : BOOLEAN, landlock : BOOLEAN, userns : BOOLEAN]

(* What is left of a request once it is decided. *)
Decided(m) == [mode |-> m, consent |-> FALSE, network |-> "none", host_consent |-> FALSE, rootfs |-> "none",
               user |-> FALSE, limits |-> "none", asked |-> FALSE, cgroups |-> TRUE, landlock |-> TRUE, userns |-> TRUE]

Capabilities == {"kill", "admin"}
Phases == {"asked", "taken", "refused", "loading", "opened", "half", "read", "checked", "parsed", "applied", "failed"}

TypeOK ==
    /\ phase \in Phases
    /\ ask \in Asks
    /\ refused \in SUBSET {"network", "rootfs", "user", "memory", "memory, cpus, pids, io", "landlock-policy", "user namespace"}
    /\ without \in SUBSET {"limits", "landlock", "user namespace"}
    /\ warned \in SUBSET {"limits", "landlock", "user namespace"}
    /\ pinned \in BOOLEAN
    /\ named \in Files
    /\ text \in {"good", "evil"}
    /\ opened \in {"none"} \cup Files
    /\ first \in {"none", "good", "evil"}
    /\ second \in {"none", "good", "evil"}
    /\ caps \in SUBSET Capabilities
    /\ profile \in {"none", "good", "evil", "foreign"}

Init ==
    /\ phase = "asked"
    /\ ask \in Asks
    /\ refused = {}
    /\ without = {}
    /\ warned = {}
    /\ pinned = FALSE
    /\ named = "file"
    /\ text = "good"
    /\ opened = "none"
    /\ first = "none"
    /\ second = "none"
    /\ caps = {}
    /\ profile = "none"

-----------------------------------------------------------------------------
(* The mode. *)

NoGroups == ask.limits # "none" /\ ~ask.cgroups

Refusals ==
    (IF ask.network = "host" /\ (ask.mode # "agent" \/ ~ask.host_consent) THEN {"network"} ELSE {})
    \cup (IF ask.mode = "production" /\ ask.rootfs # "attested" THEN {"rootfs"} ELSE {})
    \cup (IF ask.mode = "production" /\ ~ask.user THEN {"user"} ELSE {})
    \cup (IF ask.mode = "production" /\ ask.limits # "memory" THEN {"memory"} ELSE {})
    \cup (IF ask.mode # "agent" /\ NoGroups THEN {"memory, cpus, pids, io"} ELSE {})
    \cup (IF ~ask.landlock /\ (ask.mode # "agent" \/ (ask.asked /\ ~ask.consent)) THEN {"landlock-policy"} ELSE {})
    \cup (IF ~ask.userns /\ (ask.mode # "agent" \/ ~ask.consent) THEN {"user namespace"} ELSE {})

LeftOut ==
    (IF NoGroups THEN {"limits"} ELSE {}) \cup (IF ~ask.landlock THEN {"landlock"} ELSE {})
    \cup (IF ~ask.userns THEN {"user namespace"} ELSE {})

Decide ==
    /\ phase = "asked"
    /\ refused' = Refusals
    /\ phase' = IF Refusals = {} THEN "taken" ELSE "refused"
    /\ without' = IF Refusals = {} THEN LeftOut ELSE {}
    /\ warned' = IF Refusals = {} THEN LeftOut ELSE {}
    /\ UNCHANGED <<ask, pinned, files, bytes, config>>

-----------------------------------------------------------------------------
(* The file. *)

(* What the request says beside the file is decided. *)
Begin(pin) ==
    /\ phase = "taken"
    /\ phase' = "loading"
    /\ ask' = Decided(ask.mode)
    /\ pinned' = pin
    /\ without' = {}
    /\ warned' = {}
    /\ UNCHANGED <<refused, files, bytes, config>>

Open ==
    /\ phase = "loading"
    /\ phase' = IF named = "pipe" THEN "failed" ELSE "opened"
    /\ opened' = named
    /\ UNCHANGED <<request, files, first, second, config>>

(* What the descriptor gives now. *)
Content == IF opened = "file" THEN text ELSE "evil"

ReadHalf ==
    /\ phase = "opened"
    /\ phase' = "half"
    /\ first' = Content
    /\ UNCHANGED <<request, files, opened, second, config>>

ReadRest ==
    /\ phase = "half"
    /\ phase' = "read"
    /\ second' = Content
    /\ UNCHANGED <<request, files, opened, first, config>>

Matches == first = "good" /\ second = "good"

Check ==
    /\ phase = "read"
    /\ phase' = IF (pinned /\ Matches) \/ (~pinned /\ ask.mode # "production") THEN "checked" ELSE "failed"
    /\ UNCHANGED <<request, files, bytes, config>>

(* Half of each is no policy. *)
Parse ==
    /\ phase = "checked"
    /\ phase' = IF first = second THEN "parsed" ELSE "failed"
    /\ UNCHANGED <<request, files, bytes, config>>

-----------------------------------------------------------------------------
(* The configuration, with what it had before. *)

Keep == IF first = "good" THEN {"kill"} ELSE {"kill", "admin"}

Compose(had, other) ==
    /\ phase = "parsed"
    /\ caps = {}
    /\ profile = "none"
    /\ caps' = had
    /\ profile' = other
    /\ UNCHANGED <<phase, request, files, bytes>>

Foreign == profile \notin {"none", first}

(* Twice, perhaps: then nothing changes. A foreign profile is left as it was, with all the rest. *)
Apply ==
    /\ phase \in {"parsed", "applied"}
    /\ phase' = IF Foreign THEN "failed" ELSE "applied"
    /\ caps' = IF Foreign THEN caps ELSE caps \cap Keep
    /\ profile' = IF Foreign THEN profile ELSE first
    /\ UNCHANGED <<request, files, bytes>>

Fail ==
    /\ phase \notin {"asked", "taken", "refused", "applied", "failed"}
    /\ phase' = "failed"
    /\ UNCHANGED <<request, files, bytes, config>>

-----------------------------------------------------------------------------
(* The adversary. *)

Loading == phase \in {"loading", "opened", "half", "read", "checked", "parsed"}

Swap(f) ==
    /\ Loading
    /\ named' = f
    /\ UNCHANGED <<phase, request, text, bytes, config>>

Write ==
    /\ Writes
    /\ Loading
    /\ text' = IF text = "good" THEN "evil" ELSE "good"
    /\ UNCHANGED <<phase, request, named, bytes, config>>

Rest ==
    /\ phase \in {"refused", "failed"}
    /\ UNCHANGED vars

-----------------------------------------------------------------------------
Next ==
    \/ Decide
    \/ \E pin \in BOOLEAN : Begin(pin)
    \/ Open \/ ReadHalf \/ ReadRest \/ Check \/ Parse
    \/ \E had \in SUBSET Capabilities : \E other \in {"none", "good", "foreign"} : Compose(had, other)
    \/ Apply \/ Fail
    \/ \E f \in Files : Swap(f)
    \/ Write
    \/ Rest

FrontEnd == Decide \/ (\E pin \in BOOLEAN : Begin(pin)) \/ Open \/ ReadHalf \/ ReadRest \/ Check \/ Parse \/ Apply

Fairness == WF_vars(Decide) /\ WF_vars(\E pin \in BOOLEAN : Begin(pin)) /\ WF_vars(Open) /\ WF_vars(ReadHalf)
            /\ WF_vars(ReadRest) /\ WF_vars(Check) /\ WF_vars(Parse) /\ WF_vars(Apply)

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
(* Whatever was swapped: what is parsed, and applied, are the pinned bytes. *)
PinnedIsUsed == (phase \in {"checked", "parsed", "applied"} /\ pinned) => Matches

(* Production has a pin. *)
ProductionIsPinned == (phase \in {"checked", "parsed", "applied"} /\ ask.mode = "production") => pinned

(* All that was read comes from one regular file. *)
OneRegularFile == phase \in {"opened", "half", "read", "checked", "parsed", "applied"} => opened \in {"file", "other"}

(* The strict modes give all that was asked for, or nothing at all. *)
FailClosed ==
    (phase = "taken" /\ ask.mode # "agent") =>
        /\ without = {}
        /\ ask.network = "none"
        /\ ask.landlock
        /\ ask.userns
        /\ ask.limits # "none" => ask.cgroups

ProductionPromises ==
    (phase = "taken" /\ ask.mode = "production") => ask.rootfs = "attested" /\ ask.user /\ ask.limits = "memory"

(* What this host lacks is left out knowingly and told; what was asked for by name only with consent. *)
NothingInSilence ==
    phase = "taken" =>
        /\ without = warned
        /\ (~ask.landlock) => "landlock" \in without
        /\ NoGroups => "limits" \in without
        /\ (~ask.landlock /\ ask.asked) => ask.consent
        /\ (~ask.userns) => "user namespace" \in without /\ ask.consent
        /\ ask.network = "host" => ask.host_consent

(* A refusal says why. *)
RefusalIsExplained == phase = "refused" <=> refused # {}

(* Agent mode with every consent always goes on. *)
AgentIsServed == (ask.mode = "agent" /\ ask.consent /\ ask.host_consent) => phase # "refused"

(* A good request for production is not refused. *)
ProductionIsServed ==
    (ask.mode = "production" /\ ask.rootfs = "attested" /\ ask.user /\ ask.limits = "memory" /\ ask.cgroups
        /\ ask.landlock /\ ask.userns /\ ask.network = "none") => phase # "refused"

(* In the end the configuration allows no more than the policy, and has no other profile. *)
AppliedHolds == phase = "applied" => caps \subseteq Keep /\ profile = first

(* Applying never widens; a second time, or after an error, it changes nothing. *)
NeverWider == [][(phase' = "applied") => (caps' \subseteq caps)]_vars
Idempotent == [][(phase = "applied") => (caps' = caps /\ profile' = profile)]_vars
ForeignStays == [][(profile = "foreign") => (profile' = "foreign")]_vars
RefusedUntouched == [][(phase' = "failed") => (caps' = caps /\ profile' = profile)]_vars

(* Loading ends, whatever the adversary does: a pipe does not make it wait. *)
Ends == <>(phase \in {"refused", "failed", "applied"})
=============================================================================
