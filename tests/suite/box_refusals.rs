//! What is wrong with a box is told with its place, before anything runs.

use crate::fixture::{Herd, Output, run};

/// What `herd check` says of a boxed unit with this text.
fn check(text: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.toml");
    std::fs::write(&path, format!("command = '/bin/true'\n{text}\n")).unwrap();
    run(std::process::Command::new(env!("CARGO_BIN_EXE_herd"))
        .args(["check".as_ref(), path.as_os_str()])
        .env("NO_COLOR", "1"))
}

#[test]
fn every_key_of_a_box_refuses_what_it_cannot_be() {
    for (key, value, said) in [
        ("profile", "'tight'", "\"tight\""),
        ("namespaces", "['mnt', 'disk']", "\"disk\""),
        ("restrict_namespaces", "'some'", "\"some\""),
        ("read_only_root", "'yes'", "true or false"),
        ("hostname", "'-x'", "is no host name"),
        ("protect_system", "'most'", "\"most\""),
        ("protect_home", "'hidden'", "\"hidden\""),
        ("private_tmp", "1", "true or false"),
        ("private_devices", "'no'", "true or false"),
        ("protect_proc", "'hidden'", "\"hidden\""),
        ("proc_subset", "'none'", "\"none\""),
        ("read_only_paths", "['etc']", "absolute"),
        ("read_write_paths", "['var/lib']", "absolute"),
        ("inaccessible_paths", "[1]", "text"),
        (
            "temporary_file_system",
            "['/x:speed=9']",
            "is no option here",
        ),
        ("bind_paths", "['/a:/b:/c:/d']", "is no bind"),
        ("bind_read_only_paths", "['a']", "absolute"),
        ("no_new_privileges", "'on'", "true or false"),
        (
            "capability_bounding_set",
            "['CAP_NET_BIND']",
            "CAP_NET_BIND_SERVICE",
        ),
        ("ambient_capabilities", "['NET']", "is no capability"),
        ("lock_personality", "0", "true or false"),
        ("memory_deny_write_execute", "'x'", "true or false"),
        ("restrict_realtime", "'x'", "true or false"),
        ("restrict_suid_sgid", "'x'", "true or false"),
        ("system_call_filter", "['opn']", "did you mean \"open\""),
        ("system_call_filter", "['@file']", "no group of them"),
        ("system_call_error_number", "'EWHAT'", "is no errno"),
        ("system_call_architectures", "['vax']", "\"vax\""),
        ("system_call_filter", "['~open:EWHAT']", "is no errno"),
        ("system_call_log", "['opn']", "did you mean \"open\""),
        ("system_call_log", "[1]", "expected a text"),
        ("seccomp_profile", "'x.json'", "is not an absolute path"),
        ("landlock", "'/srv'", "expected a table"),
        (
            "landlock",
            "[{ path = '/srv' }]",
            "a landlock rule has an `access`, and either a `path` or a `tcp`",
        ),
        (
            "landlock",
            "[{ path = '/srv', tcp = 1, access = 'read' }]",
            "a landlock rule has an `access`, and either a `path` or a `tcp`",
        ),
        (
            "landlock",
            "[{ path = 'srv', access = 'read' }]",
            "is not an absolute path",
        ),
        (
            "landlock",
            "[{ path = '/srv', access = 'bind' }]",
            "\"bind\"",
        ),
        (
            "landlock",
            "[{ path = '/srv', acess = 'read' }]",
            "is no key of a landlock rule",
        ),
        (
            "landlock",
            "[{ tcp = 0, access = 'bind' }]",
            "the number must be from 1 to 65535",
        ),
        (
            "landlock",
            "[{ tcp = 'some', access = 'bind' }]",
            "\"some\"",
        ),
        (
            "landlock",
            "[{ tcp = 1, access = 'bind', optional = true }]",
            "only a path can be `optional`",
        ),
        ("landlock_scope", "['socket']", "\"socket\""),
        (
            "restrict_address_families",
            "['INET']",
            "is no address family",
        ),
        ("protect_kernel_tunables", "'x'", "true or false"),
        ("protect_kernel_modules", "'x'", "true or false"),
        ("protect_kernel_logs", "'x'", "true or false"),
        ("protect_control_groups", "'x'", "true or false"),
        ("protect_clock", "'x'", "true or false"),
        ("protect_hostname", "'x'", "true or false"),
        ("keyring_mode", "'theirs'", "\"theirs\""),
        ("as_pid_1", "'x'", "true or false"),
        ("best_effort", "['moat']", "\"moat\""),
        ("new_session", "'x'", "true or false"),
        ("die_with_parent", "'x'", "true or false"),
        ("clear_environment", "1", "true or false"),
        ("argv0", "''", "the name of a program cannot be empty"),
        ("argv0", "1", "expected a text"),
        ("inherit_fds", "[1]", "descriptor 1 has a key of its own"),
        (
            "inherit_fds",
            "[70000]",
            "the number must be from 0 to 65535",
        ),
        ("inherit_fds", "[4, 4]", "descriptor 4 is listed twice"),
        ("inherit_fds", "['stdin']", "expected an integer"),
    ] {
        let output = check(&format!("boxed = true\n[box]\n{key} = {value}"));
        assert_eq!(output.code, 1, "{key} = {value}: {output:?}");
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(told.contains(said), "{key} = {value}: {told}");
        assert!(told.contains("web.toml:4:"), "{key} = {value}: {told}");
    }
}

