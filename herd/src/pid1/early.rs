//! What a machine needs before the first unit: console, names, limits, a clock that does not run backwards.
//!
//! Nothing here is fatal. What was not possible is a note, said once the log is there.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::{machine_id, mounts};

/// Says that this is the first boot of an image, for `condition.first_boot`.
pub const FIRST_BOOT: &str = "/run/herd/first-boot";
/// Touched at every end: time never goes back behind it.
pub const CLOCK: &str = "/var/lib/herd/clock";
/// What systemd gives; services start with the soft limit they always had.
const OPEN_FILES: u64 = 524_288;

/// Prepares the machine; says what was not possible.
pub(super) fn prepare() -> Vec<String> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut notes = mounts::mount_early();
    let mut tell = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            notes.push(format!("cannot {what}: {error}"));
        }
    };
    // The kernel may have opened none, or one on a /dev that is covered by now.
    tell("open the console", open_console());
    // A console that is stopped would keep process 1 up, and nobody reads what it writes elsewhere.
    std::panic::set_hook(Box::new(|panic| super::power::say(&panic.to_string())));
    rustix::process::setsid().ok();
    tell(
        "change to /",
        rustix::process::chdir("/").map_err(Into::into),
    );
    tell(
        "hear of ctrl-alt-del",
        nix::sys::reboot::set_cad_enabled(false).map_err(Into::into),
    );
    tell("set the name of the host", set_host_name());
    tell("give the machine an id", machine_id::give());
    tell(
        "bring the loopback interface up",
        sandbox::bring_loopback_up(),
    );
    tell("set the clock", hold_clock());
    raise_limits();
    if let Err(error) = super::static_nodes::make() {
        notes.push(format!(
            "cannot make the nodes of modules that are not loaded: {error}"
        ));
    }
    notes
}

/// `/dev/console` as 0, 1 and 2, or `/dev/null` where there is none. 2 is opened by itself: what process 1
/// complains of is lost on a console that is stopped, and is not waited for.
fn open_console() -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let console = open("/dev/console", flags, Mode::empty());
    let (fd, outcome): (OwnedFd, _) = match console {
        Ok(fd) => (fd, Ok(())),
        Err(error) => (open("/dev/null", flags, Mode::empty())?, Err(error.into())),
    };
    rustix::stdio::dup2_stdin(fd.as_fd())?;
    rustix::stdio::dup2_stdout(fd.as_fd())?;
    let unwaiting = flags | OFlags::NONBLOCK;
    let errors = open("/dev/console", unwaiting, Mode::empty());
    rustix::stdio::dup2_stderr(errors.as_ref().unwrap_or(&fd).as_fd())?;
    outcome
}

/// hostname(5): the first line that is no comment.
fn set_host_name() -> io::Result<()> {
    let text = match fs::read_to_string("/etc/hostname") {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    match host_name(&text) {
        Some(name) => Ok(nix::unistd::sethostname(name)?),
        // One that the kernel was started with stays.
        None if rustix::system::uname().nodename().to_bytes() != b"(none)" => Ok(()),
        None => Ok(nix::unistd::sethostname("localhost")?),
    }
}

fn host_name(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A clock without a battery begins in 1970; files from the future and certificates not yet valid follow.
fn hold_clock() -> io::Result<()> {
    let changed = |path: &Path| fs::metadata(path).map(|metadata| metadata.mtime()).ok();
    let known = [Path::new(CLOCK), Path::new("/proc/self/exe")];
    let Some(floor) = known.into_iter().filter_map(changed).max() else {
        return Ok(());
    };
    if clock_gettime(ClockId::Realtime).tv_sec >= floor {
        return Ok(());
    }
    let time = Timespec {
        tv_sec: floor,
        tv_nsec: 0,
    };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// The kernel gives its first process 4,096 descriptors at most.
fn raise_limits() {
    let before = getrlimit(Resource::Nofile);
    if before.maximum.is_some_and(|hard| hard < OPEN_FILES) {
        let raised = Rlimit {
            current: before.current,
            maximum: Some(OPEN_FILES),
        };
        // Without the right to it the old limit is what there is.
        setrlimit(Resource::Nofile, raised).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_the_first_line_that_says_something() {
        assert_eq!(host_name("# mine\n\n  web1 \nweb2\n"), Some("web1"));
        assert_eq!(host_name("# none\n"), None);
    }
}
