//! The command line, as runc's: one file a command.
//!
//! Only the parser of the command that was named is built: the parsers of all commands would cost more than
//! starting a container's process.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use crate::cgroup::Driver;
use crate::log;
use clap::{ArgMatches, Args, Command, FromArgMatches, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// What a command returns: its exit code, or the error that ends it.
pub type Outcome = Result<i32, anyhow::Error>;

/// Options before the command.
#[derive(Debug, Parser)]
#[command(
    name = "nucleus-runtime",
    about = "Run containers from OCI bundles",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub struct Global {
    /// Where the states of containers are kept [default: /run/nucleus-runtime, or
    /// $XDG_RUNTIME_DIR/nucleus-runtime without root]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append messages to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How messages are written
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
    /// Which messages are written
    #[arg(long, value_name = "LEVEL", default_value = "warning",
          value_parser = ["error", "warn", "warning", "info", "debug"])]
    pub log_level: String,
    /// Write every step (the same as --log-level debug)
    #[arg(long)]
    pub debug: bool,
    /// Let systemd make the cgroups; linux.cgroupsPath is slice:prefix:name then
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who makes the cgroups
    #[arg(long, value_name = "DRIVER", value_parser = ["cgroupfs", "systemd", "disabled"])]
    pub cgroup_manager: Option<String>,
    /// Whether to do without root's privileges: true, false or auto
    #[arg(long, value_name = "WHEN", value_parser = ["true", "false", "auto"])]
    pub rootless: Option<String>,
    /// Accepted for compatibility: checkpoint and restore are not supported yet
    #[arg(long, value_name = "FILE", hide = true)]
    pub criu: Option<PathBuf>,
    /// Print the version
    #[arg(long, short = 'v')]
    pub version: bool,
}

impl Global {
    /// Where states are kept.
    pub fn root(&self) -> PathBuf {
        if let Some(root) = &self.root {
            return root.clone();
        }
        match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(directory) if !rustix::process::geteuid().is_root() => {
                PathBuf::from(directory).join("nucleus-runtime")
            }
            _ => PathBuf::from("/run/nucleus-runtime"),
        }
    }

    /// Who makes cgroups.
    pub fn cgroups(&self) -> Option<Driver> {
        match self.cgroup_manager.as_deref() {
            Some("disabled") => None,
            Some("systemd") => Some(Driver::Systemd),
            _ if self.systemd_cgroup => Some(Driver::Systemd),
            _ => Some(Driver::Cgroupfs),
        }
    }

    /// `--rootless`.
    pub fn rootless(&self) -> Option<bool> {
        match self.rootless.as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        }
    }

    fn open_log(&self) -> Result<(), anyhow::Error> {
        let level = match self.log_level.as_str() {
            _ if self.debug => log::Level::Debug,
            "error" => log::Level::Error,
            "info" => log::Level::Info,
            "debug" => log::Level::Debug,
            _ => log::Level::Warning,
        };
        let format = if self.log_format == "json" {
            log::Format::Json
        } else {
            log::Format::Text
        };
        let open = |path: &PathBuf| {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            file.map_err(|error| anyhow::Error::new(error).context(format!("open log {}", path.display())))
        };
        let file = self.log.as_ref().map(open).transpose()?;
        log::set(file, format, level);
        Ok(())
    }
}

/// A command: its name, its parser and its work.
pub struct Entry {
    name: &'static str,
    parser: fn() -> Command,
    run: fn(&Global, &ArgMatches) -> Outcome,
    enters: bool,
}

/// Every command, in the order of the help.
const COMMANDS: &[Entry] = &[
    entry::<create::Create>(),
    entry::<start::Start>(),
    entry::<run::Run>(),
    entry::<state::State>(),
    entry::<kill::Kill>(),
    entry::<delete::Delete>(),
    entry::<exec::Exec>(),
    entry::<list::List>(),
    entry::<ps::Ps>(),
    entry::<pause::Pause>(),
    entry::<resume::Resume>(),
    entry::<update::Update>(),
    entry::<events::Events>(),
    entry::<features::Features>(),
    entry::<spec::SpecFile>(),
    entry::<checkpoint::Checkpoint>(),
    entry::<restore::Restore>(),
];

/// A command's arguments and its work.
pub trait Run: Args {
    /// Its name.
    const NAME: &'static str;
    /// One line for the help.
    const ABOUT: &'static str;
    /// Examples and notes at the end of its help.
    const AFTER: &'static str = "";

