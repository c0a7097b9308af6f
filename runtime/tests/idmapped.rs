//! Id-mapped mounts: the words `idmap` and `ridmap`, with the container's mappings or the mount's own.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Host;

/// A directory with `file` of owner 1:2 and, mounted on `below`, a tmpfs with `deep` of owner 3:4.
struct Volume(PathBuf);

impl Volume {
    fn new(host: &Host) -> Self {
        let path = host.directory().join("volume");
        fs::create_dir_all(path.join("below")).expect("make the volume");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
        fs::write(path.join("file"), "").expect("write");
        chown(path.join("file"), Some(1), Some(2)).expect("chown");
        Self(path)
    }

    fn with_mount(host: &Host) -> Self {
        let volume = Self::new(host);
        let below = volume.0.join("below");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(&below)
            .status();
        assert!(mounted.expect("run mount").success());
        fs::write(below.join("deep"), "").expect("write");
        chown(below.join("deep"), Some(3), Some(4)).expect("chown");
        volume
    }

    fn mount(&self, options: &[&str]) -> Value {
        json!({"destination": "/volume", "type": "bind", "source": self.0, "options": options})
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let below = self.0.join("below");
        let other = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        if other(&below) != other(&self.0) {
            let _ = Command::new("umount").arg(&below).status();
        }
    }
}

/// Maps `count` ids of the container from 0 to these of the host.
fn maps(target: &mut Value, uid: u32, gid: u32) {
    target["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1000}]);
    target["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1000}]);
}

fn add_user_namespace(config: &mut Value) {
    config["linux"]["namespaces"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"type": "user"}));
    maps(&mut config["linux"], 100_000, 200_000);
}

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("a list").push(mount);
}

fn shell(config: &mut Value, script: &str) {
    config["process"]["args"] = json!(["sh", "-c", script]);
}

const OWNERS: &str =
    "stat -c '%u:%g' /volume/file; [ ! -e /volume/below/deep ] || stat -c '%u:%g' /volume/below/deep";

fn run(host: &Host, edit: impl FnOnce(&mut Value)) -> String {
    let bundle = host.bundle(edit);
    // In a user namespace the rootfs is somebody else's: nothing can be made in it.
    fs::create_dir(bundle.rootfs("volume")).expect("mkdir");
    host.ok(&["run", "--bundle", bundle.path(), &host.id()])
}

#[test]
fn without_a_mapping_owners_are_not_known_in_a_user_namespace() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    let output = run(&host, |config| {
        add_user_namespace(config);
        add_mount(config, volume.mount(&["rbind"]));
        shell(config, OWNERS);
    });
    assert_eq!(output, "65534:65534\n");
}

#[test]
fn idmap_takes_the_containers_mappings() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::with_mount(&host);
    let output = run(&host, |config| {
        add_user_namespace(config);
        add_mount(config, volume.mount(&["rbind", "idmap"]));
        shell(config, OWNERS);
    });
    assert_eq!(output, "1:2\n65534:65534\n", "the mount below is not mapped");
}

#[test]
fn ridmap_maps_the_mounts_below_too() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::with_mount(&host);
    let output = run(&host, |config| {
        add_user_namespace(config);
        add_mount(config, volume.mount(&["rbind", "ridmap"]));
        shell(config, OWNERS);
    });
    assert_eq!(output, "1:2\n3:4\n");
}

#[test]
fn a_mount_has_mappings_of_its_own_without_a_user_namespace() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    for options in [&["bind", "idmap"][..], &["bind"]] {
        let output = run(&host, |config| {
            let mut mount = volume.mount(options);
            maps(&mut mount, 5000, 6000);
            add_mount(config, mount);
            config["process"]["user"] = json!({"uid": 5007, "gid": 6008});
            shell(config, &format!("{OWNERS}; touch /volume/made"));
        });
        assert_eq!(output, "5001:6002\n", "{options:?}");
        let made = fs::metadata(volume.0.join("made")).expect("what the container made");
        assert_eq!((made.uid(), made.gid()), (7, 8), "{options:?}");
        fs::remove_file(volume.0.join("made")).expect("remove it");
    }
}

#[test]
fn own_mappings_differ_from_the_containers() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    let output = run(&host, |config| {
        add_user_namespace(config);
        let mut mount = volume.mount(&["rbind", "ridmap"]);
        maps(&mut mount, 100_010, 200_020);
        add_mount(config, mount);
        shell(config, OWNERS);
    });
    assert_eq!(output, "11:22\n");
}

#[test]
fn the_mappings_do_not_reach_the_host() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    run(&host, |config| {
        let mut mount = volume.mount(&["bind", "idmap"]);
        maps(&mut mount, 5000, 6000);
        add_mount(config, mount);
    });
    let file = fs::metadata(volume.0.join("file")).expect("the file");
    assert_eq!((file.uid(), file.gid()), (1, 2));
}

#[test]
fn what_cannot_be_mapped_is_refused_with_its_reason() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 4] = [
        (
            |mount| mount["options"] = json!(["bind", "idmap"]),
            "idmap without mappings",
        ),
        (
            |mount| mount["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]),
            "uidMappings and gidMappings must both be given",
        ),
        (
            |mount| {
                maps(mount, 1, 1);
                mount["uidMappings"][0]["size"] = json!(0);
            },
            "a mapping of size 0",
        ),
        (
            |mount| {
                maps(mount, 1, 1);
                mount["type"] = json!("tmpfs");
                mount["options"] = json!([]);
            },
            "only bind mounts can be id-mapped",
        ),
    ];
    for (edit, expected) in cases {
        let bundle = host.bundle(|config| {
            let mut mount = volume.mount(&["bind"]);
            edit(&mut mount);
            add_mount(config, mount);
        });
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{run}");
        assert!(
            run.stderr.contains("mounts[5] (/volume)") && run.stderr.contains(expected),
            "{run}"
        );
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}

#[test]
fn the_kernel_refuses_overlapping_mappings_and_the_error_names_the_mount() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    let bundle = host.bundle(|config| {
        let mut mount = volume.mount(&["bind"]);
        maps(&mut mount, 1, 1);
        let twice = mount["uidMappings"][0].clone();
        mount["uidMappings"].as_array_mut().expect("a list").push(twice);
        add_mount(config, mount);
    });
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 1, "{run}");
    assert!(
        run.stderr.contains("EINVAL") && run.stderr.contains("/volume"),
        "{run}"
    );
}

#[test]
fn a_file_system_without_maps_of_ids_is_named_with_a_remedy() {
    let Some(host) = Host::new() else { return };
    let volume = Volume::new(&host);
    let bundle = host.bundle(|config| {
        let mut mount = volume.mount(&["bind"]);
        maps(&mut mount, 1, 1);
        mount["source"] = "/sys/kernel".into();
        add_mount(config, mount);
    });
    let id = host.id();
    let run = host.run(&["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    let told = "no maps of ids on its file system (bind without idmap, or from another): mount_setattr idmap /sys/kernel: \
                invalid argument (EINVAL)";
    assert!(run.stderr.contains(told), "{run}");
    assert_eq!(host.leftovers(&id), [""; 0]);
}
