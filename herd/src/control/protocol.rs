//! What can be said over the control socket: calls, replies, errors, as plain data.
//!
//! The words on the wire are those of `org.herd.varlink` beside this file; a test holds the two
//! together. Times are microseconds since 1970 (`since`, `at`, `next_try`), durations
//! microseconds, sizes bytes. Replies name units as text; calls hold checked names, because they
//! come from outside.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use units::{Power, UnitName};

/// The interface that herd offers, and the prefix of its methods and errors.
pub const INTERFACE: &str = "org.herd.Manager";

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Everything known of these units; of all loaded ones when `units` is empty (`all` adds those
    /// that exist but are not enabled).
    Status {
        units: Vec<UnitName>,
        all: bool,
    },
    /// One short line of each unit; with `usage` also memory and CPU, which costs two reads a unit.
    List {
        all: bool,
        usage: bool,
    },
    Start(Job),
    Stop(Job),
    Restart(Job),
    Reload(Job),
    Kill {
        unit: UnitName,
        /// Any spelling that `units::Signal` reads.
        signal: units::Signal,
        whom: Whom,
    },
    /// Every process of these units stands still.
    Freeze {
        units: Vec<UnitName>,
    },
    Thaw {
        units: Vec<UnitName>,
    },
    /// Failed units become inactive and forget their restart counts; all of them when empty.
    ResetFailed {
        units: Vec<UnitName>,
    },
    Why {
        unit: UnitName,
    },
    Plan {
        unit: UnitName,
    },
    Cat {
        unit: UnitName,
    },
    /// Reads the unit directories again, as if inotify had spoken.
    Rescan,
    /// What the machine is to come to; what does not belong to it stops.
    Goal {
        unit: UnitName,
        wait: bool,
    },
    /// Ends the machine, or a herd that did not boot one.
    Shutdown {
        /// `None`: a machine is switched off, any other herd exits.
        power: Option<Way>,
        /// At once instead of in order.
        force: bool,
        wait: bool,
        schedule: Schedule,
    },
    /// What was scheduled is not done.
    CancelShutdown {
        message: Option<String>,
        wall: bool,
    },
    /// Answered with a stream of state changes; of all units when empty.
    Watch {
        units: Vec<UnitName>,
    },
    /// The networks that have boxes.
    Networks,
    /// How all units first came up.
    Boot,
    Info,
}

/// A change asked for: of these units, answered when it is done unless `wait` is false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Never empty. A name that does not exist refuses the whole job before anything is done.
    pub units: Vec<UnitName>,
    pub wait: bool,
}

/// How things end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Of the machine.
    Power(Power),
    /// Of herd alone.
    Exit,
}

impl Way {
    /// As they are written on the wire: varlink's words hold no hyphen.
    pub const ALL: [(&'static str, Self); 6] = [
        ("poweroff", Self::Power(Power::PowerOff)),
        ("reboot", Self::Power(Power::Reboot)),
        ("halt", Self::Power(Power::Halt)),
        ("kexec", Self::Power(Power::Kexec)),
        ("soft_reboot", Self::Power(Power::SoftReboot)),
        ("exit", Self::Exit),
    ];

    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, way)| *way == self);
        found.map_or("exit", |(word, _)| word)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(word, _)| *word == name);
        found.map(|(_, way)| *way)
    }
}

impl Serialize for Way {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Way {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Self::from_name(&name)
            .ok_or_else(|| serde::de::Error::unknown_variant(&name, &["poweroff", "reboot"]))
    }
}

/// When the machine ends, and what is said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub delay: Duration,
    /// For those who are logged in.
    pub message: Option<String>,
    /// Tell them.
    pub wall: bool,
    /// And do nothing else.
    pub warn_only: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            message: None,
            wall: true,
            warn_only: false,
        }
    }
}

impl Schedule {
    pub fn is_now(&self) -> bool {
        self.delay.is_zero() && !self.warn_only
    }
}

/// Which processes of a service a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whom {
    Main,
    #[default]
    All,
}

