//! Machine or container: whether there is a kernel below that is herd's to boot and to switch off, or a manager
//! outside that started herd and will take its place back.
//!
//! [`Place::of`] decides from [`Facts`] alone; [`Facts::read`] collects them, and needs no `/proc`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The inode of the initial PID namespace: `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// capabilities(7).
const CAP_SYS_BOOT: u32 = 22;

/// What the decision is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub is_process_1: bool,
    /// The number of the parent; 0 of one outside of our PID namespace.
    pub parent: u32,
    /// Process 1 was told to start this command, as `tini -- herd run /units`: options of its own, and then our words.
    pub is_command_of_process_1: bool,
    /// systemd serves this place (sd_booted(3)).
    pub has_systemd: bool,
    /// `$container`: managers set it for process 1 (systemd's container interface); a machine's kernel hands
    /// unknown `NAME=value` words of its command line on as environment, so it works there too.
    pub variable: Option<String>,
    /// `/run/systemd/container` or `/run/host/container-manager`: what process 1 was told, for all others. Images
    /// of machines that were made of a container may have them too.
    pub file: Option<String>,
    /// The inode of `/proc/self/ns/pid`; `None` where `/proc` is not mounted yet, as on a machine at first, or is
    /// another PID namespace's.
    pub pid_namespace: Option<u64>,
    /// Process 2 is there: in the initial PID namespace it is kthreadd, from before the first process begins
    /// (`rest_init` of the kernel's `init/main.c`). A new namespace has it only once somebody was started there.
    pub sees_process_2: bool,
    pub may_reboot: bool,
    /// `/run/.containerenv` is there: podman, buildah.
    pub has_containerenv: bool,
    /// `/.dockerenv` is there: docker. Images of machines that were made of a container have it too.
    pub has_dockerenv: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Machine,
    Container(Container),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// `podman`, `docker`, `systemd-nspawn`, …, as far as somebody said so.
    pub manager: Option<String>,
    pub sign: Sign,
}

/// By what a container was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Variable,
    File,
    PidNamespace,
    NoReboot,
    Containerenv,
    Dockerenv,
}

/// How a process comes to be what a container was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Its first process.
    First,
    /// Started by its first process, a small init (`docker run --init`, tini) whose command it is. Being its child
    /// alone says nothing: who loses a parent becomes one.
    BelowInit,
    /// Started from outside beside the first process: `exec`, or containers that share a PID namespace.
    Beside,
}

impl Entry {
    /// Nothing where this is no container, or a service of one that systemd serves.
    pub fn of(facts: &Facts) -> Option<Self> {
        if !Place::of(facts).is_container() {
            return None;
        }
        match facts.parent {
            _ if facts.is_process_1 => Some(Self::First),
            0 => Some(Self::Beside),
            1 if facts.is_command_of_process_1 && !facts.has_systemd => Some(Self::BelowInit),
            _ => None,
        }
    }

    /// As whom herd stands in this place, in words.
    pub fn words(self, place: &Place) -> String {
        match self {
            Self::First => format!("process 1 of {place}"),
            Self::BelowInit => format!("below process 1 of {place}"),
            Self::Beside => format!("beside process 1 of {place}"),
        }
    }
}

impl Place {
    /// A word of the manager counts first, in the environment before that in a file. The first process of the initial PID namespace is a machine's, whatever
    /// files lie about, unless it may not even reboot; for any other process the files count.
    pub fn of(facts: &Facts) -> Self {
        let sign = if facts.variable.is_some() {
            Some(Sign::Variable)
        } else if facts.file.is_some() && !facts.is_first_of_machine() {
            Some(Sign::File)
        } else if facts.is_below_another() {
            Some(Sign::PidNamespace)
        } else if facts.is_process_1 {
            (!facts.may_reboot).then_some(Sign::NoReboot)
        } else if facts.has_containerenv {
            Some(Sign::Containerenv)
        } else {
            facts.has_dockerenv.then_some(Sign::Dockerenv)
        };
        let Some(sign) = sign else {
            return Self::Machine;
        };
        let by_file = || match facts {
            _ if facts.has_containerenv => Some("podman".to_owned()),
            _ if facts.has_dockerenv => Some("docker".to_owned()),
            _ => None,
        };
        // `container=1` and the like say that it is one, not whose.
        let said = facts
            .variable
            .clone()
            .or_else(|| facts.file.clone())
            .filter(|value| !value.is_empty() && !value.bytes().all(|byte| byte.is_ascii_digit()));
        Self::Container(Container {
            manager: said.or_else(by_file),
            sign,
        })
    }

    /// Where this process runs.
    pub fn here() -> Self {
        Self::of(&Facts::read())
    }

