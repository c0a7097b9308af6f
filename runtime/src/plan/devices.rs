//! From `linux.devices` to nodes, with the spec's default devices.

use super::{Builder, Error, c_string};
use crate::plan::step::Step;
use crate::rootfs::device::Device;
use oci_spec::runtime as oci;
use rustix::fs::{FileType, makedev};

/// `config-linux.md#default-devices`: name, major, minor.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Adds the devices, unless `/dev` is the host's own (a bind mount): nothing is made or linked there.
pub(super) fn add(builder: &mut Builder<'_>) -> Result<(), Error> {
    let spec = builder.request.spec;
    let dev_is_bound = spec.mounts().iter().flatten().any(|mount| {
        let words = mount.options().as_deref().unwrap_or_default();
        let bind =
            mount.typ().as_deref() == Some("bind") || words.iter().any(|w| w == "bind" || w == "rbind");
        bind && mount
            .destination()
            .components()
            .eq(std::path::Path::new("/dev").components())
    });
    if dev_is_bound {
        return Ok(());
    }
    let asked = builder
        .linux()
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or_default();
    let mut devices = Vec::with_capacity(DEFAULT.len() + asked.len());
    for (path, major, minor) in DEFAULT {
        if !asked.iter().any(|device| device.path().as_os_str() == *path) {
            devices.push(Device {
                path: c_string(*path)?,
                kind: FileType::CharacterDevice,
                number: makedev(*major, *minor),
                mode: 0o666,
                uid: 0,
                gid: 0,
                bind: builder.in_user_namespace(),
            });
        }
    }
    for (index, device) in asked.iter().enumerate() {
        devices.push(one(builder, device).map_err(|error| error.at(format!("linux.devices[{index}]")))?);
    }
    builder.steps.push(Step::Devices(devices));
    builder.steps.push(Step::DevLinks);
    Ok(())
}

fn one(builder: &Builder<'_>, device: &oci::LinuxDevice) -> Result<Device, Error> {
    let kind = match device.typ() {
        oci::LinuxDeviceType::B => FileType::BlockDevice,
        oci::LinuxDeviceType::C | oci::LinuxDeviceType::U => FileType::CharacterDevice,
        oci::LinuxDeviceType::P => FileType::Fifo,
        oci::LinuxDeviceType::A => return Err(Error::value("type a names no single device".to_owned())),
    };
    if !device.path().is_absolute() {
        return Err(Error::value(format!(
            "path {} is not absolute",
            device.path().display()
        )));
    }
    let number = |value: i64, what: &str| {
        u32::try_from(value).map_err(|_| Error::value(format!("{what} {value} is not a device number")))
    };
    let number = match kind {
        FileType::Fifo => 0,
        _ => makedev(number(device.major(), "major")?, number(device.minor(), "minor")?),
    };
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    super::process::check_id(uid)?;
    super::process::check_id(gid)?;
    Ok(Device {
        path: c_string(device.path().clone().into_os_string())?,
        kind,
        number,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid,
        gid,
        bind: builder.in_user_namespace(),
    })
}
