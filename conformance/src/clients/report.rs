//! The table and the lists at the end of a run.

use std::fmt::Write;

use super::{Name, Outcome, Verdict, known};

/// Everything that one client's suite found out about one runtime.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The client.
    pub(crate) client: Name,
    /// Which runtime of the command line, counted from 0.
    pub(crate) runtime: usize,
    /// The results, in order.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Results by number.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Cases that hold.
    pub(crate) passed: usize,
    /// Cases that do not.
    pub(crate) failed: usize,
    /// Cases that this host cannot run.
    pub(crate) skipped: usize,
}

impl Counts {
    /// Counts the results.
    pub(crate) fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed => counts.failed += 1,
                Verdict::Skipped => counts.skipped += 1,
            }
        }
        counts
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// A runtime as the report names it.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// Unique in this run.
    pub(crate) label: String,
    /// The first word that it prints for `--version`.
    pub(crate) word: String,
}

/// The failures of the first runtime that no exception covers.
pub(crate) fn unexpected(suites: &[Suite], runtimes: &[Runtime]) -> usize {
    let first = suites.iter().filter(|suite| suite.runtime == 0);
    first
        .flat_map(|suite| suite.outcomes.iter().map(move |outcome| (suite.client, outcome)))
        .filter(|(_, outcome)| outcome.verdict == Verdict::Failed)
        .filter(|(client, outcome)| known::reason(&runtimes[0].word, *client, &outcome.case).is_none())
        .count()
}

/// The whole report; its last line counts the first runtime's results.
pub(crate) fn render(suites: &[Suite], runtimes: &[Runtime]) -> String {
    let mut text = String::new();
    list(&mut text, "failed", suites, runtimes, Verdict::Failed);
    list(&mut text, "skipped", suites, runtimes, Verdict::Skipped);
    table(&mut text, suites, runtimes);
    let first = suites
        .iter()
        .filter(|suite| suite.runtime == 0)
        .flat_map(|suite| &suite.outcomes);
    let _ = writeln!(text, "{}", Counts::of(first));
    text
}

/// Cases of one suite with the same reason are told together.
fn list(text: &mut String, title: &str, suites: &[Suite], runtimes: &[Runtime], verdict: Verdict) {
    for suite in suites {
        let runtime = &runtimes[suite.runtime];
        let mut told: Vec<(String, &str, Vec<&str>)> = Vec::new();
        for outcome in suite.outcomes.iter().filter(|outcome| outcome.verdict == verdict) {
            let expected = match verdict {
                Verdict::Failed => known::reason(&runtime.word, suite.client, &outcome.case),
                _ => None,
            };
            let title = expected.map_or_else(
                || title.to_owned(),
                |reason| format!("{title} as known ({reason})"),
            );
            match told
                .iter_mut()
                .find(|(t, reason, _)| *t == title && *reason == outcome.reason)
            {
                Some((_, _, cases)) => cases.push(&outcome.case),
                None => told.push((title, &outcome.reason, vec![&outcome.case])),
            }
        }
        for (title, reason, cases) in told {
            let client = suite.client.word();
            let _ = writeln!(text, "{title}: {}, {client}, {}", runtime.label, few(&cases));
            let _ = writeln!(text, "    {}", reason.replace('\n', "\n    "));
        }
    }
}

/// At most four names.
fn few(cases: &[&str]) -> String {
    match cases {
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}; {second}; {third}; and {} more", rest.len())
        }
        _ => cases.join("; "),
    }
}

fn table(text: &mut String, suites: &[Suite], runtimes: &[Runtime]) {
    let width = runtimes
        .iter()
        .map(|runtime| runtime.label.len())
        .max()
        .unwrap_or(0)
        .max(14)
        + 2;
    let _ = write!(text, "\n{:12}", "");
    for runtime in runtimes {
        let _ = write!(text, "{:>width$}", runtime.label);
    }
    let _ = writeln!(
        text,
        "\n{:12}{}",
        "client",
        format!("{:>width$}", "pass/fail/skip").repeat(runtimes.len())
    );
    for client in [Name::Podman, Name::Containerd, Name::Docker] {
        if suites.iter().all(|suite| suite.client != client) {
            continue;
        }
        let _ = write!(text, "{:12}", client.word());
        for number in 0..runtimes.len() {
            let own = suites
                .iter()
                .filter(|suite| suite.client == client && suite.runtime == number);
            let counts = Counts::of(own.flat_map(|suite| &suite.outcomes));
            let cell = format!("{}/{}/{}", counts.passed, counts.failed, counts.skipped);
            let _ = write!(text, "{cell:>width$}");
        }
        text.push('\n');
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(case: &str, verdict: Verdict) -> Outcome {
        Outcome {
            case: case.to_owned(),
            verdict,
            reason: "why".to_owned(),
            ms: 1,
        }
    }

    #[test]
    fn many_names_are_cut() {
        assert_eq!(few(&["a", "b", "c", "d"]), "a; b; c; d");
        assert_eq!(few(&["a", "b", "c", "d", "e"]), "a; b; c; and 2 more");
    }

    #[test]
    fn the_first_runtime_decides_and_is_counted_last() {
        let runtimes = ["a", "b"].map(|word| Runtime {
            label: word.to_owned(),
            word: word.to_owned(),
        });
        let good = Suite {
            client: Name::Podman,
            runtime: 0,
            outcomes: vec![outcome("x", Verdict::Passed)],
        };
        let bad = Suite {
            client: Name::Podman,
            runtime: 1,
            outcomes: vec![outcome("x", Verdict::Failed), outcome("y", Verdict::Skipped)],
        };
        let suites = [good, bad];
        let text = render(&suites, &runtimes);
        assert_eq!(unexpected(&suites, &runtimes), 0);
        assert_eq!(text.lines().last(), Some("1 passed, 0 failed, 0 skipped"));
        assert!(text.contains("failed: b, podman, x\n    why"), "{text}");
        let turned: Vec<Suite> = suites
            .into_iter()
            .map(|s| Suite {
                runtime: 1 - s.runtime,
                ..s
            })
            .collect();
        assert_eq!(unexpected(&turned, &runtimes), 1);
    }
}