/// The answer to a call that went well.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    Status(StatusReply),
    List(ListReply),
    Why(WhyReply),
    Plan(PlanReply),
    Cat(CatReply),
    Rescan(RescanReply),
    Watch(StateChange),
    Networks(NetworksReply),
    Boot(BootReply),
    Info(Info),
    Shutdown(ShutdownReply),
    /// Start, Stop, Restart, Reload, Kill, ResetFailed, Goal, CancelShutdown.
    Done(Empty),
}

impl Reply {
    pub const DONE: Self = Self::Done(Empty {});
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShutdownReply {
    /// What became of an end that was scheduled before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// It stays so: of what was asked for, words alone, everybody was told this once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StatusReply {
    pub units: Vec<UnitStatus>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ListReply {
    pub units: Vec<ListEntry>,
}

/// The networks that have boxes, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworksReply {
    pub networks: Vec<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    pub name: String,
    /// The bridge.
    pub device: String,
    pub subnet: String,
    pub gateway: String,
    pub internal: bool,
    pub boxes: Vec<NetworkBox>,
    /// By the file that this herd has of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<String>,
}

/// A box on a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkBox {
    /// The unit's name, as other boxes know it.
    pub name: String,
    pub address: String,
    /// `8080:80/tcp`
    pub ports: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
}

/// How units first came up. Moments are microseconds after herd began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BootReply {
    /// By the moment they began; units that were never started are not among them.
    pub units: Vec<BootUnit>,
    /// How long the kernel, and what it ran before herd, had taken; only of the herd that booted the
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_usec: Option<i64>,
    /// When nothing was on its way any more for the first time. Units that began later are no part
    /// of the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_usec: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BootUnit {
    pub name: String,
    pub kind: UnitKind,
    /// As it is now.
    pub state: State,
    pub substate: String,
    /// Its turn had come.
    pub begun_usec: i64,
    /// What it is ordered after.
    pub after: Vec<String>,
    /// Until it was active or, done or failed, at rest; absent while it is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_usec: Option<i64>,
}

/// `why web`: one sentence each, the nearest cause first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WhyReply {
    pub unit: String,
    pub state: State,
    pub sentences: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanReply {
    pub plan: String,
}

/// The files a unit is made of, in the order they are merged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CatReply {
    pub files: Vec<UnitFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitFile {
    pub path: String,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RescanReply {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    /// The reports of files that are broken, as `herd check` prints them.
    pub diagnostics: Vec<String>,
}

/// One unit went from one state to another (`Watch`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateChange {
    pub unit: String,
    pub state: State,
    pub substate: String,
    pub at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What herd is and where it looks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Info {
    pub version: String,
    pub pid: i32,
    pub mode: Mode,
    pub runtime_dir: String,
    pub log_dir: String,
    /// In order of precedence.
    pub unit_dirs: Vec<String>,
    pub started_at: i64,
    pub uptime_usec: i64,
    pub units: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What the machine was to come to, the present one first; none of a herd that did not boot it.
    #[serde(default)]
    pub goals: Vec<Goal>,
}

/// A unit that the machine was to come to, and when it did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Goal {
    pub name: String,
    pub since: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<i64>,
    /// In words, what keeps the machine from it; of the present one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// The end of the machine that is scheduled, or has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub power: Way,
    /// When it is due, or has begun.
    pub at: i64,
    pub begun: bool,
    /// Only words were asked for.
    pub warn_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What stops yet, a sentence each.
    pub waits_for: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Foreground,
    #[default]
    System,
    User,
}

/// systemd's words for where a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Inactive,
    Activating,
    Active,
    Reloading,
    Deactivating,
    Failed,
}

