//! Why a verb did not do what was asked, and the exit code that says so.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use units::{NameError, UnitName};

use crate::control::client::ClientError;
use crate::control::protocol::Refusal;
use crate::logs::escape::sanitised;
use crate::prepare::{chain, words};

pub(super) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(super) const NO_SUCH_UNIT: u8 = 3;
pub(super) const UNREACHABLE: u8 = 4;

/// What is printed on stderr, and the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    /// Something could not be done to a file; the cause is put into words.
    pub(super) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Self::failed(format!(
            "cannot {what} {}: {}",
            path.display(),
            words(error)
        ));
        if error.kind() == io::ErrorKind::PermissionDenied {
            failure.hint("be root, or use --user for your own units and logs")
        } else {
            failure
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a hint where there is one.
    #[must_use]
    pub(super) fn hint_of(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Prints it and says how to exit.
    pub(super) fn report(&self) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.code);
        }
        let lines: Vec<String> = self.message.lines().map(sanitised).collect();
        let mut text = format!("herd: {}\n", lines.join("\n"));
        if let Some(hint) = &self.hint {
            writeln!(text, "hint: {hint}").expect("a String takes every text");
        }
        // With stderr closed there is nobody left to tell.
        match io::stderr().write_all(text.as_bytes()) {
            Ok(()) | Err(_) => ExitCode::from(self.code),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::failed(words(&error))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refusal) => refusal.into(),
            ClientError::Unreachable { socket, source } => {
                let hint = if source.kind() == io::ErrorKind::PermissionDenied {
                    "you may not connect to it; be root, or use --user for your own herd"
                } else {
                    "is herd running there? start it with `herd daemon` or `herd run DIR`, or name its --runtime-dir"
                };
                let message = format!(
                    "cannot reach herd at {}: {}",
                    socket.display(),
                    words(&source)
                );
                Self::new(UNREACHABLE, message).hint(hint)
            }
            ClientError::TimedOut(_) | ClientError::Closed | ClientError::Io(_) => {
                Self::new(UNREACHABLE, chain(&error).to_string())
            }
            ClientError::Garbled(_) | ClientError::TooLong => {
                Self::failed(chain(&error).to_string())
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::NoSuchUnit { .. } => {
                Self::new(NO_SUCH_UNIT, message).hint("`herd list --all` shows every unit")
            }
            Refusal::BadName { .. } => Self::new(USAGE, message),
            Refusal::JobFailed { failures } => {
                let failure = Self::failed(message);
                match failures.first() {
                    Some(first) => failure.hint(format!("`herd status {}` shows more", first.unit)),
                    None => failure,
                }
            }
            Refusal::MethodNotFound { .. }
            | Refusal::InterfaceNotFound { .. }
            | Refusal::InvalidParameter { .. } => {
                Self::failed(message).hint("is the running herd of another version?")
            }
            Refusal::Refused { .. } | Refusal::PermissionDenied { .. } | Refusal::Busy { .. } => {
                Self::failed(message)
            }
        }
    }
}

/// A unit's name as typed.
pub(super) fn name(text: &str) -> Result<UnitName, Failure> {
    let text = text.strip_suffix(".toml").unwrap_or(text);
    UnitName::new(text).map_err(|error: NameError| {
        Failure::new(USAGE, format!("{text:?} is no unit name: {error}"))
    })
}

pub(super) fn names(texts: &[String]) -> Result<Vec<UnitName>, Failure> {
    texts.iter().map(|text| name(text)).collect()
}
