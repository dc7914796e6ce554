//! Entries into unit files.
//!
//! `mount-PATH` mounts, `fsck-PATH` checks before it, `swap-PATH` swaps; `fsck-root` and `remount-root` are the root's.
//! Each runs the tools of util-linux, so that `herd cat` shows what will be done.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use units::UnitName;
use units::load::{mount_unit, path_unit};
use units::value::duration::format_duration;

use super::kinds::{has_check, has_program, is_of_network};
use super::options::Wishes;
use super::{Entry, Table};
use crate::pid1::mounts::early_at;

/// For services to stop first ([`unmount`](crate::pid1::tasks)), and for umount(8).
const STOP_OF_ANSWERED: Duration = Duration::from_secs(150);

/// What the units depend on beside the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Our own executable, for the verbs of `herd machine`.
    pub herd: String,
    /// `fsck.mode=` of the kernel's command line.
    pub check: Check,
    /// The root stays as the kernel mounted it when the table says nothing of it (`herd.root=ro`).
    pub keeps_root: bool,
    /// What the command line masks.
    pub masked: Vec<UnitName>,
    /// Units that lines require and that cannot be had.
    pub missing: BTreeSet<UnitName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    #[default]
    Auto,
    Force,
    Skip,
}

/// The units of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// Name and text.
    pub units: BTreeMap<String, String>,
    /// Who wants (`false`) or requires (`true`) whom.
    pub ties: Vec<(String, String, bool)>,
    /// What lines require that is none of these units.
    pub required: BTreeSet<UnitName>,
    pub notes: Vec<String>,
}

/// herd's own logs and every program lie there: they are let go at the very end, not by a unit.
const KEPT: [&str; 4] = ["/usr", "/etc", "/var", "/var/log"];
impl Made {
    pub fn of(table: &Table, machine: &Machine) -> Self {
        let mut made = Self {
            notes: table.problems.clone(),
            ..Self::default()
        };
        let root = Path::new("/");
        let of_root = table
            .entries
            .iter()
            .find(|entry| entry.target.as_deref() == Some(root));
        made.remount_root(of_root, machine);
        for entry in &table.entries {
            match entry.target.as_deref() {
                None => made.swap(entry, machine),
                Some(target) if target == root => {}
                Some(target) => made.mount(entry, target, machine),
            }
        }
        let Self {
            units, required, ..
        } = &mut made;
        required.retain(|name| !units.contains_key(name.as_str()));
        made
    }

    /// The kernel mounts the root read-only, and the boot makes it what the table says.
    fn remount_root(&mut self, entry: Option<&Entry>, machine: &Machine) {
        let mut text = Text::new("The root with its options");
        match entry {
            Some(entry) => {
                let wishes = self.wishes(entry);
                if self.check("fsck-root", entry, &wishes, machine, true) {
                    text.list("requires", ["fsck-root"]);
                    text.list("after", ["fsck-root"]);
                    // Nothing is written to a root that cannot be repaired.
                    self.tie("local-fs", "fsck-root", true);
                }
                text.list("before", ["local-fs-pre", "local-fs"]);
                // Reads the line itself, and leaves what it does not name.
                text.command("command", ["mount", "-o", "remount", "/"]);
            }
            None if machine.keeps_root => return,
            None => {
                text.list("before", ["local-fs-pre", "local-fs"]);
                text.command("command", ["mount", "-o", "remount,rw", "/"]);
                text.line("[condition]\npath_is_read_write = \"!/\"");
            }
        }
        self.add("remount-root", text);
        // Without it much still works, and somebody can come and look.
        self.tie("local-fs", "remount-root", false);
    }

