//! Tables for the terminal and for Markdown.

use std::fmt::Write as _;

use super::{Report, title};
use crate::measure::{Row, Table};
use crate::stats::{Ratio, Summary};

/// Three significant digits, without the noise of a fourth.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn spread(summary: &Summary) -> String {
    format!("{}–{}", number(summary.p10), number(summary.p90))
}

fn ratio(ratio: &Ratio) -> String {
    match ratio.low == ratio.high {
        true => number(ratio.value),
        false => format!(
            "{} ({}–{})",
            number(ratio.value),
            number(ratio.low),
            number(ratio.high)
        ),
    }
}

fn heading(table: &Table) -> Vec<String> {
    let mut cells = vec!["runtime", table.metric.unit(), "p10–p90"];
    if table.mode.has_costs() {
        cells.extend(["cpu ms", "RSS MiB"]);
    }
    let bases = table
        .rows
        .first()
        .map(|row| row.ratios.iter().map(|(base, _)| format!("÷ {base}")));
    cells
        .into_iter()
        .map(str::to_owned)
        .chain(bases.into_iter().flatten())
        .collect()
}

fn cells(table: &Table, row: &Row) -> Vec<String> {
    let mut cells = vec![row.runtime.clone(), number(row.value.median), spread(&row.value)];
    if table.mode.has_costs() {
        cells.extend([number(row.cpu.median), number(row.peak.median)]);
    }
    cells.extend(row.ratios.iter().map(|(_, value)| ratio(value)));
    cells
}

fn notes(table: &Table) -> Vec<String> {
    let mut notes = Vec::new();
    if !table.missing_limits.is_empty() {
        notes.push(format!(
            "without limits, for want of controllers: {}",
            table.missing_limits.join(", ")
        ));
    }
    notes.extend(
        table
            .skipped
            .iter()
            .map(|(name, reason)| format!("{name}: skipped: {reason}")),
    );
    notes
}

/// One table for the terminal.
pub fn text(table: &Table) -> String {
    let rows: Vec<_> = std::iter::once(heading(table))
        .chain(table.rows.iter().map(|row| cells(table, row)))
        .collect();
    let widths: Vec<_> = (0..rows[0].len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = format!("{}\n", title(table));
    for row in &rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match at {
                0 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    for note in notes(table) {
        let _ = writeln!(text, "  {note}");
    }
    text
}

/// The whole report in Markdown.
pub fn markdown(report: &Report) -> String {
    let host = &report.host;
    let mut text = format!(
        "# Results\n\nHow to read this: [README.md](README.md); what each step costs: [steps.md](steps.md).\n\n\
         {}, {} processors, kernel {}, load {} before. Seccomp filter of `limit`: {} instructions. Made by:\n\n```\n{}\n```\n\n",
        host.processor, host.processors, host.kernel, host.load, report.filter_length, report.command
    );
    for runtime in &report.runtimes {
        let _ = writeln!(text, "- {}: {}", runtime.name, runtime.version);
    }
    text.push_str(&super::targets::markdown(report));
    text.push_str("\n## Figures\n");
    for table in &report.tables {
        let heading = heading(table);
        let _ = writeln!(text, "\n### {}\n", title(table));
        let _ = writeln!(text, "| {} |", heading.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(heading.len() - 1));
        for row in &table.rows {
            let cells: Vec<_> = cells(table, row)
                .iter()
                .map(|cell| cell.replace('|', "\\|"))
                .collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for note in notes(table) {
            let _ = writeln!(text, "\n{note}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn columns_line_up() {
        let text = text(&samples::report().tables[0]);
        let lengths: Vec<_> = text
            .lines()
            .skip(1)
            .take(3)
            .map(|line| line.chars().count())
            .collect();
        assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(
            text.contains("4.00 (3.60–4.40)") && text.contains("controllers: memory"),
            "{text}"
        );
    }

    #[test]
    fn markdown_rows_have_as_many_cells_as_the_heading() {
        let text = markdown(&samples::report());
        let cells: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with('|'))
            .map(|l| l.matches('|').count())
            .collect();
        assert_eq!(cells.len(), 4);
        assert!(cells.iter().all(|count| *count == cells[0]), "{text}");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.5, 12.34, 854.4].map(number), ["0.50", "12.3", "854"]);
    }
}
