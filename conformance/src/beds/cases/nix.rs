//! Units of the Nix module, with root file systems, bundles and programs that Nix has built (`nix/tests/bed.nix`).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::network::Host;
use super::units::{STAYS, expect_nothing_left, once};
use crate::beds::guest::{Guest, Service, expect_files, read};
use crate::lab::Output;

super::list![&[crate::beds::Bed::Machine];
    units_of_the_nix_module_run_what_nix_has_built,
    a_unit_of_the_nix_module_has_its_limits,
    a_changed_closure_keeps_units_of_the_nix_module_from_starting,
];

/// What does not depend on the kernel, in units without limits.
pub(super) mod plain {
    pub(super) use super::*;

    super::super::list![&[crate::beds::Bed::Container];
        a_unit_of_the_nix_module_is_ready_when_its_program_says_so,
        one_that_is_never_ready_fails,
        without_a_credential_it_does_not_start,
        without_its_volume_it_does_not_start,
        whatever_is_changed_keeps_it_from_starting,
        its_egress_options_hold_and_nothing_stays_of_its_network,
    ];
}

const PAYLOAD: &str = "/payload/nix";
/// Where its units find what is theirs on the host.
const PLACE: &str = "/run/module";

/// The store and what the units need on the host; dropping it takes both away.
struct World<'a> {
    guest: &'a Guest,
    store: PathBuf,
}

impl<'a> World<'a> {
    /// Mounts a copy of the store on `/nix/store`, makes the credentials, and the directories by the module's rules.
    fn new(guest: &'a Guest) -> Result<Self> {
        let store = guest.lab.dir.join("store");
        let path = store.display().to_string();
        call(guest, "cp", &["-a", &format!("{PAYLOAD}/store"), &path])?;
        fs::create_dir_all("/nix/store")?;
        call(guest, "mount", &["--bind", "-o", "ro", &path, "/nix/store"])?;
        let world = Self { guest, store };
        let at = |name: &str| format!("{PLACE}/{name}");
        fs::create_dir_all(at("conf"))?;
        fs::write(at("token"), "s3cret")?;
        fs::write(at("plain"), "hidden")?;
        call(
            guest,
            "systemd-creds",
            &["encrypt", "--name=sealed", &at("plain"), &at("sealed")],
        )?;
        fs::remove_file(at("plain"))?;
        let rules = format!("{PAYLOAD}/units/rules");
        call(guest, "systemd-tmpfiles", &["--create", &rules])?;
        Ok(world)
    }

    /// Lets the program go on: to be ready, or to leave before.
    fn tell(&self, word: &str) -> Result<()> {
        let path = format!("{PLACE}/data/go");
        fs::write(&path, word).with_context(|| format!("write {path}"))
    }

    /// The unit of a sandbox.
    fn unit(&self, name: &str) -> Result<Service<'a>> {
        self.guest.service(&text(name)?)
    }

    /// The unit of a sandbox whose program ends at once: with that it starts, or fails.
    fn brief(&self, name: &str) -> Result<Service<'a>> {
        self.guest.service(&once(&text(name)?))
    }

    /// A file of the one path with this name, where it can be written.
    fn file(&self, name: &str, file: &str) -> Result<PathBuf> {
        let mut paths = fs::read_dir(&self.store)?.flatten().map(|entry| entry.path());
        let path = paths.find(|path| path.to_string_lossy().ends_with(name));
        Ok(path
            .with_context(|| format!("no {name} in the store"))?
            .join(file))
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ = self.guest.call("umount", &["/nix/store"]);
        let _ = fs::remove_dir_all(PLACE);
    }
}

