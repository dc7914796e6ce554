//! Files, descriptors and devices: ways out of the tree, tried from inside (goals.md, items 3 to 8,
//! 12, 13, 16 to 18, 26, 30, 32, 38).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::box_probe::{default_box, probe, run};
use crate::fixture::Herd;
use crate::needs;

fn herd_binary() -> &'static str {
    env!("CARGO_BIN_EXE_herd")
}

#[test]
fn no_way_into_the_kernel_is_open_for_writing() {
    if !needs::root() {
        return;
    }
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/timer_list",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/unified/cgroup.procs",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/ubda",
        "/dev/fuse",
        "/dev/loop-control",
        "/dev/net/tun",
        "/dev/console",
        "/etc/passwd",
        "/etc/shadow",
        "/proc/1/mem",
        "/proc/1/exe",
    ];
    let attacks: Vec<String> = files
        .iter()
        .map(|file| format!("open-write|{file}"))
        .collect();
    let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
    for case in [default_box(), default_box().top("user = 'nobody'")] {
        for (attack, answer) in case.tries(&attacks) {
            let refused = ["EROFS", "EACCES", "EPERM", "ENOENT"].contains(&answer.as_str());
            assert!(refused, "{attack}: {answer}");
        }
    }
}

/// CVE-2022-0492: whoever mounts a v1 hierarchy and names a program in `release_agent` has the kernel
/// run it as root outside.
#[test]
fn no_box_comes_to_a_release_agent_or_out_of_its_group() {
    if !needs::root() {
        return;
    }
    let attacks = [
        "fsopen|cgroup",
        "fsopen|cgroup2",
        "unshare|cgroup",
        "unshare|user",
        "open-write|/sys/fs/cgroup/release_agent",
        "open-write|/sys/fs/cgroup/pids/release_agent",
        "open-write|/sys/fs/cgroup/memory/notify_on_release",
        "open-write|/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "open-write|/sys/fs/cgroup/cgroup.subtree_control",
        "open-write|/sys/fs/cgroup/unified/cgroup.procs",
        "create|/sys/fs/cgroup/unified/mine",
        "create|/sys/fs/cgroup/mine",
    ];
    for case in [default_box(), default_box().top("user = 'nobody'")] {
        for (attack, answer) in case.tries(&attacks) {
            let refused =
                ["EROFS", "EACCES", "EPERM", "ENOENT", "ENOSYS"].contains(&answer.as_str());
            assert!(refused, "{attack}: {answer}");
        }
    }
    // Even where the mount API is open: a box of a normal user's has no right to v1 in its namespace.
    if !crate::box_probe::user_boxes() {
        return;
    }
    let case = default_box().keys("profile = 'minimal'").top("");
    let builder = Herd::builder().owner(crate::box_probe::NOBODY);
    let (_herd, output) = run(
        builder,
        &case.unit("tries fsopen|cgroup open-write|/sys/fs/cgroup/pids/release_agent"),
    );
    let answers: Value = serde_json::from_str(&output).unwrap();
    for (attack, answer) in answers.as_object().unwrap() {
        let refused = ["EACCES", "EPERM", "EROFS", "ENOENT"].contains(&answer.as_str().unwrap());
        assert!(refused, "{attack}: {answer}");
    }
}

#[test]
fn nothing_of_the_boxes_first_process_is_to_be_had() {
    if !needs::root() {
        return;
    }
    let attacks = [
        "read|/proc/1/environ",
        "read|/proc/1/maps",
        "read|/proc/1/mem",
        "read-link|/proc/1/fd/0",
        "read-link|/proc/1/fd/3",
        "read-link|/proc/1/fd/4",
        "write|/proc/1/attr/current|x",
        "write|/proc/1/oom_score_adj|-500",
        "list|/proc/1/root/",
        "list|/proc/1/cwd/",
        "read-link|/proc/1/exe",
        "read-link|/proc/1/root",
        "read-link|/proc/1/ns/mnt",
        "read|/proc/1/exe",
    ];
    for case in [default_box(), default_box().top("user = 'nobody'")] {
        for (attack, answer) in case.tries(&attacks) {
            let refused = ["EACCES", "EPERM", "ENOENT", "EINVAL"].contains(&answer.as_str());
            assert!(refused, "{attack}: {answer}");
        }
    }
}

