//! Who is who in a box, and whose namespaces it stands in, by the keys of a unit.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::box_probe::{NOBODY, default_box, run, user_boxes};
use crate::fixture::Herd;
use crate::needs;

/// The lines of a map, blanks made one.
fn map(report: &Value) -> Vec<String> {
    let lines = report["uid_map"].as_array().unwrap().iter();
    let words = |line: &Value| {
        let words: Vec<&str> = line.as_str().unwrap().split_whitespace().collect();
        words.join(" ")
    };
    lines.map(words).collect()
}

fn own_name(what: &str) -> String {
    format!("herd-test-{}-{what}", std::process::id())
}

/// Files outside that go when the test does.
struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn private_users_shows_root_and_the_units_user_as_themselves() {
    if !needs::root() || !needs::unshare(&["--user"]) {
        return;
    }
    let report = default_box().keys("private_users = true").report();
    assert_eq!(map(&report), ["0 0 1"]);
    assert_eq!(report["uid"], serde_json::json!([0, 0, 0, 0]));
    let case = default_box()
        .top("user = 'nobody'")
        .keys("private_users = 'self'");
    let report = case.report();
    assert_eq!(map(&report), ["0 0 1", "65534 65534 1"]);
    assert_eq!(report["uid"][0], NOBODY);
    assert_eq!(report["capabilities"]["bounding"], "0000000000000000");
    let report = default_box().keys("private_users = 'identity'").report();
    assert_eq!(map(&report), ["0 0 65536"]);
}

/// CVE-less, but what a user namespace is for: uid 0 of the box is nobody outside.
#[test]
fn user_0_of_a_box_with_picked_users_is_nobody_outside() {
    if !needs::root() || !needs::unshare(&["--user"]) {
        return;
    }
    let name = own_name("picked");
    let state = format!("/var/lib/{name}");
    let _gone = Gone(state.clone());
    // What another start under other numbers, or none, has left there.
    fs::create_dir(&state).unwrap();
    fs::write(format!("{state}/old"), "").unwrap();
    let case = default_box()
        .top(&format!("state_directory = '{name}'"))
        .keys("private_users = 'pick'");
    let report = case.report();
    let lines = map(&report);
    let words: Vec<u32> = lines[0]
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    assert_eq!((lines.len(), words[0], words[2]), (1, 0, 65_536));
    let base = words[1];
    assert!(base >= 524_288 && base.is_multiple_of(65_536), "{base}");
    assert_eq!(report["uid"], serde_json::json!([0, 0, 0, 0]));
    for file in [state.clone(), format!("{state}/old")] {
        assert_eq!(fs::metadata(&file).unwrap().uid(), base, "{file}");
    }
    let words = format!("write|{state}/new|x write|{state}/old|x read|/etc/shadow");
    let answers: Value = serde_json::from_str(&case.output(&format!("tries {words}"))).unwrap();
    assert_eq!(answers[format!("write|{state}/new|x")], "ok");
    assert_eq!(answers[format!("write|{state}/old|x")], "ok");
    // Without the namespace, root's own files are open to a user 0 without capabilities.
    assert_eq!(answers["read|/etc/shadow"], "EACCES");
    assert_eq!(fs::metadata(format!("{state}/new")).unwrap().uid(), base);
}

