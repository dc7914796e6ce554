//! What this machine really lets us do, found out by doing it: `herd doctor` and `vb doctor`.
//!
//! Nothing here trusts a version or the presence of a file where it can try: a namespace is made, an
//! overlay is mounted, a group is made and removed. Each probe leaves nothing: what it makes dies
//! with the child that made it. What is found is data; how it is shown is the caller's business.
//!
//! Beside what is missing stands what is *weak*: a setting of the kernel or its age that takes a
//! defence away from every box, or from boxes without a certain wall.

mod file_systems;
mod groups;
mod kernel;
mod namespaces;
mod networks;
mod tools;
mod weaknesses;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::{Host, KernelVersion};

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub kernel: KernelVersion,
    /// Who asked: what may be done is another thing for root and for others.
    pub uid: u32,
    pub findings: Vec<Finding>,
    /// The default box (`boxed = true`) can be built for this user.
    pub default_box_ready: bool,
    /// Every key of the language that depends on the kernel or the system can be honoured.
    pub strict_ready: bool,
    /// The share of what was looked for and found, by weight: 0 to 100.
    pub readiness_score: u8,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub subject: Subject,
    pub name: String,
    pub state: State,
    pub need: Need,
    pub detail: String,
    /// What would change it; empty when nothing has to change.
    pub advice: String,
}

/// What a finding is about; findings of one subject stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Namespaces,
    FileSystems,
    Kernel,
    Cgroups,
    Networks,
    Tools,
    Weaknesses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// The kernel or the system does not have it.
    Missing,
    /// It is there, and we may not use it.
    Refused,
    /// A defence that this machine takes away.
    Weak,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Weak => "weak",
        }
    }
}

/// Who needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Every default box.
    Box,
    /// Units with certain keys.
    Key,
    /// Nobody; it is good to have, or good to know.
    Comfort,
}

impl Need {
    fn weight(self) -> u32 {
        match self {
            Self::Box => 8,
            Self::Key => 3,
            Self::Comfort => 1,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.name, self.state.word(), self.detail)?;
        if !self.advice.is_empty() {
            write!(f, "\nhint: {}", self.advice)?;
        }
        Ok(())
    }
}

/// Looks at this machine and [tries](examine) what boxes need: namespaces by making one, limits by setting
/// one. Starts short-lived children.
///
/// # Errors
/// When `/proc` does not tell what the machine is.
pub fn check_host() -> Result<Report, super::HostError> {
    Ok(examine(&Host::detect()?))
}

/// Tries everything that a box may need. Starts short-lived children; not for the supervisor's loop.
pub fn examine(host: &Host) -> Report {
    let host = &host.clone().tried();
    let mut findings = namespaces::findings(host);
    findings.extend(file_systems::findings(host));
    findings.extend(kernel::findings(host));
    findings.extend(groups::findings(host));
    findings.extend(networks::findings(host));
    findings.extend(tools::findings(host));
    findings.extend(weaknesses::findings(host));
    let is_lacking = |finding: &&Finding| finding.state != State::Ok;
    let default_box_ready = !findings
        .iter()
        .filter(is_lacking)
        .any(|finding| finding.need == Need::Box);
    let strict_ready = !findings
        .iter()
        .filter(is_lacking)
        .any(|finding| finding.need != Need::Comfort);
    let weight = |finding: &Finding| finding.need.weight();
    let all: u32 = findings.iter().map(weight).sum();
    let lacking: u32 = findings.iter().filter(is_lacking).map(weight).sum();
    let share = (all - lacking) * 100 / all.max(1);
    Report {
        kernel: host.kernel,
        uid: host.uid,
        findings,
        default_box_ready,
        strict_ready,
        readiness_score: u8::try_from(share).unwrap_or(100),
    }
}

/// A finding in the making: what is looked at, and for whom.
#[derive(Debug, Clone, Copy)]
struct Look {
    subject: Subject,
    name: &'static str,
    need: Need,
}

impl Look {
    fn new(subject: Subject, need: Need, name: &'static str) -> Self {
        Self {
            subject,
            name,
            need,
        }
    }

    fn found(self, state: State, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            subject: self.subject,
            name: self.name.to_owned(),
            state,
            need: self.need,
            detail: detail.into(),
            advice: advice.into(),
        }
    }

    fn ok(self, detail: impl Into<String>) -> Finding {
        self.found(State::Ok, detail, "")
    }

    fn missing(self, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.found(State::Missing, detail, advice)
    }

    /// What the kernel answered when it was tried.
    fn tried(self, result: io::Result<()>, detail: &str, advice: &str) -> Finding {
        let Err(error) = result else {
            return self.ok(detail);
        };
        let code = error.raw_os_error().unwrap_or(libc::EIO);
        let absent = [
            libc::EINVAL,
            libc::ENOSYS,
            libc::ENODEV,
            libc::EOPNOTSUPP,
            libc::ENOPROTOOPT,
            libc::EPROTONOSUPPORT,
            libc::ENOENT,
        ];
        let state = if absent.contains(&code) {
            State::Missing
        } else {
            State::Refused
        };
        self.found(state, crate::sys::text_of(code), advice)
    }
}
