//! Runs the probe in a box through the real herd and brings back what it saw.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::fixture::{Builder, Herd, program};
use crate::needs;

/// A oneshot unit around the probe: top-level lines, lines of `[box]`, further tables.
#[derive(Debug, Clone)]
pub(crate) struct Boxed {
    pub(crate) top: String,
    pub(crate) keys: String,
    pub(crate) tables: String,
}

/// `boxed = true` and nothing else.
pub(crate) fn default_box() -> Boxed {
    Boxed {
        top: String::new(),
        keys: String::new(),
        tables: String::new(),
    }
}

pub(crate) fn probe() -> PathBuf {
    program("probe")
}

/// What a service needs to run on this machine: in user-mode Linux a C library that uses the larger
/// registers crashes (tests/vm/launch.c), and is told not to.
pub(crate) fn machine() -> &'static str {
    if std::env::var_os("HERD_VM").is_some() {
        "pass_environment = ['GLIBC_TUNABLES']\n"
    } else {
        ""
    }
}

impl Boxed {
    pub(crate) fn top(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
    }

    pub(crate) fn keys(mut self, lines: &str) -> Self {
        self.keys.push_str(lines);
        self.keys.push('\n');
        self
    }

    pub(crate) fn tables(mut self, lines: &str) -> Self {
        self.tables.push_str(lines);
        self.tables.push('\n');
        self
    }

    /// The unit that runs the probe with these words, its standard output in the file `out`.
    pub(crate) fn unit(&self, words: &str) -> String {
        format!(
            "stdout = 'file:@D@/out'\noneshot = true\n{}",
            self.service(words)
        )
    }

    /// The same as a service whose lines are logged.
    pub(crate) fn service(&self, words: &str) -> String {
        let probe = probe();
        let probe = probe.display();
        // Where the repository lies below a home, the box would hide the probe.
        let bind = if self.keys.contains("bind_read_only_paths") || !self.has_mounts() {
            String::new()
        } else {
            format!("bind_read_only_paths = ['{probe}']\n")
        };
        let machine = if self.top.contains("pass_environment") {
            ""
        } else {
            machine()
        };
        format!(
            "command = \"{probe} {words}\"\nrestart = 'no'\nboxed = true\n{machine}{}[box]\n{bind}{}{}",
            self.top, self.keys, self.tables
        )
    }

    fn has_mounts(&self) -> bool {
        let lists = |line: &str| line.starts_with("namespaces = [");
        let listed = !self.keys.lines().any(lists) || self.keys.contains("\"mount\"");
        listed && !self.keys.contains("profile = 'none'")
    }

    /// Runs the probe as root's herd does and gives its output.
    pub(crate) fn output(&self, words: &str) -> String {
        run(Herd::builder(), &self.unit(words)).1
    }

    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.output("report")).unwrap()
    }

    /// Each attack's answer: `ok` or the name of the error.
    pub(crate) fn tries(&self, attacks: &[&str]) -> BTreeMap<String, String> {
        let output = self.output(&format!("tries {}", attacks.join(" ")));
        serde_json::from_str(&output).unwrap()
    }

    /// The one answer.
    pub(crate) fn answer(&self, attack: &str) -> String {
        self.tries(&[attack]).remove(attack).unwrap()
    }
}

/// Starts a herd, has it run the unit to its end, and gives both the herd and the unit's output.
pub(crate) fn run(builder: Builder, unit: &str) -> (Herd, String) {
    let herd = builder.available("web", unit).start();
    herd.ok(&["start", "web"]);
    let output = herd.read("out");
    (herd, output)
}

/// The user that herd runs as where it is not root.
pub(crate) const NOBODY: u32 = 65534;

/// Claims that a normal user's herd can make boxes here.
#[must_use]
pub(crate) fn user_boxes() -> bool {
    needs::root()
        && needs::program("setpriv")
        && needs::unshare(&["--user"])
        && is_reachable_by_others()
}

/// A repository below a home is not to be entered by another user.
fn is_reachable_by_others() -> bool {
    let reachable = std::process::Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "test",
            "-x",
        ])
        .arg(probe())
        .status();
    let reachable = reachable.is_ok_and(|status| status.success());
    if !reachable {
        eprintln!("SKIPPED: needs a repository that other users can read");
    }
    reachable
}

/// `unshare` and the like answer this way when a filter stands in front of them.
pub(crate) fn is_refused(answer: &str) -> bool {
    ["EPERM", "EACCES", "ENOSYS"].contains(&answer)
}

/// Living processes below this one that were run as `name`, but for executors kept ready for boxes
/// to come.
pub(crate) fn children_named(name: &str, above: i32) -> Vec<i32> {
    let mut parents = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|text| text.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((before, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        if before.ends_with("(herd-spare") {
            continue;
        }
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let first = cmdline.split(|byte| *byte == 0).next().unwrap_or_default();
        let first = String::from_utf8_lossy(first).into_owned();
        let program = first.rsplit('/').next().unwrap_or_default().to_owned();
        let mut fields = rest.split_whitespace();
        let (state, parent) = (fields.next().unwrap(), fields.next().unwrap());
        parents.insert(pid, (parent.parse::<i32>().unwrap(), program, state == "Z"));
    }
    let is_below = |mut pid: i32| {
        while let Some((parent, ..)) = parents.get(&pid) {
            if *parent == above {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let found = parents
        .iter()
        .filter(|(pid, (_, program, dead))| !dead && program == name && is_below(**pid));
    found.map(|(pid, _)| *pid).collect()
}
