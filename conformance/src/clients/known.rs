//! Failures that are expected, each with its reason. They are shown, but they do not fail the run.

use super::Name;

/// A case that a runtime is known to fail.
#[derive(Debug)]
pub(crate) struct Known {
    /// The runtime, by the first word that `--version` prints.
    runtime: &'static str,
    /// The client.
    client: Name,
    /// The case.
    case: &'static str,
    /// Why it fails.
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        runtime: "runc",
        client: Name::Podman,
        case: "podman: --cgroups=disabled",
        reason: "runc has no --cgroup-manager",
    },
    docker_words("run: a command missing from PATH is 127"),
    docker_words("run: a missing path is 127"),
    docker_words("run: a file that may not be executed is 126"),
    docker_words("run: a directory as command is 126"),
    docker_words("lifecycle: a failed start leaves nothing to clean up"),
    docker_words("docker: a missing command is told in the runtime's words"),
    Known {
        runtime: "crun",
        client: Name::Docker,
        case: "docker: update --pids-limit",
        reason: "crun writes the memory limits that docker leaves at 0",
    },
];

/// Docker tells 127 and 126 from other failures by runc's words, which crun does not use.
const fn docker_words(case: &'static str) -> Known {
    Known {
        runtime: "crun",
        client: Name::Docker,
        case,
        reason: "crun does not use runc's words",
    }
}

/// Why `runtime` is expected to fail this case, if it is.
pub(crate) fn reason(runtime: &str, client: Name, case: &str) -> Option<&'static str> {
    let meant = |known: &&Known| known.runtime == runtime && known.client == client && known.case == case;
    KNOWN.iter().find(meant).map(|known| known.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_names_a_case() {
        for known in KNOWN {
            let found = known.client.cases().contains(&known.case);
            assert!(found, "{known:?} names no case");
            assert!(!known.reason.is_empty());
        }
    }

    #[test]
    fn names_are_unique_for_a_client() {
        for client in Name::ALL {
            let mut cases = client.cases();
            cases.sort_unstable();
            let all = cases.len();
            cases.dedup();
            assert_eq!(cases.len(), all, "{client:?}");
        }
    }
}
