//! Every example says what it said before: `expected/NAME.txt` (written anew with `HERD_BLESS=1`).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that starts what it tests"
)]

use std::path::Path;
use std::process::Command;

fn check(name: &str, program: &str, arguments: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{stderr}", output.status);
    assert_eq!(stderr, "");
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace(directory.path().to_str().unwrap(), "$TMPDIR");
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("expected/{name}.txt"));
    if std::env::var_os("HERD_BLESS").is_some() {
        std::fs::write(&expected, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(expected).unwrap());
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

macro_rules! examples {
    ($($test:ident: $name:literal $arguments:expr;)*) => {$(
        #[test]
        fn $test() {
            check($name, env!(concat!("CARGO_BIN_EXE_", $name)), &$arguments);
        }
    )*};
}

examples! {
    launching_runs_as_shown: "launch" [];
    processes_are_as_shown: "process" [];
    namespaces_are_as_shown: "namespaces" [];
    files_are_as_shown: "files" [];
    privileges_are_as_shown: "privileges" [];
    limits_are_held_as_shown: "limits" [];
    events_are_told_as_shown: "events" [];
    landlock_denies_as_shown: "landlock" [];
    the_showcase_runs_as_shown: "showcase" [];
    a_shell_runs_a_command: "shell" ["-c", "echo in the box as process $$; ls /tmp"];
}
