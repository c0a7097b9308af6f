//! A connection to systemd itself, on its private socket: no message bus need run.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use super::message::{Call, Kind, Message, Property, Writer, decode, encode, total_length};
use super::unit::Scope;
use crate::cgroup::Error;

/// How long systemd may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to the system's or the user's service manager.
    pub(super) fn connect(user: bool) -> Result<Self, Error> {
        let socket = socket(user)?;
        let absent = |error: std::io::Error| {
            let reason = format!("systemd does not answer at {}: {error}", socket.display());
            Error::unsupported("--systemd-cgroup", reason)
        };
        let mut stream = UnixStream::connect(&socket).map_err(absent)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(absent)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(absent)?;
        // An empty identity: systemd goes by the credentials of the socket, which hold in a user namespace too.
        // All in one write: systemd reads BEGIN together with what is there by then, and a message that it finds
        // behind it would lie unnoticed until the next one.
        stream
            .write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
            .map_err(absent)?;
        let (challenge, answer) = (
            line(&mut stream).map_err(absent)?,
            line(&mut stream).map_err(absent)?,
        );
        if !challenge.starts_with("DATA") || !answer.starts_with("OK") {
            let reason = format!("systemd refuses the connection at {}: {answer}", socket.display());
            return Err(Error::unsupported("--systemd-cgroup", reason));
        }
        Ok(Self {
            stream,
            serial: 0,
            signals: Vec::new(),
        })
    }

    /// The cgroup of the service manager itself, below which its units are: empty for the system's.
    pub(super) fn manager_cgroup(&mut self) -> Result<String, Error> {
        let mut body = Writer::default();
        body.text(MANAGER);
        body.text("ControlGroup");
        let interface = "org.freedesktop.DBus.Properties";
        let answer = self.call("the manager", interface, "Get", "ss", body)?;
        Ok(answer.texts().first().unwrap_or(&"").trim_matches('/').to_owned())
    }

    /// Starts a scope and waits until it runs. After a failure there is none, but for one that was there before.
    pub(super) fn start(&mut self, scope: &Scope, properties: &[Property]) -> Result<(), Error> {
        let mut body = Writer::default();
        body.text(&scope.name);
        body.text("fail");
        body.properties(properties);
        body.nothing();
        let job = self.call(
            &scope.name,
            MANAGER,
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            body,
        )?;
        self.finish(&scope.name, &job).inspect_err(|_| {
            // The failure of the job is the one to tell.
            let _ = self.stop(scope);
        })
    }

    /// Stops a scope and waits for a moment until it is unloaded, so that its name is free. One that is gone
    /// already is fine.
    ///
    /// The job is not waited for: a scope whose last process has died stops by itself, and then the job may
    /// vanish without a signal.
    pub(super) fn stop(&mut self, scope: &Scope) -> Result<(), Error> {
        let mut body = Writer::default();
        body.text(&scope.name);
        body.text("replace");
        let mut answer = self.call(&scope.name, MANAGER, "StopUnit", "ss", body);
        for pause in 0..10 {
            match answer {
                Err(Error::Systemd { answer, .. }) if answer.contains("NoSuchUnit") => return Ok(()),
                other => other.map(drop)?,
            }
            std::thread::sleep(Duration::from_millis(1 << pause));
            let mut body = Writer::default();
            body.text(&scope.name);
            answer = self.call(&scope.name, MANAGER, "GetUnit", "s", body);
        }
        Ok(())
    }

    /// Changes properties of a scope until the next boot.
    pub(super) fn set(&mut self, scope: &Scope, properties: &[Property]) -> Result<(), Error> {
        let mut body = Writer::default();
        body.text(&scope.name);
        body.boolean(true);
        body.properties(properties);
        self.call(&scope.name, MANAGER, "SetUnitProperties", "sba(sv)", body)
            .map(drop)
    }

    fn call(
        &mut self,
        unit: &str,
        interface: &str,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<Message, Error> {
        self.serial += 1;
        let bytes = encode(
            self.serial,
            &Call {
                path: OBJECT,
                interface,
                member,
                signature,
                body,
            },
        );
        self.stream
            .write_all(&bytes)
            .map_err(|error| lost("write to", &error))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                Kind::Return if message.answers == self.serial => return Ok(message),
                Kind::Error if message.answers == self.serial => {
                    let text = message.texts().first().copied().unwrap_or_default().to_owned();
                    let answer = format!("{}: {text}", message.name);
                    return Err(Error::Systemd {
                        act: member.to_owned(),
                        unit: unit.to_owned(),
                        answer,
                    });
                }
                Kind::Signal => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for the end of the job that `answer` names: `JobRemoved(id, job, unit, result)`.
    fn finish(&mut self, unit: &str, answer: &Message) -> Result<(), Error> {
        let texts = answer.texts();
        let job = texts.first().copied().unwrap_or_default();
        let mut early = std::mem::take(&mut self.signals).into_iter();
        loop {
            let message = match early.next() {
                Some(message) => message,
                None => self.receive()?,
            };
            if message.kind != Kind::Signal || message.name != "JobRemoved" {
                continue;
            }
            let texts = message.texts();
            if texts.first() != Some(&job) {
                continue;
            }
            return match texts.last() {
                Some(&"done") => Ok(()),
                result => Err(Error::Systemd {
                    act: "job".to_owned(),
                    unit: unit.to_owned(),
                    answer: result.copied().unwrap_or_default().to_owned(),
                }),
            };
        }
    }

    fn receive(&mut self) -> Result<Message, Error> {
        let mut bytes = vec![0; 16];
        self.stream
            .read_exact(&mut bytes)
            .map_err(|error| lost("read from", &error))?;
        let malformed = || {
            lost(
                "read from",
                &std::io::Error::from_raw_os_error(Errno::BADMSG.raw_os_error()),
            )
        };
        let start = <[u8; 16]>::try_from(&bytes[..]).map_err(|_| malformed())?;
        let length = total_length(start).ok_or_else(malformed)?;
        bytes.resize(length, 0);
        self.stream
            .read_exact(&mut bytes[16..])
            .map_err(|error| lost("read from", &error))?;
        decode(&bytes).ok_or_else(malformed)
    }
}

fn socket(user: bool) -> Result<PathBuf, Error> {
    if !user {
        return Ok(PathBuf::from("/run/systemd/private"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => Ok(PathBuf::from(directory).join("systemd/private")),
        None => Err(Error::unsupported(
            "--systemd-cgroup",
            "XDG_RUNTIME_DIR is not set",
        )),
    }
}

/// One line of the authentication, which ends before the first message: read byte by byte, not beyond.
fn line(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") && text.len() < 512 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

fn lost(act: &'static str, error: &std::io::Error) -> Error {
    let source = Errno::from_io_error(error).unwrap_or(Errno::CONNRESET);
    Error::Io {
        act,
        path: "systemd".to_owned(),
        source,
    }
}
