//! What happens to a sandbox, as JSON lines, outside of it.

use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where events go: nowhere, a file, or a descriptor of the caller.
#[derive(Debug)]
pub struct Events {
    name: String,
    to: Option<File>,
}

impl Events {
    /// Appends to `target`: a path, or the number of a descriptor that the caller left open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(name: &str, target: Option<&str>) -> io::Result<Self> {
        let open = |path: &str| OpenOptions::new().append(true).create(true).open(path);
        let to = target.map(|target| match target.parse::<u32>() {
            Ok(number) => open(&format!("/proc/self/fd/{number}")),
            Err(_) => open(target),
        });
        Ok(Self {
            name: name.to_owned(),
            to: to.transpose()?,
        })
    }

    /// The same place, for another thread.
    ///
    /// # Errors
    /// As dup(2).
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self {
            name: self.name.clone(),
            to: self.to.as_ref().map(File::try_clone).transpose()?,
        })
    }

    /// Writes one event, with `more` as further fields.
    ///
    /// # Errors
    /// As write(2): an event that is lost must not go unseen.
    pub fn write(&mut self, event: &str, more: &Value) -> io::Result<()> {
        let Some(file) = &mut self.to else { return Ok(()) };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = json!({"time": time.as_secs_f64(), "name": self.name, "event": event});
        if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
            line.extend(more.clone());
        }
        // One write a line, so that lines of several sandboxes in one file do not mix.
        file.write_all(format!("{line}\n").as_bytes())
    }
}
