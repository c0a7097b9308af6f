//! The project's own targets, held against the figures.

use std::fmt::Write as _;

use super::Report;
use crate::bundle::Kind;
use crate::cgroup::View;
use crate::measure::{Mode, Pace, Row, Table};
use crate::sandbox::FRONT;

/// A row whose name starts so is this project's.
pub(super) const OURS: &str = "nucleus";

/// At most, or at least, so much.
enum Bound {
    Most(f64),
    Least(f64),
    /// At most so many ms more than the base.
    Over(f64),
}

/// A target: which figure, against whom (itself if nobody), and its bound.
struct Target {
    mode: Mode,
    view: View,
    pace: Pace,
    base: Option<&'static str>,
    bound: Bound,
}

const fn target(mode: Mode, view: View, pace: Pace, base: Option<&'static str>, bound: Bound) -> Target {
    Target {
        mode,
        view,
        pace,
        base,
        bound,
    }
}

use Bound::{Least, Most, Over};
use Pace::{Burst, Spaced};
use View::{V1, V2};

/// On the real bundle. Where the pace means nothing it is `Burst`.
const TARGETS: [Target; 18] = [
    target(Mode::Run, V2, Spaced, Some("limit"), Most(1.4)),
    target(Mode::Run, V2, Spaced, Some("crun-static"), Most(0.5)),
    target(Mode::Run, V1, Spaced, Some("limit"), Most(1.3)),
    target(Mode::Run, V1, Spaced, Some("crun-static"), Most(0.35)),
    target(Mode::Run, V1, Spaced, Some("crun"), Most(0.2)),
    target(Mode::Run, V1, Burst, Some("limit"), Most(1.5)),
    target(Mode::Run, V1, Burst, Some("crun-static"), Most(0.6)),
    target(Mode::Run, V1, Burst, Some("crun"), Most(0.22)),
    target(Mode::Lifecycle, V1, Burst, Some("limit"), Most(1.5)),
    target(Mode::Lifecycle, V1, Burst, Some("crun-static"), Most(0.55)),
    target(Mode::Lifecycle, V1, Burst, Some("crun"), Most(0.17)),
    target(Mode::Syscalls, V1, Burst, None, Most(350.0)),
    target(Mode::Syscalls, V2, Burst, None, Most(350.0)),
    target(Mode::Rss, V1, Burst, None, Most(2.5)),
    target(Mode::Sequence, V1, Burst, None, Most(1.2)),
    target(Mode::Throughput, V1, Burst, Some("crun-static"), Least(2.5)),
    target(Mode::Sandbox, V1, Spaced, Some("nucleus"), Over(2.0)),
    target(Mode::Sandbox, V1, Spaced, Some("nucleus-container"), Most(0.7)),
];

/// A Markdown table of the targets that this report can answer; empty if there are none.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for target in &TARGETS {
        let Some(table) = report.tables.iter().find(|table| target.concerns(table)) else {
            continue;
        };
        let Some(value) = target.value(table) else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {}{} | {} | {value:.2} | {} |",
            super::title(table),
            target.against(),
            target.bound.shown(),
            if target.bound.holds(value) { "yes" } else { "no" },
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("\n## Targets\n\n| figure | target | measured | met |\n|---|---:|---:|---|\n{text}")
}

impl Target {
    fn concerns(&self, table: &Table) -> bool {
        table.bundle == Kind::Real
            && (table.mode, table.view, table.pace) == (self.mode, self.view, self.pace)
    }

    /// In the table of the front-end, the runtime is one of the others.
    fn is_ours(&self, row: &Row) -> bool {
        match self.mode {
            Mode::Sandbox => row.runtime == FRONT,
            _ => row.runtime.starts_with(OURS),
        }
    }

    fn against(&self) -> String {
        let sign = if matches!(self.bound, Over(_)) {
            "−"
        } else {
            "÷"
        };
        self.base
            .map(|base| format!(" {sign} {base}"))
            .unwrap_or_default()
    }

    fn value(&self, table: &Table) -> Option<f64> {
        let row = table.rows.iter().find(|row| self.is_ours(row))?;
        let Some(base) = self.base else {
            return Some(row.value.median);
        };
        if let Over(_) = self.bound {
            let that = table.rows.iter().find(|row| row.runtime == base)?;
            return Some(row.value.median - that.value.median);
        }
        let ratio = row.ratios.iter().find(|(name, _)| name == base);
        ratio.map(|(_, ratio)| ratio.value)
    }
}

impl Bound {
    fn holds(&self, value: f64) -> bool {
        match self {
            Most(most) | Over(most) => value <= *most,
            Least(least) => value >= *least,
        }
    }

    fn shown(&self) -> String {
        match self {
            Most(most) => format!("≤ {most}"),
            Least(least) => format!("≥ {least}"),
            Over(most) => format!("≤ {most} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_figure_is_held_against_its_own_target_only() {
        let mut report = samples::report();
        assert_eq!(markdown(&report), "", "nothing in it is ours");
        report.tables[0].rows[1].runtime = "nucleus".into();
        let text = markdown(&report);
        assert!(
            text.ends_with("| run, real, v2, spaced ÷ limit | ≤ 1.4 | 4.00 | no |\n"),
            "{text}"
        );
        assert_eq!(text.matches("÷").count(), 1, "{text}");
        report.tables[0].rows[1].ratios[0].1.value = 1.4;
        assert!(markdown(&report).ends_with("| 1.40 | yes |\n"));
    }
}
