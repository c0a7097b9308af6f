//! Bad input: exit code 1, an error that names the thing, and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::lab::{Bundle, Lab};

super::list![
    broken_json_is_refused,
    missing_config_is_refused,
    missing_bundle_is_refused,
    missing_rootfs_is_refused,
    rootfs_that_is_a_file_is_refused,
    absent_program_is_refused,
    program_without_x_bit_is_refused,
    program_that_is_a_directory_is_refused,
    wrong_types_are_refused,
    empty_arguments_are_refused,
    relative_cwd_is_refused,
    id_with_a_slash_is_refused,
    id_of_dots_is_refused,
    empty_id_is_refused,
    missing_id_is_refused,
    bad_version_is_refused,
    later_minor_versions_are_accepted,
    unknown_properties_are_accepted,
    unknown_namespace_is_refused,
    namespace_given_twice_is_refused,
    missing_namespace_path_is_refused,
    namespace_path_of_another_type_is_refused,
    id_mappings_without_a_user_namespace_are_refused,
    unknown_capability_is_named,
    unknown_rlimit_is_refused,
    unknown_filesystem_is_refused,
    missing_mount_source_is_refused,
    mount_to_a_file_from_a_directory_is_refused,
    unknown_sysctl_is_refused,
    device_of_unknown_type_is_refused,
    unknown_propagation_is_refused,
    hostname_without_uts_namespace_is_refused,
    apparmor_where_the_kernel_has_none_is_refused,
    selinux_where_the_kernel_has_none_is_refused,
    intel_rdt_where_the_kernel_has_none_is_refused,
    systemd_cgroup_without_systemd_is_refused,
    full_disk_for_state_is_refused,
    unknown_command_is_refused,
    unknown_flag_is_refused,
];

/// Makes a bundle wrong in one way, and expects `create` to refuse it by naming `thing`.
fn refused(lab: &Lab, thing: &str, spoil: impl FnOnce(&mut Bundle)) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    spoil(&mut bundle);
    bundle.save()?;
    refused_bundle(lab, thing, &bundle)
}

/// Expects `create` to refuse a bundle; `thing` may hold alternatives, with `|` between them.
fn refused_bundle(lab: &Lab, thing: &str, bundle: &Bundle) -> Result<()> {
    let id = lab.id();
    let things: Vec<&str> = thing.split('|').collect();
    lab.call(&["create", "--bundle", bundle.path(), &id])?
        .refuses_any(&things)?;
    lab.expect_nothing_left(&id)
}

fn broken_json_is_refused(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    for text in ["", "{", "[]", "null", "{\"ociVersion\": \"1.0.2\",,}", "\u{0}"] {
        bundle.write(text)?;
        refused_bundle(lab, "", &bundle).with_context(|| format!("config.json of {text:?}"))?;
    }
    Ok(())
}

fn missing_config_is_refused(lab: &Lab) -> Result<()> {
    refused_bundle(lab, "config.json", &lab.bundle(&["true"])?)
}

fn missing_bundle_is_refused(lab: &Lab) -> Result<()> {
    lab.call(&["create", "--bundle", "/no/such/bundle", &lab.id()])?
        .refuses("no such file")
        .map(drop)
}

fn missing_rootfs_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "no-such-root", |bundle| {
        bundle.set("/root/path", json!("no-such-root"));
    })
}

fn rootfs_that_is_a_file_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "config.json|not a directory", |bundle| {
        bundle.set("/root/path", json!("config.json"));
    })
}

fn absent_program_is_refused(lab: &Lab) -> Result<()> {
    for program in ["no-such-program", "/no-such-program"] {
        let bundle = lab.bundle(&[program])?;
        lab.run(&bundle)?.refuses("no-such-program")?;
    }
    Ok(())
}

fn program_without_x_bit_is_refused(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["/plain"])?;
    fs::write(bundle.in_root("/plain"), "echo hello\n")?;
    lab.run(&bundle)?.refuses("permission denied").map(drop)
}

fn program_that_is_a_directory_is_refused(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["/tmp"])?;
    fs::set_permissions(bundle.in_root("/tmp"), fs::Permissions::from_mode(0o755))?;
    lab.run(&bundle)?.refuses("/tmp").map(drop)
}

fn wrong_types_are_refused(lab: &Lab) -> Result<()> {
    let wrong: [(&str, Value); 9] = [
        ("/process", json!("text")),
        ("/process/args", json!("sleep 1000")),
        ("/process/user/uid", json!("root")),
        ("/process/cwd", json!(1)),
        ("/root", json!([])),
        ("/mounts", json!({})),
        ("/linux/namespaces", json!("pid")),
        ("/linux/resources", json!({"memory": {"limit": "much"}})),
        ("/hooks", json!({"prestart": [{"path": 3}]})),
    ];
    for (pointer, value) in wrong {
        refused(lab, "", |bundle| {
            bundle.set(pointer, value);
        })
        .with_context(|| format!("wrong type at {pointer}"))?;
    }
    Ok(())
}