    fn mount(&mut self, entry: &Entry, target: &Path, machine: &Machine) {
        let shown = target.display().to_string();
        let wishes = self.wishes(entry);
        let Some(name) = mount_unit(target) else {
            self.note(entry, "the mount point is too long for the name of a unit");
            return;
        };
        if let Some(early) = early_at(target) {
            if wishes.options.iter().any(|option| option != "defaults") {
                let options = format!("remount,{}", early.options_with(&wishes.options));
                let mut text = Text::new(&format!("{shown} with the options of {}", of(entry)));
                text.list("before", ["local-fs"]);
                // With both a source and a target mount(8) takes these words and no others.
                let words = ["mount", "-t", early.kind(), "-o", &options];
                let places = [early.kind(), &shown];
                text.command("command", words.into_iter().chain(places));
                self.add(name.as_str(), text);
                self.tie("local-fs", name.as_str(), false);
            }
            return;
        }
        let is_remote = wishes.is_remote || is_of_network(&entry.kind);
        let mut text = Text::new(&format!("{shown}, {}", of(entry)));
        let order = order(is_remote);
        let mut after: Vec<String> = order.after.iter().map(|name| (*name).to_owned()).collect();
        let mut requires: Vec<String> = Vec::new();
        let fsck = path_unit("fsck", target).map(|name| name.to_string());
        if let Some(fsck) = fsck
            && self.check(&fsck, entry, &wishes, machine, false)
        {
            after.push(fsck.clone());
            requires.push(fsck);
        }
        if entry.kind == "tmpfs" && !wishes.is_remote {
            // It may lie in swap: at the end it goes first.
            after.push("swap".to_owned());
        }
        after.extend(wishes.after.iter().map(ToString::to_string));
        let (missing, there) = self.requirements(entry, &wishes, machine);
        requires.extend(there);
        let mut wants: Vec<String> = order.wants.iter().map(|name| (*name).to_owned()).collect();
        wants.extend(missing.iter().cloned());
        text.list("requires", &requires);
        text.list("after", &after);
        text.list("wants", &wants);
        text.list("before", names(&wishes.before));
        let mut mounts_for = wishes.mounts_for.clone();
        let above = target.parent().filter(|above| *above != Path::new("/"));
        mounts_for.extend(above.map(|above| above.display().to_string()));
        // A directory that is bound, the file behind a loop device.
        let is_local_path = entry.source.starts_with('/') && !is_remote;
        let is_plain = !entry.source.split('/').any(|part| part == "..");
        if is_local_path && is_plain && !entry.source.starts_with("/dev/") {
            mounts_for.push(entry.source.clone());
        }
        mounts_for.sort();
        mounts_for.dedup();
        text.paths("requires_mounts_for", &mounts_for);
        let mut command = vec![machine.herd.as_str(), "machine", "mount", "--line"];
        let line = entry.line.to_string();
        command.push(&line);
        let timeout = format_duration(wishes.device_timeout);
        if is_device(&entry.source) && !is_remote {
            command.extend(["--timeout", &timeout]);
        }
        for name in &missing {
            command.extend(["--missing", name]);
        }
        if wishes.only_writable {
            command.push("--only-writable");
        }
        let options = wishes.options.join(",");
        command.extend(["--kind", &entry.kind, "--options", &options]);
        command.extend(["--", &entry.source, &shown]);
        text.command("command", command);
        if !KEPT.iter().any(|kept| Path::new(kept) == target) {
            let mut words = vec![machine.herd.as_str(), "machine", "unmount"];
            // Nothing orders its end after that of services.
            if wishes.is_nofail || wishes.is_noauto {
                if is_remote || has_program(&entry.kind) {
                    words.push("--answered");
                    text.line(&format!(
                        "timeout_stop = \"{}\"",
                        format_duration(Some(STOP_OF_ANSWERED))
                    ));
                }
                words.extend(["--", &shown]);
            } else {
                words = vec!["umount", &shown];
            }
            text.command("command_stop", words);
        }
        text.timeout(wishes.device_timeout, wishes.mount_timeout);
        self.finish(name.as_str(), text, &wishes, order.target);
    }

