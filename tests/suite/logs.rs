//! What services write: kept in order, whole, bounded, and found again.

use std::process::Stdio;

use crate::fixture::{Deadline, Herd, gone};
use crate::needs;

/// A oneshot that runs a shell script, started and waited for.
fn after(script: &str, more: &str) -> Herd {
    let herd = Herd::builder()
        .available(
            "web",
            &format!("command = ['sh', '-c', '''{script}''']\noneshot = true\n{more}"),
        )
        .start();
    herd.ok(&["start", "web"]);
    // Lines are written by a thread of their own, in the order in which they came.
    herd.wait_log("herd", "web: completed");
    herd
}

fn text(herd: &Herd, more: &[&str]) -> String {
    let mut arguments = vec!["logs", "web", "--no-prefix"];
    arguments.extend(more);
    herd.ok(&arguments)
}

#[test]
fn both_outputs_are_kept_in_their_order() {
    let herd = after(
        "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done",
        "",
    );
    let expected: String = (1..=5).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(text(&herd, &[]), expected);
}

/// As the log files of images are made to: links to these.
#[test]
fn a_service_of_another_user_can_open_its_outputs_by_name() {
    if !needs::root() {
        return;
    }
    let script = "echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdout";
    for more in ["", "boxed = true\n"] {
        let unit = format!(
            "command = ['sh', '-c', '{script}']\noneshot = true\nrestart = 'no'\nuser = 'nobody'\n{more}"
        );
        let herd = Herd::builder().available("web", &unit).start();
        assert_eq!(herd.ctl(&["start", "web"]).code, 1);
        herd.wait_log("web", "failed");
        let text = text(&herd, &[]);
        assert!(text.starts_with("out\nerr\n"), "{text}");
        // What was written before is nobody's to read but herd's.
        assert!(text.contains("Permission denied"), "{text}");
    }
}

/// Without a word the kernel kills whoever writes beyond that limit (`SIGXFSZ` of `signal(7)`).
#[test]
fn a_limit_on_the_size_of_files_costs_lines_and_not_herd() {
    let herd = Herd::builder()
        .wrap(&["sh", "-c", "ulimit -f 16; exec \"$@\"", "sh"])
        .unit("web", "command = '@SERVICE@ lines:5000'\nrestart = 'no'")
        .unit("other", "command = 'sleep 1000'")
        .start();
    herd.wait_state("web", "inactive");
    assert_eq!(herd.state("other"), "active");
    assert!(!herd.out("web").is_empty());
    assert!(herd.shutdown().success());
}

#[test]
fn no_line_is_lost_that_was_written_before_the_end() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = '@SERVICE@ lines:5000 die:SIGKILL'\nrestart = 'no'\noneshot = true",
        )
        .start();
    herd.ctl(&["start", "web"]);
    herd.wait_log("web", "failed");
    let out = herd.out("web");
    assert_eq!(out.len(), 5000);
    for (index, line) in out.iter().enumerate() {
        assert_eq!(line, &format!("line {}", index + 1));
    }
}

#[test]
fn a_line_without_an_end_is_kept() {
    let herd = after("printf 'no newline'", "");
    assert_eq!(text(&herd, &[]), "no newline\n");
}

#[test]
fn a_megabyte_in_one_line_is_cut_into_pieces_and_nothing_of_it_lost() {
    let herd = after(
        "head -c 1048576 /dev/zero | tr '\\0' y; echo; echo next",
        "",
    );
    let text = text(&herd, &[]);
    assert_eq!(text.matches('y').count(), 1 << 20);
    assert!(text.lines().all(|line| line.len() <= 16 << 10));
    assert!(text.ends_with("\nnext\n"));
}

#[test]
fn binary_output_is_kept_and_shown_harmlessly() {
    let herd = after(r"printf 'a\033[31mb\001\377c\n'", "");
    let line = herd.ok(&["logs", "web", "--json"]);
    let entry: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert!(entry.is_object());
    let file = std::fs::read(herd.path("log/web.log")).unwrap();
    assert!(
        file.windows(11)
            .any(|bytes| bytes == b"a\x1b[31mb\x01\xffc\n"),
        "{entry} {file:?}"
    );
}

