//! File systems that are made for the container.

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use support::Host;
use support::refusal::refused;

/// What `stat` shows of a tmpfs over a directory of mode 2750 and owner 56:78 that is not empty.
fn copied_up(host: &Host, options: &[&str]) -> String {
    let bundle = host.bundle(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options}));
        config["process"]["args"] = json!(["stat", "-c", "%a %u %g", "/data", "/data/file"]);
    });
    let data = bundle.rootfs("/data");
    fs::create_dir(&data).expect("mkdir");
    fs::write(data.join("file"), "").expect("write");
    fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o640)).expect("chmod");
    chown(data.join("file"), Some(12), Some(34)).expect("chown");
    chown(&data, Some(56), Some(78)).expect("chown");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o2750)).expect("chmod");
    host.ok(&["run", "--bundle", bundle.path(), &host.id()])
}

#[test]
fn tmpcopyup_takes_owner_and_mode_of_the_directory_unless_options_name_them() {
    let Some(host) = Host::new() else { return };
    for (options, root) in [
        (&["tmpcopyup"][..], "2750 56 78"),
        (&["tmpcopyup", "uid=5"], "2750 5 78"),
        (&["tmpcopyup", "gid=6"], "2750 56 6"),
        (&["tmpcopyup", "uid=5", "gid=6", "mode=1700"], "1700 5 6"),
        (&["tmpcopyup", "uid=0", "gid=0"], "2750 0 0"),
    ] {
        let seen = copied_up(&host, options);
        assert_eq!(seen, format!("{root}\n640 12 34\n"), "{options:?}");
    }
}

#[test]
fn a_source_without_links_is_not_followed_through_one() {
    let Some(host) = Host::new() else { return };
    let data = host.directory().join("data");
    fs::create_dir(&data).expect("mkdir");
    fs::write(data.join("file"), "seen\n").expect("write");
    symlink(&data, host.directory().join("link")).expect("symlink");
    symlink(host.directory(), host.directory().join("above")).expect("symlink");
    let source = |path: &str, options: &[&str]| {
        host.bundle(|config| {
            let source = host.directory().join(path);
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts
                .push(json!({"destination": "/data", "type": "bind", "source": source, "options": options}));
            config["process"]["args"] = json!(["cat", "/data/file"]);
        })
    };
    for options in [&["rbind"][..], &["rbind", "src-nosymlinks"]] {
        let bundle = source("data", options);
        assert_eq!(host.ok(&["run", "--bundle", bundle.path(), &host.id()]), "seen\n");
    }
    for path in ["link", "above/data"] {
        let bundle = source(path, &["rbind"]);
        assert_eq!(host.ok(&["run", "--bundle", bundle.path(), &host.id()]), "seen\n");
        let bundle = source(path, &["rbind", "src-nosymlinks"]);
        let id = host.id();
        let told = refused(&host, &["run", "--bundle", bundle.path(), &id], &id);
        assert!(
            told.contains("on /data: openat2") && told.contains("ELOOP"),
            "{told}"
        );
    }
}