    /// By what the kernel enforces alone: the PID namespace and the capability. Whether reboot(2) would reach a
    /// machine is no question of files or variables, which may be left over or missing.
    pub fn by_kernel(facts: &Facts) -> Self {
        let sign = if facts.is_below_another() {
            Some(Sign::PidNamespace)
        } else {
            (!facts.may_reboot).then_some(Sign::NoReboot)
        };
        sign.map_or(Self::Machine, |sign| {
            Self::Container(Container {
                manager: None,
                sign,
            })
        })
    }

    pub fn is_container(&self) -> bool {
        matches!(self, Self::Container(_))
    }
}

impl Facts {
    /// The PID namespace is not the initial one.
    fn is_below_another(&self) -> bool {
        match self.pid_namespace {
            Some(inode) => inode != INITIAL_PID_NAMESPACE,
            None => self.is_process_1 && !self.sees_process_2,
        }
    }

    fn is_first_of_machine(&self) -> bool {
        self.is_process_1 && !self.is_below_another() && self.may_reboot
    }

    /// Reads the environment, a few files and the capabilities; what cannot be read is not there.
    pub fn read() -> Self {
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let is_there = |path: &str| fs::symlink_metadata(path).is_ok();
        Self {
            is_process_1: super::is_first_process(),
            parent: rustix::process::getppid()
                .map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs()),
            is_command_of_process_1: is_command_of_process_1(),
            has_systemd: is_there("/run/systemd/system"),
            variable: std::env::var_os("container").map(text),
            file: said_to_process_1("/run/systemd/container")
                .or_else(|| said_to_process_1("/run/host/container-manager")),
            pid_namespace: fs::metadata("/proc/self/ns/pid")
                .ok()
                .map(|metadata| metadata.ino()),
            sees_process_2: rustix::process::Pid::from_raw(2).is_some_and(|pid| {
                rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
            }),
            may_reboot: sandbox::capabilities_of_caller()
                .is_ok_and(|sets| sets.effective & (1 << CAP_SYS_BOOT) != 0),
            has_containerenv: is_there("/run/.containerenv"),
            has_dockerenv: is_there("/.dockerenv"),
        }
    }
}

fn is_command_of_process_1() -> bool {
    let line = |process: &str| fs::read(format!("/proc/{process}/cmdline"));
    match (line("1"), line("self")) {
        (Ok(first), Ok(own)) => names_as_its_command(&first, &own),
        _ => false,
    }
}

/// proc_pid_cmdline(5), of process 1 and of this one: a program, options, perhaps `--`, and then our words. What
/// stands behind another program's name, as a shell's, was started by that.
fn names_as_its_command(first: &[u8], own: &[u8]) -> bool {
    let Some(before) = first.strip_suffix(own).filter(|_| !own.is_empty()) else {
        return false;
    };
    let Some(before) = before.strip_suffix(b"\0") else {
        return false;
    };
    let mut options = before.split(|byte| *byte == 0).skip(1);
    let ends_options = |word: &[u8]| word == b"--";
    if before.split(|byte| *byte == 0).skip(1).any(ends_options) {
        // Options before it may have values of their own.
        return options.find(|word| ends_options(word)).is_some() && options.next().is_none();
    }
    options.all(|word| word.starts_with(b"-"))
}

