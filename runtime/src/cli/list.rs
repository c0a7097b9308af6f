//! `list`.

use super::state::Shown;
use super::{Global, Outcome, Run};
use crate::container::{Container, Error};
use crate::state;
use anyhow::Context;
use clap::Args;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

/// Print the containers below `--root`.
#[derive(Debug, Args)]
pub struct List {
    /// How to print them
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
}

impl Run for List {
    const NAME: &'static str = "list";
    const ABOUT: &'static str = "List containers";

    fn run(self, global: &Global) -> Outcome {
        let root = global.root();
        let ids = ids(&root)?;
        if self.quiet {
            super::print(&ids.iter().fold(String::new(), |text, id| text + id + "\n"));
            return Ok(0);
        }
        let shown: Vec<Shown> = ids.iter().filter_map(|id| look(&root, id)).collect();
        match self.format.as_str() {
            "json" => super::print(&format!("{}\n", serde_json::to_string(&shown)?)),
            _ => super::print(&table(&shown)),
        }
        Ok(0)
    }
}

/// The names of all containers, sorted. None where nothing was ever created.
fn ids(root: &Path) -> Result<Vec<String>, anyhow::Error> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.with_context(|| format!("open {}", root.display()))?,
    };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| state::check_id(name).is_ok())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// One that is deleted meanwhile is not shown; one whose state cannot be read is, so that it can be deleted.
fn look(root: &Path, id: &str) -> Option<Shown> {
    match Container::open(root, id) {
        Ok(container) => Some(Shown::new(&container)),
        Err(Error::State(state::Error::Missing { .. })) => None,
        Err(error) => {
            let error = anyhow::Error::new(error);
            crate::log::warning(&format!("container {id:?}: {error:#}"));
            Some(Shown::damaged(id))
        }
    }
}

/// runc's table: columns at least 12 wide, three spaces apart, no blanks after the last.
fn table(containers: &[Shown]) -> String {
    const TITLES: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let rows: Vec<[String; 6]> = std::iter::once(TITLES.map(str::to_owned))
        .chain(containers.iter().map(row))
        .collect();
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        (widest + 3).max(12)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    rows.iter().fold(String::new(), |mut text, row| {
        for (cell, width) in row[..5].iter().zip(widths) {
            let _ = write!(text, "{cell:width$}");
        }
        text + &row[5] + "\n"
    })
}

fn row(shown: &Shown) -> [String; 6] {
    [
        shown.id.clone(),
        shown.pid.to_string(),
        shown.status.clone(),
        shown.bundle.clone(),
        shown.created.clone(),
        shown.owner.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three() {
        let mut shown = Shown::damaged("a-rather-long-id");
        shown.owner = "root".to_owned();
        assert_eq!(
            table(&[shown]),
            "ID                 PID         STATUS      BUNDLE      CREATED     OWNER\n\
             a-rather-long-id   0           damaged                             root\n"
        );
    }
}
