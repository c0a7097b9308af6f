//! Results as text, Markdown, JSON and a chart.

mod chart;
mod host;
mod tables;
mod targets;

use serde::Serialize;

pub use chart::svg;
pub use host::Host;
pub use tables::{markdown, text};

use crate::measure::Table;
use crate::peers::Runtime;

/// All that one run of the harness found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The command line that makes it again.
    pub command: String,
    /// The machine.
    pub host: Host,
    /// The programs.
    pub runtimes: Vec<Runtime>,
    /// Instructions of the limit program's seccomp filter.
    pub filter_length: usize,
    /// The figures.
    pub tables: Vec<Table>,
}

/// The report as indented JSON.
///
/// # Errors
/// None that are known: all keys are strings.
pub fn json(report: &Report) -> serde_json::Result<String> {
    serde_json::to_string_pretty(report).map(|text| text + "\n")
}

/// The heading of a table, in words.
fn title(table: &Table) -> String {
    let mut words = vec![table.mode.name(), table.bundle.name(), table.view.name()];
    if table.mode.has_pace() {
        words.push(table.pace.name());
    }
    words.join(", ")
}

#[cfg(test)]
mod samples {
    use super::*;
    use crate::bundle::Kind;
    use crate::cgroup::View;
    use crate::measure::{Mode, Pace, Row};
    use crate::stats::{Ratio, Summary};

    pub(super) fn report() -> Report {
        let summary = |median: f64| Summary {
            median,
            p10: median * 0.9,
            p90: median * 1.2,
            count: 4,
        };
        let row = |name: &str, median: f64, ratio: f64| Row {
            runtime: name.into(),
            value: summary(median),
            cpu: summary(1.0),
            peak: summary(1.5),
            ratios: vec![(
                "limit".into(),
                Ratio {
                    value: ratio,
                    low: ratio * 0.9,
                    high: ratio * 1.1,
                },
            )],
            samples: vec![median; 4],
        };
        Report {
            command: "nucleus-benches measure run".into(),
            host: Host {
                kernel: "6.1".into(),
                processor: "A & B".into(),
                processors: 2,
                load: 0.1,
            },
            runtimes: Vec::new(),
            filter_length: 400,
            tables: vec![Table {
                mode: Mode::Run,
                bundle: Kind::Real,
                view: View::V2,
                pace: Pace::Spaced,
                metric: Mode::Run.metric(),
                missing_limits: vec!["memory"],
                rows: vec![row("limit", 2.5, 1.0), row("a<b", 10.0, 4.0)],
                skipped: vec![("old".into(), "no | v2".into())],
            }],
        }
    }
}