fn empty_arguments_are_refused(lab: &Lab) -> Result<()> {
    refused(lab, "args", |bundle| {
        bundle.set("/process/args", json!([]));
    })
}

fn relative_cwd_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "cwd", |bundle| {
        bundle.set("/process/cwd", json!("tmp"));
    })
}

fn id_with_a_slash_is_refused(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    bundle.save()?;
    for id in ["a/b", "../escape", "/absolute"] {
        for words in [
            vec!["create", "--bundle", bundle.path(), id],
            vec!["state", id],
            vec!["delete", id],
        ] {
            lab.call(&words)?.exits_with(1)?;
        }
    }
    ensure!(
        !lab.dir.join("escape").exists(),
        "a directory was made outside the state root"
    );
    lab.expect_nothing_left("escape")
}

fn id_of_dots_is_refused(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    bundle.save()?;
    for id in [".", ".."] {
        lab.call(&["create", "--bundle", bundle.path(), id])?
            .exits_with(1)?;
        lab.call(&["delete", "--force", id])?;
    }
    ensure!(
        lab.state_root.exists() && bundle.dir().exists(),
        "a deleted `..` took more than a container"
    );
    Ok(())
}

fn empty_id_is_refused(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    bundle.save()?;
    lab.call(&["create", "--bundle", bundle.path(), ""])?
        .refuses("id")
        .map(drop)
}

fn missing_id_is_refused(lab: &Lab) -> Result<()> {
    for command in ["create", "start", "state", "kill", "delete", "exec"] {
        let output = lab.call(&[command])?;
        ensure!(
            output.code != 0 && !output.stderr.contains("panic"),
            "`{command}` without an id: {output:?}"
        );
    }
    Ok(())
}

fn bad_version_is_refused(lab: &Lab) -> Result<()> {
    for version in [json!("invalid"), json!("2.0.0"), json!(""), json!(1)] {
        refused(lab, "", |bundle| {
            bundle.set("/ociVersion", version.clone());
        })
        .with_context(|| format!("ociVersion {version}"))?;
    }
    Ok(())
}

fn later_minor_versions_are_accepted(lab: &Lab) -> Result<()> {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        lab.output_of("true", |bundle| {
            bundle.set("/ociVersion", json!(version));
        })?;
    }
    Ok(())
}

fn unknown_properties_are_accepted(lab: &Lab) -> Result<()> {
    lab.output_of("true", |bundle| {
        bundle
            .set("/nobodyKnows", json!({"a": 1}))
            .set("/process/nobodyKnows", json!([1]));
        bundle
            .set("/linux/nobodyKnows", json!("x"))
            .set("/annotations", json!({"org.example.unknown": "x"}));
    })
    .map(drop)
}

fn unknown_namespace_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "namespace|galaxy", |bundle| {
        bundle.push("/linux/namespaces", json!({"type": "galaxy"}));
    })
}

fn namespace_given_twice_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "pid", |bundle| {
        bundle.push("/linux/namespaces", json!({"type": "pid"}));
    })
}

fn missing_namespace_path_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "/no/such/namespace", |bundle| {
        bundle.drop_namespace("network");
        bundle.push(
            "/linux/namespaces",
            json!({"type": "network", "path": "/no/such/namespace"}),
        );
    })
}

fn namespace_path_of_another_type_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "", |bundle| {
        bundle.drop_namespace("network");
        bundle.push(
            "/linux/namespaces",
            json!({"type": "network", "path": "/proc/1/ns/ipc"}),
        );
    })
}

fn id_mappings_without_a_user_namespace_are_refused(lab: &Lab) -> Result<()> {
    refused(lab, "user namespace", |bundle| {
        bundle.set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 1000, "size": 1}]),
        );
    })
}

/// Since runtime-spec 1.1 a warning and no failure; either way the runtime says what it cannot do.
fn unknown_capability_is_named(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["true"])?;
    bundle.set("/process/capabilities/bounding", json!(["CAP_OF_NOTHING"]));
    bundle.save()?;
    let id = lab.id();
    let output = lab.call(&["run", "--bundle", bundle.path(), &id])?;
    ensure!(
        output.code <= 1 && output.stderr.contains("CAP_OF_NOTHING"),
        "an unknown capability goes by in silence: {output:?}"
    );
    lab.expect_nothing_left(&id)
}

