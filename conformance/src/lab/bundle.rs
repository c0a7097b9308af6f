//! A bundle: a rootfs of static busybox, and a config that a case changes to its needs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";

/// The names by which scripts call busybox.
const APPLETS: &str = "sh cat echo sleep id ls mount umount stat touch readlink ps kill tail head grep env test \
    mkdir rmdir rm true false hostname nice ionice chrt tty stty dd pwd sort wc mknod chown chmod cp ln date \
    sed awk cut tr xargs uname ip find usleep sync renice";

/// A bundle directory.
pub(crate) struct Bundle {
    dir: PathBuf,
    path: String,
    /// What `config.json` will hold.
    pub(crate) config: Value,
}

impl Bundle {
    pub(super) fn create(dir: &Path, args: &[&str]) -> Result<Bundle> {
        let root = dir.join("rootfs");
        for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
            fs::create_dir_all(root.join(name))?;
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        let busybox = root.join("bin/busybox");
        fs::copy(BUSYBOX, &busybox).with_context(|| format!("copy {BUSYBOX}"))?;
        for applet in APPLETS.split_whitespace() {
            symlink("/bin/busybox", root.join("bin").join(applet))?;
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n",
        )?;
        fs::write(
            root.join("etc/group"),
            "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
        )?;
        let path = dir
            .to_str()
            .context("the temporary directory is not UTF-8")?
            .to_owned();
        Ok(Bundle {
            dir: dir.to_owned(),
            path,
            config: config(args),
        })
    }

    /// The bundle's path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The bundle's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the rootfs, as the host sees it.
    pub(crate) fn in_root(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Sets a value by its JSON pointer; objects on the way are made.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) -> &mut Bundle {
        let mut place = &mut self.config;
        for key in pointer.split('/').skip(1) {
            place = match place {
                Value::Array(list) => &mut list[key.parse::<usize>().expect("an index into a list")],
                other => &mut other[key],
            };
        }
        *place = value;
        self
    }

    /// Appends to the list at a JSON pointer, which is made if need be.
    pub(crate) fn push(&mut self, pointer: &str, value: Value) -> &mut Bundle {
        match self.config.pointer_mut(pointer) {
            Some(Value::Array(list)) => list.push(value),
            _ => {
                self.set(pointer, json!([value]));
            }
        }
        self
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, kind: &str, source: &str, target: &str, options: &[&str]) -> &mut Bundle {
        let mount = json!({"destination": target, "type": kind, "source": source, "options": options});
        self.push("/mounts", mount)
    }

    /// Adds a new namespace of this type, in place of one that is there.
    pub(crate) fn namespace(&mut self, kind: &str) -> &mut Bundle {
        self.drop_namespace(kind)
            .push("/linux/namespaces", json!({"type": kind}))
    }

    /// Leaves out the namespace of this type.
    pub(crate) fn drop_namespace(&mut self, kind: &str) -> &mut Bundle {
        if let Some(Value::Array(list)) = self.config.pointer_mut("/linux/namespaces") {
            list.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Gives all five sets of capabilities the same members.
    pub(crate) fn capabilities(&mut self, names: &[&str]) -> &mut Bundle {
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            self.set(&format!("/process/capabilities/{set}"), json!(names));
        }
        self
    }

    /// Maps ids 0..count of a new user namespace to the host's from `first`.
    pub(crate) fn user_namespace(&mut self, first: u32, count: u32) -> &mut Bundle {
        let map = json!([{"containerID": 0, "hostID": first, "size": count}]);
        self.namespace("user")
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
    }

    /// Makes the rootfs belong to a host id, as a user namespace needs it.
    ///
    /// # Errors
    /// A file's owner cannot be changed.
    pub(crate) fn give_root_to(&self, id: u32) -> Result<()> {
        give(&self.in_root(""), id)
    }

    /// Adds a hook of `sh -c script` on the host's side, of a kind such as `prestart`.
    pub(crate) fn hook(&mut self, kind: &str, script: &str) -> &mut Bundle {
        self.push(
            &format!("/hooks/{kind}"),
            json!({"path": "/bin/sh", "args": ["sh", "-c", script]}),
        )
    }

    /// Writes `config.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        self.write(&serde_json::to_string_pretty(&self.config)?)
    }

    /// Writes any text as `config.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        fs::write(self.dir.join("config.json"), text).context("write config.json")
    }
}

fn give(path: &Path, id: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(id), Some(id))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), id)?;
        }
    }
    Ok(())
}

fn config(args: &[&str]) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "conformance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/kcore", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"]
        }
    })
}
