//! Waiting for a device: nothing is polled, who makes a node or finds a disk is heard.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use units::value::duration::{DurationError, format_duration, parse_duration};

use super::super::fstab::TAGS;
use super::tell_status;

/// Why a device is not there.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("{device} has not come within {timeout}")]
    TimedOut { device: String, timeout: String },
    #[error("the timeout {text:?} is wrong")]
    Timeout { text: String, source: DurationError },
    #[error("cannot wait for {device}")]
    Wait { device: String, source: io::Error },
}

/// `None` is without end.
pub(super) fn timeout(text: &str) -> Result<Option<Duration>, DeviceError> {
    parse_duration(text).map_err(|source| DeviceError::Timeout {
        text: text.to_owned(),
        source,
    })
}

/// As [`wait`]; meanwhile herd is told what for.
pub(super) fn wait_and_tell(
    device: &str,
    timeout: Option<Duration>,
) -> Result<PathBuf, DeviceError> {
    if let Some(found) = find(device) {
        return Ok(found);
    }
    let most = timeout.map_or_else(String::new, |_| {
        format!(", {} at most", format_duration(timeout))
    });
    tell_status(&format!("device {device}{most}"));
    let found = wait(device, timeout);
    tell_status("");
    found
}

/// The device's path, as soon as there is one.
pub(super) fn wait(device: &str, timeout: Option<Duration>) -> Result<PathBuf, DeviceError> {
    if let Some(found) = find(device) {
        return Ok(found);
    }
    let failed = |source: io::Error| DeviceError::Wait {
        device: device.to_owned(),
        source,
    };
    let ears = Ears::open(timeout).map_err(failed)?;
    loop {
        // Before the look: what comes in between is heard.
        ears.watch(device);
        if let Some(found) = find(device) {
            return Ok(found);
        }
        if !ears.listen().map_err(failed)? {
            return Err(DeviceError::TimedOut {
                device: device.to_owned(),
                timeout: format_duration(timeout),
            });
        }
    }
}

/// The device that `/` lies on, whatever fstab calls it (`/dev/root`); `None` where it lies on none that has a node.
pub(super) fn of_root() -> Option<PathBuf> {
    let device = rustix::fs::stat("/").ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}/uevent");
    let text = std::fs::read_to_string(path).ok()?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))?;
    let node = Path::new("/dev").join(name);
    let is_it = rustix::fs::stat(&node).is_ok_and(|found| found.st_rdev == device);
    is_it.then_some(node)
}

fn find(device: &str) -> Option<PathBuf> {
    if device.starts_with('/') {
        let path = PathBuf::from(device);
        return path.exists().then_some(path);
    }
    if let Some(link) = link(device)
        && let Ok(path) = std::fs::canonicalize(link)
    {
        return Some(path);
    }
    // Without udev nobody keeps links.
    ask("findfs", &[device]).or_else(|| ask("blkid", &["-l", "-o", "device", "-t", device]))
}

/// Where udev keeps the device of a tag.
fn link(device: &str) -> Option<PathBuf> {
    let tagged = |(tag, directory): &(&str, &str)| {
        let value = device.strip_prefix(tag)?.trim_matches('"');
        Some(Path::new(directory).join(encoded(value)))
    };
    TAGS.iter().find_map(tagged)
}

/// As udev writes a label as a name: what is neither a letter nor one of these becomes `\x20`.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for character in value.chars() {
        match character {
            plain if plain.is_ascii_alphanumeric() || "#+-.:=@_".contains(plain) => {
                text.push(plain)
            }
            wide if !wide.is_ascii() => text.push(wide),
            other => text.push_str(&format!("\\x{:02x}", u32::from(other))),
        }
    }
    text
}

/// The first line that a program of util-linux answers with.
fn ask(program: &str, words: &[&str]) -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of its own below a unit, with nothing but its stdio"
    )]
    let output = std::process::Command::new(program)
        .args(words)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next().filter(|line| line.starts_with('/'))?;
    output.status.success().then(|| PathBuf::from(line))
}

/// What says that something has changed.
struct Ears {
    files: OwnedFd,
    /// The kernel's news of devices; `None` in a container.
    kernel: Option<OwnedFd>,
    timer: OwnedFd,
}

impl Ears {
    fn open(timeout: Option<Duration>) -> io::Result<Self> {
        let files = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kernel = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )
        .and_then(|socket| bind(&socket, &SocketAddrNetlink::new(0, 1)).map(|()| socket));
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        if let Some(timeout) = timeout {
            let none = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let value = Timespec::try_from(timeout.max(Duration::from_nanos(1)))
                .map_err(|_| io::ErrorKind::InvalidInput)?;
            let once = Itimerspec {
                it_interval: none,
                it_value: value,
            };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
        }
        Ok(Self {
            files,
            kernel: kernel.ok(),
            timer,
        })
    }

    /// Every directory on the way to it that is there.
    fn watch(&self, device: &str) {
        let path = match device.starts_with('/') {
            true => PathBuf::from(device),
            false => link(device).unwrap_or_else(|| PathBuf::from("/dev/x")),
        };
        let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        for directory in path
            .ancestors()
            .skip(1)
            .filter(|path| path.parent().is_some())
        {
            // One that is not there is made in the one above it.
            inotify::add_watch(&self.files, directory, flags).ok();
        }
    }

    /// Waits for news; `false` when the time is over.
    fn listen(&self) -> io::Result<bool> {
        let mut polled = vec![
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.files, PollFlags::IN),
        ];
        polled.extend(self.kernel.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            other => other?,
        };
        let is_over = polled
            .first()
            .is_some_and(|timer| timer.revents().contains(PollFlags::IN));
        drop(polled);
        drain(&self.files);
        self.kernel.iter().for_each(drain);
        Ok(!is_over)
    }
}

/// What it says does not matter: everything is looked at again.
fn drain(fd: &OwnedFd) {
    let mut buffer = [0_u8; 8192];
    while rustix::io::read(fd.as_fd(), &mut buffer).is_ok_and(|count| count > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_looked_for_where_udev_would_put_it() {
        let path = |device| link(device).unwrap().display().to_string();
        assert_eq!(path("UUID=12-ab"), "/dev/disk/by-uuid/12-ab");
        assert_eq!(path("LABEL=\"my data\""), "/dev/disk/by-label/my\\x20data");
        assert_eq!(link("tmpfs"), None);
    }

    #[test]
    fn a_file_that_comes_is_seen_and_one_that_does_not_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("by-x/sda1");
        let device = path.to_str().unwrap();
        let error = wait(device, Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{device} has not come within 1ms")
        );
        let made = path.clone();
        let maker = std::thread::spawn(move || {
            std::fs::create_dir(made.parent().unwrap()).unwrap();
            std::fs::write(made, "").unwrap();
        });
        assert_eq!(wait(device, None).unwrap(), path);
        maker.join().unwrap();
    }
}
