//! `seccomp_profile`, `system_call_log`, and answers of single entries, seen from inside.

use std::io::Write;

use crate::box_probe::default_box;
use crate::fixture::Herd;
use crate::needs;

/// A file with this text, as long as it is held.
fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Lets everything but some calls, and one by its argument.
const PROFILE: &str = r#"{
  "defaultAction": "SCMP_ACT_ALLOW",
  "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  "syscalls": [
    { "names": ["add_key", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 },
    { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
      "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }] },
    { "names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS",
      "includes": { "caps": ["CAP_SYS_PTRACE"] } },
    { "names": ["kcmp"], "action": "SCMP_ACT_TRACE", "excludes": { "caps": ["CAP_SYS_PTRACE"] } }
  ]
}"#;

#[test]
fn a_profile_takes_the_place_of_the_default_list_and_of_no_wall() {
    if !needs::root() {
        return;
    }
    let file = file(PROFILE);
    let key = format!("seccomp_profile = '{}'", file.path().display());
    let case = default_box().keys(&key);
    let answers = case.tries(&[
        "keyctl",
        "add-key",
        "socket|16|3",
        "socket|1|1",
        "kcmp|1",
        "unshare|user",
        "tiocsti",
        "unknown-number",
    ]);
    let said = |attack: &str| answers[attack].as_str();
    // Not in the profile, and in the default list refused.
    assert_eq!(said("keyctl"), "ok");
    assert_eq!(said("add-key"), "EIO");
    assert_eq!((said("socket|16|3"), said("socket|1|1")), ("EACCES", "ok"));
    // Nobody traces.
    assert_eq!(said("kcmp|1"), "ENOSYS");
    // Walls of their own.
    assert_eq!((said("unshare|user"), said("tiocsti")), ("EPERM", "EPERM"));
    assert_eq!(said("unknown-number"), "ENOSYS");
    // Named beside it, the list holds too, and the strictest answer counts.
    let both = case.keys("system_call_filter = ['@system-service', '~keyctl:EXDEV']");
    let answers = both.tries(&["keyctl", "socket|16|3"]);
    assert_eq!(answers["keyctl"], "EXDEV");
    assert_eq!(answers["socket|16|3"], "EACCES");
}

#[test]
fn the_plan_tells_what_a_profile_came_to() {
    if !needs::root() {
        return;
    }
    let file = file(PROFILE);
    let path = file.path().display();
    let unit = default_box()
        .keys(&format!("seccomp_profile = '{path}'"))
        .unit("report");
    let herd = Herd::builder().available("web", &unit).start();
    let plan = herd.ok(&["plan", "web"]);
    let told = format!("seccomp: profile {path}: 3 of 4 rules, else allowed; ");
    assert!(plan.contains(&told), "{plan}");
}