/// Where process 1 or the manager itself keeps `$container` for the others.
fn said_to_process_1(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("a machine"),
            Self::Container(Container { manager, sign }) => {
                f.write_str("a container")?;
                if let Some(manager) = manager {
                    write!(f, " of {manager}")?;
                }
                write!(f, ", by {sign}")
            }
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "the variable `container`",
            Self::File => "what its manager left in /run",
            Self::PidNamespace => "a PID namespace that is not the machine's",
            Self::NoReboot => "the want of CAP_SYS_BOOT",
            Self::Containerenv => "/run/.containerenv",
            Self::Dockerenv => "/.dockerenv",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Facts {
        Facts {
            is_process_1: true,
            pid_namespace: Some(INITIAL_PID_NAMESPACE),
            sees_process_2: true,
            may_reboot: true,
            ..Facts::default()
        }
    }

    fn sign(facts: &Facts) -> Option<Sign> {
        match Place::of(facts) {
            Place::Machine => None,
            Place::Container(container) => Some(container.sign),
        }
    }

    #[test]
    fn the_first_process_of_a_machine_is_known_with_and_without_proc() {
        assert_eq!(Place::of(&machine()), Place::Machine);
        let early = Facts {
            pid_namespace: None,
            ..machine()
        };
        assert_eq!(Place::of(&early), Place::Machine);
        let alone = Facts {
            sees_process_2: false,
            ..early
        };
        assert_eq!(sign(&alone), Some(Sign::PidNamespace));
    }

    #[test]
    fn a_file_left_in_a_machines_image_makes_no_container_of_it() {
        let image = Facts {
            has_dockerenv: true,
            has_containerenv: true,
            file: Some("lxc".into()),
            ..machine()
        };
        assert_eq!(Place::of(&image), Place::Machine);
        let weak = Facts {
            may_reboot: false,
            ..image.clone()
        };
        assert_eq!(sign(&weak), Some(Sign::File));
        let other = Facts {
            is_process_1: false,
            file: None,
            ..image
        };
        assert_eq!(sign(&other), Some(Sign::Containerenv));
    }

    #[test]
    fn each_sign_alone_makes_a_container() {
        let said = Facts {
            variable: Some("podman".into()),
            ..machine()
        };
        assert_eq!(sign(&said), Some(Sign::Variable));
        let namespace = Facts {
            pid_namespace: Some(4_026_532_201),
            ..machine()
        };
        assert_eq!(sign(&namespace), Some(Sign::PidNamespace));
        let weak = Facts {
            may_reboot: false,
            ..machine()
        };
        assert_eq!(sign(&weak), Some(Sign::NoReboot));
        let docker = Facts {
            is_process_1: false,
            has_dockerenv: true,
            ..machine()
        };
        assert_eq!(sign(&docker), Some(Sign::Dockerenv));
    }

    #[test]
    fn what_a_container_was_started_for_is_known_by_its_parent() {
        let entry = |is_process_1, parent, has_systemd| {
            Entry::of(&Facts {
                is_process_1,
                parent,
                is_command_of_process_1: true,
                has_systemd,
                variable: Some("podman".into()),
                ..machine()
            })
        };
        assert_eq!(entry(true, 0, false), Some(Entry::First));
        assert_eq!(entry(false, 1, false), Some(Entry::BelowInit));
        assert_eq!(entry(false, 0, false), Some(Entry::Beside));
        assert_eq!(entry(false, 1, true), None);
        assert_eq!(entry(false, 7, false), None);
        assert_eq!(Entry::of(&machine()), None);
        let reparented = Facts {
            is_process_1: false,
            parent: 1,
            variable: Some("podman".into()),
            ..machine()
        };
        assert_eq!(Entry::of(&reparented), None);
    }

    #[test]
    fn the_command_of_process_1_stands_behind_its_options() {
        let is_its = |first: &str| {
            let line = |words: &str| words.replace(' ', "\0") + "\0";
            names_as_its_command(line(first).as_bytes(), line("herd run /units").as_bytes())
        };
        for init in [
            "tini herd run /units",
            "/sbin/docker-init -- herd run /units",
            "tini -g -p SIGTERM -- herd run /units",
            "dumb-init -c herd run /units",
        ] {
            assert!(is_its(init), "{init}");
        }
        for other in [
            "herd run /units",
            "tini -- sh -c script sh herd run /units",
            "sh -c script herd run /units",
            "tini -- sh -- herd run /units",
            "tini -- xherd run /units",
            "sleep 1000",
            "",
        ] {
            assert!(!is_its(other), "{other}");
        }
    }

    #[test]
    fn an_ordinary_process_that_may_not_reboot_is_on_a_machine() {
        let user = Facts {
            is_process_1: false,
            may_reboot: false,
            ..machine()
        };
        assert_eq!(Place::of(&user), Place::Machine);
    }

    #[test]
    fn the_end_of_a_machine_asks_the_kernel_alone() {
        let left_over = Facts {
            is_process_1: false,
            variable: Some("docker".into()),
            file: Some("lxc".into()),
            has_dockerenv: true,
            ..machine()
        };
        assert_eq!(Place::by_kernel(&left_over), Place::Machine);
        let below = Facts {
            pid_namespace: Some(4_026_532_201),
            ..left_over.clone()
        };
        assert_eq!(
            Place::by_kernel(&below).to_string(),
            "a container, by a PID namespace that is not the machine's"
        );
        let weak = Facts {
            may_reboot: false,
            ..left_over
        };
        assert!(Place::by_kernel(&weak).is_container());
    }

    #[test]
    fn the_manager_is_named_as_far_as_it_is_known() {
        let text = |facts: &Facts| Place::of(facts).to_string();
        let mut facts = Facts {
            variable: Some("systemd-nspawn".into()),
            ..machine()
        };
        assert_eq!(
            text(&facts),
            "a container of systemd-nspawn, by the variable `container`"
        );
        facts.variable = Some("1".into());
        assert_eq!(text(&facts), "a container, by the variable `container`");
        facts.has_containerenv = true;
        assert_eq!(
            text(&facts),
            "a container of podman, by the variable `container`"
        );
        assert_eq!(text(&machine()), "a machine");
    }
}
