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
use crate::prepare::words;

/// Says that this is the first boot of an image, for `condition.first_boot`.
pub const FIRST_BOOT: &str = "/run/herd/first-boot";
/// Touched at every end: time never goes back behind it.
pub const CLOCK: &str = "/var/lib/herd/clock";
/// What systemd gives; services start with the soft limit they always had.
const OPEN_FILES: u64 = 524_288;
/// `__NEW_UTS_LEN` of the kernel.
const LONGEST_NAME: usize = 64;

/// Prepares the machine; says what was not possible.
pub(super) fn prepare() -> Vec<String> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut notes = mounts::mount_early();
    let mut tell = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            notes.push(format!("cannot {what}: {}", words(&error)));
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

/// hostname(5): the first line that is no comment. A machine gets a name in any case.
fn set_host_name() -> io::Result<()> {
    let (bytes, unread) = match fs::read("/etc/hostname") {
        Ok(bytes) => (bytes, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let (name, wrong) = host_name(&bytes);
    // One that the kernel was started with stays.
    let has_one = rustix::system::uname().nodename().to_bytes() != b"(none)";
    if !name.is_empty() {
        nix::unistd::sethostname(&name)?;
    } else if !has_one {
        nix::unistd::sethostname("localhost")?;
    }
    let Some(problem) = unread.or(wrong) else {
        return Ok(());
    };
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let told = format!("/etc/hostname: {problem}; it is {name} now");
    Err(io::Error::other(told))
}

/// As systemd takes it: what no host name can hold is left out, and what is too long cut.
fn host_name(bytes: &[u8]) -> (String, Option<String>) {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    let line = line.unwrap_or_default();
    let can_be = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-._".contains(*byte);
    let kept = line.iter().filter(can_be).take(LONGEST_NAME);
    let name: String = kept.map(|byte| char::from(*byte)).collect();
    let wrong = (name.len() != line.len()).then(|| {
        let line = line.escape_ascii();
        format!("\"{line}\" is not up to {LONGEST_NAME} letters, digits, dots and dashes")
    });
    (name, wrong)
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
        let name = |text: &str| host_name(text.as_bytes());
        assert_eq!(name("# mine\n\n  web1 \nweb2\n"), ("web1".to_owned(), None));
        assert_eq!(name("# none\n"), (String::new(), None));
    }

    #[test]
    fn what_no_host_name_can_hold_is_left_out_and_told() {
        let (name, wrong) = host_name(b"my host\xe4!\n");
        assert_eq!(name, "myhost");
        let why = "\"my host\\xe4!\" is not up to 64 letters, digits, dots and dashes";
        assert_eq!(wrong.as_deref(), Some(why));
        let (name, wrong) = host_name(&[b'a'; 65]);
        assert!(name.len() == 64 && wrong.is_some());
    }
}