#[test]
fn maps_of_a_unit_are_those_of_its_box() {
    if !needs::root() || !needs::unshare(&["--user"]) {
        return;
    }
    let maps = "uid_map = ['0:100000:10', '10:65534:1']\ngid_map = ['0:100000:100']";
    let case = default_box().keys(maps).top("user = '10'\ngroup = '7'");
    let report = case.report();
    assert_eq!(map(&report), ["0 100000 10", "10 65534 1"]);
    assert_eq!(report["uid"][0], 10);
    assert_eq!(report["gid"][0], 7);
    let herd = Herd::builder()
        .available(
            "web",
            &default_box().top("user = '50'").keys(maps).unit("report"),
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert!(
        output
            .stderr
            .contains("50 has no place in the map of users"),
        "{output:?}"
    );
}

#[test]
fn a_box_joins_the_namespaces_that_its_unit_names() {
    if !needs::root() || !needs::unshare(&["--net"]) {
        return;
    }
    let other = default_box()
        .tables("[network]\nmode = 'none'")
        .service("stay");
    let herd = Herd::with(&[("other", &other)]);
    herd.wait_state("other", "active");
    let pid = herd.main_pid("other");
    let id = |kind: &str| {
        let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        link.display().to_string()
    };
    let paths = format!(
        "namespace_paths = {{ net = '/proc/{pid}/ns/net', ipc = '/proc/{pid}/ns/ipc', \
         pid = '/proc/{pid}/ns/pid' }}"
    );
    let report = default_box().keys(&paths).report();
    assert_eq!(report["namespaces"]["net"], id("net"));
    assert_eq!(report["namespaces"]["ipc"], id("ipc"));
    // One of its own, below that of the other.
    assert_ne!(report["namespaces"]["pid"], id("pid"));
    assert_eq!(report["interfaces"], serde_json::json!(["lo"]));
    let wrong = default_box().keys("namespace_paths = { net = '/nowhere' }");
    let herd = Herd::builder()
        .available("web", &wrong.unit("report"))
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert!(
        output
            .stderr
            .contains("join the network namespace /nowhere (step "),
        "{output:?}"
    );
}

#[test]
fn the_kernels_own_counter_shuts_user_namespaces_too() {
    if !needs::root() || !needs::unshare(&["--user"]) {
        return;
    }
    let open = "restrict_namespaces = false\nsystem_call_filter = []";
    assert_eq!(default_box().keys(open).answer("unshare|user"), "ok");
    let shut = default_box().keys(&format!("{open}\ndisable_userns = true"));
    assert_eq!(shut.answer("unshare|user"), "ENOSPC");
}

#[test]
fn a_users_box_that_can_make_no_user_namespace_undoes_no_mount_of_its_own() {
    if !user_boxes() {
        return;
    }
    let open = "restrict_namespaces = false\nsystem_call_filter = []\n\
                ambient_capabilities = ['CAP_SYS_ADMIN']";
    for (shut, answer) in [(false, "ok"), (true, "EPERM")] {
        let keys = format!("{open}\ndisable_userns = {shut}");
        let unit = default_box()
            .keys(&keys)
            .unit("tries remount-rw|/proc umount|/proc");
        let (_herd, output) = run(Herd::builder().owner(NOBODY), &unit);
        let answers: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(answers["remount-rw|/proc"], answer, "{answers}");
        let kept = answers["umount|/proc"] != "ok";
        assert_eq!(kept, shut, "{answers}");
    }
}

#[test]
fn names_and_clocks_of_a_box_are_its_own() {
    if !needs::root() || !needs::unshare(&["--time"]) {
        return;
    }
    let namespaces = "namespaces = [\"mount\", \"pid\", \"uts\", \"time\"]";
    let case = default_box().keys(&format!("{namespaces}\ndomainname = 'inner.example'"));
    let report = case.report();
    assert_eq!(report["domainname"], "inner.example");
    let outside = fs::read_link("/proc/self/ns/time").unwrap();
    assert_ne!(report["namespaces"]["time"], outside.display().to_string());
}

#[test]
fn secure_bits_take_from_user_0_what_it_is() {
    if !needs::root() {
        return;
    }
    let report = default_box().keys("profile = 'none'").report();
    assert_ne!(report["capabilities"]["effective"], "0000000000000000");
    let keys = "profile = 'none'\nsecure_bits = ['noroot', 'noroot-locked']";
    let report = default_box().keys(keys).report();
    assert_eq!(report["capabilities"]["effective"], "0000000000000000");
}

#[test]
fn a_dynamic_user_is_nobody_elses_while_its_service_runs() {
    if !needs::root() {
        return;
    }
    let name = own_name("dynamic");
    let state = format!("/var/lib/{name}");
    let _gone = Gone(state.clone());
    fs::create_dir(&state).unwrap();
    fs::write(format!("{state}/old"), "").unwrap();
    let stay = |name: &str| {
        default_box()
            .top(&format!("dynamic_user = true\nstate_directory = '{name}'"))
            .service("stay")
    };
    let second = own_name("dynamic-2");
    let _gone_too = Gone(format!("/var/lib/{second}"));
    let herd = Herd::with(&[("one", &stay(&name)), ("two", &stay(&second))]);
    let uid = |unit: &str| {
        herd.wait_state(unit, "active");
        let pid = herd.main_pid(unit);
        fs::metadata(format!("/proc/{pid}")).unwrap().uid()
    };
    let (one, two) = (uid("one"), uid("two"));
    assert_ne!(one, two);
    for uid in [one, two] {
        assert!((61_184..=65_519).contains(&uid), "{uid}");
    }
    let owner = |path: &str| fs::metadata(path).unwrap().uid();
    assert_eq!(owner(&state), one);
    assert_eq!(owner(&format!("{state}/old")), one);
    let reserved = || {
        fs::read_dir(herd.path("run/dynamic-users"))
            .unwrap()
            .count()
    };
    assert_eq!(reserved(), 2);
    herd.ok(&["restart", "one"]);
    assert_eq!(uid("one"), one);
    herd.ok(&["stop", "one", "two"]);
    assert_eq!(reserved(), 0);
    herd.ok(&["start", "one"]);
    assert_eq!(uid("one"), one);
}

#[test]
fn a_dynamic_user_finds_itself_in_its_environment_and_its_own_group() {
    if !needs::root() {
        return;
    }
    let report = default_box().top("dynamic_user = true").report();
    let uid = &report["uid"][0];
    assert_eq!(report["gid"][0], *uid);
    assert_eq!(report["groups"], serde_json::json!([]));
    assert_eq!(report["environment"]["USER"], "web");
    assert_eq!(report["environment"]["HOME"], "/");
}

#[test]
fn a_users_herd_makes_no_dynamic_user_and_picks_no_range() {
    if !user_boxes() {
        return;
    }
    for (case, what) in [
        (default_box().top("dynamic_user = true"), "dynamic_user"),
        (
            default_box().keys("private_users = 'pick'"),
            "private_users = \"pick\"",
        ),
        (
            default_box().keys("private_users = 'identity'"),
            "private_users = \"identity\"",
        ),
    ] {
        let herd = Herd::builder()
            .owner(NOBODY)
            .available("web", &case.unit("report"))
            .start();
        let output = herd.ctl(&["start", "web"]);
        assert!(
            output.stderr.contains(&format!("{what} takes root")),
            "{output:?}"
        );
    }
}

#[test]
fn objects_of_a_user_go_with_its_last_service_where_the_unit_says_so() {
    if !needs::root() {
        return;
    }
    let name = own_name("shm");
    let paths = [format!("/dev/shm/{name}"), format!("/dev/shm/{name}-kept")];
    let unit = |file: &str, remove: bool| {
        format!(
            "command = \"sh -c 'echo > {file}; ipcmk -Q >/dev/null; exec sleep 1000'\"\n\
             user = '54321'\nboxed = true\n[box]\nprofile = 'none'\nremove_ipc = {remove}\n"
        )
    };
    let herd = Herd::with(&[
        ("one", &unit(&paths[0], true)),
        ("two", &unit(&paths[0], true)),
    ]);
    let queues = || {
        let text = fs::read_to_string("/proc/sysvipc/msg").unwrap();
        text.lines().filter(|line| line.contains(" 54321 ")).count()
    };
    let made = |count: usize| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while queues() != count && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(queues(), count);
    };
    made(2);
    herd.ok(&["stop", "one"]);
    // Somebody else still runs as that user.
    assert_eq!(queues(), 2);
    herd.ok(&["stop", "two"]);
    assert_eq!(queues(), 0);
    assert!(!fs::exists(&paths[0]).unwrap());
}

