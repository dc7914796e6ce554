//! Profiles and programs of the caller's own, in the kernel.

use sandbox::Config;
use sandbox::config::{SystemCalls, Walls};
use sandbox::seccomp::{Program, parse_profile};

use crate::attacks::probe;
use crate::fixture::{Case, config, outcome, shell};

fn with_calls(system_calls: SystemCalls) -> Config {
    let mut config = config(&["true"]);
    config.walls = Some(Walls {
        system_calls,
        ..Walls::bare()
    });
    config
}

/// Everything is allowed but for these rules.
fn profile(rules: &str) -> Config {
    let text = format!(
        r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rules}],
             "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"] }}"#
    );
    with_calls(SystemCalls {
        profile: Some(parse_profile("test", text.as_bytes()).unwrap()),
        ..SystemCalls::default()
    })
}

fn action(call: &str, action: &str) -> String {
    format!(r#"{{ "names": ["{call}"], "action": "SCMP_ACT_{action}" }}"#)
}

/// One call gets an errno, all others are allowed.
fn refusing(call: i64, errno: u32) -> Program {
    let call = u32::try_from(call).unwrap();
    let instructions: [(u16, u8, u8, u32); 4] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, call),
        (0x06, 0, 0, 0x0005_0000 | errno),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    Program::from_bytes(&bytes(&instructions)).unwrap()
}

fn bytes(instructions: &[(u16, u8, u8, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, yes, no, operand) in instructions {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([*yes, *no]);
        bytes.extend(operand.to_ne_bytes());
    }
    bytes
}

fn programs(programs: Vec<Program>) -> Config {
    with_calls(SystemCalls {
        programs,
        ..SystemCalls::default()
    })
}

/// Runs this case of our own behind a filter that answers one call with this errno.
pub(crate) fn behind_refusal(call: i64, errno: i32, case: &str) {
    let ourselves = std::env::current_exe().unwrap();
    let filter = programs(vec![refusing(call, errno.unsigned_abs())]);
    let mut inner = config(&[ourselves.to_str().unwrap(), "--exact", case]);
    inner.walls = filter.walls;
    let outcome = outcome(&inner);
    assert_eq!(outcome.failure, None);
    assert_eq!(
        outcome.stdout,
        format!("test {case} ... ok\n"),
        "{}",
        outcome.stderr
    );
}

pub(crate) const CASES: &[Case] = &[
    ("a_profile_answers_as_it_says", || {
        let rules = [
            action("keyctl", "LOG"),
            action("kcmp", "TRACE"),
            r#"{ "names": ["add_key"], "action": "SCMP_ACT_ERRNO", "errno": "EXDEV" }"#.to_owned(),
            r#"{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                 "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_GT" },
                          { "index": 1, "value": 3, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ" }] }"#
                .to_owned(),
        ];
        let attacks = [
            "keyctl",
            "kcmp,1",
            "add-key",
            "socket,2,1",
            "socket,2,2",
            "socket,1,1",
        ];
        let answers = probe(profile(&rules.join(",")), &attacks);
        let answers: Vec<&str> = answers.iter().map(|(_, answer)| answer.as_str()).collect();
        // Without a tracer, what asks one is ENOSYS.
        assert_eq!(answers, ["ok", "ENOSYS", "EXDEV", "EACCES", "ok", "ok"]);
    }),
    ("a_profile_may_kill_or_trap", || {
        use std::os::unix::process::ExitStatusExt;
        for word in ["KILL_PROCESS", "KILL_THREAD", "TRAP"] {
            // The shell's own call, so that it is the main process that ends.
            let mut config = shell("umask 077; echo alive");
            config.walls = profile(&action("umask", word)).walls;
            let outcome = outcome(&config);
            assert_eq!(outcome.failure, None);
            assert_eq!(outcome.stdout, "", "{word}");
            assert_eq!(
                outcome.status.unwrap().signal(),
                Some(libc::SIGSYS),
                "{word}"
            );
        }
    }),
    ("programs_stack_and_the_last_one_s_errno_counts", || {
        let keyctl = |errno| refusing(libc::SYS_keyctl, errno);
        let all = vec![
            keyctl(libc::EXDEV.unsigned_abs()),
            refusing(libc::SYS_add_key, libc::EACCES.unsigned_abs()),
            keyctl(libc::EIO.unsigned_abs()),
        ];
        let answers = probe(programs(all), &["keyctl", "add-key", "kcmp,1"]);
        let answers: Vec<&str> = answers.iter().map(|(_, answer)| answer.as_str()).collect();
        assert_eq!(answers[..2], ["EIO", "EACCES"]);
        assert_ne!(answers[2], "ENOSYS");
    }),
    ("a_program_that_the_kernel_refuses_is_named", || {
        // Scratch memory is read before it is written.
        let program = [(0x60, 0, 0, 0), (0x06, 0, 0, 0x7fff_0000)];
        let program = Program::from_bytes(&bytes(&program)).unwrap();
        let first = refusing(libc::SYS_keyctl, 1);
        let outcome = outcome(&programs(vec![first, program]));
        let failure = outcome.failure.unwrap();
        assert_eq!(
            failure.sentence,
            "seccomp: program 2 of 2 as given; 2 instructions"
        );
        assert_eq!(failure.errno, libc::EINVAL);
    }),
];