fn text(unit: &str) -> Result<String> {
    let path = format!("{PAYLOAD}/units/nucleus-{unit}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

fn call(guest: &Guest, program: &str, words: &[&str]) -> Result<Output> {
    guest.call(program, words)?.success()
}

/// Fails unless the service does not start and its journal has this.
fn refused(service: &Service<'_>, words: &str) -> Result<()> {
    let told = service.fails()?;
    // So many starts in a row would be refused by systemd itself.
    service.forget()?;
    ensure!(told.contains(words), "no {words:?} in {told}");
    Ok(())
}

fn units_of_the_nix_module_run_what_nix_has_built(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    for name in ["hello", "direct"] {
        let service = world.brief(name)?;
        service.start()?;
        service.wait_for("hello from a closure")?;
    }
    Ok(())
}

fn a_unit_of_the_nix_module_has_its_limits(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    world.tell("on")?;
    let service = world.unit("full")?;
    service.start()?;
    service.wait_for("token s3cret, sealed hidden")?;
    guest.expect_shown(&service.name, &[("Delegate", "yes"), ("StatusText", "at work")])?;
    let cgroup = PathBuf::from(format!(
        "/sys/fs/cgroup{}/sandbox-full",
        guest.show(&service.name, "ControlGroup")?
    ));
    let limits = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("pids.max", "20"),
        ("cpu.max", "50000 100000"),
    ];
    expect_files(&cgroup, &limits)?;
    service.stop()?;
    service.wait_for("bye")?;
    expect_nothing_left("full", STAYS)
}

fn a_changed_closure_keeps_units_of_the_nix_module_from_starting(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    let accounts = world.file("-nucleus-rootfs", "etc/passwd")?;
    let text = fs::read_to_string(&accounts)?;
    fs::write(&accounts, text.replacen("root", "toor", 1))?;
    for name in ["hello", "direct"] {
        refused(&world.brief(name)?, "etc/passwd")?;
    }
    Ok(())
}

fn a_unit_of_the_nix_module_is_ready_when_its_program_says_so(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    let service = world.unit("light")?;
    guest.systemctl(&["start", "--no-block", &service.name])?;
    service.wait_for("token s3cret, sealed hidden, 100% of $5 %n")?;
    service.wait_for("the configuration stays")?;
    guest.expect_shown(&service.name, &[("ActiveState", "activating")])?;
    world.tell("on")?;
    guest.wait_shown(&service.name, "ActiveState", "active")?;
    guest.expect_shown(&service.name, &[("Type", "notify"), ("StatusText", "at work")])?;
    let (data, kept) = (format!("{PLACE}/data"), format!("{PLACE}/data/kept"));
    ensure!(read(&kept)? == "kept", "the volume was not written");
    let (directory, file) = (fs::metadata(data)?, fs::metadata(kept)?);
    ensure!(
        directory.mode() & 0o7777 == 0o750,
        "the mode is {:o}",
        directory.mode()
    );
    ensure!(
        directory.uid() == 65534 && file.uid() == 65534,
        "the owners are {} and {}",
        directory.uid(),
        file.uid()
    );
    let shown = guest.systemctl(&["show", &service.name])?;
    ensure!(!shown.contains("s3cret"), "systemctl shows the secret");
    service.stop()?;
    service.wait_for("bye")?;
    expect_nothing_left("light", STAYS)
}

fn one_that_is_never_ready_fails(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    world.tell("leave")?;
    refused(&world.unit("light")?, "protocol")
}

fn without_a_credential_it_does_not_start(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    world.tell("on")?;
    let (token, sealed) = (format!("{PLACE}/token"), format!("{PLACE}/sealed"));
    let (plain, encrypted) = (fs::read(&token)?, fs::read(&sealed)?);
    fs::remove_file(&token)?;
    refused(&world.unit("light")?, "243/CREDENTIALS")?;
    fs::write(&token, plain)?;
    // Not what was encrypted any more: a letter in the middle of its Base64.
    let mut bytes = encrypted.clone();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    fs::write(&sealed, bytes)?;
    refused(&world.unit("light")?, "243/CREDENTIALS")?;
    fs::write(&sealed, encrypted)?;
    world.unit("light")?.start()
}

fn without_its_volume_it_does_not_start(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    fs::remove_dir_all(format!("{PLACE}/data"))?;
    refused(&world.unit("light")?, "/run/module/data")?;
    expect_nothing_left("light", STAYS)
}

/// What is done to a file.
type Change = fn(&Path) -> Result<()>;

/// A file of the store that is changed, until this is dropped.
struct Changed<'a> {
    guest: &'a Guest,
    path: PathBuf,
    kept: Option<PathBuf>,
}

