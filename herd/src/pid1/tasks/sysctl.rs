//! sysctl.d(5): settings of the kernel.
//!
//! What systemd-sysctl does, in so much: files in the order of their names, later lines before earlier, `-` in front for
//! what may fail, patterns that a line without one goes before. A key that the kernel does not have is said and no error.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{TaskError, conf_d, tell};
use crate::prepare::words;

const KERNEL: &str = "/proc/sys";
/// Read last, unless a link in `sysctl.d` leads to it (as on Debian).
const OLD: &str = "/etc/sysctl.conf";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Below `/proc/sys`, with slashes; may hold `*` and `?`.
    pub key: String,
    /// `None` takes the key out of patterns.
    pub value: Option<String>,
    pub may_fail: bool,
    /// `FILE:LINE`.
    pub place: String,
}

/// Reads a file; what is wrong in it is told with its line.
pub fn parse(file: &str, text: &str) -> (Vec<Setting>, Vec<String>) {
    let mut settings = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let place = format!("{file}:{}", index + 1);
        let (may_fail, rest) = match line.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
            None if may_fail => (rest.trim(), None),
            None => {
                problems.push(format!(
                    "{place}: {line:?} is passed over: it is not key = value"
                ));
                continue;
            }
        };
        match normal(key) {
            Some(key) => settings.push(Setting {
                key,
                value,
                may_fail,
                place,
            }),
            None => problems.push(format!("{place}: {key:?} is passed over: it is no key")),
        }
    }
    (settings, problems)
}

/// With slashes between the parts. Where the first separator is a slash, dots belong to names, and otherwise a slash
/// stands for a dot (`net.ipv4.conf.eth0/1.forwarding`).
fn normal(key: &str) -> Option<String> {
    let first = key.find(['.', '/']).and_then(|at| key.get(at..=at));
    let key: String = match first {
        Some(".") => key
            .chars()
            .map(|character| match character {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    };
    let is_part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    (!key.is_empty() && key.split('/').all(is_part)).then_some(key)
}

fn is_pattern(key: &str) -> bool {
    key.contains(['*', '?'])
}

/// Key and setting, patterns resolved by `expand`, in the order of the keys.
fn resolve(settings: &[Setting], expand: impl Fn(&str) -> Vec<String>) -> Vec<(String, &Setting)> {
    let (patterns, plain): (Vec<&Setting>, Vec<&Setting>) = settings
        .iter()
        .partition(|setting| is_pattern(&setting.key));
    let mut last: BTreeMap<String, &Setting> = BTreeMap::new();
    for setting in patterns {
        for key in expand(&setting.key) {
            last.insert(key, setting);
        }
    }
    for setting in plain {
        last.insert(setting.key.clone(), setting);
    }
    last.into_iter()
        .filter(|(_, setting)| setting.value.is_some())
        .collect()
}

pub(super) fn run() -> Result<(), TaskError> {
    let mut count = 0;
    let mut settings = Vec::new();
    let mut files = conf_d::files("sysctl.d");
    let is_old = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == Path::new(OLD));
    if Path::new(OLD).exists() && !files.iter().any(is_old) {
        files.push(OLD.into());
    }
    for path in files {
        match conf_d::text(&path) {
            Ok(text) => {
                let (more, problems) = parse(&path.display().to_string(), &text);
                settings.extend(more);
                count += problems.len();
                problems.iter().for_each(|problem| tell(problem));
            }
            Err(error) => {
                count += 1;
                tell(&format!(
                    "cannot read {}: {}",
                    path.display(),
                    words(&error)
                ));
            }
        }
    }
    for (key, setting) in resolve(&settings, |pattern| matching(Path::new(KERNEL), pattern)) {
        let value = setting.value.as_deref().unwrap_or_default();
        let Err(error) = fs::write(Path::new(KERNEL).join(&key), format!("{value}\n")) else {
            continue;
        };
        tell(&format!(
            "{}: cannot set {key} to {value:?}: {}",
            setting.place,
            words(&error)
        ));
        if !setting.may_fail && error.kind() != io::ErrorKind::NotFound {
            count += 1;
        }
    }
    match count {
        0 => Ok(()),
        count => Err(TaskError::Settings { count }),
    }
}

/// The keys below a directory that a pattern means, part by part.
fn matching(directory: &Path, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/') {
        let mut deeper = Vec::new();
        for above in &found {
            let join = |name: &str| match above.as_str() {
                "" => name.to_owned(),
                above => format!("{above}/{name}"),
            };
            if !is_pattern(part) {
                deeper.push(join(part));
                continue;
            }
            let entries = fs::read_dir(directory.join(above))
                .into_iter()
                .flatten()
                .flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            deeper.extend(
                names
                    .filter(|name| matches(part, name))
                    .map(|name| join(&name)),
            );
        }
        found = deeper;
    }
    found.retain(|key| directory.join(key).exists());
    found.sort();
    found
}