fn unknown_rlimit_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "RLIMIT_NOTHING", |bundle| {
        bundle.set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1}]),
        );
    })
}

fn unknown_filesystem_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "nosuchfs", |bundle| {
        bundle.mount("nosuchfs", "nosuchfs", "/mnt", &[]);
    })
}

fn missing_mount_source_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "/no/such/source", |bundle| {
        bundle.mount("bind", "/no/such/source", "/mnt", &["bind"]);
    })
}

fn mount_to_a_file_from_a_directory_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "/etc/passwd", |bundle| {
        bundle.mount("bind", "/proc", "/etc/passwd", &["bind"]);
    })
}

fn unknown_sysctl_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "nobody", |bundle| {
        bundle.set("/linux/sysctl", json!({"net.nobody.knows": "1"}));
    })
}

fn device_of_unknown_type_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "", |bundle| {
        bundle.set(
            "/linux/devices",
            json!([{"path": "/dev/odd", "type": "q", "major": 1, "minor": 3}]),
        );
    })
}

fn unknown_propagation_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, "propagation", |bundle| {
        bundle.set("/linux/rootfsPropagation", json!("sideways"));
    })
}

fn hostname_without_uts_namespace_is_refused(lab: &Lab) -> Result<()> {
    let before = fs::read_to_string("/proc/sys/kernel/hostname")?;
    refused(lab, "uts", |bundle| {
        bundle
            .drop_namespace("uts")
            .set("/hostname", json!("not-the-hosts"));
    })?;
    super::expect_eq(
        "the host's name",
        fs::read_to_string("/proc/sys/kernel/hostname")?,
        before,
    )
}

fn apparmor_where_the_kernel_has_none_is_refused(lab: &Lab) -> Result<()> {
    if fs::exists("/sys/module/apparmor")? {
        return crate::inside::skip("this kernel has AppArmor");
    }
    refused(lab, "apparmor", |bundle| {
        bundle.set("/process/apparmorProfile", json!("some-profile"));
    })
}

fn selinux_where_the_kernel_has_none_is_refused(lab: &Lab) -> Result<()> {
    if fs::exists("/sys/fs/selinux/enforce")? {
        return crate::inside::skip("this kernel has SELinux");
    }
    refused(lab, "selinux", |bundle| {
        bundle.set(
            "/process/selinuxLabel",
            json!("system_u:system_r:svirt_lxc_net_t:s0:c124,c675"),
        );
    })
}

fn intel_rdt_where_the_kernel_has_none_is_refused(lab: &Lab) -> Result<()> {
    if fs::read_to_string("/proc/mounts")?.contains(" resctrl ") {
        return crate::inside::skip("resctrl is mounted");
    }
    refused(lab, "rdt", |bundle| {
        bundle.set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=ffff"}));
    })
}

/// The sandbox has a `/run` of its own, and so no systemd to be reached.
fn systemd_cgroup_without_systemd_is_refused(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/linux/cgroupsPath", json!("system.slice:nucleus:case"));
    bundle.save()?;
    let id = lab.id();
    let output = lab.call(&["--systemd-cgroup", "create", "--bundle", bundle.path(), &id])?;
    output.refuses_any(&["systemd", "dbus", "sd-bus"])?;
    lab.expect_nothing_left(&id)
}

fn full_disk_for_state_is_refused(lab: &Lab) -> Result<()> {
    let dir = super::mounts::mounted(lab, "state", "size=16k")?;
    // Written until it is full, down to the last page.
    let filler = fs::File::create(format!("{dir}/filler"))?;
    let page = [0; 4096];
    while std::io::Write::write(&mut &filler, &page).is_ok_and(|count| count > 0) {}
    let bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.save()?;
    let id = lab.id();
    lab.call(&["create", "--bundle", bundle.path(), &id])?
        .refuses_any(&["space", "ENOSPC"])?;
    drop(filler);
    fs::remove_file(format!("{dir}/filler"))?;
    lab.call(&["delete", "--force", &id])?.success()?;
    let status = std::process::Command::new("umount").arg(&dir).status()?;
    ensure!(status.success(), "the state's file system is still in use");
    lab.expect_nothing_left(&id)
}

fn unknown_command_is_refused(lab: &Lab) -> Result<()> {
    let output = lab.call(&["frobnicate"])?;
    ensure!(output.code != 0, "an unknown command succeeds");
    Ok(())
}

fn unknown_flag_is_refused(lab: &Lab) -> Result<()> {
    let output = lab.call(&["state", "--frobnicate", "x"])?;
    ensure!(
        output.code != 0 && output.stderr.contains("frobnicate"),
        "an unknown flag: {output:?}"
    );
    Ok(())
}
