//! The units that the binary brings along: a machine boots with this one file and `/etc/herd/enabled`.
//!
//! They are written to `/run/herd/boot`, the weakest directory of all: `herd cat sysinit` shows one, a
//! drop-in in `/etc/herd/available/sysinit.toml.d` changes one, a file of the same name replaces it, and
//! `herd.mask=` takes it away for one boot.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use units::UnitName;
use units::load::{self, Boot, SearchPath};

use super::command_line::Wishes;
use super::fstab::{self, Machine, Made};

/// Where the units of a boot are written.
pub(super) const DIRECTORY: &str = "/run/herd/boot";

/// The files that were made of fstab, to be taken away when it is read again.
const OF_FSTAB: &str = ".fstab";

macro_rules! units {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../boot/", $name, ".toml")))),+]
    };
}

/// Name and text of each.
pub(super) const UNITS: &[(&str, &str)] = units![
    "basic",
    "bluetooth",
    "boot-complete",
    "console",
    "cryptsetup",
    "debug-shell",
    "default",
    "dhcp@",
    "emergency",
    "emergency-shell",
    "eudev",
    "final",
    "getty",
    "getty@",
    "graphical",
    "graphical-session",
    "graphical-session-pre",
    "linger",
    "local-fs",
    "local-fs-pre",
    "machine-id",
    "machines",
    "modules-load",
    "multi-user",
    "network",
    "network-online",
    "network-pre",
    "networking",
    "nfs-client",
    "nss-lookup",
    "nss-user-lookup",
    "online@",
    "paths",
    "power-button",
    "printer",
    "random-seed",
    "remote-cryptsetup",
    "remote-fs",
    "remote-fs-pre",
    "rescue",
    "rescue-shell",
    "rpc_pipefs",
    "rpcbind",
    "serial-getty@",
    "shutdown",
    "sleep",
    "slices",
    "smartcard",
    "sockets",
    "sound",
    "static@",
    "swap",
    "sysctl",
    "sysinit",
    "syslog",
    "system-update-pre",
    "sysusers",
    "time-set",
    "time-sync",
    "timers",
    "tmpfiles",
    "udev",
    "udev-settle",
    "udev-trigger",
    "umount",
    "user@",
];

/// Writes the units, and what this machine and this boot add to them.
///
/// # Errors
/// As `mkdir(2)`, `open(2)` and `write(2)`.
pub(super) fn write(directory: &Path, wishes: &Wishes, consoles: &[String]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let herd = own_path();
    for (name, text) in UNITS {
        let text = text.replace("@HERD@", &herd);
        fs::write(directory.join(format!("{name}.toml")), text)?;
    }
    for name in gettys(consoles) {
        tie(directory, "getty", &name, false)?;
    }
    if wishes.debug_shell {
        tie(directory, "sysinit", "debug-shell", false)?;
    }
    Ok(())
}

/// Writes the units of fstab in the place of those of an earlier look at it; says what is wrong with it.
pub(super) fn write_fstab(directory: &Path, machine: &Machine) -> io::Result<Vec<String>> {
    let bytes = match fs::read(fstab::PATH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        read => read.unwrap_or_default(),
    };
    let machine = Machine {
        herd: own_path(),
        ..machine.clone()
    };
    let table = fstab::read(&bytes);
    let made = Made::of(&table, &machine);
    if made.required.is_empty() {
        write_made(directory, &made)?;
        return Ok(made.notes);
    }
    // Whether a unit can be had is found out with none of them needed: one line is not to hinder what another requires.
    let mut machine = machine;
    machine.missing = made.required;
    write_made(directory, &Made::of(&table, &machine))?;
    let loaded = load::load(
        &SearchPath {
            boot: Some(Boot {
                directory: directory.to_owned(),
                goal: Wishes::of([]).goal,
                alone: false,
                masked: machine.masked.clone(),
            }),
            ..SearchPath::system()
        },
        &load::host_facts(),
    );
    machine
        .missing
        .retain(|name| loaded.obstacle(name).is_some());
    let made = Made::of(&table, &machine);
    write_made(directory, &made)?;
    Ok(made.notes)
}