    fn swap(&mut self, entry: &Entry, machine: &Machine) {
        let wishes = self.wishes(entry);
        let path = device_path(&entry.source);
        let Some(name) = path_unit("swap", Path::new(&path)) else {
            self.note(entry, "the device is too long for the name of a unit");
            return;
        };
        let order = order(wishes.is_remote);
        let mut text = Text::new(&format!("Swap on {}, {}", entry.source, of(entry)));
        let (missing, there) = self.requirements(entry, &wishes, machine);
        text.list("requires", &there);
        let mut wants = missing.clone();
        let mut after: Vec<String> = Vec::new();
        if wishes.is_remote {
            after.extend(order.after.iter().map(|name| (*name).to_owned()));
            wants.extend(order.wants.iter().map(|name| (*name).to_owned()));
        } else {
            after.push("remount-root".to_owned());
        }
        after.extend(wishes.after.iter().map(ToString::to_string));
        text.list("after", &after);
        text.list("wants", &wants);
        text.list("before", names(&wishes.before));
        let mut mounts_for = wishes.mounts_for.clone();
        if !is_device(&entry.source) {
            mounts_for.push(entry.source.clone());
        }
        text.paths("requires_mounts_for", &mounts_for);
        let herd = machine.herd.as_str();
        let line = entry.line.to_string();
        let mut command = [herd, "machine", "swap-on", "--line", &line]
            .map(str::to_owned)
            .to_vec();
        if is_device(&entry.source) {
            let timeout = format_duration(wishes.device_timeout);
            command.extend(["--timeout".to_owned(), timeout]);
        }
        for name in missing {
            command.extend(["--missing".to_owned(), name]);
        }
        command.extend(["--", "swapon"].map(str::to_owned));
        for option in &wishes.options {
            match option.split_once('=').unwrap_or((option, "")) {
                ("pri", number) => match number.parse::<i32>() {
                    Ok(0..) => command.extend(["-p".to_owned(), number.to_owned()]),
                    // The kernel gives one.
                    Ok(_) => {}
                    Err(_) => {
                        let note = format!("{option} is passed over: a priority is a number");
                        self.note(entry, &note);
                    }
                },
                ("discard", "") => command.push("--discard".to_owned()),
                ("discard", policy) => command.push(format!("--discard={policy}")),
                ("defaults" | "sw" | "rw" | "sync", "") => {}
                _ => {
                    let note = format!("{option} is passed over: it is no option of swap");
                    self.note(entry, &note);
                }
            }
        }
        command.push(entry.source.clone());
        text.command("command", command);
        text.command("command_stop", [herd, "machine", "swap-off", &entry.source]);
        text.timeout(wishes.device_timeout, wishes.mount_timeout);
        self.finish(name.as_str(), text, &wishes, "swap");
    }

    /// Whether the file system is checked first, by a unit of that name.
    fn check(
        &mut self,
        name: &str,
        entry: &Entry,
        wishes: &Wishes,
        machine: &Machine,
        is_root: bool,
    ) -> bool {
        let is_checked = entry.pass > 0
            && is_device(&entry.source)
            && !wishes.is_bind
            && machine.check != Check::Skip
            && !is_of_network(&entry.kind)
            && has_check(&entry.kind);
        if !is_checked {
            return false;
        }
        let what = entry.target.as_deref().unwrap_or(Path::new("/"));
        let mut text = Text::new(&format!("Check of {}, {}", what.display(), of(entry)));
        if is_root {
            text.list("before", ["local-fs-pre", "local-fs"]);
        } else {
            text.list("after", order(wishes.is_remote).after);
        }
        let line = entry.line.to_string();
        let timeout = format_duration(wishes.device_timeout);
        let mut command = vec![machine.herd.as_str(), "machine", "check"];
        command.extend(["--line", &line, "--timeout", &timeout]);
        if is_root {
            command.push("--root");
        }
        // One file system of a disk after the other (-l), and what can be repaired without asking is (-a).
        command.extend(["--", "fsck", "-a", "-T", "-l"]);
        if machine.check == Check::Force {
            command.push("-f");
        }
        if is_root && entry.kind != "auto" {
            // Its device may be none that fsck(8) finds in the table.
            command.extend(["-t", &entry.kind]);
        }
        command.push(&entry.source);
        text.command("command", command);
        text.line("[condition]");
        let program = match entry.kind.as_str() {
            "auto" => "/sbin/fsck".to_owned(),
            kind => format!("/sbin/fsck.{kind}"),
        };
        text.paths("file_is_executable", &[program]);
        if is_root {
            text.line("path_is_read_write = \"!/\"");
        }
        self.add(name, text);
        true
    }

    fn finish(&mut self, name: &str, mut text: Text, wishes: &Wishes, target: &str) {
        if wishes.is_nofail || wishes.is_noauto {
            // The target does not wait for it.
            text.line("default_dependencies = false");
        }
        self.add(name, text);
        for by in &wishes.wanted_by {
            self.tie(by.as_str(), name, false);
        }
        for by in &wishes.required_by {
            self.tie(by.as_str(), name, true);
        }
        let is_claimed = !wishes.wanted_by.is_empty() || !wishes.required_by.is_empty();
        if !wishes.is_noauto && !is_claimed {
            self.tie(target, name, !wishes.is_nofail);
        }
    }

    /// The units that a line requires: those that cannot be had, and the others.
    fn requirements(
        &mut self,
        entry: &Entry,
        wishes: &Wishes,
        machine: &Machine,
    ) -> (Vec<String>, Vec<String>) {
        self.required.extend(wishes.requires.iter().cloned());
        let is_missing = |name: &&UnitName| machine.missing.contains(*name);
        let (missing, there): (Vec<_>, Vec<_>) = wishes.requires.iter().partition(is_missing);
        for name in &missing {
            self.note(entry, &format!("it requires {name}, which cannot be had"));
        }
        (names(missing), names(there))
    }

