//! `[[box.mount]]` and the keys about roots, through the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::box_probe::{probe, run};
use crate::fixture::{Builder, Herd};
use crate::needs;

/// A oneshot that runs the probe in a root that is empty but for it and these actions.
fn filled(words: &str, keys: &str, actions: &str) -> String {
    let probe = probe();
    let probe = probe.display();
    format!(
        "command = \"/bin/probe {words}\"\noneshot = true\nrestart = 'no'\nboxed = true\n\
         box_root = 'empty'\nstdout = 'file:@D@/out'\n[box]\n{keys}\n\
         [[box.mount]]\nro_bind = '{probe}'\ntarget = '/bin/probe'\n{actions}\n"
    )
}

fn builder() -> Builder {
    Herd::builder()
        .file("data/a", "content of a")
        .file("other/b", "content of b")
}

/// The answers to attacks on a box that `actions` have filled; paths of the fixture as `@D@`.
fn tries(attacks: &str, keys: &str, actions: &str) -> Value {
    let builder = builder();
    let directory = builder.dir().display().to_string();
    let attacks = attacks.replace("@D@", &directory);
    let (_herd, output) = run(builder, &filled(&format!("tries {attacks}"), keys, actions));
    serde_json::from_str(&output.replace(&directory, "@D@")).unwrap()
}

/// What `herd check` says of the unit.
fn complaint(actions: &str) -> String {
    let unit = format!("command = '/bin/x'\nboxed = true\n{actions}\n");
    let herd = Herd::builder().file("units/web.toml", &unit).start();
    let output = herd.ctl(&["check", herd.path("units").to_str().unwrap()]);
    assert_eq!(output.code, 1, "{output:?}");
    output.stdout + &output.stderr
}

#[test]
fn an_empty_root_holds_what_is_mounted_and_is_read_only_then() {
    if !needs::root() {
        return;
    }
    let (_herd, output) = run(builder(), &filled("report", "", ""));
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["root"], json!(["bin", "dev", "proc", "tmp"]));
    let answers = tries("create|/x create|/tmp/x", "", "");
    assert_eq!(
        answers,
        json!({ "create|/x": "EROFS", "create|/tmp/x": "ok" })
    );
    let answers = tries("create|/x", "read_only_root = false", "");
    assert_eq!(answers, json!({ "create|/x": "ok" }));
}

#[test]
fn actions_are_done_in_their_order_and_sources_are_the_hosts() {
    if !needs::root() {
        return;
    }
    let actions = "\
        [[box.mount]]\ntmpfs = '/srv'\nmode = 0o700\nsize = '1M'\n\
        [[box.mount]]\nbind = '@D@/data'\ntarget = '/srv/rw'\n\
        [[box.mount]]\nro_bind = '@D@/other'\ntarget = '/srv/ro'\n\
        [[box.mount]]\nro_bind = '@D@/nowhere'\ntarget = '/srv/no'\noptional = true\n\
        [[box.mount]]\ndev_bind = '/dev/zero'\ntarget = '/srv/zero'\n\
        [[box.mount]]\ntmpfs = '/srv/rw/deep'\n\
        [[box.mount]]\nremount_ro = '/srv/rw/deep'\n";
    let builder = builder();
    fs::create_dir(builder.dir().join("data/deep")).unwrap();
    let attacks = "read|/srv/rw/a write|/srv/rw/new|x read|/srv/ro/b create|/srv/ro/new \
                   list|/srv/no open-write|/srv/zero create|/srv/x create|/srv/rw/deep/x";
    let unit = filled(&format!("tries {attacks}"), "", actions);
    let (herd, output) = run(builder, &unit);
    let answers: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        answers,
        json!({
            "read|/srv/rw/a": "ok", "write|/srv/rw/new|x": "ok",
            "read|/srv/ro/b": "ok", "create|/srv/ro/new": "EROFS",
            "list|/srv/no": "ENOENT", "open-write|/srv/zero": "ok",
            "create|/srv/x": "ok", "create|/srv/rw/deep/x": "EROFS",
        })
    );
    assert!(herd.path("data/new").exists());
}

#[test]
fn files_and_links_are_made_with_their_modes() {
    if !needs::root() {
        return;
    }
    let actions = "\
        [[box.mount]]\ndir = '/etc/app'\nmode = 0o750\n\
        [[box.mount]]\nfile = '/etc/app/plain'\ncontent = 'x'\nmode = '0600'\n\
        [[box.mount]]\nro_data = '/etc/app/fixed'\ncontent = \"port=80\\n\"\n\
        [[box.mount]]\ndata = '/etc/app/scratch'\ncontent = ''\n\
        [[box.mount]]\nsymlink = '/etc/link'\nto = 'app/fixed'\n\
        [[box.mount]]\nchmod = '/etc'\nmode = 0o711\n";
    let attacks = "holds|/etc/link|port=80 open-write|/etc/app/fixed open-write|/etc/app/scratch \
                   read|/etc/app/plain create|/etc/x";
    let answers = tries(attacks, "", actions);
    assert_eq!(
        answers,
        json!({
            "holds|/etc/link|port=80": "ok", "open-write|/etc/app/fixed": "EROFS",
            "open-write|/etc/app/scratch": "ok", "read|/etc/app/plain": "ok",
            "create|/etc/x": "EROFS",
        })
    );
}

