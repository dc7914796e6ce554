//! What the kernel's command line, and the arguments of `init`, want of a boot.
//!
//! As in systemd(1) and bootparam(7): `rescue`, `single`, `s`, `S` and `1` are the rescue shell,
//! `emergency` and `-b` the emergency one; `herd.unit=` names another goal, `herd.mask=` a unit that is
//! not to be there, `herd.setenv=NAME=value` what every service has in its environment, `herd.root=ro` leaves a root
//! alone that fstab does not name. `systemd.unit=` and `systemd.mask=` mean the same, for loaders that write them,
//! and `fsck.mode=` what systemd-fsck(8) says. What is not ours is the kernel's or somebody else's and passed over.
#![forbid(unsafe_code)]

use std::fs;

use units::UnitName;

use super::fstab::Check;

/// The wishes of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) goal: UnitName,
    /// Nothing but the goal and what it needs.
    pub(super) alone: bool,
    pub(super) masked: Vec<UnitName>,
    /// No words on the console unless something fails.
    pub(super) quiet: bool,
    /// What every service has in its environment (`herd.setenv=NAME=value`).
    pub(super) environment: Vec<(String, String)>,
    /// What becomes of file systems that fstab names (`fsck.mode=`).
    pub(super) check: Check,
    /// A root that fstab does not name stays as the kernel mounted it (`herd.root=ro`).
    pub(super) keeps_root: bool,
    /// A shell on tty9 from the first moment on, for those who look for what hangs.
    pub(super) debug_shell: bool,
    /// What could not be understood, to be said once there is somewhere to say it.
    pub(super) complaints: Vec<String>,
}

/// The goal of an ordinary boot.
pub(super) const DEFAULT: &str = "default";
/// Goals that enabled units do not come up with.
const ALONE: [&str; 2] = ["rescue", "emergency"];

/// Claims that with this goal enabled units stay down.
pub fn is_alone(goal: &str) -> bool {
    ALONE.contains(&goal)
}

impl Wishes {
    /// Of words in order, later ones before earlier: the command line's, then the arguments'.
    pub(super) fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut wishes = Self {
            goal: UnitName::new(DEFAULT).expect("a valid name"),
            alone: false,
            masked: Vec::new(),
            quiet: false,
            environment: Vec::new(),
            check: Check::Auto,
            keeps_root: false,
            debug_shell: false,
            complaints: Vec::new(),
        };
        for word in words {
            wishes.hear(word);
        }
        wishes
    }

    fn hear(&mut self, word: &str) {
        match word {
            "rescue" | "single" | "s" | "S" | "1" => return self.aim("rescue", word),
            "emergency" | "-b" => return self.aim("emergency", word),
            // Runlevels of sysvinit: all but 1 come to the same.
            "2" | "3" | "4" => return self.aim("multi-user", word),
            "5" => return self.aim("graphical", word),
            "quiet" => {
                self.quiet = true;
                return;
            }
            "herd.debug_shell" | "systemd.debug_shell" | "systemd.debug-shell" => {
                self.debug_shell = true;
                return;
            }
            _ => {}
        }
        let Some((key, value)) = word.split_once('=') else {
            return;
        };
        if key == "fsck.mode" {
            match value {
                "auto" => self.check = Check::Auto,
                "force" => self.check = Check::Force,
                "skip" => self.check = Check::Skip,
                _ => self.complain(word, "it takes auto, force or skip"),
            }
            return;
        }
        match key.strip_prefix("herd.").or(key.strip_prefix("systemd.")) {
            Some("unit") => self.aim(bare(value), word),
            Some("mask") => match UnitName::new(bare(value)) {
                Ok(name) => self.masked.push(name),
                Err(problem) => self.complain(word, &problem.to_string()),
            },
            Some("setenv") => match value.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    self.environment.push((name.to_owned(), value.to_owned()));
                }
                _ => self.complain(word, "it takes NAME=value"),
            },
            Some("root") if key.starts_with("herd.") => match value {
                "ro" => self.keeps_root = true,
                "rw" => self.keeps_root = false,
                _ => self.complain(word, "it takes ro or rw"),
            },
            Some("debug_shell" | "debug-shell") => self.debug_shell = is_yes(value),
            // Words of systemd that have no counterpart are nobody's mistake.
            Some(other) if key.starts_with("herd.") => {
                self.complain(word, &format!("there is no herd.{other}"));
            }
            _ => {}
        }
    }

    fn aim(&mut self, goal: &str, word: &str) {
        match UnitName::new(goal) {
            Ok(name) if !name.is_template() => {
                self.alone = is_alone(goal);
                self.goal = name;
            }
            Ok(_) => self.complain(word, "a template is no goal"),
            Err(problem) => self.complain(word, &problem.to_string()),
        }
    }

    fn complain(&mut self, word: &str, problem: &str) {
        let text = format!("{word:?} on the command line is passed over: {problem}");
        self.complaints.push(text);
    }
}

