//! `herd plan`, through the real herd: what a profile comes to, as golden text. What differs from
//! machine to machine (groups, landlock's ABI, places of this herd, the filter's length) is left out.

use crate::fixture::Herd;
use crate::needs;

/// The plan of this unit, without what is the machine's.
fn plan(text: &str) -> String {
    let unit =
        format!("command = '/usr/bin/web --port 80'\nuser = 'nobody'\nboxed = true\n{text}\n");
    let herd = Herd::builder().available("web", &unit).start();
    let directory = herd.dir().display().to_string();
    let plan = herd.ok(&["plan", "web"]);
    let mut lines = Vec::new();
    for line in plan.lines() {
        let step = line
            .trim_start()
            .split_once(". ")
            .map_or(line, |(_, step)| step);
        let is_the_machines = [
            "create cgroup",
            "join cgroup",
            "limit OpenFiles",
            "landlock",
            "without Landlock",
        ];
        if is_the_machines.iter().any(|begin| step.starts_with(begin)) {
            continue;
        }
        if step.contains(&directory) {
            continue;
        }
        let words: Vec<&str> = step.split(' ').collect();
        let words: Vec<&str> = words
            .iter()
            .enumerate()
            .map(|(index, word)| {
                let counted = words.get(index + 1).is_some_and(|next| {
                    next.starts_with("calls)") || next.starts_with("instructions")
                });
                if !counted {
                    *word
                } else if word.starts_with('(') {
                    "(N"
                } else {
                    "N"
                }
            })
            .collect();
        lines.push(words.join(" "));
    }
    lines.join("\n") + "\n"
}

fn is_as_the_golden_file(name: &str, text: &str) {
    if !needs::root() {
        return;
    }
    let found = plan(text);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(format!("box-{name}.plan"));
    if std::env::var_os("HERD_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found,
        golden,
        "tests/dev golden rewrites {}",
        path.display()
    );
}

#[test]
fn the_default_box_is_this_plan() {
    is_as_the_golden_file("default", "state_directory = 'web'");
}

#[test]
fn the_strict_profile_is_this_plan() {
    is_as_the_golden_file("strict", "[box]\nprofile = 'strict'");
}

#[test]
fn the_minimal_profile_is_this_plan() {
    is_as_the_golden_file("minimal", "[box]\nprofile = 'minimal'");
}

#[test]
fn a_profile_of_nothing_is_this_plan() {
    is_as_the_golden_file("none", "[box]\nprofile = 'none'");
}

#[test]
fn a_box_with_its_own_root_is_this_plan() {
    let text = "box_root = '/srv/web'\nstate_directory = 'web'\n[box]\n\
                bind_read_only_paths = ['-/etc/resolv.conf']\n[network]\nmode = 'loopback'";
    is_as_the_golden_file("root", text);
}