    /// Whether it starts a process that enters a container.
    const ENTERS: bool = false;

    /// Does the work.
    ///
    /// # Errors
    /// What ends the command.
    fn run(self, global: &Global) -> Outcome;
}

const fn entry<C: Run>() -> Entry {
    Entry {
        name: C::NAME,
        parser: || {
            C::augment_args(Command::new(C::NAME).bin_name(bin_name(C::NAME)))
                .about(C::ABOUT)
                .after_help(C::AFTER)
                .max_term_width(WIDTH)
        },
        run: |global, matches| C::from_arg_matches(matches)?.run(global),
        enters: C::ENTERS,
    }
}

const AFTER: &str = "\
Examples:
  nucleus-runtime spec --bundle box               write box/config.json
  nucleus-runtime run --bundle box one            run it and wait for its end
  nucleus-runtime run --detach --bundle box two   run it in the background
  nucleus-runtime exec --tty two sh               look around in it
  nucleus-runtime delete --force two              end and remove it

See nucleus-runtime COMMAND --help for the options of a command.";

/// The widest that help is printed, in columns.
const WIDTH: usize = 100;

const NAME: &str = "nucleus-runtime";

fn bin_name(command: &str) -> String {
    format!("{NAME} {command}")
}

/// The whole command line as one definition: for the help, the man pages and the completions.
pub fn definition() -> Command {
    let commands = COMMANDS.iter().map(|entry| (entry.parser)());
    <Global as clap::CommandFactory>::command()
        .subcommand_required(true)
        .max_term_width(WIDTH)
        .after_help(AFTER)
        .subcommands(commands)
}

/// Runs the program and returns its exit code.
pub fn main() -> i32 {
    let args: Vec<OsString> = std::env::args_os().collect();
    match try_main(&args) {
        Ok(code) => code,
        Err(error) => report(&error, &args),
    }
}

fn report(error: &anyhow::Error, args: &[OsString]) -> i32 {
    let message = match error.downcast_ref::<clap::Error>() {
        // Help that was asked for.
        Some(error) if !error.use_stderr() => {
            let _ = error.print();
            return 0;
        }
        Some(error) => usage_message(error, args),
        None => format!("{error:#}"),
    };
    log::fatal(&message);
    1
}

/// One line, which leads to the help of the command that was meant, or of all when the fault lies before it.
fn usage_message(error: &clap::Error, args: &[OsString]) -> String {
    let (before, after) = args.split_at(find_command(args).unwrap_or(args.len()));
    let name = after.first().and_then(|name| name.to_str());
    let entry = name.and_then(find_entry);
    let sound = <Global as clap::CommandFactory>::command().try_get_matches_from(before);
    let command = match entry {
        Some(entry) if sound.is_ok() => bin_name(entry.name),
        _ => NAME.to_owned(),
    };
    nucleus_usage::message(error, &command)
}

fn try_main(args: &[OsString]) -> Outcome {
    let command = find_command(args);
    let (before, after) = args.split_at(command.unwrap_or(args.len()));
    let name = after.first().and_then(|name| name.to_str());
    let entry = name.and_then(find_entry);
    let protected = match entry {
        Some(entry) if entry.enters => crate::protect::protect_binary(),
        _ => Ok(()),
    };
    let global = <Global as clap::CommandFactory>::command();
    let before = normalise(&global, before);
    let global = match global.try_get_matches_from(before) {
        Err(error) if !error.use_stderr() => return help(&[]),
        matches => Global::from_arg_matches(&matches?)?,
    };
    if global.version {
        print_version();
        return Ok(0);
    }
    global.open_log()?;
    protected.map_err(|fault| anyhow::anyhow!("protect the runtime's binary: {fault}"))?;
    let Some(entry) = entry else {
        match name {
            None if after.is_empty() => return help(&[]),
            Some("help") => return help(&after[1..]),
            _ => {}
        }
        // clap knows how to say it, with a suggestion.
        definition().try_get_matches_from(args)?;
        return Ok(1);
    };
    let parser = (entry.parser)();
    let after = normalise(&parser, after);
    (entry.run)(&global, &parser.try_get_matches_from(after)?)
}

fn find_entry(name: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.name == name)
}