#[test]
fn keys_of_identity_that_contradict_each_other_are_refused() {
    let boxed = |keys: &str| format!("command = 'x'\nboxed = true\n[box]\n{keys}\n");
    for (unit, message) in [
        (
            boxed("uid_map = ['0:1:2']"),
            "`box.uid_map` without `gid_map`",
        ),
        (
            boxed("uid_map = ['0:1']\ngid_map = ['0:1:1']"),
            "\"0:1\" is no range of ids",
        ),
        (
            boxed("uid_map = ['0:1:5', '3:9:1']\ngid_map = ['0:1:1']"),
            "the map of ids: 0:1:5 and 3:9:1 overlap inside",
        ),
        (
            boxed("private_users = true\nuid_map = ['0:1:1']\ngid_map = ['0:1:1']"),
            "`private_users` and `uid_map` are two answers to one question",
        ),
        (
            boxed("private_users = true\nnamespace_paths = { user = '/x' }"),
            "a user namespace is joined, and another is to be made",
        ),
        (
            boxed("namespaces = ['ipc']\nnamespace_paths = { ipc = '/x' }"),
            "the ipc namespace is joined, and another is to be made",
        ),
        (
            boxed("namespace_paths = { disk = '/x' }"),
            "\"disk\" is no kind of namespace",
        ),
        (boxed("domainname = '-x'"), "\"-x\" is no domain name"),
        (boxed("remove_ipc = true"), "`remove_ipc` is about a user"),
        (
            "command = 'x'\ndynamic_user = true\n".to_owned(),
            "a user for one run needs a box around it",
        ),
        (
            "command = 'x'\nboxed = true\ndynamic_user = true\nuser = 'web'\n".to_owned(),
            "`user` and `dynamic_user` name two users",
        ),
        (
            "command = 'x'\nboxed = true\ndynamic_user = true\n[box]\nprivate_tmp = false\n"
                .to_owned(),
            "a user for one run needs a box around it",
        ),
    ] {
        let herd = Herd::builder().file("units/web.toml", &unit).start();
        let output = herd.ctl(&["check", herd.path("units").to_str().unwrap()]);
        let text = output.stdout + &output.stderr;
        assert_eq!(output.code, 1, "{unit}{text}");
        assert!(text.contains(message), "{message}: {text}");
    }
}