#[test]
fn logs_rotate_by_size_and_count_and_are_read_as_one() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = '@SERVICE@ lines:5000'\noneshot = true\n[log]\nmax_size = '16K'\nmax_files = 2",
        )
        .start();
    herd.ok(&["start", "web"]);
    herd.wait_log("web", "line 5000");
    let mut files: Vec<String> = std::fs::read_dir(herd.path("log"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("web"))
        .collect();
    files.sort();
    assert_eq!(files, ["web.log", "web.log.1", "web.log.2"]);
    for file in &files {
        let size = herd.path(&format!("log/{file}")).metadata().unwrap().len();
        assert!(size <= 17 << 10, "{file} has {size} bytes");
    }
    let text = text(&herd, &[]);
    let numbers: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(numbers.len() > 500 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(numbers.last(), Some(&5000));
    assert_eq!(self::text(&herd, &["-n", "2"]), "line 4999\nline 5000\n");
    assert_eq!(
        self::text(&herd, &["--grep", "line 499", "-n", "3"]),
        "line 4997\nline 4998\nline 4999\n"
    );
    assert_eq!(self::text(&herd, &["--grep", "LINE 5000"]), "");
    assert_eq!(
        self::text(&herd, &["-i", "--grep", "LINE 5000"]),
        "line 5000\n"
    );
    assert_eq!(
        self::text(&herd, &["--since", "1 hour ago", "-n", "1"]),
        "line 5000\n"
    );
    assert_eq!(self::text(&herd, &["--until", "1 hour ago"]), "");
}

#[test]
fn units_are_interleaved_by_time() {
    let herd = Herd::builder()
        .gate("a")
        .gate("b")
        .unit(
            "one",
            "command = ['sh', '-c', 'echo 1; read x < @D@/a; echo 3; exec sleep infinity']",
        )
        .unit(
            "two",
            "command = ['sh', '-c', 'read x < @D@/b; echo 2; exec sleep infinity']",
        )
        .start();
    herd.wait_log("one", "1");
    herd.open_gate("b");
    herd.wait_log("two", "2");
    herd.open_gate("a");
    herd.wait_log("one", "3");
    assert_eq!(herd.ok(&["logs", "one", "two", "--no-prefix"]), "1\n2\n3\n");
    let entries = herd.ok(&["logs", "one", "two", "--json"]);
    let units: Vec<String> = entries
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry["unit"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(units, ["one", "two", "one"]);
}

#[test]
fn following_goes_on_across_rotations() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "web",
            "command = ['sh', '-c', 'echo first; read x < @D@/gate; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; echo last; exec sleep infinity']\n\
             [log]\nmax_size = '16K'\nmax_files = 50",
        )
        .start();
    herd.wait_log("web", "first");
    let mut follow = herd.command(&["logs", "-f", "web", "--no-prefix"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let out = follow.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out));
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    herd.open_gate("gate");
    for number in 1..=2000 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("line {number}"));
    }
    assert_eq!(lines.next().unwrap().unwrap(), "last");
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn a_rate_limit_drops_and_counts() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = '@SERVICE@ lines:1000'\noneshot = true\n[log]\nrate_limit = '100/1h'",
        )
        .start();
    herd.ok(&["start", "web"]);
    herd.wait_log("web", "line 100");
    assert_eq!(herd.out("web").len(), 100);
    assert_eq!(herd.status("web")["log_lost"], 900);
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    if !needs::root() || !needs::unshare(&["--mount"]) {
        return;
    }
    let builder = Herd::builder();
    let log = builder.dir().join("log").display().to_string();
    let script = format!("mount -t tmpfs -o size=64k none {log} && exec \"$@\"");
    let herd = builder
        .gate("gate")
        .gate("gate2")
        .unit(
            "web",
            "command = ['sh', '-c', '@SERVICE@ lines:10000; echo written > @D@/state; read x < @D@/gate; echo again; echo done > @D@/state; exec sleep infinity']",
        )
        .wrap(&["unshare", "--mount", "sh", "-c", &script, "sh"])
        .start();
    herd.wait_file("state", "written");
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.open_gate("gate");
    herd.wait_file("state", "done");
    assert_eq!(herd.main_pid("web"), pid);
    // The writer finds out by itself, when it comes to it.
    let deadline = Deadline::new();
    let lost = || herd.status("web")["log_lost"].as_i64().unwrap();
    while lost() <= 5000 {
        assert!(!deadline.left().is_zero(), "{} lines lost", lost());
    }
    assert!(herd.ok(&["status", "web"]).contains("lines lost"));
    herd.ok(&["stop", "web"]);
    assert!(gone(pid));
}

#[test]
fn a_unit_that_said_nothing_has_an_empty_log() {
    let herd = Herd::with(&[("quiet", "command = 'sleep infinity'")]);
    herd.wait_state("quiet", "active");
    assert_eq!(herd.ok(&["logs", "quiet"]), "");
    let unknown = herd.ctl(&["logs", "nobody"]);
    assert_eq!(unknown.code, 3);
}

#[test]
fn an_output_file_that_is_a_link_is_not_followed() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = 'echo x'\nstdout = 'file:@D@/link'\noneshot = true",
        )
        .start();
    std::os::unix::fs::symlink(herd.path("target"), herd.path("link")).unwrap();
    let refused = herd.ctl(&["start", "web"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("symbolic link"),
        "{}",
        refused.stderr
    );
    assert!(!herd.path("target").exists());
}