/// CVE-2019-5736.
#[test]
fn herds_own_binary_cannot_be_had_by_way_of_proc_self_exe() {
    if !needs::root() {
        return;
    }
    let before = fs::read(herd_binary()).unwrap();
    let builder = Herd::builder();
    let bin = builder.dir().join("tree/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(probe(), bin.join("probe")).unwrap();
    // The interpreter is whoever executes it: herd's executor.
    fs::write(bin.join("evil"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(bin.join("evil"), fs::Permissions::from_mode(0o755)).unwrap();
    let unit = "command = '/bin/evil'\noneshot = true\nrestart = 'no'\nboxed = true\nbox_root = '@D@/tree'";
    let herd = builder.available("web", unit).start();
    for _ in 0..5 {
        let output = herd.ctl(&["start", "web"]);
        assert_ne!(output.code, 0, "{output:?}");
    }
    assert_eq!(fs::read(herd_binary()).unwrap(), before);
}

#[test]
fn a_file_of_the_host_that_root_owns_stays_as_it_is() {
    if !needs::root() {
        return;
    }
    // As uid 0, which owns them: nothing but the walls says no.
    let path = herd_binary();
    let attacks = [
        format!("open-write|{path}"),
        format!("truncate|{path}"),
        format!("chown|{path}"),
        format!("chmod-suid|{path}"),
        format!("set-capability|{path}"),
        "chown|/dev/null".to_owned(),
        "link|/etc/passwd|/tmp/passwd".to_owned(),
        "link|/etc/passwd|/dev/shm/passwd".to_owned(),
        "create|/dev/x".to_owned(),
        "create|/sys/x".to_owned(),
    ];
    let before = fs::metadata("/dev/null").unwrap();
    let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
    for (attack, answer) in default_box().tries(&attacks) {
        let refused = ["EROFS", "EPERM", "EACCES", "ETXTBSY", "EXDEV"].contains(&answer.as_str());
        // A checkout in a place that the box hides is out of reach altogether.
        let hidden = attack.contains(path) && ["ENOENT", "ENOTDIR"].contains(&answer.as_str());
        assert!(refused || hidden, "{attack}: {answer}");
    }
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!(
        (before.uid(), before.gid(), before.mode()),
        (after.uid(), after.gid(), after.mode())
    );
}

/// CVE-2024-21626: a working directory by a descriptor.
#[test]
fn a_working_directory_by_descriptor_leads_out_of_nothing() {
    if !needs::root() {
        return;
    }
    for number in [3, 4, 5, 6, 7, 8, 9, 10] {
        let case = default_box().top(&format!("working_directory = '/proc/self/fd/{number}'"));
        let herd = Herd::builder()
            .available("web", &case.unit("report"))
            .start();
        let output = herd.ctl(&["start", "web"]);
        assert_eq!(output.code, 1, "{number}: {}", herd.read("out"));
        assert!(
            output.stderr.contains("change directory to /proc/self/fd/"),
            "{}",
            output.stderr
        );
    }
}

/// A directory of the service's own that became a link to somebody else's.
#[test]
fn a_state_directory_that_is_a_link_opens_nothing() {
    if !needs::root() {
        return;
    }
    let name = format!("herd-test-link-{}", std::process::id());
    let state = Path::new("/var/lib").join(&name);
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(&state).unwrap();
    symlink(outside.path(), state.join("sub")).unwrap();
    std::os::unix::fs::lchown(&state, Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::lchown(state.join("sub"), Some(65534), Some(65534)).unwrap();
    let case = default_box().top(&format!(
        "user = 'nobody'\nstate_directory = ['{name}', '{name}/sub']"
    ));
    let words = format!("tries create|/var/lib/{name}/sub/x");
    let herd = Herd::builder().available("web", &case.unit(&words)).start();
    let output = herd.ctl(&["start", "web"]);
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("too many levels of symbolic links"),
        "{}",
        output.stderr
    );
    assert_eq!(
        fs::metadata(outside.path()).unwrap().uid(),
        0,
        "given to nobody"
    );
}

#[test]
fn capabilities_of_files_count_for_nothing() {
    if !needs::root() {
        return;
    }
    // cap_net_bind_service and cap_sys_admin, effective and permitted (VFS_CAP_REVISION_2)
    let value = [
        1u8, 0, 0, 2, 0, 4, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let builder = Herd::builder();
    let program = builder.dir().join("capable");
    fs::copy(probe(), &program).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&program, "security.capability", &value, flags).is_err() {
        eprintln!("SKIPPED: needs capabilities of files");
        return;
    }
    let path = program.display().to_string();
    let report = |keys: &str| {
        let case = default_box().top("user = 'nobody'").keys(keys);
        let unit = case.unit(&format!("run {path} report"));
        let herd = Herd::builder().available("web", &unit).start();
        herd.ctl(&["start", "web"]);
        herd.read("out")
    };
    let bare: Value = serde_json::from_str(&report("profile = 'none'")).unwrap();
    assert_eq!(bare["capabilities"]["effective"], "0000000000200400");
    // The kernel does not even run what wants more than the bounding set has.
    let boxed = report("private_tmp = false");
    assert!(boxed.contains("Operation not permitted"), "{boxed}");
}

#[test]
fn a_setuid_program_of_root_gives_nothing() {
    if !needs::root() {
        return;
    }
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("setuid");
    fs::copy(probe(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let path = program.display().to_string();
    let report = |keys: &str| -> Value {
        let case = default_box().top("user = 'nobody'").keys(keys);
        serde_json::from_str(&case.output(&format!("run {path} report"))).unwrap()
    };
    // It does what it is made for where nothing stands in its way.
    assert_eq!(report("profile = 'none'")["uid"][1], 0);
    let boxed = report("private_tmp = false");
    for set in ["uid", "gid"] {
        assert_eq!(boxed[set], serde_json::json!([65534, 65534, 65534, 65534]));
    }
    assert_eq!(boxed["capabilities"]["permitted"], "0000000000000000");
}

/// What hides a path is not to be taken away, whatever the mount table shows.
#[test]
fn no_mount_of_a_box_can_be_undone() {
    if !needs::root() {
        return;
    }
    let report = default_box().report();
    let mounts = report["mounts"].as_array().unwrap();
    let paths: Vec<&str> = mounts
        .iter()
        .map(|mount| mount["path"].as_str().unwrap())
        .collect();
    assert!(paths.len() > 20);
    let attacks: Vec<String> = paths
        .iter()
        .filter(|path| !path.contains(' '))
        .flat_map(|path| [format!("umount|{path}"), format!("remount-rw|{path}")])
        .collect();
    let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
    for (attack, answer) in default_box().tries(&attacks) {
        assert_eq!(answer, "EPERM", "{attack}");
    }
}
