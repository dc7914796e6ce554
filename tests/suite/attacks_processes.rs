//! Other processes: out of sight, out of reach, and none that outlives its box (goals.md, items 25,
//! 27, 28, 40, and "escape in time").

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, Stdio};

use crate::box_probe::{Boxed, children_named, default_box, is_refused};
use crate::fixture::Herd;
use crate::needs;

/// A process of the host that ends with the test.
struct Victim(Child);

impl Victim {
    fn new(uid: u32) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sleep");
        command.arg("60").uid(uid).gid(uid).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_process_of_the_host_is_out_of_reach_for_its_own_user() {
    if !needs::root() {
        return;
    }
    for (uid, case) in [
        (0, default_box()),
        (65534, default_box().top("user = 'nobody'")),
    ] {
        let victim = Victim::new(uid);
        let pid = victim.0.id();
        let attacks = [
            format!("kill|{pid}"),
            format!("ptrace|{pid}"),
            format!("process-vm-readv|{pid}"),
            format!("kcmp|{pid}"),
            format!("read|/proc/{pid}/status"),
            format!("list|/proc/{pid}/root"),
        ];
        let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
        for (attack, answer) in case.tries(&attacks) {
            let refused = is_refused(&answer) || ["ESRCH", "ENOENT"].contains(&answer.as_str());
            assert!(refused, "{attack}: {answer}");
        }
    }
}

#[test]
fn a_sibling_box_of_the_same_user_is_out_of_reach() {
    if !needs::root() {
        return;
    }
    let case = default_box().top("user = 'nobody'");
    let herd = Herd::builder().unit("one", &case.service("stay")).start();
    herd.wait_state("one", "active");
    let pid = herd.main_pid("one");
    let words =
        format!("tries kill|{pid} ptrace|{pid} read|/proc/{pid}/status process-vm-readv|{pid}");
    herd.write("available/web.toml", &case.unit(&words));
    herd.ok(&["rescan"]);
    herd.ok(&["start", "web"]);
    let answers: serde_json::Value = serde_json::from_str(&herd.read("out")).unwrap();
    for (attack, answer) in answers.as_object().unwrap() {
        let answer = answer.as_str().unwrap();
        assert!(
            is_refused(answer) || ["ESRCH", "ENOENT"].contains(&answer),
            "{attack}: {answer}"
        );
    }
    assert_eq!(herd.state("one"), "active");
}

#[test]
fn objects_of_system_v_and_posix_are_a_boxes_own() {
    if !needs::root() || !needs::program("ipcmk") {
        return;
    }
    let output = Command::new("ipcmk").args(["-M", "4096"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let id = text.split_whitespace().next_back().unwrap().to_owned();
    let list = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let line = list
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(&id))
        .unwrap();
    let key: i64 = line.split_whitespace().next().unwrap().parse().unwrap();
    let attack = format!("shmget|{key}");
    let boxed = default_box().answer(&attack);
    let bare = default_box().keys("profile = 'none'").answer(&attack);
    Command::new("ipcrm").args(["-m", &id]).status().unwrap();
    assert_eq!((boxed.as_str(), bare.as_str()), ("ENOENT", "ok"));
}

/// A shared network would share its abstract sockets, too: landlock keeps them out of reach.
#[test]
fn abstract_sockets_of_the_host_are_out_of_reach_in_its_network_and_in_ones_own() {
    if !needs::root() {
        return;
    }
    let name = format!("herd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let attack = format!("connect-unix|@{name}");
    let has_scopes = sandbox::Host::detect().unwrap().landlock_abi >= 6;
    let shared = if has_scopes { "EPERM" } else { "ok" };
    assert_eq!(default_box().answer(&attack), shared);
    for mode in ["none", "loopback"] {
        let case = default_box().tables(&format!("[network]\nmode = '{mode}'"));
        assert_eq!(case.answer(&attack), "ECONNREFUSED", "{mode}");
    }
}

#[test]
fn the_hosts_loopback_ends_at_a_network_of_its_own() {
    if !needs::root() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = |mode: &str| {
        let unit = format!(
            "command = [\"bash\", \"-c\", \"exec 3<>/dev/tcp/127.0.0.1/{port}\"]\noneshot = true\n\
             restart = 'no'\nboxed = true\n[network]\nmode = '{mode}'"
        );
        let herd = Herd::builder().available("web", &unit).start();
        herd.ctl(&["start", "web"]).code
    };
    if !needs::program("bash") {
        return;
    }
    assert_eq!(
        (connect("host"), connect("loopback"), connect("none")),
        (0, 1, 1)
    );
}

/// A service that leaves behind whatever can be left behind.
fn hides(case: &Boxed, end: &str) -> Herd {
    let herd = Herd::builder()
        .unit(
            "web",
            &case
                .clone()
                .top("timeout_stop = '300ms'")
                .service(&format!("hide {end}")),
        )
        .start();
    herd.wait_log("web", "hidden");
    herd
}

#[test]
fn a_stop_ends_what_hid_in_sessions_of_its_own_stopped_or_traced() {
    if !needs::root() {
        return;
    }
    let herd = hides(&default_box(), "");
    assert!(children_named("probe", herd.pid()).len() >= 4);
    herd.ok(&["stop", "web"]);
    assert_eq!(children_named("probe", herd.pid()), Vec::<i32>::new());
    assert_eq!(children_named("herd-exec", herd.pid()), Vec::<i32>::new());
}

#[test]
fn an_end_of_the_main_process_ends_what_it_hid() {
    if !needs::root() {
        return;
    }
    let herd = hides(&default_box(), "exit");
    herd.wait_state("web", "inactive");
    assert_eq!(children_named("probe", herd.pid()), Vec::<i32>::new());
}

#[test]
fn a_box_without_a_pid_namespace_is_ended_by_its_group() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let case = default_box().keys("namespaces = [\"mount\"]");
    let herd = hides(&case, "");
    herd.ok(&["stop", "web"]);
    assert_eq!(children_named("probe", herd.pid()), Vec::<i32>::new());
    let herd = hides(&case, "exit");
    herd.wait_state("web", "inactive");
    assert_eq!(children_named("probe", herd.pid()), Vec::<i32>::new());
}

#[test]
fn a_box_whose_command_is_process_1_ends_as_a_whole() {
    if !needs::root() {
        return;
    }
    let herd = hides(&default_box().keys("as_pid_1 = true"), "");
    herd.ok(&["stop", "web"]);
    assert_eq!(children_named("probe", herd.pid()), Vec::<i32>::new());
}
