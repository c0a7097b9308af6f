//! Units of the Nix module, with a root file system, a bundle and programs that Nix has built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::beds::guest::{Guest, Service};
use crate::lab::Output;

super::list![&[crate::beds::Bed::Machine];
    units_of_the_nix_module_run_what_nix_has_built,
    a_changed_closure_keeps_units_of_the_nix_module_from_starting,
];

const PAYLOAD: &str = "/payload/nix";

/// Mounts a copy of the store on `/nix/store`; dropping it unmounts it.
struct Store<'a> {
    guest: &'a Guest,
    dir: PathBuf,
}

impl<'a> Store<'a> {
    fn new(guest: &'a Guest) -> Result<Self> {
        let dir = guest.lab.dir.join("store");
        call(
            guest,
            "cp",
            &["-a", &format!("{PAYLOAD}/store"), &dir.display().to_string()],
        )?;
        fs::create_dir_all("/nix/store")?;
        call(
            guest,
            "mount",
            &["--bind", "-o", "ro", &dir.display().to_string(), "/nix/store"],
        )?;
        Ok(Self { guest, dir })
    }

    /// A file of the one path with this name, where it can be written.
    fn file(&self, name: &str, file: &str) -> Result<PathBuf> {
        let mut paths = fs::read_dir(&self.dir)?.flatten().map(|entry| entry.path());
        let path = paths.find(|path| path.to_string_lossy().ends_with(name));
        Ok(path
            .with_context(|| format!("no {name} in the store"))?
            .join(file))
    }
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        let _ = self.guest.call("umount", &["/nix/store"]);
    }
}

fn call(guest: &Guest, program: &str, words: &[&str]) -> Result<Output> {
    guest.call(program, words)?.success()
}

fn services(guest: &Guest) -> Result<Vec<Service<'_>>> {
    crate::beds::nix::UNITS
        .iter()
        .map(|name| {
            let text = fs::read_to_string(Path::new(PAYLOAD).join("units").join(name))?;
            // To be told at once how it ends.
            guest.service(&text.replace("Type=exec", "Type=oneshot"))
        })
        .collect()
}

fn units_of_the_nix_module_run_what_nix_has_built(guest: &Guest) -> Result<()> {
    let _store = Store::new(guest)?;
    for service in services(guest)? {
        service.start()?;
        service.wait_for("hello from a closure")?;
    }
    Ok(())
}

fn a_changed_closure_keeps_units_of_the_nix_module_from_starting(guest: &Guest) -> Result<()> {
    let store = Store::new(guest)?;
    let greeting = store.file("-nucleus-rootfs", "etc/passwd")?;
    let text = fs::read_to_string(&greeting)?;
    fs::write(&greeting, text.replacen("root", "toor", 1))?;
    for service in services(guest)? {
        let told = service.fails()?;
        ensure!(told.contains("etc/passwd"), "{told}");
    }
    Ok(())
}
