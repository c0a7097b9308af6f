//! What strace(1) has written, call by call, with the time at which each was entered and left.

use std::collections::HashMap;

/// When, in microseconds, and in which line.
pub type Moment = (u64, usize);

/// A system call of a process, or its end (`exited`, `killed`).
#[derive(Debug, Clone)]
pub struct Call {
    pub pid: u32,
    pub name: String,
    /// The arguments as strace prints them; of an end, its code or signal.
    pub words: String,
    /// What it returned; `?` where the process was killed in it.
    pub result: String,
    pub entered: Moment,
    pub left: Moment,
    /// The how manyth of this name it is in its process, from 1.
    pub nth: usize,
}

impl Call {
    /// Whether it has done what it is for.
    pub fn is_done(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    pub fn has(&self, words: &str) -> bool {
        self.words.contains(words)
    }

    /// The first string among the arguments.
    pub fn text(&self) -> &str {
        self.words.split('"').nth(1).unwrap_or_default()
    }
}

/// The options that [`parse`] needs.
pub const OPTIONS: [&str; 6] = ["-f", "-q", "-y", "-ttt", "-s", "512"];

/// The calls in the order in which they were entered.
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut counts: HashMap<(u32, String), usize> = HashMap::new();
    let mut open: HashMap<u32, usize> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let (pid, rest) = line.split_once(' ').expect("a process");
        let (time, rest) = rest.trim_start().split_once(' ').expect("a time");
        let pid = pid.parse().expect("a process's number");
        let time = time.replace('.', "").parse().expect("microseconds");
        // A call in one line was left before the next one.
        if let Some(last) = calls
            .last_mut()
            .filter(|last| last.left.1 + 1 == number && !open.contains_key(&last.pid))
        {
            last.left.0 = time;
        }
        if let Some(rest) = rest.strip_prefix("<... ") {
            let at = open.remove(&pid).expect("a call that was begun");
            let (_, rest) = rest.split_once(" resumed>").expect("a call that goes on");
            let (words, result) = halves(rest);
            calls[at].words.push_str(words);
            result.clone_into(&mut calls[at].result);
            calls[at].left = (time, number);
            continue;
        }
        let (name, rest) = match rest.strip_prefix("+++ ") {
            Some(end) => end.split_once(' ').expect("an end"),
            // A signal.
            None if rest.starts_with("---") => continue,
            None => rest.split_once('(').unwrap_or_else(|| panic!("{line}")),
        };
        let nth = counts.entry((pid, name.to_owned())).or_default();
        *nth += 1;
        let unfinished = rest.strip_suffix("<unfinished ...>");
        let (words, result) = match unfinished {
            Some(words) => (words, "?"),
            None if rest.ends_with("+++") => (rest, ""),
            None => halves(rest),
        };
        if unfinished.is_some() {
            open.insert(pid, calls.len());
        }
        calls.push(Call {
            pid,
            name: name.to_owned(),
            words: words.to_owned(),
            result: result.to_owned(),
            entered: (time, number),
            left: (time, number),
            nth: *nth,
        });
    }
    calls
}

/// The arguments and the result.
fn halves(rest: &str) -> (&str, &str) {
    rest.rsplit_once(" = ").unwrap_or((rest, "?"))
}

#[test]
fn interrupted_calls_are_whole_again() {
    let text = "\
7 1.000001 recvmsg(15<socket:[1]>,  <unfinished ...>
8 1.000003 sendto(16<socket:[2]>, \"f\", 1, MSG_NOSIGNAL, NULL, 0) = 1
7 1.000009 <... recvmsg resumed>{msg_iov=[{iov_base=\"f\", iov_len=512}]}, 0) = 1
8 1.000010 read(3</x>,  <unfinished ...>) = ?
8 1.000011 +++ killed by SIGKILL +++
7 1.000012 close(3</x>) = 0
";
    let calls = parse(text);
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.name.as_str(), call.entered, call.left, call.is_done()))
        .collect();
    let expected = [
        ("recvmsg", (1_000_001, 0), (1_000_009, 2), true),
        ("sendto", (1_000_003, 1), (1_000_009, 1), true),
        ("read", (1_000_010, 3), (1_000_011, 3), false),
        ("killed", (1_000_011, 4), (1_000_012, 4), true),
        ("close", (1_000_012, 5), (1_000_012, 5), true),
    ];
    assert_eq!(told, expected);
    assert!(calls[0].has("\"f\"") && calls[1].text() == "f");
}
