//! What happens to a sandbox, as JSON lines, outside of it.

use crate::output;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where events go: nowhere, a file, or a descriptor of the caller.
#[derive(Debug)]
pub struct Events {
    name: String,
    target: String,
    to: Option<File>,
}

impl Events {
    /// Appends to `target`: a path, or the number of a descriptor that the caller left open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(name: &str, target: Option<&str>) -> io::Result<Self> {
        let to = target.map(|target| {
            match target
                .parse()
                .ok()
                .or_else(|| output::descriptor(Path::new(target)))
            {
                Some(number) => output::share(number),
                None => OpenOptions::new().append(true).create(true).open(target),
            }
        });
        Ok(Self {
            name: name.to_owned(),
            target: target.unwrap_or_default().to_owned(),
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
            target: self.target.clone(),
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
        let target = &self.target;
        file.write_all(format!("{line}\n").as_bytes())
            .map_err(|error| io::Error::new(error.kind(), format!("write events to {target}: {error}")))
    }
}