#[test]
fn a_profile_that_cannot_be_used_keeps_the_service_down() {
    if !needs::root() {
        return;
    }
    let listener = file(r#"{ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x.sock" }"#);
    let broken = file("{");
    let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
    for (path, said) in [
        (
            path(&listener),
            "cannot be used: listenerPath is not supported: nobody would listen",
        ),
        (path(&broken), "cannot be used: no seccomp profile: EOF"),
        (
            "/nonexistent.json".to_owned(),
            "cannot read seccomp_profile /nonexistent.json: no such file",
        ),
        ("/proc".to_owned(), "not a regular file"),
    ] {
        let unit = default_box()
            .keys(&format!("seccomp_profile = '{path}'"))
            .unit("report");
        let herd = Herd::builder().available("web", &unit).start();
        let output = herd.ctl(&["start", "web"]);
        assert_eq!(output.code, 1);
        let told = output.stderr.to_lowercase();
        assert!(told.contains(&said.to_lowercase()), "{told}");
    }
}

#[test]
fn one_call_can_be_the_end_where_others_have_an_errno() {
    if !needs::root() {
        return;
    }
    let unit = default_box()
        .keys("system_call_filter = ['~keyctl:kill']")
        .unit("try keyctl");
    let herd = Herd::builder().available("web", &unit).start();
    assert_eq!(herd.ctl(&["start", "web"]).code, 1);
    let status = herd.status("web");
    let reason = status["last_exit"]["reason"].as_str().unwrap();
    assert!(reason.contains("SIGSYS"), "{reason}");
    let case = default_box().keys("system_call_filter = ['~keyctl:kill']");
    assert_eq!(case.answer("add-key"), "EPERM");
}

/// The kernel's log from here on.
fn kernel_log() -> Option<std::fs::File> {
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::OpenOptionsExt;
    let mut log = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    std::fs::metadata("/proc/self/loginuid").ok()?;
    Some(log)
}

#[test]
fn a_logged_call_is_made_and_told_to_the_kernel_s_log() {
    use std::io::Read;
    if !needs::root() {
        return;
    }
    let log = kernel_log();
    let case = default_box().keys("system_call_log = ['personality']");
    // The log says nothing of what is refused.
    assert_eq!(case.answer("personality"), "EPERM");
    let case = case.keys("lock_personality = false");
    assert_eq!(case.answer("personality"), "ok");
    let Some(mut log) = log else {
        return eprintln!("SKIPPED: needs a kernel log with audit messages");
    };
    let mut lines = Vec::new();
    let mut record = [0; 8192];
    while let Ok(length @ 1..) = log.read(&mut record) {
        lines.push(String::from_utf8_lossy(&record[..length]).into_owned());
    }
    let number = libc::SYS_personality;
    let told: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains(&format!(" syscall={number} ")))
        .filter(|line| line.contains("comm=\"probe\"") && line.contains("code=0x7ffc0000"))
        .collect();
    if told.is_empty() && lines.iter().any(|line| line.contains("audit: ")) {
        panic!("{lines:?}");
    }
    if told.is_empty() {
        eprintln!("SKIPPED: needs a kernel log with audit messages");
    }
}

#[test]
fn a_family_can_be_shut_and_all_others_left() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("restrict_address_families = ['~AF_NETLINK AF_INET6']");
    let answers = case.tries(&["socket|16|3", "socket|10|1", "socket|2|1", "socket|1|1"]);
    assert_eq!(answers["socket|16|3"], "EAFNOSUPPORT");
    assert_eq!(answers["socket|10|1"], "EAFNOSUPPORT");
    assert_eq!(
        (&*answers["socket|2|1"], &*answers["socket|1|1"]),
        ("ok", "ok")
    );
}

/// By its other names, a call that is refused stays refused: x32's bit, the old x32 numbers without it,
/// the 32-bit gate, the newer call that does the same, set bits that the kernel does not read.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_refused_call_has_no_other_name() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("restrict_address_families = ['AF_UNIX']");
    let answers = case.tries(&[
        "number|1073742345",
        "number|1073741925",
        "number|521",
        "number|527",
        "int80|26",
        "int80|310",
        "clone3",
        "clone-user",
        "number|272|4563402752",
        "number|41|4294967298|1",
        "number|53|4294967298|1",
        "number|16|0|4294988818",
        "unshare|time",
    ]);
    for (attack, answer) in &answers {
        let refused = ["EPERM", "ENOSYS", "EAFNOSUPPORT"].contains(&answer.as_str());
        assert!(refused, "{attack}: {answer}");
    }
}

#[test]
fn what_a_program_adds_to_its_filter_can_only_take_away() {
    if !needs::root() {
        return;
    }
    // The probe's own filter allows everything, and is let be; the box's still refuses.
    let answers = default_box().tries(&["filter-all", "prctl-seccomp", "keyctl"]);
    assert_eq!(answers["filter-all"], "ok");
    // Another mode cannot take the filter's place.
    assert_eq!(answers["prctl-seccomp"], "EINVAL");
    assert_eq!(answers["keyctl"], "EPERM");
}
