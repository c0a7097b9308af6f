//! `nucleus workspace`.

use crate::escape;
use crate::say::say;
use crate::store::Store;
use crate::workspace::changes::{Change, Sides, What};
use crate::workspace::commit;
use crate::workspace::copies::{Copies, Copy};
use crate::workspace::tree::{Kind, Tree};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done with copied workspaces.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Workspace {
    /// List the copies with changes that wait
    List(List),
    /// Show what a sandbox has changed in its copy
    Diff(Diff),
    /// Take changes over into the workspace
    Commit(Commit),
    /// Forget a copy and its changes
    Drop(Name),
}

/// List the copies with changes that wait.
#[derive(Debug, Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show what a sandbox has changed in its copy.
#[derive(Debug, Args)]
#[command(after_help = "\
A added, M changed, D removed, T another type, P permissions alone, ! never taken over. Names are shown with \\xNN for \
what is not printable. Files that make tools of the host run something are listed apart, with the reason.")]
pub struct Diff {
    /// Name of the sandbox
    name: String,
    /// Show how text files differ
    #[arg(long, short, conflicts_with = "json")]
    patch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Take changes over into the workspace.
#[derive(Debug, Args)]
#[command(after_help = "\
Files are replaced one by one, each as a whole. A commit that was interrupted can be begun again. Setuid bits, \
devices and owners of the copy never come in.")]
pub struct Commit {
    /// Name of the sandbox
    name: String,
    /// Only what changed at and under these paths [default: everything]
    paths: Vec<PathBuf>,
    /// Take over files that make tools of the host run something, too
    #[arg(long)]
    include_protected: bool,
    /// Overwrite what has changed in the workspace since it was copied
    #[arg(long)]
    force: bool,
}

/// Forget a copy and its changes.
#[derive(Debug, Args)]
pub struct Name {
    /// Name of the sandbox
    name: String,
}

impl Workspace {
    /// Does it.
    ///
    /// # Errors
    /// There is no such copy, or something cannot be read or written.
    pub fn run(self, root: Option<PathBuf>, quiet: bool) -> Result<i32, anyhow::Error> {
        let copies = Copies::of(root.as_deref());
        copies.sweep()?;
        match self {
            Self::List(list) => list.run(&copies),
            Self::Diff(diff) => diff.run(&copies.open(&diff.name)?),
            Self::Commit(commit) => commit.run(open_ended(&copies, root, &commit.name)?, quiet),
            Self::Drop(Name { name }) => {
                open_ended(&copies, root, &name)?.remove()?;
                Ok(0)
            }
        }
    }
}

/// A copy whose sandbox is gone.
fn open_ended(copies: &Copies, root: Option<PathBuf>, name: &str) -> Result<Copy, anyhow::Error> {
    let copy = copies.open(name)?;
    let store = Store::open(root)?;
    if store.directory(name).is_ok() {
        // Left behind by a killed nucleus, or detached and not removed.
        super::manage::forget_left_behind(&store, name)?;
        anyhow::ensure!(
            store.directory(name).is_err(),
            "{name}: its sandbox is there still; nucleus stop {name} and nucleus rm {name} come first"
        );
    }
    Ok(copy)
}

impl List {
    fn run(&self, copies: &Copies) -> Result<i32, anyhow::Error> {
        let mut rows = Vec::new();
        for name in copies.names()? {
            let Ok(copy) = copies.open(&name) else {
                continue;
            };
            let changes = copy.changes()?.len();
            let workspace = escape::escape(&copy.workspace()?);
            rows.push(json!({"name": name, "workspace": workspace, "changes": changes}));
        }
        if self.json {
            return super::print(&serde_json::to_string_pretty(&rows)?);
        }
        let mut text = format!("{:<24} {:>8} WORKSPACE", "NAME", "CHANGES");
        for row in rows {
            let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            text += &format!(
                "\n{:<24} {:>8} {}",
                word("name"),
                row["changes"].to_string(),
                word("workspace")
            );
        }
        super::print(&text)
    }
}

impl Diff {
    fn run(&self, copy: &Copy) -> Result<i32, anyhow::Error> {
        let sides = copy.sides()?;
        let changes = crate::workspace::changes::changes(&sides)?;
        if self.json {
            let all: Vec<Value> = changes.iter().map(Change::json).collect();
            return super::print(&serde_json::to_string_pretty(&all)?);
        }
        if self.patch {
            return super::print(patches(&sides, &changes)?.trim_end());
        }
        super::print(&listing(&changes))
    }
}

/// The changes, protected ones apart.
fn listing(changes: &[Change]) -> String {
    let plain = changes.iter().filter(|change| change.protected.is_none());
    let mut lines: Vec<String> = plain.map(ToString::to_string).collect();
    let mut protected = changes
        .iter()
        .filter_map(|change| Some((change, change.protected?)))
        .peekable();
    if protected.peek().is_some() {
        lines.push("protected, taken over with --include-protected alone:".to_owned());
        lines.extend(protected.map(|(change, why)| format!("  {change}  [{why}]")));
    }
    if lines.is_empty() {
        lines.push("no changes".to_owned());
    }
    lines.join("\n")
}

/// Longer files are not compared line by line.
const LONGEST: u64 = 1 << 20;

fn patches(sides: &Sides, changes: &[Change]) -> Result<String, anyhow::Error> {
    let mut text = String::new();
    for change in changes {
        text += &change.to_string();
        if let Some(why) = change.protected {
            text += &format!("  [protected: {why}]");
        }
        text.push('\n');
        let before = match (&change.what, &change.now) {
            (What::Added(_), _) | (_, None) => Some(String::new()),
            (_, Some(now)) if now.kind != Kind::File => Some(String::new()),
            _ => text_of(&sides.workspace, &change.path),
        };
        let after = match change.node() {
            Some(node) if node.kind == Kind::File => text_of(&sides.copy, &change.path),
            _ => Some(String::new()),
        };
        match (before, after) {
            (Some(before), Some(after)) if before == after && is_changed_file(change) => {
                text += "  (attributes alone)\n";
            }
            (Some(before), Some(after)) => text += &patch(&change.path, &before, &after),
            _ => text += "  (no text, or longer than 1 MiB)\n",
        }
    }
    Ok(if std::io::stdout().is_terminal() {
        text.chars().map(shown).collect()
    } else {
        text
    })
}

fn is_changed_file(change: &Change) -> bool {
    matches!(&change.what, What::Changed(node) if node.kind == Kind::File)
}

fn patch(path: &Path, before: &str, after: &str) -> String {
    let name = escape::escape(path);
    similar::TextDiff::configure()
        .timeout(Duration::from_secs(2))
        .diff_lines(before, after)
        .unified_diff()
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string()
}

/// A terminal obeys control characters.
fn shown(c: char) -> char {
    if matches!(c, '\n' | '\t') || escape::is_plain(c) {
        c
    } else {
        char::REPLACEMENT_CHARACTER
    }
}

fn text_of(tree: &Tree, path: &Path) -> Option<String> {
    let file = tree.file(path).ok()?;
    if file.metadata().ok()?.len() > LONGEST {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

impl Commit {
    fn run(&self, copy: Copy, quiet: bool) -> Result<i32, anyhow::Error> {
        let sides = copy.sides()?;
        let changes = crate::workspace::changes::changes(&sides)?;
        let chosen = commit::select(&changes, &self.paths, self.include_protected)?;
        copy.commit(&sides, &chosen, self.force)?;
        let left = copy.changes()?;
        if left.is_empty() {
            copy.remove()?;
        } else if !quiet {
            say!(
                "nucleus: not taken over, nucleus workspace drop {} forgets them:",
                self.name
            );
            for line in listing(&left).lines() {
                say!("  {line}");
            }
        }
        // What was asked for by name and not taken over is an error; what is protected is not unless it was.
        let refused = !self.paths.is_empty() && chosen.is_empty();
        anyhow::ensure!(
            !refused,
            "nothing was taken over: protected changes need --include-protected"
        );
        Ok(0)
    }
}
