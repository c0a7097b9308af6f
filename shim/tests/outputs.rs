//! `--report` and `--events`: what they are pointed at is written to, and never replaced if it is no regular file.

mod support;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use support::{Place, in_shell};

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

#[test]
fn a_report_replaces_neither_a_device_nor_a_pipe_nor_a_link() {
    let Some(place) = Place::new() else { return };
    let (device, pipe, link, file) = (
        place.path("device"),
        place.path("pipe"),
        place.path("link"),
        place.path("file"),
    );
    mknodat(
        CWD,
        &device,
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        makedev(1, 3),
    )
    .expect("mknod");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mkfifo");
    std::os::unix::fs::symlink(&file, &link).expect("symlink");
    fs::write(&file, "old").expect("write");
    let report =
        |to: &std::path::Path| place.nucleus(&["run", "--report", to.to_str().expect("UTF-8"), "--", "true"]);
    report(&device);
    let kind = fs::symlink_metadata(&device).expect("it is there").file_type();
    assert!(kind.is_char_device(), "{kind:?}");
    // Nobody reads it: an error, and no waiting.
    report(&pipe).fails_with(&["report", "write", "pipe"]);
    let kind = fs::symlink_metadata(&pipe).expect("it is there").file_type();
    assert!(kind.is_fifo(), "{kind:?}");
    let reader = File::options().read(true).write(true).open(&pipe).expect("open");
    report(&pipe).exits(0);
    drop(reader);
    report(&link).exits(0);
    assert_eq!(fs::read_link(&link).expect("a link"), file);
    assert!(is_json(&fs::read_to_string(&file).expect("read")));
}

#[test]
fn what_is_told_on_the_workloads_own_stream_and_its_output_leave_each_other_whole() {
    let Some(place) = Place::new() else { return };
    let out = place.path("out");
    for option in [
        &["--events", "1"],
        &["--events", "/dev/fd/1"],
        &["--report", "/dev/fd/1"],
    ] {
        let mut command = place.command(&in_shell(option, "echo one; echo two"));
        let status = command.stdout(File::create(&out).expect("create")).status();
        assert_eq!(status.expect("start").code(), Some(0), "{option:?}");
        let text = fs::read_to_string(&out).expect("read");
        let (told, output) = match option[0] {
            "--events" => {
                let (told, output): (Vec<_>, Vec<_>) = text.lines().partition(|line| is_json(line));
                assert!(told.len() >= 4, "{option:?}: {text}");
                (String::new(), output.join("\n"))
            }
            _ => text.split_once("}\none").map_or_else(
                || panic!("{option:?}: {text}"),
                |(told, output)| (format!("{told}}}"), format!("one{}", output.trim_end())),
            ),
        };
        assert_eq!(output, "one\ntwo", "{option:?}: {text}");
        assert!(told.is_empty() || is_json(&told), "{text}");
    }
}

#[test]
fn a_number_that_the_caller_left_nothing_under_is_no_place_for_events() {
    let Some(place) = Place::new() else { return };
    // Whoever started the tests may have left something.
    for number in (3..=16).filter(|number| nucleus_sys::process::share(*number).is_err()) {
        let finished = place.nucleus(&["run", "--events", &number.to_string(), "--", "true"]);
        finished.fails_with(&["events: open", "Bad file descriptor"]);
        place.expect_nothing_left();
    }
}

#[test]
fn events_that_cannot_be_written_are_told_with_their_place() {
    let Some(place) = Place::new() else { return };
    let finished = place.nucleus(&["run", "--events", "/dev/full", "--", "true"]);
    finished.fails_with(&["write events to /dev/full: ", "No space left on device"]);
}
