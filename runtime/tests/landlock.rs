//! The annotation `dev.nucleus.landlock`: each right and scope is attacked from inside.

mod confined;
mod support;

use confined::{ALL, EACCES, EPERM, attack, files, fill, handled, host};
use serde_json::{Value, json};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};
use support::Bundle;

#[test]
fn each_right_of_files_is_refused_where_it_is_not_allowed() {
    let Some(host) = host() else { return };
    let rules = files(json!([
        {"allowedAccess": ["read_file", "read_dir"], "paths": ["/closed"]},
        {"allowedAccess": ALL, "paths": ["/free"]}
    ]));
    let attempts = [
        ("read:/closed/file", 0, 0),
        ("list:/closed", 0, 0),
        ("read:/etc/passwd", EACCES, 0),
        ("list:/etc", EACCES, 0),
        ("write:/closed/file", EACCES, 0),
        ("truncate:/closed/file", EACCES, 0),
        ("exec:/closed/true", EACCES, 0),
        ("unlink:/closed/doomed", EACCES, 0),
        ("rmdir:/closed/dir", EACCES, 0),
        ("create:/closed/new", EACCES, 0),
        ("mkdir:/closed/newdir", EACCES, 0),
        ("symlink:/closed/symlink", EACCES, 0),
        ("fifo:/closed/fifo", EACCES, 0),
        ("char:/closed/char", EACCES, 0),
        ("block:/closed/block", EACCES, 0),
        ("socket:/closed/socket", EACCES, 0),
        ("rename:/closed/moved:/closed/renamed", EACCES, 0),
        ("link:/closed/linked:/closed/link", EACCES, 0),
        ("write:/free/file", 0, 0),
        ("truncate:/free/file", 0, 0),
        ("exec:/free/true", 0, 0),
        ("unlink:/free/doomed", 0, 0),
        ("rmdir:/free/dir", 0, 0),
        ("create:/free/new", 0, 0),
        ("mkdir:/free/newdir", 0, 0),
        ("symlink:/free/symlink", 0, 0),
        ("fifo:/free/fifo", 0, 0),
        ("char:/free/char", 0, 0),
        ("block:/free/block", 0, 0),
        ("socket:/free/socket", 0, 0),
        ("rename:/free/moved:/free/renamed", 0, 0),
    ];
    attack(
        &host,
        &rules,
        &attempts,
        |bundle| fill(bundle, &["free", "closed"]),
        |_| {},
    );
}

#[test]
fn files_move_between_directories_only_with_refer() {
    let Some(host) = host() else { return };
    let rules = files(json!([
        {"allowedAccess": ALL, "paths": ["/a", "/b"]},
        {"allowedAccess": handled(), "paths": ["/c", "/d"]}
    ]));
    let attempts = [
        ("rename:/a/moved:/b/from-a", libc::EXDEV, 0),
        ("link:/a/linked:/b/link", libc::EXDEV, 0),
        ("rename:/c/moved:/d/from-c", 0, 0),
        ("link:/c/linked:/d/link", 0, 0),
    ];
    attack(
        &host,
        &rules,
        &attempts,
        |bundle| fill(bundle, &["a", "b", "c", "d"]),
        |_| {},
    );
}

/// Rights of directories are in the rules too: the kernel would refuse them for a file.
#[test]
fn a_file_gets_the_rights_that_files_have() {
    let Some(host) = host() else { return };
    let rules = files(json!([
        {"allowedAccess": ["read_file", "read_dir", "make_reg", "remove_file"], "paths": ["/etc/passwd", "/link"]},
        {"allowedAccess": ["write_file"], "paths": ["/closed/file"]},
        {"allowedAccess": ["make_reg"], "paths": ["/etc/group"]},
        {"allowedAccess": ["read_file", "write_file"], "paths": ["/dev/null"]},
        {"allowedAccess": ["read_file", "write_file", "ioctl_dev"], "paths": ["/dev/zero"]}
    ]));
    let attempts = [
        ("read:/etc/passwd", 0, 0),
        ("write:/etc/passwd", EACCES, 0),
        ("read:/etc/group", EACCES, 0),
        ("read:/linked/file", 0, 0),
        ("write:/closed/file", 0, 0),
        ("truncate:/closed/file", EACCES, 0),
        ("ioctl:/dev/null", EACCES, libc::ENOTTY),
        ("ioctl:/dev/zero", libc::ENOTTY, libc::ENOTTY),
    ];
    let prepare = |bundle: &Bundle| {
        fill(bundle, &["linked", "closed"]);
        symlink("linked", bundle.rootfs("link")).expect("symlink");
    };
    attack(&host, &rules, &attempts, prepare, |_| {});
}

#[test]
fn tcp_ports_are_bound_and_reached_only_by_rule() {
    let Some(host) = host() else { return };
    let rules = json!({
        "ruleset": {"handledAccessNet": ["bind_tcp", "connect_tcp"]},
        "rules": {"netPort": [
            {"allowedAccess": ["bind_tcp"], "ports": [8080]},
            {"allowedAccess": ["connect_tcp"], "ports": [8081, 8082]}
        ]},
        "minABI": 4, "disableBestEffort": true
    });
    // Nobody listens: a connection that may be made is refused by the other end.
    let attempts = [
        ("bind:8080", 0, 0),
        ("bind:8081", EACCES, 0),
        ("connect:8080", EACCES, libc::ECONNREFUSED),
        ("connect:8081", libc::ECONNREFUSED, libc::ECONNREFUSED),
        ("connect:8082", libc::ECONNREFUSED, libc::ECONNREFUSED),
        ("connect:8083", EACCES, libc::ECONNREFUSED),
    ];
    attack(&host, &rules, &attempts, |_| {}, |_| {});
}

fn share(config: &mut Value, typ: &str) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != typ);
}

#[test]
fn scopes_keep_processes_and_abstract_sockets_outside_out_of_reach() {
    let Some(host) = host() else { return };
    let rules = json!({"ruleset": {"scoped": ["signal", "abstract_unix_socket"]}, "disableBestEffort": true});
    let name = format!("nucleus-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("bind");
    let (signal, connect) = (
        format!("signal:{}", std::process::id()),
        format!("abstract:{name}"),
    );
    let attempts = [
        (signal.as_str(), EPERM, 0),
        (connect.as_str(), EPERM, 0),
        ("signal:0", 0, 0),
    ];
    let edit = |config: &mut Value| {
        share(config, "pid");
        share(config, "network");
    };
    attack(&host, &rules, &attempts, |_| {}, edit);
    drop(listener);
}
