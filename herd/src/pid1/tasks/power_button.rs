//! The power button, of a machine or of a virtual one (`virsh shutdown`, qemu's `system_powerdown`): nobody
//! asks for it by a signal, it is a key of the kernel's input devices, and something has to listen.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, inotify, open};

/// Where the kernel tells of input devices, and where their nodes are.
const DEVICES: &str = "/sys/class/input";
const NODES: &str = "/dev/input";
/// `input-event-codes.h`.
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// `struct input_event`: two longs of time, then kind, code and value.
const EVENT: usize = 24;

/// Returns once it is pressed.
///
/// # Errors
/// As `inotify_init1(2)` and `poll(2)`. A device that cannot be read has no button.
pub(super) fn wait() -> io::Result<()> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let news = inotify::init(flags)?;
    let mut buttons = BTreeMap::new();
    loop {
        // Before the look: what comes in between is heard. The folder comes with the first device.
        for place in ["/dev", NODES] {
            let made = inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB;
            inotify::add_watch(&news, place, made).ok();
        }
        look(&mut buttons);
        if !listen(&news, &mut buttons)? {
            continue;
        }
        return Ok(());
    }
}

/// Opens the devices that have such a key and are not open yet.
fn look(buttons: &mut BTreeMap<String, OwnedFd>) {
    let devices = fs::read_dir(DEVICES).into_iter().flatten().flatten();
    for device in devices {
        let Ok(name) = device.file_name().into_string() else {
            continue;
        };
        let keys = fs::read_to_string(device.path().join("device/capabilities/key"));
        if !name.starts_with("event") || !keys.is_ok_and(|keys| has_key(&keys, KEY_POWER)) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if !buttons.contains_key(&name)
            && let Ok(fd) = open(Path::new(NODES).join(&name), flags, Mode::empty())
        {
            super::tell(&format!("listening to {NODES}/{name}"));
            buttons.insert(name, fd);
        }
    }
}

/// Waits for news; whether the button was pressed.
fn listen(news: &OwnedFd, buttons: &mut BTreeMap<String, OwnedFd>) -> io::Result<bool> {
    let mut polled: Vec<_> = std::iter::once(news)
        .chain(buttons.values())
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    match poll(&mut polled, None) {
        Err(rustix::io::Errno::INTR) => return Ok(false),
        other => other?,
    };
    drop(polled);
    let mut buffer = [0_u8; EVENT * 64];
    while rustix::io::read(news.as_fd(), &mut buffer).is_ok_and(|count| count > 0) {}
    let mut is_pressed = false;
    buttons.retain(|_, fd| {
        loop {
            match rustix::io::read(fd.as_fd(), &mut buffer) {
                Ok(count @ 1..) => is_pressed |= buffer.get(..count).is_some_and(has_press),
                Err(rustix::io::Errno::AGAIN) => return true,
                // It is gone.
                Ok(0) | Err(_) => return false,
            }
        }
    });
    Ok(is_pressed)
}

/// The kernel's bits of what a device has: words of 64 bits, the last one first.
fn has_key(bits: &str, key: u16) -> bool {
    let word = bits.split_whitespace().rev().nth(usize::from(key / 64));
    let word = word.and_then(|word| u64::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word & (1 << (key % 64)) != 0)
}

/// Whether one of these events is the button going down.
fn has_press(events: &[u8]) -> bool {
    events.chunks_exact(EVENT).any(|event| {
        let parts = (event.get(16..18), event.get(18..20), event.get(20..24));
        let (Some(kind), Some(code), Some(value)) = parts else {
            return false;
        };
        kind == EV_KEY.to_ne_bytes()
            && code == KEY_POWER.to_ne_bytes()
            && value == 1_i32.to_ne_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_the_key_is_told_from_others() {
        // An ACPI button, a sleep button, a keyboard, a mouse.
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("4000 0 0\n", KEY_POWER));
        assert!(has_key(
            "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe",
            KEY_POWER
        ));
        assert!(!has_key("1f0000 0 0 0 0", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
    }

    #[test]
    fn only_the_button_going_down_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        let sync = event(0, 0, 0);
        let down = event(EV_KEY, KEY_POWER, 1);
        assert!(has_press(&[sync.clone(), down.clone()].concat()));
        assert!(!has_press(
            &[event(EV_KEY, KEY_POWER, 0), sync, event(EV_KEY, 30, 1)].concat()
        ));
        assert!(!has_press(down.get(..20).unwrap()));
    }
}
