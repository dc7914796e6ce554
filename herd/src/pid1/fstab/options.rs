//! The fourth field: what is herd's to do, and what is handed to mount(8).
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use units::UnitName;
use units::load::{mount_unit, path_unit};
use units::value::duration::parse_duration;

/// systemd.mount(5).
const DEVICE_TIMEOUT: Duration = Duration::from_secs(90);
const MOUNT_TIMEOUT: Duration = Duration::from_secs(90);

/// Splits at commas, but for those in double quotes (`context="a,b"`).
pub(super) fn words(field: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut is_quoted = false;
    for character in field.chars() {
        match character {
            ',' if !is_quoted => words.push(std::mem::take(&mut word)),
            other => {
                is_quoted ^= other == '"';
                word.push(other);
            }
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// What the options of an entry want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    /// For mount(8), in their order.
    pub(super) options: Vec<String>,
    /// Made, but nobody starts it.
    pub(super) is_noauto: bool,
    /// Nobody waits for it, and nobody minds.
    pub(super) is_nofail: bool,
    /// After the network.
    pub(super) is_remote: bool,
    /// `bind` and `rbind`.
    pub(super) is_bind: bool,
    /// mount(8) is not to fall back to read-only.
    pub(super) only_writable: bool,
    pub(super) requires: Vec<UnitName>,
    pub(super) after: Vec<UnitName>,
    pub(super) before: Vec<UnitName>,
    pub(super) mounts_for: Vec<String>,
    pub(super) wanted_by: Vec<UnitName>,
    pub(super) required_by: Vec<UnitName>,
    /// `None` is without end.
    pub(super) device_timeout: Option<Duration>,
    pub(super) mount_timeout: Option<Duration>,
    pub(super) notes: Vec<String>,
}

impl Wishes {
    pub(super) fn of(words: &[String]) -> Self {
        let mut wishes = Self {
            options: Vec::new(),
            is_noauto: false,
            is_nofail: false,
            is_remote: false,
            is_bind: false,
            only_writable: false,
            requires: Vec::new(),
            after: Vec::new(),
            before: Vec::new(),
            mounts_for: Vec::new(),
            wanted_by: Vec::new(),
            required_by: Vec::new(),
            device_timeout: Some(DEVICE_TIMEOUT),
            mount_timeout: Some(MOUNT_TIMEOUT),
            notes: Vec::new(),
        };
        for word in words {
            match word.as_str() {
                "noauto" => wishes.is_noauto = true,
                "auto" => wishes.is_noauto = false,
                "nofail" => wishes.is_nofail = true,
                "fail" => wishes.is_nofail = false,
                "_netdev" => wishes.is_remote = true,
                other => match other.strip_prefix("x-systemd.") {
                    Some(own) => wishes.hear(own, word),
                    None if is_for_others(other) => {}
                    None => {
                        wishes.is_bind |= matches!(other, "bind" | "rbind");
                        wishes.options.push(word.clone());
                    }
                },
            }
        }
        wishes
    }

    fn hear(&mut self, own: &str, word: &str) {
        let (key, value) = own.split_once('=').unwrap_or((own, ""));
        match key {
            "requires" => {
                if let Some(name) = self.unit(value, word) {
                    self.after.push(name.clone());
                    self.requires.push(name);
                }
            }
            "after" => {
                let name = self.unit(value, word);
                self.after.extend(name);
            }
            "before" => {
                let name = self.unit(value, word);
                self.before.extend(name);
            }
            "wanted-by" => {
                let name = self.unit(value, word);
                self.wanted_by.extend(name);
            }
            "required-by" => {
                let name = self.unit(value, word);
                self.required_by.extend(name);
            }
            "requires-mounts-for" | "wants-mounts-for" => {
                if Path::new(value).is_absolute() {
                    self.mounts_for.push(value.to_owned());
                } else {
                    self.complain(word, "it takes an absolute path");
                }
            }
            "device-timeout" => self.device_timeout = self.time(value, word, self.device_timeout),
            "mount-timeout" => self.mount_timeout = self.time(value, word, self.mount_timeout),
            "rw-only" => self.only_writable = true,
            "automount" if !matches!(value, "no" | "false" | "0" | "off") => {
                // What is mounted at its first use only keeps no boot up.
                self.is_nofail = true;
                self.complain(word, "it is mounted at the boot, as with nofail");
            }
            "automount" => {}
            "idle-timeout" => self.complain(word, "what is idle stays mounted"),
            "device-bound" => self.complain(word, "it stays mounted when its device goes"),
            "makefs" | "growfs" | "pcrfs" | "verity" => {
                self.complain(word, "herd changes no file system");
            }
            _ => self.complain(word, "there is no such option"),
        }
    }

    /// A unit in systemd's words: `db.service`, `network-online.target`, `srv.mount`, or a path.
    fn unit(&mut self, text: &str, word: &str) -> Option<UnitName> {
        let path = Path::new(text);
        let name = if path.is_absolute() {
            // A device is waited for anyway.
            if path.starts_with("/dev") {
                return None;
            }
            mount_unit(path)
        } else if text.ends_with(".device") {
            return None;
        } else if let Some(escaped) = text.strip_suffix(".mount") {
            match escaped {
                "-" => path_unit("mount", Path::new("/")),
                other => UnitName::new(&format!("mount-{other}")).ok(),
            }
        } else {
            let bare = text
                .strip_suffix(".service")
                .or(text.strip_suffix(".target"))
                .unwrap_or(text);
            UnitName::new(bare).ok().filter(|name| !name.is_template())
        };
        if name.is_none() {
            self.complain(word, "that is no unit and no path");
        }
        name
    }

    /// systemd.time(7): a bare number is seconds, 0 is without end.
    fn time(&mut self, text: &str, word: &str, before: Option<Duration>) -> Option<Duration> {
        let parsed = match text.parse() {
            Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
            Err(_) => parse_duration(text),
        };
        match parsed {
            Ok(time) => time.filter(|time| !time.is_zero()),
            Err(error) => {
                self.complain(word, &error.to_string());
                before
            }
        }
    }

    fn complain(&mut self, word: &str, why: &str) {
        self.notes.push(format!("{word} is passed over: {why}"));
    }
}

/// Options that programs keep for themselves (mount(8)): no file system knows them.
fn is_for_others(word: &str) -> bool {
    word.starts_with("x-") || word.starts_with("comment=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str) -> Wishes {
        Wishes::of(&words(field))
    }

    fn names(units: &[UnitName]) -> Vec<&str> {
        units.iter().map(UnitName::as_str).collect()
    }

    #[test]
    fn what_is_herds_does_not_reach_mount() {
        let wishes =
            of("rw,noatime,nofail,_netdev,x-initrd.mount,comment=x,context=\"a,b\",noauto,auto");
        assert_eq!(wishes.options, ["rw", "noatime", "context=\"a,b\""]);
        assert!(wishes.is_nofail && wishes.is_remote && !wishes.is_noauto);
        assert_eq!(wishes.notes, [""; 0]);
    }

    #[test]
    fn systemds_options_name_units_as_herd_calls_them() {
        let wishes = of("x-systemd.requires=/srv/data,x-systemd.after=db.service,\
                         x-systemd.before=a\\x2db.mount,x-systemd.requires=dev-sda1.device,\
                         x-systemd.wanted-by=multi-user.target,x-systemd.requires-mounts-for=/opt");
        assert_eq!(names(&wishes.requires), ["mount-srv-data"]);
        assert_eq!(names(&wishes.after), ["mount-srv-data", "db"]);
        assert_eq!(names(&wishes.before), ["mount-a\\x2db"]);
        assert_eq!(names(&wishes.wanted_by), ["multi-user"]);
        assert_eq!(wishes.mounts_for, ["/opt"]);
        assert_eq!(wishes.notes, [""; 0]);
    }

    #[test]
    fn times_are_seconds_or_have_units_and_0_is_without_end() {
        let seconds = |field: &str| of(field).device_timeout.map(|time| time.as_secs());
        assert_eq!(seconds(""), Some(90));
        assert_eq!(seconds("x-systemd.device-timeout=5"), Some(5));
        assert_eq!(seconds("x-systemd.device-timeout=2min"), Some(120));
        assert_eq!(seconds("x-systemd.device-timeout=0"), None);
        assert_eq!(seconds("x-systemd.device-timeout=infinity"), None);
    }

    #[test]
    fn what_herd_does_not_do_is_said() {
        let wishes = of(
            "x-systemd.automount,x-systemd.idle-timeout=5,x-systemd.makefs,\
                         x-systemd.nonsense,x-systemd.mount-timeout=5 parsecs,x-systemd.requires=a/b",
        );
        assert!(wishes.is_nofail);
        assert_eq!(
            wishes.notes,
            [
                "x-systemd.automount is passed over: it is mounted at the boot, as with nofail",
                "x-systemd.idle-timeout=5 is passed over: what is idle stays mounted",
                "x-systemd.makefs is passed over: herd changes no file system",
                "x-systemd.nonsense is passed over: there is no such option",
                "x-systemd.mount-timeout=5 parsecs is passed over: \"parsecs\" is no unit of time",
                "x-systemd.requires=a/b is passed over: that is no unit and no path",
            ]
        );
    }
}