impl State {
    pub const ALL: [Self; 6] = [
        Self::Inactive,
        Self::Activating,
        Self::Active,
        Self::Reloading,
        Self::Deactivating,
        Self::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Activating => "activating",
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Deactivating => "deactivating",
            Self::Failed => "failed",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    #[default]
    Service,
    Target,
}

/// One line of `herd list`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ListEntry {
    pub name: String,
    pub kind: UnitKind,
    pub state: State,
    pub substate: String,
    pub since: i64,
    pub restarts: i64,
    pub enabled: bool,
    /// herd brought it along, or made it of fstab.
    #[serde(default)]
    pub boot: bool,
    pub changed: bool,
    pub broken: bool,
    /// It is down, or on its way, because somebody asked for that.
    #[serde(default)]
    pub stopped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Everything `herd status UNIT` shows, but for the log lines, which are read from the files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UnitStatus {
    pub name: String,
    pub kind: UnitKind,
    pub state: State,
    /// herd's own word within the state: `running`, `backoff`, `start-pre`, `stop-sigterm`, …
    pub substate: String,
    pub since: i64,
    pub restarts: i64,
    pub boxed: bool,
    pub enabled: bool,
    /// The running service was started from an older definition.
    pub changed: bool,
    pub source: String,
    pub drop_ins: Vec<String>,
    pub walls_given_up: Vec<WallGivenUp>,
    /// Of the box on its networks, eth0 first.
    pub addresses: Vec<NetworkAddress>,
    /// Ports of the host that lead into the box: `8080:80/tcp`.
    pub ports: Vec<String>,
    /// Log lines dropped since herd started.
    pub log_lost: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// The service's own `STATUS=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// Bytes read from disks, and written to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_written: Option<i64>,
    /// Processes killed by the kernel for want of memory since the unit's group was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// The file on disk is broken; this is its report, and the last good definition is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// When the service in backoff is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<i64>,
    /// Why the unit is failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// It is down for want of that unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// `starting`, `healthy`, or what the last probe said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}

/// Where a box is on one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkAddress {
    pub network: String,
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
}

/// How long processes of the unit waited for want of something (PSI), where the kernel counts it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pressure {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Stalls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Stalls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<Stalls>,
}

/// Percent of the last ten seconds, and all the time so far, in which some, and in which all
/// processes with something to do waited.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stalls {
    pub some_avg10: f64,
    pub some_usec: i64,
    pub full_avg10: f64,
    pub full_usec: i64,
}

/// A wall that the unit allowed to be missing and that the kernel could not build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WallGivenUp {
    pub wall: String,
    pub reason: String,
}

/// How the main process ended last: by `code` or by `signal`, never both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastExit {
    pub at: i64,
    /// In words: `exit 1`, `killed by SIGKILL (out of memory)`.
    pub reason: String,
    pub core: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watchdog {
    pub interval_usec: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ping: Option<i64>,
}

/// Why a call was not done. The text is what the client prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Refusal {
    #[error("{unit}: no such unit")]
    #[serde(rename = "org.herd.Manager.NoSuchUnit")]
    NoSuchUnit { unit: String },
    #[error("{name:?} is no unit name: {reason}")]
    #[serde(rename = "org.herd.Manager.BadName")]
    BadName { name: String, reason: String },
    #[error("{}", join(failures))]
    #[serde(rename = "org.herd.Manager.JobFailed")]
    JobFailed { failures: Vec<JobFailure> },
    #[error("{reason}")]
    #[serde(rename = "org.herd.Manager.Refused")]
    Refused { reason: String },
    #[error("permission denied: {reason}")]
    #[serde(rename = "org.herd.Manager.PermissionDenied")]
    PermissionDenied { reason: String },
    #[error("herd is busy: {reason}")]
    #[serde(rename = "org.herd.Manager.Busy")]
    Busy { reason: String },
    #[error("herd knows no method {method}")]
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound { method: String },
    #[error("herd offers no interface {interface}")]
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound { interface: String },
    #[error("invalid parameter: {parameter}")]
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter { parameter: String },
}

/// One unit of a job that did not come to what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobFailure {
    pub unit: String,
    pub reason: String,
}

impl Refusal {
    pub fn job_failed(unit: &UnitName, reason: impl Into<String>) -> Self {
        Self::JobFailed {
            failures: vec![JobFailure {
                unit: unit.to_string(),
                reason: reason.into(),
            }],
        }
    }
}

fn join(failures: &[JobFailure]) -> String {
    let sentences: Vec<String> = failures
        .iter()
        .map(|failure| format!("{}: {}", failure.unit, failure.reason))
        .collect();
    sentences.join("; ")
}
