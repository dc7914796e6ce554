//! How a machine ends, once every unit has: what is left is ended, disks are let go, the kernel is told.
//!
//! One thing after the other, each with a deadline: nothing here may hold up the end for good. There is
//! no log any more, so everything is said on the console.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use super::CLOCK;

/// What the machine is to do after everything has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Power {
    #[default]
    PowerOff,
    Reboot,
    Halt,
}

/// What outlived its unit gets this long after SIGTERM, and again after SIGKILL.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A file system below another that is let go can be let go in the next round.
const ROUNDS: u32 = 8;

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerOff => "powering off",
            Self::Reboot => "rebooting",
            Self::Halt => "halting",
        })
    }
}

/// Ends what is left, lets the disks go, and the machine. Process 1 alone may call it.
pub(super) fn end_machine(power: Power) -> ! {
    remember_time();
    end_processes();
    rustix::fs::sync();
    for note in release_file_systems() {
        say(&note);
    }
    rustix::fs::sync();
    say(&power.to_string());
    let mode = match power {
        Power::PowerOff => RebootMode::RB_POWER_OFF,
        Power::Reboot => RebootMode::RB_AUTOBOOT,
        Power::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    let Err(error) = reboot(mode);
    say(&format!("the kernel does not do it: {error}"));
    sandbox::stay_alive(c"a switch-off that the kernel refused")
}

/// The clock does not go back behind this when the machine comes back ([`early`](super::early)).
fn remember_time() {
    let path = Path::new(CLOCK);
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    // Without a place to keep it the next boot has a worse clock, no more.
    if made.is_ok() {
        fs::write(path, "").ok();
    }
}

/// SIGTERM and SIGKILL to everybody, with time to end after each.
fn end_processes() {
    for (signal, words) in [(Signal::SIGTERM, "ending"), (Signal::SIGKILL, "killing")] {
        // Nobody is a child of ours once all have ended: who loses a parent becomes one.
        if reap_until(Instant::now()) {
            return;
        }
        say(&format!("{words} the processes that no unit knows"));
        let everybody = Pid::from_raw(-1);
        kill(everybody, signal).ok();
        if signal == Signal::SIGTERM {
            // A stopped process hears of it, and shells end at a hang-up only.
            kill(everybody, Signal::SIGHUP).ok();
            kill(everybody, Signal::SIGCONT).ok();
        }
        if reap_until(Instant::now() + LAST_WORDS) {
            return;
        }
    }
    say("processes are left that cannot be killed");
}

/// Whether no child is left, at the latest at that time.
fn reap_until(deadline: Instant) -> bool {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    // Blocked since the beginning, but not on every way that leads here.
    children.thread_block().ok();
    let ends = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(_) => return true,
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let Ok(ends) = &ends else { return false };
        let mut polled = [PollFd::new(ends, PollFlags::IN)];
        let time = rustix::time::Timespec::try_from(left).ok();
        poll(&mut polled, time.as_ref()).ok();
        while matches!(ends.read_signal(), Ok(Some(_))) {}
    }
}

/// Lets go of all file systems that hold data; what is busy becomes read-only. Says what did not.
fn release_file_systems() -> Vec<String> {
    let mut notes = Vec::new();
    for _ in 0..ROUNDS {
        let mounts = mounts();
        let mut progress = false;
        for mounted in mounts.iter().rev().filter(|mounted| mounted.can_go()) {
            progress |= umount2(&mounted.target, MntFlags::UMOUNT_NOFOLLOW).is_ok();
        }
        if !progress {
            break;
        }
    }
    for mounted in mounts().iter().rev().filter(|mounted| mounted.holds_data()) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let none = None::<&str>;
        let outcome = mount(none, &mounted.target, none, flags, none);
        if let Err(error) = outcome {
            let target = mounted.target.display();
            let error = io::Error::from(error);
            notes.push(format!("{target} stays writable: {error}"));
        }
    }
    notes
}

#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    target: PathBuf,
    kind: String,
    is_read_only: bool,
}

impl Mounted {
    /// The kernel's own file systems hold nothing that could be lost, and are needed until the end.
    fn is_of_the_kernel(&self) -> bool {
        const KINDS: [&str; 18] = [
            "proc",
            "sysfs",
            "devtmpfs",
            "devpts",
            "cgroup",
            "cgroup2",
            "mqueue",
            "hugetlbfs",
            "securityfs",
            "debugfs",
            "tracefs",
            "configfs",
            "fusectl",
            "pstore",
            "bpf",
            "efivarfs",
            "binfmt_misc",
            "rpc_pipefs",
        ];
        KINDS.contains(&self.kind.as_str())
    }

    fn can_go(&self) -> bool {
        let is_kept = ["/", "/run", "/dev"]
            .iter()
            .any(|kept| self.target == Path::new(kept));
        !is_kept && !self.is_of_the_kernel()
    }

    fn holds_data(&self) -> bool {
        !self.is_read_only
            && !self.is_of_the_kernel()
            && self.kind != "tmpfs"
            && self.kind != "ramfs"
    }
}

fn mounts() -> Vec<Mounted> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// proc_pid_mountinfo(5). Lines that are none are passed over.
fn parse_mounts(text: &str) -> Vec<Mounted> {
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let target = front.nth(4)?;
        let own = front.next()?;
        let mut back = back.split(' ');
        let kind = back.next()?.to_owned();
        let of_file_system = back.nth(1).unwrap_or_default();
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Mounted {
            target: unescape(target),
            kind,
            is_read_only: has_ro(own) || has_ro(of_file_system),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\ooo`.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match tail.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// On the console; a console that is stopped keeps nothing up.
pub(super) fn say(text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let console = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open("/dev/console");
    if let Ok(mut console) = console {
        writeln!(console, "herd: {text}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_with_data_are_let_go_and_the_kernels_stay() {
        let text = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                    23 22 0:21 / /proc rw - proc proc rw\n\
                    24 22 8:2 / /srv/my\\040data rw - xfs /dev/sda2 rw\n\
                    25 22 8:3 / /mnt ro - ext4 /dev/sda3 ro\n\
                    26 22 0:25 / /run rw - tmpfs tmpfs rw\n\
                    nonsense\n";
        let mounts = parse_mounts(text);
        let go: Vec<_> = mounts
            .iter()
            .filter(|m| m.can_go())
            .map(|m| &m.target)
            .collect();
        assert_eq!(go, [Path::new("/srv/my data"), Path::new("/mnt")]);
        let data: Vec<_> = mounts
            .iter()
            .filter(|m| m.holds_data())
            .map(|m| &m.target)
            .collect();
        assert_eq!(data, [Path::new("/"), Path::new("/srv/my data")]);
    }
}
