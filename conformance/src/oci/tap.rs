//! Reads what a validation program prints (TAP 13) and judges it.

use serde_json::Value;

use crate::suite::Outcome;

/// What a report said.
#[derive(Default)]
struct Report {
    points: usize,
    skipped: Vec<String>,
    failed: Vec<String>,
    /// `error` of the blocks that follow no point. Some programs report failure only this way.
    errors: Vec<String>,
}

/// Judges one program by its report and exit code.
pub(super) fn judge(stdout: &str, stderr: &str, code: Option<i32>) -> Outcome {
    let report = read(stdout);
    let failed = report.failed.iter().chain(&report.errors).next();
    if let Some(first) = failed {
        let more = report.failed.len() + report.errors.len() - 1;
        let more = if more > 0 {
            format!(" (and {more} more)")
        } else {
            String::new()
        };
        return Outcome::Failed(format!("{}{more}{}", one_line(first), said(stderr)));
    }
    if code != Some(0) {
        let code = code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
        return Outcome::Failed(format!("{code}{}", said(stderr)));
    }
    match report.skipped.first() {
        Some(reason) if report.skipped.len() == report.points => Outcome::Skipped(reason.clone()),
        _ => Outcome::Passed,
    }
}

fn read(stdout: &str) -> Report {
    let mut report = Report::default();
    let mut lines = stdout.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "---" {
            let text: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "...").collect();
            block(&text.join("\n"), &mut report);
        } else if let Some(rest) = line.strip_prefix("not ok") {
            report.points += 1;
            if !rest.contains("# TODO") {
                report.failed.push(description(rest).to_owned());
            }
        } else if let Some(rest) = line.strip_prefix("ok ") {
            report.points += 1;
            if let Some((_, reason)) = rest.split_once("# SKIP") {
                report.skipped.push(reason.trim().to_owned());
            }
        }
    }
    report
}

/// A block of diagnostics; our stand-in for the TAP library writes them as JSON.
fn block(text: &str, report: &mut Report) {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let error = value["error"].as_str().unwrap_or_default();
    if report.points == 0 && !error.is_empty() {
        report.errors.push(error.to_owned());
    }
}

fn description(point: &str) -> &str {
    point.split_once(" - ").map_or(point.trim(), |(_, text)| text)
}

/// The last line of standard error, which is the runtime's or the program's own error.
fn said(stderr: &str) -> String {
    let panicked = stderr.lines().find(|line| line.starts_with("panic:"));
    let telling = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.starts_with("exit status"));
    panicked
        .or(telling)
        .map_or(String::new(), |line| format!("; stderr: {}", one_line(line)))
}

fn one_line(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(300).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_point_fails() {
        let outcome = judge("TAP version 13\nok 1 - a\nnot ok 2 - b\n1..2\n", "", Some(0));
        assert_eq!(outcome, Outcome::Failed("b".into()));
    }

    #[test]
    fn expected_failure_passes() {
        assert_eq!(
            judge("not ok 1 - a # TODO later\n1..1\n", "", Some(0)),
            Outcome::Passed
        );
    }

    #[test]
    fn error_without_a_point_fails() {
        let text = "TAP version 13\n  ---\n  {\"error\": \"hook\\norder\"}\n  ...\n1..0\n";
        assert_eq!(judge(text, "", Some(0)), Outcome::Failed("hook order".into()));
    }

    #[test]
    fn error_beside_a_point_that_holds_passes() {
        let text = "ok 1 - start fails\n  ---\n  {\"error\": \"exit status 1\"}\n  ...\n1..1\n";
        assert_eq!(judge(text, "", Some(0)), Outcome::Passed);
    }

    #[test]
    fn exit_code_and_panic_are_shown() {
        let outcome = judge("", "failed\npanic: nil\n\ngoroutine 1\n", Some(2));
        assert_eq!(outcome, Outcome::Failed("exit code 2; stderr: panic: nil".into()));
    }

    #[test]
    fn all_skipped_is_skipped() {
        assert_eq!(
            judge("ok 1 # SKIP no SELinux\n1..1\n", "", Some(0)),
            Outcome::Skipped("no SELinux".into())
        );
        assert_eq!(
            judge("ok 1 # SKIP x\nok 2 - y\n1..2\n", "", Some(0)),
            Outcome::Passed
        );
    }
}
