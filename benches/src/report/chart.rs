//! A bar chart in SVG, without a library: bars to the medians, whiskers from p10 to p90.

use std::fmt::Write as _;

use super::{Report, title};
use crate::measure::{Mode, Pace, Row, Table};

const WIDTH: f64 = 720.0;
const LABELS: f64 = 150.0;
const VALUES: f64 = 80.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 34.0;

/// The tables of the spaced `run`s (a real cold start, which is what readers ask for first), or all tables if
/// there are none such; one below the other, each to its own scale.
pub fn svg(report: &Report) -> String {
    let cold = |table: &&Table| table.mode == Mode::Run && table.pace == Pace::Spaced;
    let mut tables: Vec<_> = report.tables.iter().filter(cold).collect();
    if tables.is_empty() {
        tables = report.tables.iter().collect();
    }
    let height: f64 = tables
        .iter()
        .map(|table| HEAD + ROW * table.rows.len() as f64)
        .sum::<f64>()
        + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut top = 0.0;
    for table in tables {
        draw(&mut svg, table, top);
        top += HEAD + ROW * table.rows.len() as f64;
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, table: &Table, top: f64) {
    let heading = format!("{} ({})", title(table), table.metric.unit());
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text>",
        top + 22.0,
        escaped(&heading)
    );
    let most = table
        .rows
        .iter()
        .map(|row| row.value.p90.max(row.value.median))
        .fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LABELS - VALUES) / most
    } else {
        0.0
    };
    for (at, row) in table.rows.iter().enumerate() {
        bar(svg, row, top + HEAD + ROW * at as f64, scale);
    }
}

fn bar(svg: &mut String, row: &Row, top: f64, scale: f64) {
    let colour = match row.runtime.as_str() {
        "limit" => "#9aa5b1",
        name if name.starts_with(super::targets::OURS) => "#1f7a4d",
        _ => "#4a78b5",
    };
    let (middle, end) = (top + ROW / 2.0 - 2.0, LABELS + row.value.median * scale);
    let (low, high) = (LABELS + row.value.p10 * scale, LABELS + row.value.p90 * scale);
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
         <path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
        LABELS - 6.0,
        middle + 4.5,
        escaped(&row.runtime),
        end - LABELS,
        ROW - 5.0,
        end.max(high) + 6.0,
        middle + 4.5,
        row.value.median,
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn bars_are_in_proportion_and_names_escaped() {
        let svg = svg(&samples::report());
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("fill=\"#9aa5b1\"") || line.contains("fill=\"#4a78b5\""))
            .map(|line| {
                line.split("width=\"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[1] / widths[0] - 4.0).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("a&lt;b"));
    }

    #[test]
    fn cold_starts_are_drawn_alone() {
        let mut report = samples::report();
        let mut other = report.tables[0].clone();
        other.mode = Mode::Exec;
        report.tables.push(other);
        assert!(!svg(&report).contains("exec"));
        report.tables.remove(0);
        assert!(svg(&report).contains("exec"));
    }
}
