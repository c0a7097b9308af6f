//! `restore`: see [`checkpoint`](super::checkpoint).

use super::checkpoint::Images;
use super::{Global, Outcome, Run};
use anyhow::bail;
use clap::Args;
use std::path::PathBuf;

/// Bring a container back from the files of checkpoint.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    images: Images,
    /// Directory with config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Return when the container runs
    #[arg(long, short)]
    detach: bool,
    /// Write the first process's id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Send the container's terminal to this Unix socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Use chroot instead of pivot_root
    #[arg(long)]
    no_pivot: bool,
    /// Accepted for compatibility: this runtime is never a subreaper
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Security profile, TYPE:NAME
    #[arg(long, value_name = "PROFILE")]
    lsm_profile: Option<String>,
    /// Security context of mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Restore {
    const NAME: &'static str = "restore";
    const ABOUT: &'static str = "Bring a container back from files (not supported yet)";

    fn run(self, _: &Global) -> Outcome {
        bail!(
            "restore is not supported yet: container {:?} was not made",
            self.id
        )
    }
}