    fn wishes(&mut self, entry: &Entry) -> Wishes {
        let wishes = Wishes::of(&entry.options);
        for note in &wishes.notes {
            self.note(entry, note);
        }
        wishes
    }

    fn note(&mut self, entry: &Entry, note: &str) {
        self.notes.push(format!("{}: {note}", of(entry)));
    }

    fn add(&mut self, name: &str, text: Text) {
        self.units.insert(name.to_owned(), text.0);
    }

    fn tie(&mut self, by: &str, name: &str, strongly: bool) {
        self.ties.push((by.to_owned(), name.to_owned(), strongly));
    }
}

fn of(entry: &Entry) -> String {
    format!("line {} of {}", entry.line, super::PATH)
}

struct Order {
    target: &'static str,
    after: &'static [&'static str],
    wants: &'static [&'static str],
}

fn order(is_remote: bool) -> Order {
    match is_remote {
        true => Order {
            target: "remote-fs",
            after: &["remote-fs-pre", "network", "network-online", "remount-root"],
            wants: &["network-online"],
        },
        false => Order {
            target: "local-fs",
            // By their names too: nobody has to start local-fs-pre, and then no order passes through it.
            after: &["local-fs-pre", "fsck-root", "remount-root"],
            wants: &[],
        },
    }
}

/// Tags that blkid(8) finds, and where udev keeps links for them.
pub(crate) const TAGS: [(&str, &str); 5] = [
    ("UUID=", "/dev/disk/by-uuid"),
    ("LABEL=", "/dev/disk/by-label"),
    ("PARTUUID=", "/dev/disk/by-partuuid"),
    ("PARTLABEL=", "/dev/disk/by-partlabel"),
    ("ID=", "/dev/disk/by-id"),
];

pub(super) fn is_device(source: &str) -> bool {
    source.starts_with("/dev/") || TAGS.iter().any(|(tag, _)| source.starts_with(tag))
}

fn device_path(source: &str) -> String {
    let tagged = |(tag, directory): &(&str, &str)| {
        let value = source.strip_prefix(tag)?;
        Some(format!("{directory}/{}", value.trim_matches('"')))
    };
    TAGS.iter()
        .find_map(tagged)
        .unwrap_or_else(|| source.to_owned())
}

fn names<'a>(units: impl IntoIterator<Item = &'a UnitName>) -> Vec<String> {
    units.into_iter().map(ToString::to_string).collect()
}

/// The text of a oneshot that stays, written key by key.
struct Text(String);

impl Text {
    fn new(description: &str) -> Self {
        let mut text = Self(String::new());
        text.line(&format!("description = {}", quoted(description)));
        text.line("oneshot = true\nremain_after_exit = true");
        text
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Nothing for an empty list.
    fn list(&mut self, key: &str, words: impl IntoIterator<Item = impl AsRef<str>>) {
        // Names of units are escaped already, and have no specifiers.
        let quoted: Vec<String> = words
            .into_iter()
            .map(|word| quoted(word.as_ref()))
            .collect();
        if !quoted.is_empty() {
            self.line(&format!("{key} = [{}]", quoted.join(", ")));
        }
    }

    fn paths(&mut self, key: &str, paths: &[String]) {
        self.list(key, paths);
    }

    fn command(&mut self, key: &str, words: impl IntoIterator<Item = impl AsRef<str>>) {
        let words: Vec<String> = words
            .into_iter()
            .map(|word| quoted(&word.as_ref().replace('$', "$$")))
            .collect();
        match key {
            _ if words.is_empty() => {}
            // A list of commands, of which there is one.
            "command" => self.line(&format!("{key} = [{}]", words.join(", "))),
            _ => self.line(&format!("{key} = [[{}]]", words.join(", "))),
        }
    }

    /// Of a start that waits for its device first.
    fn timeout(&mut self, device: Option<Duration>, mount: Option<Duration>) {
        let whole = device
            .zip(mount)
            .map(|(device, mount)| device.saturating_add(mount));
        self.line(&format!("timeout_start = \"{}\"", format_duration(whole)));
    }
}

/// A basic string of TOML in which no specifier is left.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' => quoted.push_str("%%"),
            // Writing to a String does not fail.
            other if other.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(other)).unwrap_or_default()
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
