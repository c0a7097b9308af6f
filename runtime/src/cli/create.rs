//! `create`.

use super::{Global, Outcome, Run};
use crate::bundle::Pin;
use crate::create::Options;
use crate::plan::Preserved;
use crate::readiness::Manager;
use crate::{create, handshake, log};
use clap::Args;
use std::path::PathBuf;

/// Options that `create` and `run` share.
#[derive(Debug, Args)]
pub struct Common {
    /// Directory with config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Send the container's terminal to this Unix socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the first process's id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Send a descriptor of the first process to this Unix socket
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Use chroot instead of pivot_root, where the root is a ramdisk (weaker)
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Let the program inherit N descriptors after the standard streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Read the configuration from descriptor FD, to its end, instead of the bundle's config.json; what does not
    /// depend on it is done before
    #[arg(long, value_name = "FD")]
    config_fd: Option<i32>,
    /// Refuse a config.json that does not have this SHA-256
    #[arg(long, value_name = "DIGEST")]
    config_sha256: Option<Pin>,
    /// Refuse a root file system that is not the directory open at descriptor FD
    #[arg(long, value_name = "FD")]
    rootfs_fd: Option<i32>,
    /// Accepted for compatibility: this runtime is never a subreaper
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Common {
    /// The options in the form of the library.
    ///
    /// # Errors
    /// A descriptor that is none.
    pub fn options(self, global: &Global, detached: bool) -> Result<Options, create::Error> {
        let preserved = preserved(self.preserve_fds);
        let take = |fd: Option<i32>, option| fd.map(|fd| handshake::take(fd, option, preserved)).transpose();
        Ok(Options {
            id: self.id,
            root: global.root(),
            bundle: self.bundle,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            pidfd_socket: self.pidfd_socket,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserved,
            environment: environment(),
            notify: Manager::from_environment().is_some(),
            cgroups: global.cgroups(),
            rootless: global.rootless(),
            detached,
            traced: false,
            config_pin: self.config_sha256,
            config: take(self.config_fd, "--config-fd")?,
            rootfs: take(self.rootfs_fd, "--rootfs-fd")?,
        })
    }
}

/// What the program inherits: `LISTEN_FDS` is for whom `LISTEN_PID` names, or anybody without it.
pub fn preserved(plain: u32) -> Preserved {
    let listen = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let named = std::env::var("LISTEN_PID").ok();
    let ours = named.is_none_or(|pid| pid == std::process::id().to_string());
    Preserved {
        plain,
        listen: if ours { listen } else { 0 },
    }
}

/// The names of the descriptors of `LISTEN_FDS`, for whom they are.
pub fn environment() -> Vec<String> {
    match std::env::var("LISTEN_FDNAMES") {
        Ok(names) if preserved(0).listen > 0 => vec![format!("LISTEN_FDNAMES={names}")],
        _ => Vec::new(),
    }
}

/// Create a container; `start` runs its program.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    common: Common,
}

impl Run for Create {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Create a container whose program waits for start";
    const AFTER: &'static str = "\
Example:
  nucleus-runtime create --bundle box one && nucleus-runtime start one";
    const ENTERS: bool = true;

    fn run(self, global: &Global) -> Outcome {
        let created = create::leave_waiting(create::create(self.common.options(global, true)?, true)?)?;
        for note in &created.notes {
            log::warning(note);
        }
        // The process ends: freeing it would only copy pages that the container's first process shares, and the kernel
        // closes descriptors.
        std::mem::forget((created.plan, created.spawned));
        Ok(0)
    }
}
