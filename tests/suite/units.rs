//! Unit files through the real binary: where they are found, what they may say, how they are
//! refused.

use crate::fixture::{Herd, Output};

/// `herd check` of files below a fresh directory, its path written `$D`.
fn check(files: &[(&str, &str)]) -> Output {
    let mut builder = Herd::builder();
    for (name, text) in files {
        builder = builder.file(name, text);
    }
    let herd = builder.start();
    let output = herd.ctl(&["check", herd.path("units").to_str().unwrap()]);
    let clean = |text: &str| text.replace(&herd.dir().display().to_string(), "$D");
    Output {
        code: output.code,
        stdout: clean(&output.stdout),
        stderr: clean(&output.stderr),
    }
}

#[test]
fn every_problem_of_a_file_is_shown_at_once_with_its_place_and_the_nearest_key() {
    let output = check(&[(
        "units/web.toml",
        "comand = \"/bin/web\"\nrestart = \"sometimes\"\ntimeout_stop = 10\n[limits]\nmemory = \"lots\"\n",
    )]);
    assert_eq!(output.code, 1);
    let text = output.stdout + &output.stderr;
    for place in [
        "web.toml:1:1",
        "web.toml:2:11",
        "web.toml:3:16",
        "web.toml:5:10",
    ] {
        assert!(
            text.contains(&format!("$D/units/{place}")),
            "{place}: {text}"
        );
    }
    assert!(text.contains("did you mean `command`?"), "{text}");
    assert!(text.contains('^'), "{text}");
}

#[test]
fn keys_of_later_issues_are_refused_as_not_supported_yet() {
    let output = check(&[(
        "units/web.toml",
        "command = 'sleep 1'\nimage = 'debian'\n[[timer]]\non_boot = '1min'\n",
    )]);
    assert_eq!(output.code, 1);
    let text = output.stdout + &output.stderr;
    assert_eq!(text.matches("not supported yet").count(), 2, "{text}");
}

#[test]
fn templates_are_checked_as_an_instance_of_theirs() {
    let sound = "command = ['serve', '--port', '80%i']\nstate_directory = 'web/%i'";
    let output = check(&[
        ("units/web@.toml", sound),
        ("units/x.toml", "command = 'x'"),
    ]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("2 units sound"), "{output:?}");
    let output = check(&[("units/web@.toml", "command = 'serve %d/key'\nboxd = true")]);
    assert_eq!(output.code, 1, "{output:?}");
    for said in [
        "$D/units/web@.toml:1:11",
        "the specifier %d is not supported yet; it comes with credentials",
        "did you mean `boxed`?",
    ] {
        assert!(output.stdout.contains(said), "{said}: {}", output.stdout);
    }
}

#[test]
fn a_sound_directory_is_said_to_be_sound() {
    let output = check(&[
        ("units/web.toml", "command = 'sleep 1'"),
        ("units/t.toml", "kind = 'target'"),
    ]);
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn the_enabled_directory_goes_before_the_available_one() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = ['sh', '-c', 'echo enabled; exec sleep infinity']",
        )
        .available(
            "web",
            "command = ['sh', '-c', 'echo available; exec sleep infinity']",
        )
        .file("vendor/web.toml", "command = 'false'")
        .file(
            "vendor/web.toml.d/10.toml",
            "description = 'vendor'\ndocumentation = ['man:web']",
        )
        .file("enabled/web.toml.d/20.toml", "description = 'enabled'")
        .file(
            "vendor/only.toml",
            "command = ['sh', '-c', 'echo vendor; exec sleep infinity']",
        )
        .start();
    assert_eq!(herd.wait_out("web", 1), ["enabled"]);
    let status = herd.status("web");
    assert_eq!(status["description"], "enabled");
    assert_eq!(status["drop_ins"].as_array().unwrap().len(), 2);
    herd.ok(&["start", "only"]);
    assert_eq!(herd.wait_out("only", 1), ["vendor"]);
}

