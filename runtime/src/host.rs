//! What this host can do, found once before the plan is made.

use crate::cgroup;
use crate::plan::IdMaps;
use rustix::thread::CapabilitySet;

/// The facts on which a plan depends.
#[derive(Debug)]
pub struct HostFacts {
    /// Effective user and group id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// Treat the caller as unprivileged even if its user id is 0 (inside a user namespace), or the reverse.
    pub rootless_override: Option<bool>,
    /// Permitted capabilities of the caller, one bit each.
    pub capabilities: u64,
    /// Kernel version: major, minor.
    pub kernel: (u32, u32),
    /// The control groups.
    pub cgroups: cgroup::Layout,
    /// ABI of the kernel's Landlock; 0 for none, and for a configuration that does not ask for it.
    pub landlock_abi: u32,
}

/// Why a fact could not be found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control groups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The caller's capabilities.
    #[error("capget")]
    Capabilities(#[source] rustix::io::Errno),
}

impl HostFacts {
    /// Asks the kernel. `capget(2)`, `uname(2)`, and the cgroup layout.
    ///
    /// # Errors
    /// When the cgroup layout cannot be made out.
    pub fn probe(rootless_override: Option<bool>) -> Result<Self, Error> {
        let sets = rustix::thread::capabilities(None).map_err(Error::Capabilities)?;
        let (uid, gid) = nucleus_sys::process::ids_at_exec();
        Ok(Self {
            uid,
            gid,
            rootless_override,
            capabilities: CapabilitySet::bits(&sets.permitted),
            kernel: kernel_version(),
            cgroups: cgroup::detect()?,
            landlock_abi: 0,
        })
    }

    /// With the facts that only this configuration needs: others should not pay for the call.
    #[must_use]
    pub fn for_spec(mut self, spec: &oci_spec::runtime::Spec) -> Self {
        if crate::plan::landlock::asked(spec).is_some() {
            self.landlock_abi = landlock_abi();
        }
        self
    }

    /// Whether the caller lacks root's privileges over the host.
    pub fn rootless(&self) -> bool {
        self.rootless_override.unwrap_or(self.uid != 0)
    }

    /// Whether maps need `newuidmap(1)`: an unprivileged process may map only its own ids.
    pub fn needs_map_helper(&self, maps: &IdMaps) -> bool {
        self.rootless() && !(own_only(&maps.uids, self.uid) && own_only(&maps.gids, self.gid))
    }

    /// Whether AppArmor is enabled.
    pub fn has_apparmor(&self) -> bool {
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
    }

    /// Whether SELinux is enabled.
    pub fn has_selinux(&self) -> bool {
        std::path::Path::new("/sys/fs/selinux/enforce").exists()
    }
}

/// ABI of the kernel's Landlock, 0 where it cannot be used: not built, not enabled, or refused by a filter that
/// the runtime itself is under. `landlock_create_ruleset(2)`.
pub fn landlock_abi() -> u32 {
    nucleus_sys::landlock::abi().unwrap_or(0)
}

fn own_only(lines: &[[u32; 3]], own: u32) -> bool {
    matches!(lines, [[_, outside, 1]] if *outside == own)
}

fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    parse_version(name.release().to_str().unwrap_or_default())
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_release_names() {
        assert_eq!(parse_version("6.18.44-fc-v657"), (6, 18));
        assert_eq!(parse_version("6.1-rc1"), (6, 1));
        assert_eq!(parse_version("odd"), (0, 0));
    }

    #[test]
    fn an_own_id_needs_no_helper() {
        assert!(own_only(&[[0, 1000, 1]], 1000));
        assert!(!own_only(&[[0, 1000, 2]], 1000));
        assert!(!own_only(&[[0, 1000, 1], [1, 100_000, 65536]], 1000));
    }
}