/// `*` is any run of characters, `?` one.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // `reachable[i]`: what was read of the pattern can stand for the first i characters.
    let mut reachable = vec![false; text.len() + 1];
    if let Some(start) = reachable.first_mut() {
        *start = true;
    }
    for wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for (index, slot) in next.iter_mut().enumerate() {
            let before = index.checked_sub(1);
            let have = before.and_then(|index| text.get(index));
            let was = before
                .and_then(|index| reachable.get(index))
                .copied()
                .unwrap_or(false);
            any |= reachable.get(index).copied().unwrap_or(false);
            *slot = match wanted {
                '*' => any,
                '?' => was,
                plain => was && have == Some(&plain),
            };
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_as_the_manual_page_has_them() {
        let (settings, problems) = parse(
            "/etc/sysctl.d/10-x.conf",
            "# one\n; two\nkernel.sysrq = 0\n-net/ipv4/conf/eth0.1/forwarding=1\n\
             net.ipv4.conf.eth0/1.rp_filter=2\n-net.ipv4.conf.lo.rp_filter\n",
        );
        assert_eq!(problems, [""; 0]);
        let keys: Vec<&str> = settings
            .iter()
            .map(|setting| setting.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "kernel/sysrq",
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/rp_filter",
                "net/ipv4/conf/lo/rp_filter",
            ]
        );
        assert_eq!(settings[0].value.as_deref(), Some("0"));
        assert_eq!(settings[0].place, "/etc/sysctl.d/10-x.conf:3");
        assert!(settings[1].may_fail && settings[3].value.is_none());
    }

    #[test]
    fn a_broken_line_is_told_and_stops_no_other() {
        let (settings, problems) =
            parse("x.conf", "kernel.sysrq\n=1\na../b = 2\nkernel.panic = 5\n");
        assert_eq!(
            problems,
            [
                "x.conf:1: \"kernel.sysrq\" is passed over: it is not key = value",
                "x.conf:2: \"\" is passed over: it is no key",
                "x.conf:3: \"a../b\" is passed over: it is no key",
            ]
        );
        assert_eq!(settings.len(), 1);
    }

    #[test]
    fn a_plain_line_goes_before_patterns_and_a_later_one_before_an_earlier() {
        let text = "net.a.x = 1\nnet.*.x = 2\nnet.b.x = 3\n-net.c.x\nnet.b.x = 4\n";
        let (settings, _) = parse("f", text);
        let expand = |_: &str| {
            ["net/a/x", "net/b/x", "net/c/x", "net/d/x"]
                .map(str::to_owned)
                .to_vec()
        };
        let resolved = resolve(&settings, expand);
        let values: Vec<(&str, &str)> = resolved
            .iter()
            .map(|(key, setting)| (key.as_str(), setting.value.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            values,
            [("net/a/x", "1"), ("net/b/x", "4"), ("net/d/x", "2")]
        );
    }

    #[test]
    fn patterns_are_matched_part_by_part() {
        assert!(matches("eth*", "eth0") && matches("*", "") && matches("e?h*0", "eth10"));
        assert!(!matches("eth?", "eth") && !matches("eth*1", "eth0"));
        let place = tempfile::tempdir().unwrap();
        for path in ["net/a", "net/b"] {
            fs::create_dir_all(place.path().join(path)).unwrap();
            fs::write(place.path().join(path).join("x"), "").unwrap();
        }
        fs::write(place.path().join("net/b/y"), "").unwrap();
        assert_eq!(matching(place.path(), "net/*/x"), ["net/a/x", "net/b/x"]);
        assert_eq!(matching(place.path(), "net/*/y"), ["net/b/y"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_no_key_leads_out(text in "\\PC{0,200}") {
            for setting in parse("f", &text).0 {
                prop_assert!(setting.key.split('/').all(|part| !part.is_empty() && part != ".."));
            }
        }
    }
}