#[test]
fn templates_and_specifiers_are_filled_in() {
    let herd = Herd::builder()
        .available(
            "worker@",
            "command = ['sh', '-c', 'echo %n %p %i %%; exec sleep infinity']\ndescription = 'Worker %i'",
        )
        .unit("pool", "kind = 'target'\nwants = ['worker@1', 'worker@2']")
        .start();
    assert_eq!(herd.wait_out("worker@1", 1), ["worker@1 worker 1 %"]);
    assert_eq!(herd.wait_out("worker@2", 1), ["worker@2 worker 2 %"]);
    assert_eq!(herd.status("worker@2")["description"], "Worker 2");
    herd.ok(&["start", "worker@three"]);
    assert_eq!(
        herd.wait_out("worker@three", 1),
        ["worker@three worker three %"]
    );
    let output = herd.ctl(&["start", "worker@"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("worker@ is a template"),
        "{output:?}"
    );
}

#[test]
fn the_environment_is_what_the_unit_says_and_nothing_else() {
    let herd = Herd::builder()
        .file("one.env", "A=file\nB=\"two words\"\n# a comment\nC='$A'\nGONE=1\n")
        .unit(
            "web",
            "command = ['sh', '-c', 'env | sort; exec sleep infinity']\nenvironment_file = ['@D@/one.env', '-@D@/missing.env']\n\
             environment = { A = 'unit', D = '%n' }\npass_environment = ['HERD_PASSED']\nunset_environment = ['GONE']",
        )
        .environment("HERD_PASSED", "yes")
        .environment("HERD_SECRET", "no")
        .start();
    herd.wait_log("web", "PWD");
    let out = herd.out("web");
    for line in ["A=file", "B=two words", "C=$A", "D=web", "HERD_PASSED=yes"] {
        assert!(out.iter().any(|have| have == line), "{line}: {out:?}");
    }
    let of_others = |line: &&String| line.starts_with("GONE") || line.starts_with("HERD_SECRET");
    assert_eq!(out.iter().find(of_others), None);
}

/// Opening a fifo waits for who writes into it: herd's loop does not.
#[test]
fn an_environment_file_that_is_no_file_is_refused_at_once() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = 'true'\nenvironment_file = '@D@/fifo'\nrestart = 'no'",
        )
        .unit("other", "command = 'sleep infinity'")
        .start();
    let fifo = herd.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    let why = format!(
        "cannot read environment_file {}: not a regular file",
        fifo.display()
    );
    assert!(output.stderr.contains(&why), "{output:?}");
    herd.wait_state("other", "active");
}

#[test]
fn identity_directories_and_scheduling_are_as_told() {
    if !crate::needs::root() {
        return;
    }
    let herd = Herd::builder()
        .unit(
            "web",
            "command = ['sh', '-c', 'id -u; id -g; pwd; umask; cat /proc/self/oom_score_adj; nice; echo $0 $1', 'a b']\n\
             args = ['c d']\nuser = '65534'\nworking_directory = '/usr'\numask = 0o027\noom_score_adjust = 500\nnice = 5\nrestart = 'no'",
        )
        .start();
    assert_eq!(
        herd.wait_out("web", 7),
        ["65534", "65534", "/usr", "0027", "500", "5", "a b c d"]
    );
}

#[test]
fn words_are_split_as_a_shell_splits_them_and_no_shell_runs() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = \"printf '<%%s>\\\\n' 'two words' $LIST ${LIST} $$HOME * > x\"\nenvironment = { LIST = '1 2' }\nrestart = 'no'",
        )
        .start();
    assert_eq!(
        herd.wait_out("web", 8),
        [
            "<two words>",
            "<1>",
            "<2>",
            "<1 2>",
            "<$HOME>",
            "<*>",
            "<>>",
            "<x>"
        ]
    );
}

#[test]
fn limits_of_processes_are_set() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = ['sh', '-c', 'ulimit -n; ulimit -c']\nrestart = 'no'\n[limits]\nopen_files = 77\ncore = 0",
        )
        .start();
    assert_eq!(herd.wait_out("web", 2), ["77", "0"]);
}