fn write_made(directory: &Path, made: &Made) -> io::Result<()> {
    let list = directory.join(OF_FSTAB);
    for file in fs::read_to_string(&list).unwrap_or_default().lines() {
        // One that is gone already is what is wanted.
        fs::remove_file(directory.join(file)).ok();
    }
    let mut files = Vec::new();
    for (name, text) in &made.units {
        let file = format!("{name}.toml");
        fs::write(directory.join(&file), text)?;
        files.push(file);
    }
    for (by, name, strongly) in &made.ties {
        files.push(tie(directory, by, name, *strongly)?);
    }
    fs::write(list, files.join("\n"))
}

/// The units that were made of fstab, when it was last looked at.
pub(super) fn of_fstab(directory: &Path) -> Vec<UnitName> {
    let list = fs::read_to_string(directory.join(OF_FSTAB)).unwrap_or_default();
    let names = list.lines().filter_map(|file| file.strip_suffix(".toml"));
    names.filter_map(|name| UnitName::new(name).ok()).collect()
}

/// What units run that need herd's own verbs. As process 1 our executable may be gone by name, or come
/// from an initramfs.
fn own_path() -> String {
    let path = fs::read_link("/proc/self/exe").unwrap_or_default();
    match path.to_str().filter(|path| Path::new(path).is_file()) {
        Some(path) => path.to_owned(),
        None => "herd".to_owned(),
    }
}

/// Lets a unit want or require another; the file that says so, below the directory.
fn tie(directory: &Path, unit: &str, name: &str, strongly: bool) -> io::Result<String> {
    let folder = format!("{unit}.{}", if strongly { "requires" } else { "wants" });
    fs::create_dir_all(directory.join(&folder))?;
    let file = format!("{folder}/{name}");
    fs::write(directory.join(&file), "")?;
    Ok(file)
}

/// A login on each console the kernel speaks to, and on the first virtual terminal.
///
/// `consoles` are the words of `/sys/class/tty/console/active`: `tty0` is whichever terminal is in front.
fn gettys(consoles: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for console in consoles {
        names.push(match console.as_str() {
            "tty0" => "getty@tty1".to_owned(),
            // Without a device nobody can log in.
            "ttynull" | "netcon0" => continue,
            name if is_virtual(name) => format!("getty@{name}"),
            name => format!("serial-getty@{name}"),
        });
    }
    names.sort();
    names.dedup();
    names
}

