//! A container that was created, until it is deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Bundle, Caught, Lab, Output, within};

/// A created container. Dropping it deletes it by force.
pub(crate) struct Container<'a> {
    lab: &'a Lab,
    /// Its id.
    pub(crate) id: String,
    stdout: PathBuf,
}

impl<'a> Container<'a> {
    /// `create`s a container from a bundle.
    ///
    /// # Errors
    /// `create` fails.
    pub(crate) fn create(lab: &'a Lab, bundle: &Bundle) -> Result<Container<'a>> {
        Container::create_with(lab, bundle, &[])
    }

    /// `create`s a container, with more arguments.
    ///
    /// # Errors
    /// `create` fails.
    pub(crate) fn create_with(lab: &'a Lab, bundle: &Bundle, arguments: &[&str]) -> Result<Container<'a>> {
        let container = Container::named(lab, lab.id());
        let output = container.try_create(bundle, arguments)?;
        output.success()?;
        Ok(container)
    }

    /// A handle on an id, whether or not the container exists.
    pub(crate) fn named(lab: &'a Lab, id: String) -> Container<'a> {
        let stdout = lab.dir.join(format!("{id}.stdout"));
        Container { lab, id, stdout }
    }

    /// Calls `create` for this id.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time. A failing `create` is no error.
    pub(crate) fn try_create(&self, bundle: &Bundle, arguments: &[&str]) -> Result<Output> {
        bundle.save()?;
        let mut words = vec!["create", "--bundle", bundle.path()];
        words.extend(arguments);
        words.push(&self.id);
        let mut command = self.lab.command(&words);
        let caught = Caught::start_with_stdout(&mut command, fs::File::create(&self.stdout)?)?;
        caught.finish()
    }

    /// `create`s and `start`s.
    ///
    /// # Errors
    /// One of them fails.
    pub(crate) fn started(lab: &'a Lab, bundle: &Bundle) -> Result<Container<'a>> {
        let container = Container::create(lab, bundle)?;
        container.start()?;
        Ok(container)
    }

    /// `start`s it.
    ///
    /// # Errors
    /// `start` fails.
    pub(crate) fn start(&self) -> Result<()> {
        self.call(&["start"])?.success().map(drop)
    }

    /// Calls the runtime with `words` and then this id.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time. A failing command is no error.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Output> {
        let mut all = words.to_vec();
        all.push(&self.id);
        self.lab.call(&all)
    }

    /// `exec`s in it, with arguments of `exec` and those of the process.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time. A failing command is no error.
    pub(crate) fn exec(&self, arguments: &[&str], process: &[&str]) -> Result<Output> {
        let mut words = vec!["exec"];
        words.extend(arguments);
        words.push(&self.id);
        words.extend(process);
        self.lab.call(&words)
    }

    /// `exec`s a script that must succeed; the result is its trimmed standard output.
    ///
    /// # Errors
    /// It does not succeed.
    pub(crate) fn exec_stdout(&self, arguments: &[&str], script: &str) -> Result<String> {
        Ok(self
            .exec(arguments, &["sh", "-c", script])?
            .success()?
            .stdout
            .trim()
            .to_owned())
    }

    /// What `state` prints.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub(crate) fn state(&self) -> Result<Value> {
        let output = self.call(&["state"])?.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("`state` prints {:?}", output.stdout))
    }

    /// The status word in the state.
    ///
    /// # Errors
    /// As of [`Container::state`].
    pub(crate) fn status(&self) -> Result<String> {
        Ok(self.state()?["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The host's number of the container's first process.
    ///
    /// # Errors
    /// The state has none.
    pub(crate) fn pid(&self) -> Result<i32> {
        let state = self.state()?;
        let pid = state["pid"].as_i64().filter(|pid| *pid > 0);
        Ok(pid.with_context(|| format!("no pid in {state}"))?.try_into()?)
    }

    /// Waits for a status.
    ///
    /// # Errors
    /// It does not come in time.
    pub(crate) fn wait_for(&self, status: &str) -> Result<()> {
        let came = within(Duration::from_secs(10), || Ok(self.status()? == status))?;
        ensure!(came, "status is {} and not {status} after 10 s", self.status()?);
        Ok(())
    }

    /// What its processes have written to standard output so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn stdout(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.stdout)?)
    }

    /// Waits until its processes have written a text.
    ///
    /// # Errors
    /// It does not come in time.
    pub(crate) fn wait_for_stdout(&self, text: &str) -> Result<()> {
        let came = within(Duration::from_secs(10), || Ok(self.stdout()?.contains(text)))?;
        ensure!(
            came,
            "standard output is {:?}, without {text:?}, after 10 s",
            self.stdout()?
        );
        Ok(())
    }

    /// Its cgroup in one v1 hierarchy, or in the unified one, as the sandbox sees it.
    ///
    /// # Errors
    /// It has no process, or is in no cgroup there.
    pub(crate) fn cgroup(&self, controller: &str) -> Result<PathBuf> {
        let table = fs::read_to_string(format!("/proc/{}/cgroup", self.pid()?))?;
        let unified = self.lab.is_v2();
        let path = table.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
            let here = if unified {
                names.is_empty()
            } else {
                names.split(',').any(|name| name == controller)
            };
            here.then(|| path.trim_start_matches('/').to_owned())
        });
        let path = path.with_context(|| format!("no {controller} cgroup in {table:?}"))?;
        let top = Path::new("/sys/fs/cgroup");
        Ok(if unified {
            top.join(path)
        } else {
            top.join(controller).join(path)
        })
    }

    /// Deletes it by force.
    ///
    /// # Errors
    /// `delete --force` fails.
    pub(crate) fn delete(&self) -> Result<()> {
        self.call(&["delete", "--force"])?.success().map(drop)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // The case may have deleted it already, and the sandbox ends soon.
        let _ = self.call(&["delete", "--force"]);
    }
}
