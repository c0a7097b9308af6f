//! What the clients find inside the sandbox: a read-only host, private state directories, `/dev` and cgroups,
//! a root file system, and a copy of the runtime under test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, mount_remount, unmount};

use super::hierarchy::{CGROUP_ROOT, Hierarchy, View, hierarchies};

/// The directory of everything that a suite writes, in the sandbox's own memory.
const HOME: &str = "/run/clients";

/// State directories that the clients would otherwise share with the host.
const PRIVATE: [&str; 5] = ["/tmp", "/var/lib", "/var/tmp", "/var/cache", "/etc/docker"];

/// Character devices of the private `/dev`, with their numbers (`null(4)`, `random(4)`, `tty(4)`).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The place in which one suite runs.
#[derive(Debug)]
pub(crate) struct World {
    /// Scratch space; everything in it goes with the sandbox.
    pub(crate) dir: PathBuf,
    /// The copy of the runtime under test, named like the original.
    pub(crate) runtime: PathBuf,
    /// A root file system with busybox.
    pub(crate) rootfs: PathBuf,
    /// The cgroup version to be seen.
    pub(crate) view: View,
}

impl World {
    /// Builds the world in the namespaces of this process, which must be the sandbox's own.
    pub(crate) fn build(runtime: &Path, view: View) -> Result<Self> {
        let name = runtime.file_name().context("the runtime has no file name")?;
        let program = fs::read(runtime).with_context(|| format!("read {}", runtime.display()))?;
        let busybox = fs::read("/bin/busybox").context("read /bin/busybox")?;
        seal_host()?;
        let dir = PathBuf::from(HOME);
        let world = Self {
            runtime: dir.join("bin").join(name),
            rootfs: dir.join("rootfs"),
            dir,
            view,
        };
        for sub in ["bin", "home", "out"] {
            fs::create_dir_all(world.dir.join(sub))?;
        }
        write_program(&world.runtime, &program)?;
        make_rootfs(&world.rootfs, &busybox)?;
        mount_devices(&world.dir.join("dev"))?;
        mount_cgroups(&hierarchies()?, view)?;
        bring_loopback_up()?;
        Ok(world)
    }

    /// A file of the scratch space, with its content.
    pub(crate) fn file(&self, name: &str, content: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// An empty directory of the scratch space that every user may write to.
    pub(crate) fn directory(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(path.display().to_string())
    }

    /// The runtime's file name.
    pub(crate) fn runtime_name(&self) -> String {
        self.runtime
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// Covers the state directories and makes the rest of the host's root file system read-only, for this mount
/// namespace: a client that strays gets an error instead of changing the host.
fn seal_host() -> Result<()> {
    tmpfs(Path::new("/run"))?;
    for dir in PRIVATE.iter().filter(|dir| Path::new(dir).is_dir()) {
        tmpfs(Path::new(dir))?;
    }
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, c"").context("make / read-only")
}

fn tmpfs(target: &Path) -> Result<()> {
    mount("tmpfs", target, "tmpfs", MountFlags::empty(), c"mode=755")
        .with_context(|| format!("mount tmpfs on {}", target.display()))
}

fn write_program(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("make it executable")
}

fn make_rootfs(rootfs: &Path, busybox: &[u8]) -> Result<()> {
    for dir in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(rootfs.join(dir))
            .with_context(|| format!("make /{dir} of the root file system"))?;
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let program = rootfs.join("bin/busybox");
    write_program(&program, busybox)?;
    for applet in applets(&program)?.lines().filter(|name| *name != "busybox") {
        symlink("busybox", rootfs.join("bin").join(applet)).with_context(|| format!("link {applet}"))?;
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n",
    )?;
    fs::write(
        rootfs.join("etc/group"),
        "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
    )?;
    fs::write(rootfs.join("etc/notexec"), "not to be executed\n")?;
    Ok(())
}

fn applets(busybox: &Path) -> Result<String> {
    let output = Command::new(busybox)
        .arg("--list")
        .output()
        .context("list busybox's applets")?;
    ensure!(output.status.success(), "busybox --list: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A `/dev` of our own: at least one runtime changes the owner of the caller's `/dev/null`.
fn mount_devices(staging: &Path) -> Result<()> {
    fs::create_dir_all(staging)?;
    tmpfs(staging)?;
    for (name, major, minor) in DEVICES {
        let node = staging.join(name);
        mknodat(
            CWD,
            &node,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(major, minor),
        )
        .with_context(|| format!("make device {name}"))?;
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666))?; // the umask applied
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, staging.join(name))?;
    }
    for (dir, kind, data) in [
        ("pts", "devpts", c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "tmpfs", c"mode=1777"),
        ("mqueue", "mqueue", c""),
    ] {
        fs::create_dir(staging.join(dir))?;
        mount(kind, staging.join(dir), kind, MountFlags::empty(), data)
            .with_context(|| format!("mount {kind}"))?;
    }
    mount_move(staging, "/dev").context("move the private /dev into place")
}

/// Mounts the hierarchies of `view` afresh, so that the cgroup namespace's root shows as their root.
fn mount_cgroups(hierarchies: &[Hierarchy], view: View) -> Result<()> {
    unmount(CGROUP_ROOT, UnmountFlags::DETACH).context("unmount the host's cgroups")?;
    match view {
        View::V1 => {
            // On a host whose own root is version 2 there is nothing below it to cover.
            tmpfs(Path::new(CGROUP_ROOT))?;
            hierarchies
                .iter()
                .filter(|h| h.options.is_some())
                .try_for_each(mount_v1)
        }
        View::V2 => {
            mount("cgroup2", CGROUP_ROOT, "cgroup2", MountFlags::empty(), c"").context("mount cgroup2")?;
            delegate(Path::new(CGROUP_ROOT))
        }
    }
}

fn mount_v1(hierarchy: &Hierarchy) -> Result<()> {
    let options = hierarchy.options.clone().unwrap_or_default();
    let data = std::ffi::CString::new(options.clone())?;
    fs::create_dir_all(&hierarchy.mount)?;
    mount(
        "cgroup",
        &hierarchy.mount,
        "cgroup",
        MountFlags::empty(),
        data.as_c_str(),
    )
    .with_context(|| format!("mount cgroup {options}"))?;
    let last = hierarchy
        .mount
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for controller in options
        .split(',')
        .filter(|c| last.contains(',') && !c.contains('='))
    {
        symlink(&last, hierarchy.mount.with_file_name(controller))?;
    }
    Ok(())
}

/// Gives the children every controller that there is.
fn delegate(root: &Path) -> Result<()> {
    for controller in fs::read_to_string(root.join("cgroup.controllers"))?.split_whitespace() {
        fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"))
            .with_context(|| format!("delegate {controller}"))?;
    }
    Ok(())
}

fn bring_loopback_up() -> Result<()> {
    let status = Command::new("/bin/busybox")
        .args(["ip", "link", "set", "lo", "up"])
        .status();
    ensure!(status.context("run busybox ip")?.success(), "bring lo up");
    Ok(())
}
