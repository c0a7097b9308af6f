//! The environment of the command and where it begins.

use super::{CONTEXT, Faults, Launch, WORKSPACE};
use crate::egress::Bridge;
use crate::parse;
use crate::request::Request;

/// What every workload has, under the caller's own choices.
pub(super) fn environment(request: &Request, launch: &Launch, faults: &mut Faults) -> Vec<String> {
    let mut env = vec![
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin"
            .to_owned(),
        format!("HOME={}", launch.home),
        format!("USER={}", user_name(launch)),
        "LANG=C.UTF-8".to_owned(),
    ];
    env.extend(launch.bridge.iter().flat_map(Bridge::environment));
    if let Some(terminal) = std::env::var("TERM").ok().filter(|_| launch.terminal) {
        env.push(format!("TERM={terminal}"));
    }
    for text in &request.env {
        let pair = match text.split_once('=') {
            Some(("", _)) => Err(format!("{text:?}: no name")),
            Some(_) => Ok(text.clone()),
            None => std::env::var(text)
                .map(|value| format!("{text}={value}"))
                .map_err(|_| format!("{text:?}: not set, or not UTF-8")),
        };
        let Some(pair) = faults.note("env", pair) else {
            continue;
        };
        let name = pair.split('=').next().unwrap_or_default().to_owned();
        env.retain(|there| there.split('=').next() != Some(&name));
        env.push(pair);
    }
    env
}

/// The workload's user name in its `/etc/passwd`.
pub fn user_name(launch: &Launch) -> &'static str {
    if launch.home.ends_with("/agent") {
        "agent"
    } else {
        "user"
    }
}

pub(super) fn working_directory(request: &Request, faults: &mut Faults, launch: &Launch) -> String {
    if let Some(directory) = &request.workdir {
        let inside = parse::inside(&directory.to_string_lossy());
        return faults.note("workdir", inside).unwrap_or_default();
    }
    if request.workspace.is_some() {
        WORKSPACE.into()
    } else if request.context.is_some() {
        CONTEXT.into()
    } else {
        launch.home.clone()
    }
}
