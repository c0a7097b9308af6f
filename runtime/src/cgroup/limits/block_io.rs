//! `linux.resources.blockIO`: the controller blkio of version 1, io of version 2.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{Settings, Version, convert};
use crate::cgroup::Error;
use crate::cgroup::writes::Write;

const WEIGHT: &str = "linux.resources.blockIO.weight";
const LEAF_WEIGHT: &str = "linux.resources.blockIO.leafWeight";
const WEIGHT_DEVICE: &str = "linux.resources.blockIO.weightDevice";

/// (property, file of version 1, key in `io.max` of version 2)
const THROTTLES: [(&str, &str, &str); 4] = [
    (
        "linux.resources.blockIO.throttleReadBpsDevice",
        "blkio.throttle.read_bps_device",
        "rbps",
    ),
    (
        "linux.resources.blockIO.throttleWriteBpsDevice",
        "blkio.throttle.write_bps_device",
        "wbps",
    ),
    (
        "linux.resources.blockIO.throttleReadIOPSDevice",
        "blkio.throttle.read_iops_device",
        "riops",
    ),
    (
        "linux.resources.blockIO.throttleWriteIOPSDevice",
        "blkio.throttle.write_iops_device",
        "wiops",
    ),
];

pub(super) fn block_io(settings: &mut Settings<'_>, block_io: &LinuxBlockIo) -> Result<(), Error> {
    if let Some(weight) = in_range(WEIGHT, block_io.weight())? {
        let write = match version(settings, WEIGHT)? {
            Version::V1 => Write::new(WEIGHT, "blkio.weight", weight.to_string())
                .or("blkio.bfq.weight", weight.to_string()),
            // BFQ, where it is loaded, does not follow io.weight.
            Version::V2 => Write::new(WEIGHT, "io.bfq.weight", weight.to_string())
                .or("io.weight", convert::io_weight(weight).to_string()),
        };
        push(settings, write);
    }
    if let Some(weight) = in_range(LEAF_WEIGHT, block_io.leaf_weight())? {
        v1_only(settings, LEAF_WEIGHT)?;
        push(
            settings,
            Write::new(LEAF_WEIGHT, "blkio.leaf_weight", weight.to_string()),
        );
    }
    for device in block_io.weight_device().iter().flatten() {
        weight_device(settings, device)?;
    }
    let rates = [
        block_io.throttle_read_bps_device(),
        block_io.throttle_write_bps_device(),
        block_io.throttle_read_iops_device(),
        block_io.throttle_write_iops_device(),
    ];
    for ((property, file, key), devices) in THROTTLES.into_iter().zip(rates) {
        for device in devices.iter().flatten() {
            throttle(settings, property, file, key, device)?;
        }
    }
    Ok(())
}

fn weight_device(settings: &mut Settings<'_>, device: &LinuxWeightDevice) -> Result<(), Error> {
    let numbers = numbers(WEIGHT_DEVICE, device.major(), device.minor())?;
    if let Some(weight) = in_range(WEIGHT_DEVICE, device.weight())? {
        let value = format!("{numbers} {weight}");
        let write = match version(settings, WEIGHT_DEVICE)? {
            Version::V1 => Write::new(WEIGHT_DEVICE, "blkio.weight_device", value.clone())
                .or("blkio.bfq.weight_device", value),
            Version::V2 => Write::new(WEIGHT_DEVICE, "io.bfq.weight", value)
                .or("io.weight", format!("{numbers} {}", convert::io_weight(weight))),
        };
        push(settings, write);
    }
    if let Some(weight) = in_range(WEIGHT_DEVICE, device.leaf_weight())? {
        v1_only(settings, WEIGHT_DEVICE)?;
        push(
            settings,
            Write::new(
                WEIGHT_DEVICE,
                "blkio.leaf_weight_device",
                format!("{numbers} {weight}"),
            ),
        );
    }
    Ok(())
}

/// A rate of zero lifts the limit, in both versions.
fn throttle(
    settings: &mut Settings<'_>,
    property: &'static str,
    file: &'static str,
    key: &str,
    device: &LinuxThrottleDevice,
) -> Result<(), Error> {
    let numbers = numbers(property, device.major(), device.minor())?;
    let write = match (version(settings, property)?, device.rate()) {
        (Version::V1, rate) => Write::new(property, file, format!("{numbers} {rate}")),
        (Version::V2, 0) => Write::new(property, "io.max", format!("{numbers} {key}=max")),
        (Version::V2, rate) => Write::new(property, "io.max", format!("{numbers} {key}={rate}")),
    };
    push(settings, write);
    Ok(())
}

/// The controller changed its name with its version.
fn version(settings: &Settings<'_>, property: &'static str) -> Result<Version, Error> {
    match (settings.version)("blkio") {
        Some(Version::V1) => Ok(Version::V1),
        _ => settings.version(property, "io"),
    }
}

fn v1_only(settings: &Settings<'_>, property: &'static str) -> Result<(), Error> {
    match version(settings, property)? {
        Version::V1 => Ok(()),
        Version::V2 => Err(Error::unsupported(
            property,
            "the io controller of version 2 has no leaf weight",
        )),
    }
}

fn push(settings: &mut Settings<'_>, write: Write) {
    let controller = if (settings.version)("blkio") == Some(Version::V1) {
        "blkio"
    } else {
        "io"
    };
    settings.push(controller, write);
}

fn in_range(property: &'static str, weight: Option<u16>) -> Result<Option<u16>, Error> {
    match weight {
        None | Some(0) => Ok(None),
        Some(10..=1000) => Ok(weight),
        Some(other) => Err(Error::invalid(
            property,
            format!("{other} is not between 10 and 1000"),
        )),
    }
}

fn numbers(property: &'static str, major: i64, minor: i64) -> Result<String, Error> {
    if u32::try_from(major).is_err() || u32::try_from(minor).is_err() {
        return Err(Error::invalid(
            property,
            format!("{major}:{minor} is no device number"),
        ));
    }
    Ok(format!("{major}:{minor}"))
}