fn is_virtual(name: &str) -> bool {
    let number = name.strip_prefix("tty").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The consoles the kernel speaks to.
pub(super) fn consoles() -> Vec<String> {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let mut names: Vec<String> = active.split_whitespace().map(str::to_owned).collect();
    if names.is_empty() && Path::new("/dev/tty1").exists() {
        names.push("tty0".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use units::SearchPath;
    use units::load::{Boot, load};

    use super::*;

    fn boot(goal: &str, enabled: &[(&str, &str)]) -> (tempfile::TempDir, load::Loaded) {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("boot");
        let wishes = Wishes::of([]);
        write(
            &directory,
            &wishes,
            &["tty0".to_owned(), "ttyS0".to_owned()],
        )
        .unwrap();
        let own = place.path().join("enabled");
        fs::create_dir(&own).unwrap();
        for (name, text) in enabled {
            fs::write(own.join(format!("{name}.toml")), text).unwrap();
        }
        let search = SearchPath {
            enabled: Some(own),
            boot: Some(Boot {
                directory,
                goal: UnitName::new(goal).unwrap(),
                alone: goal != "default",
                masked: Vec::new(),
            }),
            explicit: true,
            ..SearchPath::default()
        };
        let loaded = load(&search, &load::host_facts());
        (place, loaded)
    }

    fn started_by(goal: &str, enabled: &[(&str, &str)]) -> Vec<String> {
        let (_place, loaded) = boot(goal, enabled);
        assert_eq!(loaded.diagnostics, [], "{goal}");
        assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
        let graph = units::Graph::build(loaded.units.values().map(AsRef::as_ref));
        assert_eq!(graph.cycles(), []);
        graph.start_order().map(ToString::to_string).collect()
    }

    #[test]
    fn every_unit_of_the_binary_is_sound_and_the_table_has_every_file() {
        for (name, _) in UNITS {
            match name.ends_with('@') {
                true => started_by(&format!("{name}1000"), &[]),
                false => started_by(name, &[]),
            };
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("boot");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let table: BTreeSet<String> = UNITS
            .iter()
            .map(|(name, _)| format!("{name}.toml"))
            .collect();
        assert_eq!(files, table);
    }

    #[test]
    fn the_manual_names_every_unit_of_the_binary() {
        let manual = include_str!("../../../man/herd.8").replace("\\-", "-");
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_@".contains(c);
        let words: BTreeSet<&str> = manual.split(|c| !is_word(c)).collect();
        for (name, _) in UNITS.iter().filter(|(name, _)| !name.ends_with("-shell")) {
            assert!(words.contains(name), "{name}");
        }
    }

    #[test]
    fn services_come_after_the_set_up_and_before_multi_user() {
        let order = started_by(
            "default",
            &[("web", "command = \"x\"\nwants = [\"network-online\"]")],
        );
        let at = |name: &str| order.iter().position(|have| have == name).unwrap();
        assert!(at("local-fs") < at("sysinit"));
        assert!(at("sysinit") < at("basic"));
        assert!(at("basic") < at("web"));
        assert!(at("web") < at("multi-user"));
        assert!(at("multi-user") < at("default"));
        assert!(order.contains(&"getty@tty1".to_owned()));
        assert!(order.contains(&"serial-getty@ttyS0".to_owned()));
    }

    #[test]
    fn an_order_that_a_unit_gives_itself_goes_before() {
        let early = ("early", "command = \"x\"\nbefore = [\"sysinit\"]");
        let late = ("late", "command = \"x\"\nafter = [\"multi-user\"]");
        let apart = ("apart", "command = \"x\"\ndefault_dependencies = false");
        let order = started_by("default", &[early, late, apart]);
        let at = |name: &str| order.iter().position(|have| have == name).unwrap();
        assert!(at("early") < at("sysinit"));
        assert!(at("multi-user") < at("late"));
        // A goal of one's own is set up for too, and fails without.
        let (_place, loaded) = boot("web", &[("web", "command = \"x\"")]);
        let web = &loaded.units[&UnitName::new("web").unwrap()];
        let sysinit = UnitName::new("sysinit").unwrap();
        assert!(web.dependencies.requires.contains(&sysinit));
        assert!(loaded.units.contains_key(&sysinit));
        let (_place, loaded) = boot("default", &[apart]);
        let apart = &loaded.units[&UnitName::new("apart").unwrap()];
        assert!(apart.dependencies.after.is_empty());
    }

    #[test]
    fn a_rescue_leaves_enabled_units_down() {
        let order = started_by("rescue", &[("web", "command = \"x\"")]);
        assert!(order.contains(&"rescue-shell".to_owned()));
        assert!(order.contains(&"local-fs".to_owned()));
        assert!(!order.contains(&"web".to_owned()));
        let order = started_by("emergency", &[("web", "command = \"x\"")]);
        assert_eq!(order, ["emergency-shell", "emergency"]);
    }

    #[test]
    fn logins_are_where_the_kernel_speaks() {
        let names =
            |words: &[&str]| gettys(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            names(&["tty0", "ttyS0"]),
            ["getty@tty1", "serial-getty@ttyS0"]
        );
        assert_eq!(names(&["hvc0", "ttynull"]), ["serial-getty@hvc0"]);
        assert_eq!(names(&["tty1", "tty0"]), ["getty@tty1"]);
    }
}