#[test]
fn overlays_of_all_three_kinds_are_mounted() {
    if !needs::root() {
        return;
    }
    let actions = "\
        [[box.mount]]\ntmp_overlay = '/tmpo'\nlower = ['@D@/data', '@D@/other']\n\
        [[box.mount]]\nro_overlay = '/roo'\nlower = ['@D@/data', '@D@/other']\n\
        [[box.mount]]\noverlay = '/kept'\nlower = '@D@/data'\nupper = '@D@/upper'\nwork = '@D@/work'\n";
    let builder = builder();
    for name in ["upper", "work"] {
        fs::create_dir(builder.dir().join(name)).unwrap();
    }
    let attacks = "read|/tmpo/a read|/tmpo/b create|/tmpo/x read|/roo/a read|/roo/b \
                   create|/roo/x read|/kept/a write|/kept/x|x";
    let (herd, output) = run(builder, &filled(&format!("tries {attacks}"), "", actions));
    let answers: Value = serde_json::from_str(&output).unwrap();
    let refused: Vec<_> = answers
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, answer)| *answer != "ok")
        .collect();
    assert_eq!(refused, [(&"create|/roo/x".to_owned(), &json!("EROFS"))]);
    assert!(herd.path("upper/x").exists());
    assert!(!herd.path("data/x").exists());
}

#[test]
fn a_device_can_be_added_to_a_private_dev() {
    if !needs::root() {
        return;
    }
    let keys = crate::box_probe::default_box()
        .keys("[[box.mount]]\ndev_bind = '/dev/zero'\ntarget = '/dev/extra'");
    let answers = keys.tries(&["open-write|/dev/extra", "create|/dev/x"]);
    assert_eq!(answers["open-write|/dev/extra"], "ok");
    assert_eq!(answers["create|/dev/x"], "EROFS");
}

#[test]
fn a_mount_that_cannot_be_made_names_its_action_and_leaves_nothing() {
    if !needs::root() {
        return;
    }
    for (action, said) in [
        (
            "ro_bind = '/nowhere/at/all'",
            "hold /nowhere/at/all of the host",
        ),
        ("dir = '/bin/probe/x'", "make directory /bin/probe/x"),
        (
            "chmod = '/nope'\nmode = 0o700",
            "set the mode of /nope to 0700",
        ),
        ("remount_ro = '/bin'", "make the mount on /bin read-only"),
    ] {
        let unit = filled("report", "", &format!("[[box.mount]]\n{action}"));
        let herd = builder().available("web", &unit).start();
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let output = herd.ctl(&["start", "web"]);
        assert_eq!(output.code, 1, "{action}");
        assert!(output.stderr.contains(said), "{action}: {}", output.stderr);
        let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(before, after);
    }
}

#[test]
fn an_action_on_the_hosts_own_tree_makes_nothing_there() {
    if !needs::root() {
        return;
    }
    let unit = crate::box_probe::default_box()
        .keys("read_only_root = false\nprotect_system = false\n[[box.mount]]\ndir = '/herd-test'")
        .unit("report");
    let herd = Herd::builder().available("web", &unit).start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(!std::path::Path::new("/herd-test").exists());
    let said = "make directory /herd-test (mode 0755)";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}

#[test]
fn programs_run_only_where_they_may() {
    if !needs::root() {
        return;
    }
    let copy = probe();
    let copy = copy.display();
    let actions = format!("[[box.mount]]\nro_bind = '{copy}'\ntarget = '/other/probe'\n");
    let keys = "no_exec_paths = ['/']\nexec_paths = ['/bin']";
    let answers = tries("exec|/other/probe exec|/bin/probe", keys, &actions);
    assert_eq!(
        answers,
        json!({ "exec|/other/probe": "EACCES", "exec|/bin/probe": "ok" })
    );
}

#[test]
fn a_root_overlay_takes_what_is_written_to_a_box_root() {
    if !needs::root() {
        return;
    }
    let tree = |keys: &str| {
        let builder = builder();
        for name in ["tree/bin", "upper", "work"] {
            fs::create_dir_all(builder.dir().join(name)).unwrap();
        }
        fs::copy(probe(), builder.dir().join("tree/bin/probe")).unwrap();
        let unit = format!(
            "command = \"/bin/probe tries write|/x|x write|/bin/y|y\"\noneshot = true\nrestart = 'no'\n\
             boxed = true\nbox_root = '@D@/tree'\nstdout = 'file:@D@/out'\n[box]\n{keys}\n"
        );
        let (herd, output) = run(builder, &unit);
        let answers: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(
            answers,
            json!({ "write|/x|x": "ok", "write|/bin/y|y": "ok" })
        );
        assert!(!herd.path("tree/x").exists() && !herd.path("tree/bin/y").exists());
        assert!(!herd.path("tree/proc").exists());
        herd
    };
    tree("root_overlay = 'tmp'");
    tree("root_overlay = 'tmp'\npivot = false");
    let herd = tree("root_overlay = { upper = '@D@/upper', work = '@D@/work' }");
    assert!(herd.path("upper/x").exists() && herd.path("upper/bin/y").exists());
}