/// `help`, `help COMMAND`, and no command at all.
fn help(words: &[OsString]) -> Outcome {
    let name = OsString::from("nucleus-runtime");
    let args = std::iter::once(name)
        .chain(words.iter().cloned())
        .chain([OsString::from("--help")]);
    definition().try_get_matches_from(args)?;
    Ok(1)
}

/// The lines that clients parse: name and version, commit, specification.
fn print_version() {
    let commit = option_env!("NUCLEUS_COMMIT").unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    let spec = crate::state::OCI_VERSION;
    print(&format!(
        "nucleus-runtime version {version}\ncommit: {commit}\nspec: {spec}\n"
    ));
}

/// Writes to the standard output; a reader that has gone is not an error.
pub fn print(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

/// Options before the command that take a value in the next argument.
const WITH_VALUE: [&str; 7] = [
    "criu",
    "root",
    "log",
    "log-format",
    "log-level",
    "cgroup-manager",
    "rootless",
];

/// Where the command's name stands.
fn find_command(args: &[OsString]) -> Option<usize> {
    let mut index = 1;
    while let Some(arg) = args.get(index) {
        let Some(option) = arg.to_str().and_then(|arg| arg.strip_prefix('-')) else {
            return Some(index);
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        index += if WITH_VALUE.contains(&option) { 2 } else { 1 };
    }
    None
}

/// Go programs take `-option` for `--option`, and callers use it: `-no-subreaper`.
fn normalise(parser: &Command, args: &[OsString]) -> Vec<OsString> {
    let mut ended = false;
    let takes_program = parser.get_positionals().any(|arg| arg.is_trailing_var_arg_set());
    let known = |name: &str| parser.get_arguments().any(|arg| arg.get_long() == Some(name));
    args.iter()
        .enumerate()
        .map(|(index, arg)| {
            let Some(text) = arg.to_str() else {
                return arg.clone();
            };
            ended |= text == "--" || takes_program && index > 0 && !text.starts_with('-');
            let name = text
                .strip_prefix('-')
                .and_then(|rest| rest.split('=').next())
                .unwrap_or_default();
            let single = !ended && name.len() > 1 && !name.starts_with('-');
            if single && known(name) {
                OsString::from(format!("-{text}"))
            } else {
                arg.clone()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_one_line_that_says_where_to_read_more() {
        let table = [
            (
                "state --nope x",
                "unexpected argument '--nope' found (see nucleus-runtime state --help)",
            ),
            (
                "state",
                "the following required arguments were not provided: <ID> (see nucleus-runtime state --help)",
            ),
            (
                "list --format yaml",
                "invalid value 'yaml' for '--format <FORMAT>' [possible values: table, json] (see nucleus-runtime list --help)",
            ),
            (
                "--nope list",
                "unexpected argument '--nope' found (see nucleus-runtime --help)",
            ),
        ];
        for (line, expected) in table {
            let args = || std::iter::once(NAME).chain(line.split(' '));
            let error = definition().try_get_matches_from(args()).unwrap_err();
            let args: Vec<OsString> = args().map(OsString::from).collect();
            assert_eq!(usage_message(&error, &args), expected, "{error}");
        }
    }

    #[test]
    fn every_option_before_the_command_that_takes_a_value_is_known() {
        let global = <Global as clap::CommandFactory>::command();
        let mut with_value: Vec<&str> = global
            .get_arguments()
            .filter(|arg| arg.get_action().takes_values())
            .filter_map(|arg| arg.get_long())
            .collect();
        with_value.sort_unstable();
        let mut known = WITH_VALUE;
        known.sort_unstable();
        assert_eq!(with_value, known);
    }

    #[test]
    fn the_command_is_found_after_options_with_values() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(find_command(&args("x --root /r --debug run id")), Some(4));
        assert_eq!(find_command(&args("x --root=/r state id")), Some(2));
        assert_eq!(find_command(&args("x --version")), None);
    }

    #[test]
    fn single_dashes_are_taken_before_the_program_only() {
        let parser = (entry::<exec::Exec>().parser)();
        let args: Vec<OsString> = ["exec", "-cwd=/x", "-t", "id", "prog", "-env"]
            .map(OsString::from)
            .into();
        assert_eq!(
            normalise(&parser, &args),
            ["exec", "--cwd=/x", "-t", "id", "prog", "-env"].map(OsString::from)
        );
    }
}
