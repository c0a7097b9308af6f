//! The summary table.

use std::time::Duration;

/// One spec's row.
#[derive(Debug)]
pub struct Row {
    /// The spec.
    pub name: String,
    /// Distinct states, the same for both checkers.
    pub states: usize,
    /// How many actions, all with steps.
    pub actions: usize,
    /// How many invariants and properties.
    pub properties: usize,
    /// TLC's time.
    pub tlc: Duration,
    /// tla-checker's time.
    pub native: Duration,
    /// Mutants, and how many of them both checkers have killed.
    pub mutants: (usize, usize),
}

/// The table as text.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<12} {:>8} {:>8} {:>11} {:>8} {:>12} {:>16}\n",
        "spec", "states", "actions", "properties", "TLC", "tla-checker", "mutants killed"
    );
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    for row in rows {
        let (all, killed) = row.mutants;
        text.push_str(&format!(
            "{:<12} {:>8} {:>8} {:>11} {:>8} {:>12} {:>16}\n",
            row.name,
            row.states,
            row.actions,
            row.properties,
            seconds(row.tlc),
            seconds(row.native),
            format!("{killed} of {all}"),
        ));
    }
    text.push_str("States, verdicts and kills are the same for both checkers, or the check fails.\n");
    text
}

/// One file of decisions.
#[derive(Debug)]
pub struct CodeRow {
    /// The file.
    pub file: &'static str,
    /// How many comparisons.
    pub properties: usize,
    /// Their time, mutants included.
    pub time: Duration,
    /// Mutants, and how many the comparisons have killed.
    pub mutants: (usize, usize),
}

/// The table of the code as text.
pub fn code_table(rows: &[CodeRow]) -> String {
    let mut text = format!(
        "{:<32} {:>11} {:>8} {:>16}\n",
        "code", "comparisons", "time", "mutants killed"
    );
    for row in rows {
        let (all, killed) = row.mutants;
        text.push_str(&format!(
            "{:<32} {:>11} {:>8} {:>16}\n",
            row.file,
            row.properties,
            format!("{:.1} s", row.time.as_secs_f64()),
            format!("{killed} of {all}"),
        ));
    }
    text.push_str(
        "A mutant dies where the comparison that it names finds that code and spec differ, and only so.\n",
    );
    text
}
