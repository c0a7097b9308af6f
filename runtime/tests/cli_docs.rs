//! The help, the man pages and the completions say everything that the command line takes.

#[path = "../examples/docs.rs"]
mod docs;

use clap_complete::Shell;
use nucleus_runtime::cli::definition;
use std::process::Command;

/// The commands of issue and specification, and what other runtimes have beside them.
const COMMANDS: [&str; 17] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
];

#[test]
fn every_command_is_there() {
    let definition = definition();
    let mut names: Vec<&str> = definition
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, COMMANDS);
}

#[test]
fn everything_has_a_help_text() {
    let definition = definition();
    for command in definition.get_subcommands().chain([&definition]) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name}");
        for arg in command.get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 3, "{name} {}", arg.get_id());
            assert!(!help.ends_with('.'), "{name} {}: {help}", arg.get_id());
        }
    }
}

#[test]
fn the_main_commands_have_examples() {
    let definition = definition();
    for name in ["create", "run", "exec", "kill", "update", "events", "ps", "spec"] {
        let command = definition.find_subcommand(name).unwrap();
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(after.contains(&format!("nucleus-runtime {name} ")), "{name}");
    }
}

#[test]
fn there_is_a_man_page_for_each_command_with_all_its_options() {
    let directory = tempfile::tempdir().unwrap();
    docs::man_pages(directory.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let main = read("nucleus-runtime.1");
    for command in definition().get_subcommands() {
        let name = command.get_name();
        assert!(main.contains(&format!("nucleus\\-runtime\\-{name}(1)")), "{name}");
        let page = read(&format!("nucleus-runtime-{name}.1"));
        assert!(page.starts_with(".ie") || page.contains(".TH "), "{page}");
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            if let Some(long) = arg.get_long() {
                let long = long.replace('-', "\\-");
                assert!(page.contains(&format!("\\-\\-{long}")), "{name} --{long}: {page}");
            }
        }
    }
}

#[test]
fn completions_know_every_command() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let text = String::from_utf8(docs::completions(shell)).unwrap();
        for name in COMMANDS {
            assert!(text.contains(name), "{name} in {shell}");
        }
    }
    let mut check = Command::new("bash");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("completions");
    std::fs::write(&file, docs::completions(Shell::Bash)).unwrap();
    assert!(check.arg("-n").arg(file).status().unwrap().success());
}