#[test]
fn owners_on_disk_are_others_in_the_box() {
    if !needs::root() {
        return;
    }
    let builder = builder();
    let file = builder.dir().join("data/a");
    std::os::unix::fs::chown(&file, Some(100_007), Some(100_007)).unwrap();
    // Nobody but its owner may read it, and the box has no capability to do it all the same.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let actions = "[[box.mount]]\nbind = '@D@/data'\ntarget = '/srv'\n\
                   [[box.mount]]\nbind = '@D@/data'\ntarget = '/plain'\nidmap = '0:0:1000'\n";
    let keys = "idmap = ['0:100007:1']";
    let unit = filled("tries read|/srv/a read|/plain/a", keys, actions);
    let answers: Value = serde_json::from_str(&run(builder, &unit).1).unwrap();
    assert_eq!(
        answers,
        json!({ "read|/srv/a": "ok", "read|/plain/a": "EACCES" })
    );
}

#[test]
fn tables_that_are_no_action_are_refused_with_what_was_meant() {
    for (table, said) in [
        ("robind = '/usr'", "this table names no action\n"),
        ("robind = '/usr'", "did you mean `ro_bind`?"),
        ("colour = 'red'", "known are bind, ro_bind, dev_bind, proc"),
        (
            "bind = '/a'\nproc = '/b'",
            "a table is one action, and this one has `bind` and `proc`",
        ),
        ("bind = '/a'\nmode = 0o700", "`bind` has no `mode`"),
        ("proc = '/proc'\nmode = 0o700", "`proc` stands alone"),
        ("symlink = '/a'", "`symlink` needs `to` beside it"),
        ("file = '/a'", "`file` needs `content` beside it"),
        ("chmod = '/a'", "`chmod` needs `mode` beside it"),
        (
            "overlay = '/a'\nlower = '/b'",
            "`overlay` needs `upper` beside it",
        ),
        (
            "ro_overlay = '/a'\nlower = '/b'",
            "a read-only overlay needs two lower directories at least",
        ),
        ("tmpfs = '/a'\nsize = 'big'", "\"big\" is no number"),
        ("bind = '/a'\nidmap = 'x'", "\"x\" is no range of ids"),
        ("tmpfs = 'a'", "\"a\" is not an absolute path"),
        ("bind = '/a/../b'", "\"/a/../b\" goes up with \"..\""),
    ] {
        let text = complaint(&format!("[[box.mount]]\n{table}"));
        assert!(text.contains(said), "{table}: {text}");
    }
}

#[test]
fn keys_about_a_root_that_is_not_there_are_refused() {
    for (keys, said) in [
        (
            "idmap = '0:1:1'",
            "`idmap` is for the binds of [[box.mount]], and there is none",
        ),
        ("pivot = false", "chroot needs a `box_root` to change to"),
        (
            "root_overlay = 'tmp'",
            "`root_overlay` needs a directory as `box_root`",
        ),
        (
            "root_overlay = { upper = '/a' }",
            "an overlay that is kept has `upper` and `work`",
        ),
        ("root_overlay = 'ram'", "known are \"tmp\""),
        (
            "exec_paths = ['/usr']",
            "`exec_paths` opens what `no_exec_paths` shuts, and that is nothing",
        ),
    ] {
        let text = complaint(&format!("[box]\n{keys}"));
        assert!(text.contains(said), "{keys}: {text}");
    }
}

#[test]
fn private_mounts_say_whose_later_mounts_are_seen() {
    if !needs::root() {
        return;
    }
    let plan = |keys: &str| {
        let none = crate::box_probe::default_box().keys("profile = 'none'");
        let unit = none.keys(keys).unit("report");
        let herd = Herd::builder().available("web", &unit).start();
        let output = herd.ctl(&["plan", "web"]);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    };
    let private = plan("private_mounts = true");
    assert!(private.contains("enter new namespaces: mount"), "{private}");
    assert!(private.contains("make all mounts private"), "{private}");
    let open = plan("namespaces = ['mount']\nprivate_mounts = false");
    assert!(open.contains("let later mounts of the host in"), "{open}");
}

/// Who may mount (fuse lets every user) may have given the name.
#[test]
fn a_mount_point_of_the_machine_whose_name_is_no_text_keeps_nobody_from_starting() {
    if !needs::root() {
        return;
    }
    let odd = "odd=$(printf 'odd\\344') && mkdir $odd && mount -t tmpfs herd-test $odd";
    let unit =
        "command = 'sleep 1000'\nboxed = true\nrestart = 'no'\nrequires_mounts_for = ['/run']";
    let herd = Herd::builder().unit("web", unit).apart_with(odd).start();
    herd.ok(&["start", "web"]);
    assert_eq!(herd.state("web"), "active");
    assert!(herd.shutdown().success());
}