impl<'a> Changed<'a> {
    fn new(guest: &'a Guest, path: PathBuf, change: Change) -> Result<Self> {
        let kept = guest.lab.dir.join("kept");
        let there = fs::symlink_metadata(&path).is_ok();
        if there {
            copy(guest, &path, &kept)?;
        }
        change(&path)?;
        Ok(Self {
            guest,
            path,
            kept: there.then_some(kept),
        })
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(kept) = &self.kept {
            let _ = copy(self.guest, kept, &self.path);
            let _ = fs::remove_file(kept);
        }
    }
}

fn copy(guest: &Guest, from: &Path, to: &Path) -> Result<Output> {
    let [from, to] = [from, to].map(|path| path.display().to_string());
    call(guest, "cp", &["-a", &from, &to])
}

fn append(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    Ok(fs::write(path, text + " ")?)
}

fn whatever_is_changed_keeps_it_from_starting(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    world.tell("on")?;
    let (light, direct) = (world.unit("light")?, world.brief("light-direct")?);
    let both_start = || {
        light.start()?;
        light.stop()?;
        direct.start()
    };
    both_start()?;
    let ways: [(&str, &str, Change); 4] = [
        ("etc/group", "etc/group: changed", |file| {
            let text = fs::read_to_string(file)?;
            Ok(fs::write(file, text.replacen("root", "toor", 1))?)
        }),
        ("bin/hello", "bin/hello: wrong target", |link| {
            fs::remove_file(link)?;
            Ok(symlink("/bin/sh", link)?)
        }),
        ("etc/added", "etc/added: extra file", |file| {
            Ok(fs::write(file, "")?)
        }),
        ("etc/hosts", "etc/hosts: wrong mode", |file| {
            Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o644))?)
        }),
    ];
    for (file, told, change) in ways {
        for (service, tree) in [(&light, "-tools-rootfs"), (&direct, "-nucleus-rootfs")] {
            let _changed = Changed::new(guest, world.file(tree, file)?, change)?;
            refused(service, told)?;
        }
    }
    let pinned = [
        (&light, "-seccomp.json", "", "not the pinned"),
        (&direct, "-light-direct-bundle", "config.json", "not the pinned"),
    ];
    for (service, path, file, told) in pinned {
        let path = world.file(path, file)?;
        // A file by itself has no slash at its end.
        let path = path.components().collect();
        let _changed = Changed::new(guest, path, append)?;
        refused(service, told)?;
    }
    both_start()
}

fn its_egress_options_hold_and_nothing_stays_of_its_network(guest: &Guest) -> Result<()> {
    let world = World::new(guest)?;
    let host = Host::new(guest)?;
    let before = host.network()?;
    let service = world.unit("reaching")?;
    service.start()?;
    for told in [
        "10.99.1.1 80: served",
        "10.99.1.1 81: refused",
        "10.99.2.1 80: refused",
        "fd99:1::1 80: served",
        "fd99:2::1 80: refused",
    ] {
        service.wait_for(told)?;
    }
    ensure!(
        host.network()?.contains("nucleus-"),
        "there is no link of the sandbox"
    );
    service.stop()?;
    service.wait_for("bye")?;
    expect_nothing_left("reaching", STAYS)?;
    let after = host.network()?;
    ensure!(after == before, "the network was\n{before}and is\n{after}");
    Ok(())
}
