//! `checkpoint`: accepted in runc's form, so that callers hear what is missing and not of a wrong flag.

use super::{Global, Outcome, Run};
use crate::container::Container;
use anyhow::bail;
use clap::Args;
use std::path::PathBuf;

/// Options that `checkpoint` and `restore` share.
#[derive(Debug, Args)]
pub struct Images {
    /// Directory of the image files
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// Directory of work files and logs
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Allow open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Close TCP connections on restore
    #[arg(long)]
    tcp_close: bool,
    /// Skip TCP connections in flight
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Allow Unix sockets whose other end is outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a shared terminal session
    #[arg(long)]
    shell_job: bool,
    /// Handle file locks
    #[arg(long)]
    file_locks: bool,
    /// Cgroups: soft, full, strict or ignore
    #[arg(long, value_name = "MODE")]
    manage_cgroups_mode: Option<String>,
    /// Make a namespace without restoring what is in it
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Remove duplicates from memory images
    #[arg(long)]
    auto_dedup: bool,
    /// Bring memory back when it is used
    #[arg(long)]
    lazy_pages: bool,
}

/// Save a running container to files.
#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    images: Images,
    /// Directory of the image files of an earlier --pre-dump
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Let the container run on
    #[arg(long)]
    leave_running: bool,
    /// Save the memory only, and let the container run on
    #[arg(long)]
    pre_dump: bool,
    /// Descriptor to write to when lazy pages are ready
    #[arg(long, value_name = "FD", allow_hyphen_values = true)]
    status_fd: Option<i32>,
    /// Send the memory to a page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Checkpoint {
    const NAME: &'static str = "checkpoint";
    const ABOUT: &'static str = "Save a running container to files (not supported yet)";

    fn run(self, global: &Global) -> Outcome {
        Container::open(&global.root(), &self.id)?;
        bail!(
            "checkpoint is not supported yet: container {:?} was left as it is",
            self.id
        )
    }
}
