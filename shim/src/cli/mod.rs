//! The command line: one file a command.

pub mod attach;
pub mod attest;
pub mod bundle;
pub mod docs;
pub mod doctor;
pub mod exec;
pub mod logs;
pub mod manage;
pub mod policy;
pub mod run;
pub mod start;
pub mod unit;
pub mod verify;
pub mod workspace;

use crate::early::Early;
use crate::say::say;
#[cfg(test)]
use crate::{request::Request, run::Call};
use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Run untrusted commands in sandboxes made from pinned policies.
#[derive(Debug, Parser)]
#[command(name = "nucleus", version)]
pub struct Cli {
    /// Where sandboxes are kept while they run [default: /run/nucleus, or $XDG_RUNTIME_DIR/nucleus without root]
    #[arg(long, value_name = "DIR", global = true)]
    root: Option<PathBuf>,
    /// Print nothing of our own but errors
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

// Deferred: only the arguments of the command that is called are made.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Run a command in a new sandbox
    Run(run::Run),
    /// Make a sandbox whose command waits for start
    Create(run::Create),
    /// Start the command of a created sandbox
    Start(start::Start),
    /// Print the digest that --verify-context takes
    ContextDigest(verify::ContextDigest),
    /// Hold policies, and a bundle, against their pins
    Verify(verify::Verify),
    /// Write the bundle of a sandbox, or compare it with one that is there
    Bundle(bundle::Bundle),
    /// Print a systemd unit that runs a sandbox
    Unit(unit::Unit),
    /// List sandboxes
    Ps(manage::Ps),
    /// Print the state of a sandbox as JSON
    State(manage::Name),
    /// Run another command in a sandbox
    Exec(exec::Exec),
    /// Print what a detached sandbox has written
    Logs(logs::Logs),
    /// Connect to the terminal, or the output, of a detached sandbox
    Attach(attach::Attach),
    /// Hold the terminal of a detached sandbox
    #[command(hide = true)]
    Keep,
    /// Stand by while another runtime runs a sandbox
    #[command(hide = true)]
    Guard { name: String },
    /// Keep up the network of a detached sandbox
    #[command(hide = true)]
    KeepNetwork,
    /// Make the namespaces of a user's network
    #[command(hide = true)]
    HoldNetwork {
        /// With the resolver's sockets
        #[arg(long)]
        resolver: bool,
        /// Be a process in such a network
        #[arg(long, conflicts_with = "resolver")]
        stand_in: bool,
        /// Open a socket for the rules of such a network
        #[arg(long, conflicts_with_all = ["resolver", "stand_in"])]
        rules: bool,
    },
    /// Execute a command in a leaf of this process's delegated control group
    #[command(hide = true)]
    Delegated {
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<OsString>,
    },
    /// Send a signal to a sandbox's first process
    Kill(manage::Kill),
    /// End sandboxes: SIGTERM, and SIGKILL after a while
    Stop(manage::Stop),
    /// Remove sandboxes; with --force running ones too
    Rm(manage::Rm),
    /// Review, take over or drop the changes of a workspace that was copied
    #[command(subcommand)]
    Workspace(workspace::Workspace),
    /// Look at policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Make and check the manifests of root file systems
    #[command(subcommand)]
    Attest(attest::Attest),
    /// Try what this host can enforce
    Doctor(doctor::Options),
    /// Print a shell's completions
    Completions(docs::Completions),
    /// Write the man pages
    Man(docs::Man),
    /// Print the JSON schema of launch configurations
    Schema,
}

/// Parses, runs, prints the error; returns the exit code.
pub fn main() -> i32 {
    let guess = Early::guess(std::env::args_os().skip(1));
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return 0;
        }
        Err(error) => {
            say!("nucleus: {}", usage_message(&error, std::env::args_os()));
            return 1;
        }
    };
    match dispatch(cli, guess) {
        Ok(code) => code,
        Err(error) => {
            say!("nucleus: {}", chain(&error));
            1
        }
    }
}