/// The line as the kernel keeps it. Loaders hand on any bytes: one that is no text leaves the other words as they are.
pub fn of_kernel() -> String {
    String::from_utf8_lossy(&fs::read("/proc/cmdline").unwrap_or_default()).into_owned()
}

/// The words of `/proc/cmdline`, where double quotes hold spaces together
/// (`Documentation/admin-guide/kernel-parameters.rst`). What stands behind `--` is for init.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut is_quoted = false;
    for character in line.trim_end_matches(['\n', '\0']).chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            space if space.is_ascii_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words.retain(|word| word != "--");
    words
}

/// `multi-user.target` is called `multi-user` here.
fn bare(name: &str) -> &str {
    name.strip_suffix(".target")
        .or(name.strip_suffix(".service"))
        .unwrap_or(name)
}

fn is_yes(value: &str) -> bool {
    matches!(value, "1" | "yes" | "true" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Wishes {
        let words = words(line);
        Wishes::of(words.iter().map(String::as_str))
    }

    #[test]
    fn a_plain_line_wants_the_default() {
        let wishes = of("BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet console=ttyS0\n");
        assert_eq!(wishes.check, Check::Auto);
        assert_eq!(of("fsck.mode=skip").check, Check::Skip);
        assert!(of("herd.root=ro").keeps_root && !wishes.keeps_root);
        assert_eq!(wishes.goal.as_str(), "default");
        assert!(wishes.quiet && !wishes.alone && wishes.complaints.is_empty());
    }

    #[test]
    fn the_last_goal_counts_and_systemds_names_are_known() {
        let wishes =
            of("rescue systemd.unit=graphical.target herd.mask=web systemd.mask=db.service");
        assert_eq!(wishes.goal.as_str(), "graphical");
        assert!(!wishes.alone);
        let masked: Vec<&str> = wishes.masked.iter().map(UnitName::as_str).collect();
        assert_eq!(masked, ["web", "db"]);
        for word in ["single", "s", "S", "1", "rescue"] {
            assert_eq!((of(word).goal.as_str(), of(word).alone), ("rescue", true));
        }
        assert_eq!(of("emergency").goal.as_str(), "emergency");
        assert_eq!(of("-b").goal.as_str(), "emergency");
    }

    #[test]
    fn what_is_wrong_is_told_and_passed_over() {
        let wishes = of(
            "herd.unit=../x herd.nonsense=1 herd.unit=getty@ herd.setenv=TZ fsck.mode=x herd.root=x",
        );
        assert_eq!(wishes.goal.as_str(), "default");
        assert_eq!(
            wishes.complaints,
            [
                "\"herd.unit=../x\" on the command line is passed over: a unit name cannot hold '/'; \
                 letters, digits and _ - . : \\ @ are allowed",
                "\"herd.nonsense=1\" on the command line is passed over: there is no herd.nonsense",
                "\"herd.unit=getty@\" on the command line is passed over: a template is no goal",
                "\"herd.setenv=TZ\" on the command line is passed over: it takes NAME=value",
                "\"fsck.mode=x\" on the command line is passed over: it takes auto, force or skip",
                "\"herd.root=x\" on the command line is passed over: it takes ro or rw",
            ]
        );
    }

    #[test]
    fn quotes_hold_spaces_together() {
        assert_eq!(
            words("a \"b c\" d=\"e f\" -- g\n"),
            ["a", "b c", "d=e f", "g"]
        );
    }
}
