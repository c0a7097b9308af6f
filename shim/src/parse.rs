//! The small languages of flags. Errors are texts for a person; the caller adds the field.

use std::ffi::OsStr;
use std::time::Duration;

/// A name for a sandbox: what nucleus-runtime takes as an id.
pub fn name(text: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte);
    if text.is_empty() || text.len() > 200 || matches!(text, "." | "..") || !text.bytes().all(good) {
        return Err(format!(
            "{text:?}: only letters, digits and _ - . + can be in a name"
        ));
    }
    Ok(())
}

/// A host name, `sethostname(2)`: it goes into files of one word a column.
pub fn hostname(text: &str) -> Result<(), String> {
    const LONGEST: usize = 64;
    if text.is_empty() || text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{text:?}: not one to {LONGEST} letters, digits and signs"
        ));
    }
    Ok(())
}

/// Bytes: a number, with K, M or G (powers of 1024) behind it.
pub fn size(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?}: not a size such as 512M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(factor).ok_or_else(wrong)?;
    if bytes > 0 { Ok(bytes) } else { Err(wrong()) }
}

/// A time: a number with s, m or h behind it; seconds without.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: not a time such as 90s, 5m or 1h");
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(number * factor) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(wrong()),
    }
}

/// `monotonic=SECONDS,boottime=SECONDS`, one or both; `time_namespaces(7)`.
pub fn clocks(text: &str) -> Result<Vec<(&'static str, i64)>, String> {
    let mut clocks: Vec<(&'static str, i64)> = Vec::new();
    for pair in text.split(',') {
        let wrong = || format!("{pair:?}: not monotonic=SECONDS or boottime=SECONDS");
        let (clock, seconds) = pair.split_once('=').ok_or_else(wrong)?;
        let clock = ["monotonic", "boottime"]
            .into_iter()
            .find(|known| *known == clock);
        let clock = clock.ok_or_else(wrong)?;
        if clocks.iter().any(|(there, _)| *there == clock) {
            return Err(format!("{clock} is there twice"));
        }
        clocks.push((clock, seconds.parse().map_err(|_| wrong())?));
    }
    Ok(clocks)
}

/// A path inside the sandbox: absolute, without `..`.
pub fn inside(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("{text:?}: not an absolute path inside the sandbox"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!(
            "{text:?}: .. is not allowed in a path inside the sandbox"
        ));
    }
    if text.contains('\0') {
        return Err(format!("{text:?}: a path holds no NUL byte"));
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.is_empty() {
        return Err(format!("{text:?}: the root itself cannot be replaced"));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Where something can be mounted inside the sandbox: not over what the kernel shows there, which the mode promises
/// something of.
pub fn target(text: &str) -> Result<String, String> {
    let path = inside(text)?;
    if path == "/dev" || path == "/proc" || path.starts_with("/proc/") {
        return Err(format!("{text:?}: the sandbox has its own /proc and /dev"));
    }
    Ok(path)
}

/// `SRC:DEST`.
pub fn pair(text: &str) -> Result<(&str, &str), String> {
    match text.split_once(':') {
        Some((source, destination)) if !source.is_empty() => Ok((source, destination)),
        _ => Err(format!("{text:?}: not SRC:DEST")),
    }
}

/// `SRC:DEST`, with `:ro` or `:rw` behind it. True means writable.
pub fn volume(text: &str) -> Result<(&str, &str, bool), String> {
    let (source, rest) = pair(text)?;
    match rest.split_once(':') {
        None | Some((_, "rw")) => Ok((source, rest.trim_end_matches(":rw"), true)),
        Some((destination, "ro")) => Ok((source, destination, false)),
        Some((_, option)) => Err(format!("{text:?}: {option:?} is neither ro nor rw")),
    }
}

/// `DEST` or `DEST:OPTION,OPTION`, with the size and mode of tmpfs(5) alone.
pub fn tmpfs(text: &str) -> Result<(String, Vec<String>), String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let options: Vec<String> = options
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    if let Some(option) = options.iter().find(|option| {
        !["size=", "mode=", "nr_inodes="]
            .iter()
            .any(|word| option.starts_with(word))
    }) {
        return Err(format!("{option:?}: not size=, mode= or nr_inodes="));
    }
    Ok((target(destination)?, options))
}

/// A user or group id.
///
/// # Errors
/// It is none.
pub fn id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        "not the number of a user or group: names are for nobody but a root file system's own".into()
    })
}

/// A file to write.
///
/// # Errors
/// It has the name that other programs take for standard output.
pub fn output<T: AsRef<OsStr>>(path: T) -> Result<T, String> {
    if path.as_ref() == "-" {
        return Err("no stream but a file of that name: /dev/stdout and /dev/stderr are streams".into());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("1"), Ok(1));
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("2gib"), Ok(2 << 30));
        for text in ["", "M", "-1", "0", "1.5G", "9999999999G", "1X", "1M5"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "-1s", "0", "nan", "inf", "1e300h", "5d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_inside() {
        assert_eq!(inside("//a/./b/").as_deref(), Ok("/a/b"));
        for text in ["", "a", "/", "/a/../b", "/.."] {
            assert!(inside(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volumes() {
        assert_eq!(volume("/a:/b"), Ok(("/a", "/b", true)));
        assert_eq!(volume("/a:/b:ro"), Ok(("/a", "/b", false)));
        assert_eq!(volume("/a:/b:rw"), Ok(("/a", "/b", true)));
        for text in ["/a", ":/b", "/a:/b:rx"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets() {
        for text in ["/procedures", "/dev/shm", "/sys", "/a/proc"] {
            assert!(target(text).is_ok(), "{text}");
        }
        for text in [
            "/proc",
            "//proc/",
            "/proc/sys/kernel",
            "/dev/.",
            "/a/../proc",
            "/a\0b",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn host_names() {
        assert!(hostname("sand-box.example_1").is_ok() && hostname(&"a".repeat(64)).is_ok());
        for text in ["", "a b", "a\nb", "\u{e4}", &"a".repeat(65)] {
            assert!(hostname(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        assert!(name("a-1_b.c+d").is_ok());
        for text in ["", "a/b", "..", "a b"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