/// The command line. What describes all of them is left to the end of the process: there are thousands of pieces to free.
fn parse() -> Result<Cli, clap::Error> {
    let mut command = std::mem::ManuallyDrop::new(Cli::command());
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// One line, which leads to the help of the command that was meant.
fn usage_message(error: &clap::Error, args: impl Iterator<Item = OsString>) -> String {
    let command = command_in(args);
    match error.kind() {
        // Its own text names the hidden ones too.
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("no command was given (see {command} --help)")
        }
        _ => nucleus_usage::message(error, &command),
    }
}

/// The words of a command line that name the command.
fn command_in(args: impl Iterator<Item = OsString>) -> String {
    let mut words = String::from("nucleus");
    let found = Cli::command().ignore_errors(true).try_get_matches_from(args);
    let mut at = found.as_ref().ok().and_then(|found| found.subcommand());
    while let Some((word, matches)) = at {
        words += " ";
        words += word;
        at = matches.subcommand();
    }
    words
}

#[cfg(test)]
impl Cli {
    /// What is asked for by a command line of `run`.
    pub(crate) fn run_of(args: impl Iterator<Item = OsString>) -> Option<(Request, Call)> {
        match Self::try_parse_from(args).ok()? {
            Self {
                root,
                quiet,
                command: Command::Run(run),
            } => run.asked(root, quiet).ok(),
            _ => None,
        }
    }
}

fn dispatch(cli: Cli, guess: Option<Early>) -> Result<i32, anyhow::Error> {
    let Cli { root, quiet, command } = cli;
    match command {
        Command::Run(run) => run.run(root, quiet, guess),
        Command::Bundle(bundle) => bundle.run(quiet),
        Command::Unit(unit) => unit.run(),
        Command::Ps(ps) => ps.run(root),
        Command::State(name) => name.state(root),
        Command::Exec(exec) => exec.run(root),
        Command::Attach(attach) => attach.run(root),
        Command::Keep => Ok(crate::keeper::main().map(|()| 0)?),
        Command::Guard { name } => {
            let store = crate::store::Store::expected(root.as_deref()).context("there is no --root")?;
            crate::cleanup::guard(&store, &name).map(|()| 0)
        }
        Command::KeepNetwork => crate::network_keeper::main().map(|()| 0),
        Command::HoldNetwork { stand_in: true, .. } => Ok(nucleus_network::rootless::stand_in().map(|()| 0)?),
        Command::HoldNetwork { rules: true, .. } => {
            Ok(nucleus_network::rootless::hand_over_rules().map(|()| 0)?)
        }
        Command::HoldNetwork { resolver, .. } => Ok(nucleus_network::rootless::main(resolver).map(|()| 0)?),
        Command::Delegated { command } => delegated(&command),
        Command::Logs(logs) => logs.run(root),
        Command::Create(create) => create.run(root, quiet),
        Command::Start(start) => start.run(root, quiet),
        Command::ContextDigest(context) => context.run(),
        Command::Verify(verify) => verify.run(),
        Command::Doctor(options) => options.run(root),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Kill(kill) => kill.run(root),
        Command::Stop(stop) => stop.run(root),
        Command::Rm(rm) => rm.run(root, quiet),
        Command::Workspace(workspace) => workspace.run(root, quiet),
        Command::Policy(policy) => policy.run(),
        Command::Attest(attest) => attest.run(quiet),
        Command::Schema => schema(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "told with the program and the kernel's answer"
)]
fn delegated(command: &[OsString]) -> Result<i32, anyhow::Error> {
    use std::os::unix::process::CommandExt;
    crate::delegation::enter_leaf()?;
    let (program, arguments) = command.split_first().context("no command")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("execute {}", program.display()))
}

fn schema() -> Result<i32, anyhow::Error> {
    let schema = schemars::schema_for!(crate::request::Request);
    print(&serde_json::to_string_pretty(&schema)?)
}

/// Writes to standard output; a reader that is gone is no error.
fn print(text: &str) -> Result<i32, anyhow::Error> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

fn chain(error: &anyhow::Error) -> String {
    let texts: Vec<String> = error.chain().map(ToString::to_string).collect();
    texts.join(": ")
}