#[test]
fn keys_that_contradict_one_another_are_told() {
    for (text, said) in [
        ("[box]\nprivate_tmp = true", "boxed"),
        ("boxed = false\nbox_root = '/srv/web'", "boxed"),
        (
            "boxed = true\n[box]\nnamespaces = [\"pid\"]\nas_pid_1 = true\nprivate_tmp = true",
            "mount",
        ),
        (
            "boxed = true\n[box]\nnamespaces = [\"mount\"]\nas_pid_1 = true",
            "pid namespace",
        ),
        (
            "boxed = true\n[box]\nnamespaces = [\"mount\"]\nhostname = 'x'",
            "uts namespace",
        ),
        (
            "boxed = true\n[box]\ncapability_bounding_set = []\nambient_capabilities = ['CAP_KILL']",
            "not in the bounding set",
        ),
        (
            "boxed = true\n[box]\nno_new_privileges = false",
            "a system call filter stands, and takes `no_new_privileges` with it",
        ),
        (
            "boxed = true\nstdin = 'tty'\n[box]\nnew_session = false",
            "takes a session of its own",
        ),
        (
            "boxed = true\n[box]\nnamespaces = [\"mount\"]\nnew_session = false",
            "needs a pid namespace",
        ),
        (
            "boxed = true\n[box]\nprofile = 'minimal'\nnew_session = false",
            "could type into herd's terminal",
        ),
        (
            "boxed = true\n[box]\nbest_effort = ['system_calls']\nnew_session = false",
            "could type into herd's terminal",
        ),
        (
            "boxed = true\nready = 'fd:5'\n[box]\ninherit_fds = [5]",
            "is the one that `ready` waits on",
        ),
        (
            "boxed = true\nfile_descriptor_store_max = 1\n[box]\ninherit_fds = [5]",
            "would want the same numbers",
        ),
        (
            "boxed = true\n[box]\nprofile = 'none'\nlandlock = []\nno_new_privileges = false",
            "landlock takes `no_new_privileges` with it",
        ),
        (
            "boxed = true\n[box]\nprofile = 'none'\nseccomp_profile = '/x.json'\nno_new_privileges = false",
            "a system call filter stands, and takes `no_new_privileges` with it",
        ),
        ("boxed = true\n[network]\nmode = 'bride'", "bridge"),
        ("boxed = true\nbox_root = 'srv'", "absolute"),
    ] {
        let output = check(text);
        assert_eq!(output.code, 1, "{text}: {output:?}");
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(told.contains(said), "{text}: {told}");
    }
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = '/bin/true'\nboxed = true\nuser = 'no-such-user'",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("no-such-user"), "{}", output.stderr);
}

#[test]
fn a_command_that_is_not_in_the_box_is_named() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = '/tmp/no-such-command'\nboxed = true\nrestart = 'no'",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output
            .stderr
            .contains("command /tmp/no-such-command: no such file or directory"),
        "{}",
        output.stderr
    );
}
