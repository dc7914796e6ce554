//! The doctor on this machine: what it says is so, and nothing is left of its tries.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

use std::collections::BTreeSet;
use std::fs;

use sandbox::Host;
use sandbox::host::UserNamespaces;
use sandbox::host::doctor::{Need, Report, State, Subject, examine};

fn report() -> (Host, Report) {
    let host = Host::detect().unwrap();
    let report = examine(&host);
    (host, report)
}

fn state(report: &Report, name: &str) -> State {
    let found = report.findings.iter().find(|finding| finding.name == name);
    found.unwrap().state
}

#[test]
fn every_finding_has_a_name_of_its_own_words_and_a_way_out() {
    let (_, report) = report();
    let names: BTreeSet<&str> = report.findings.iter().map(|one| &*one.name).collect();
    assert_eq!(names.len(), report.findings.len());
    for finding in &report.findings {
        eprintln!("{finding}");
        assert!(!finding.detail.is_empty(), "{finding}");
        let is_lacking = finding.state != State::Ok;
        assert_eq!(!finding.advice.is_empty(), is_lacking, "{finding}");
        let is_weakness = finding.subject == Subject::Weaknesses;
        assert!(finding.state != State::Weak || is_weakness, "{finding}");
    }
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn readiness_follows_from_the_findings() {
    let (_, report) = report();
    let lacks = |need: Need| {
        let mut findings = report.findings.iter();
        findings.any(|one| one.need == need && one.state != State::Ok)
    };
    assert_eq!(report.default_box_ready, !lacks(Need::Box));
    assert_eq!(
        report.strict_ready,
        report.default_box_ready && !lacks(Need::Key)
    );
    assert!(report.readiness_score <= 100);
}

#[test]
fn what_the_host_says_and_what_was_tried_agree() {
    let (host, report) = report();
    let is_ok = |name: &str| state(&report, name) == State::Ok;
    if host.user_namespaces == UserNamespaces::Allowed {
        assert!(is_ok("user namespace"));
    }
    assert_eq!(is_ok("system call filter"), host.seccomp);
    assert_eq!(is_ok("session keyring"), host.keyrings);
    if host.is_root && host.cgroups.v2.as_ref().is_some_and(|v2| v2.writable) {
        assert!(is_ok("cgroup"));
    }
    assert_eq!(is_ok("abstract sockets"), host.landlock_abi >= 6);
}

#[test]
fn nothing_is_left_of_what_was_tried() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let children = || fs::read_to_string("/proc/thread-self/children").unwrap();
    let groups = || {
        let own = Host::detect().unwrap().cgroups.v2.map(|v2| v2.own);
        let entries = own.into_iter().flat_map(|own| fs::read_dir(own).unwrap());
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with(&format!("herd-doctor-{}", std::process::id())))
            .count()
    };
    let before = (mounts(), descriptors(), children(), groups());
    drop(report());
    assert_eq!((mounts(), descriptors(), children(), groups()), before);
}
