//! `vb`: bubblewrap's command line on our own engine, and some options beyond it.
//!
//! ```text
//! argv ──arguments──▶ Arguments ──check──▶ settled ──config──▶ sandbox::Config ──run──▶ exit code
//! ```
//!
//! Called as `bwrap` it is what programs in the world already call: the same options, messages,
//! descriptors, JSON and exit codes as bubblewrap 0.11. Nothing is looked at that the options do not
//! ask for: a launcher is called often, and somebody waits for it.

pub mod arguments;
pub mod check;
pub mod config;
pub mod descriptors;
pub mod environment;
pub mod errno;
pub mod forward;
pub mod messages;
pub mod numbers;
pub mod operation;
pub mod options;
pub mod own;
pub mod profile;
pub mod run;
pub mod status;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use arguments::Complaint;

/// What the launcher was called.
#[derive(Debug)]
pub struct Name {
    /// The word the caller used, for the usage.
    pub called: String,
    /// Before each message.
    pub prefix: String,
}

/// Claims that the words call the launcher: as `vb` or `bwrap`, or with `vb` as herd's verb.
pub fn is_called(words: &[OsString]) -> bool {
    let last = |word: &OsString| {
        let bytes = word.as_bytes();
        let start = bytes.iter().rposition(|byte| *byte == b'/');
        let name = &bytes[start.map_or(0, |slash| slash + 1)..];
        name == b"vb" || name == b"bwrap"
    };
    words.first().is_some_and(last) || words.get(1).is_some_and(|verb| verb == "vb")
}

/// `vb doctor` in the words of herd's own command line; not where we stand for bubblewrap, which would
/// run a program of that name.
pub fn as_doctor(words: &[OsString]) -> Option<Vec<OsString>> {
    if !is_called(words) {
        return None;
    }
    let called = words.first()?;
    let rest = match Name::new(called) {
        Some(name) if name.prefix == "vb" => words.get(1..)?,
        Some(_) => return None,
        None => words.get(2..)?,
    };
    let (verb, options) = rest.split_first()?;
    (verb == "doctor").then(|| {
        let herd = [OsString::from("herd"), verb.clone()];
        herd.into_iter().chain(options.iter().cloned()).collect()
    })
}

/// The launcher's `main`, given all words.
pub fn main(mut words: Vec<OsString>) -> i32 {
    let called = if words.is_empty() {
        OsString::new()
    } else {
        words.remove(0)
    };
    let name = Name::new(&called);
    let name = match name {
        Some(name) => name,
        None => {
            // herd's verb.
            words.remove(0);
            Name {
                called: format!("{} vb", called.to_string_lossy()),
                prefix: "vb".to_owned(),
            }
        }
    };
    run::run(&name, words)
}

impl Name {
    fn new(called: &OsStr) -> Option<Self> {
        let called = called.to_string_lossy();
        let prefix = called.rsplit('/').next().unwrap_or_default();
        matches!(prefix, "vb" | "bwrap").then(|| Self {
            prefix: prefix.to_owned(),
            called: called.clone().into_owned(),
        })
    }

    /// Bubblewrap itself ends by a signal, and its box does so only if that was asked for.
    fn hands_signals_on(&self) -> bool {
        self.prefix != "bwrap"
    }

    /// As bubblewrap says it, where it is taken for that; else both versions.
    fn version(&self) -> String {
        let bubblewrap = "bubblewrap 0.11.0";
        if self.prefix == "bwrap" {
            format!("{bubblewrap}\n")
        } else {
            format!("vb {} ({bubblewrap})\n", env!("CARGO_PKG_VERSION"))
        }
    }

    /// Says why nothing was run; gives the exit code.
    fn complain(&self, complaint: &Complaint) -> i32 {
        self.say(3, &complaint.text, complaint.level_prefix);
        1
    }

    /// One line on stderr. `level` is one of syslog(3).
    fn say(&self, level: u8, text: &OsStr, level_prefix: bool) {
        let mut line = Vec::new();
        if level_prefix {
            line.extend_from_slice(format!("<{level}>").as_bytes());
        }
        line.extend_from_slice(self.prefix.as_bytes());
        line.extend_from_slice(b": ");
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        // Of any other failure there is nobody else to tell.
        if rustix::io::write(rustix::stdio::stderr(), &line) == Err(rustix::io::Errno::PIPE) {
            sandbox::end_by_closed_pipe();
        }
    }
}
