//! `herd doctor`, as root, as a user, and where something is forbidden.

use std::process::Command;

use serde_json::Value;

use crate::box_probe::{NOBODY, user_boxes};
use crate::fixture::{Output, run};
use crate::needs;

/// `herd doctor --json …` under these words.
fn doctor(wrap: &[&str], more: &[&str]) -> (Value, i32) {
    let mut words = wrap.to_vec();
    words.push(env!("CARGO_BIN_EXE_herd"));
    words.extend(["doctor", "--json"]);
    words.extend(more);
    let Output { code, stdout, .. } = run(Command::new(words[0]).args(&words[1..]));
    (serde_json::from_str(&stdout).unwrap(), code)
}

fn finding<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings.find(|finding| finding["name"] == name).unwrap()
}

const AS_NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
    "--",
];

#[test]
fn strict_is_about_the_exit_code_alone() {
    let (report, code) = doctor(&[], &[]);
    assert_eq!(code, 0);
    let (strict, code) = doctor(&[], &["--strict"]);
    assert_eq!(report["readiness_score"], strict["readiness_score"]);
    assert_eq!(code == 0, strict["strict_ready"] == true);
}

#[test]
fn root_and_others_are_told_what_each_may_do() {
    if !user_boxes() {
        return;
    }
    let (root, _) = doctor(&[], &[]);
    let (user, code) = doctor(&AS_NOBODY, &["--strict"]);
    assert_eq!((&root["uid"], &user["uid"]), (&0.into(), &NOBODY.into()));
    assert_eq!(root["default_box_ready"], true);
    let idmapped = finding(&user, "idmapped mounts");
    assert_eq!(idmapped["state"], "refused");
    assert_eq!((code, &user["strict_ready"]), (1, &Value::Bool(false)));
}

#[test]
fn forbidden_user_namespaces_are_named_with_the_way_out() {
    if !user_boxes() {
        return;
    }
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all \
                  --ambient-caps=-all -- \"$0\" \"$@\"";
    let mut wrap = AS_NOBODY.to_vec();
    wrap.extend(["unshare", "--user", "--map-current-user", "--keep-caps"]);
    wrap.extend(["sh", "-c", forbid]);
    let (report, _) = doctor(&wrap, &[]);
    assert_eq!(report["default_box_ready"], false);
    let mounts = finding(&report, "mount namespace");
    assert_eq!(mounts["need"], "box");
    assert_ne!(mounts["state"], "ok");
    let advice = mounts["advice"].as_str().unwrap();
    assert!(
        advice.starts_with("user.max_user_namespaces=0 forbids user namespaces"),
        "{advice}"
    );
}

#[test]
fn a_covered_proc_and_the_weaknesses_of_the_kernel_are_told() {
    if !user_boxes() || !needs::unshare(&["--mount"]) {
        return;
    }
    let cover = "mount --bind /dev/null /proc/version && exec \"$0\" \"$@\"";
    let mut wrap = vec!["unshare", "--mount", "sh", "-c", cover];
    wrap.extend(AS_NOBODY);
    let (report, _) = doctor(&wrap, &[]);
    let proc = finding(&report, "a /proc of its own");
    assert_eq!(proc["state"], "refused", "{proc}");
    let advice = proc["advice"].as_str().unwrap();
    assert!(
        advice.contains("a mount on /proc/version hides"),
        "{advice}"
    );
    let setting = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or_default();
    if setting.trim() == "1" {
        assert_eq!(finding(&report, "terminal input")["state"], "weak");
    }
}
