//! What profiles come to.
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::compile;
use super::parse::parse;
use crate::config::{
    Abi, Architectures, ArgumentCondition, Comparison, Refusal, SystemCallEntry, SystemCallFilter,
    SystemCalls, Walls,
};
use crate::host::{Architecture, Host, KernelVersion};
use crate::seccomp::answer::{ALLOW, ENOSYS, EPERM, KILL_PROCESS, LOG, errno};
use crate::seccomp::fixture::Filter;
use crate::seccomp::interpreter::Call;

/// In the manner of Docker's default: an allow-list with an errno for the rest, companions of the
/// architecture, rules that depend on capabilities, on the architecture and on the kernel, and rules
/// about arguments.
const DOCKER: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO",
  "defaultErrnoRet": 1,
  "archMap": [
    { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
    { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] },
    { "architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"] }
  ],
  "syscalls": [
    { "names": ["read", "write", "execve", "exit_group", "socketcall", "seccomp", "no_such_call"],
      "action": "SCMP_ACT_ALLOW" },
    { "names": ["socket"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
    { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }] },
    { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ" }] },
    { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
      "excludes": { "caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"] } },
    { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
      "excludes": { "caps": ["CAP_SYS_ADMIN"] } },
    { "names": ["mount", "clone", "clone3", "unshare"], "action": "SCMP_ACT_ALLOW",
      "includes": { "caps": ["CAP_SYS_ADMIN"] } },
    { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
    { "names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW",
      "includes": { "arches": ["amd64", "x32"] } },
    { "names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm"] },
      "comment": "an old companion" }
  ]
}"#;

const SYS_ADMIN: u8 = 21;

fn box_of(profile: &str) -> Walls {
    Walls {
        capability_bounding_set: vec![],
        system_calls: SystemCalls {
            profile: Some(parse("test", profile.as_bytes()).unwrap()),
            ..SystemCalls::default()
        },
        ..Walls::bare()
    }
}

fn filter(profile: &str) -> Filter {
    Filter::of(&box_of(profile))
}

#[test]
fn a_profile_in_docker_s_manner_means_what_it_means_there() {
    let filter = filter(DOCKER);
    let refused = errno(EPERM);
    for (call, arguments, answer) in [
        ("read", vec![], ALLOW),
        ("keyctl", vec![], refused),
        ("socket", vec![1], ALLOW),
        ("socket", vec![40], refused),
        // All 64 bits count, as libseccomp has it.
        ("socket", vec![40 | 1 << 32], ALLOW),
        ("personality", vec![0], ALLOW),
        ("personality", vec![0xffff_ffff], ALLOW),
        ("personality", vec![8], refused),
        ("clone", vec![17], ALLOW),
        ("clone", vec![0x1000_0000 | 17], refused),
        ("clone3", vec![], errno(ENOSYS)),
        ("mount", vec![], refused),
        ("ptrace", vec![], ALLOW),
        ("arch_prctl", vec![], ALLOW),
    ] {
        assert_eq!(filter.ask(call, &arguments), answer, "{call} {arguments:?}");
    }
    assert_eq!(
        filter.number(100_000, &[]),
        errno(ENOSYS),
        "newer than herd"
    );
}

#[test]
fn rules_count_by_capability_kernel_and_architecture() {
    let mut walls = box_of(DOCKER);
    walls.capability_bounding_set = vec![SYS_ADMIN];
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask("mount", &[]), ALLOW);
    assert_eq!(filter.ask("clone", &[0x1000_0000]), ALLOW);
    assert_eq!(filter.ask("clone3", &[]), ALLOW);
    let old = Host {
        kernel: KernelVersion::new(4, 7),
        ..Host::of_tests(Architecture::X86_64)
    };
    let filter = Filter::on_host(&box_of(DOCKER), &old);
    assert_eq!(filter.ask("ptrace", &[]), errno(EPERM));
    let arm = Filter::on(&box_of(DOCKER), Architecture::Aarch64);
    assert_eq!(arm.ask("read", &[]), ALLOW);
    assert_eq!(arm.ask_as(Abi::Arm, "read", &[]), ALLOW);
}

#[test]
fn companions_of_the_architecture_have_the_same_rules() {
    let filter = filter(DOCKER);
    for abi in [Abi::X86, Abi::X32] {
        assert_eq!(filter.ask_as(abi, "read", &[]), ALLOW, "{abi:?}");
        assert_eq!(filter.ask_as(abi, "mount", &[]), errno(EPERM), "{abi:?}");
    }
    // The 32 bits that a 32-bit program has.
    assert_eq!(
        filter.ask_as(Abi::X86, "personality", &[0xffff_ffff]),
        ALLOW
    );
    // Behind socketcall, where its arguments cannot be seen, a call that some arguments are refused
    // to is refused.
    assert_eq!(filter.ask_as(Abi::X86, "socketcall", &[1]), errno(EPERM));
    assert_eq!(filter.ask_as(Abi::X86, "socketcall", &[3]), ALLOW);
    let native_only = filter_of(r#""syscalls": []"#);
    let foreign = Call {
        architecture: Abi::X86.audit(),
        number: 3,
        arguments: [0; 6],
    };
    assert_eq!(native_only.program.decide(&foreign).0, errno(EPERM));
    assert_eq!(
        native_only.ask_as(Abi::X32, "read", &[]),
        errno(ENOSYS),
        "x32 is told by its numbers"
    );
}

/// With `SCMP_ACT_ERRNO` for the rest.
fn filter_of(rest: &str) -> Filter {
    filter(&format!(
        r#"{{ "defaultAction": "SCMP_ACT_ERRNO", {rest} }}"#
    ))
}

#[test]
fn every_action_is_the_kernel_s() {
    let one = |name: &str, action: &str| {
        format!(r#"{{ "names": ["{name}"], "action": "SCMP_ACT_{action}" }}"#)
    };
    let rules = [
        one("read", "KILL_PROCESS"),
        one("write", "KILL_THREAD"),
        one("open", "KILL"),
        one("close", "TRAP"),
        one("stat", "LOG"),
        one("fstat", "ALLOW"),
        r#"{ "names": ["lstat"], "action": "SCMP_ACT_TRACE", "errnoRet": 7 }"#.to_owned(),
        r#"{ "names": ["poll"], "action": "SCMP_ACT_ERRNO", "errno": "EACCES" }"#.to_owned(),
        r#"{ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 }"#.to_owned(),
    ];
    let filter = filter_of(&format!(r#""syscalls": [{}]"#, rules.join(",")));
    for (call, answer) in [
        ("read", KILL_PROCESS),
        ("write", 0),
        ("open", 0),
        ("close", 0x0003_0000),
        ("stat", LOG),
        ("fstat", ALLOW),
        ("lstat", 0x7ff0_0007),
        ("poll", errno(13)),
        ("lseek", errno(0)),
        ("mmap", errno(EPERM)),
    ] {
        assert_eq!(filter.ask(call, &[]), answer, "{call}");
    }
}

#[test]
fn a_foreign_architecture_is_killed_where_the_rest_is_allowed() {
    let filter = filter(
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 } ] }"#,
    );
    assert_eq!(filter.ask("ptrace", &[]), errno(13));
    assert_eq!(filter.number(100_000, &[]), ALLOW);
    assert_eq!(filter.ask_as(Abi::X86, "ptrace", &[]), KILL_PROCESS);
    assert_eq!(filter.ask_as(Abi::X32, "ptrace", &[]), errno(ENOSYS));
}

#[test]
fn of_rules_that_hold_the_strictest_decides_and_one_without_conditions_over_all() {
    let filter = filter_of(
        r#""syscalls": [
        { "names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
          "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_GE" }] },
        { "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
          "args": [{ "index": 1, "value": 20, "op": "SCMP_CMP_GE" }] },
        { "names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS",
          "args": [{ "index": 1, "value": 30, "op": "SCMP_CMP_GE" }] },
        { "names": ["prctl"], "action": "SCMP_ACT_KILL_PROCESS",
          "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] },
        { "names": ["prctl"], "action": "SCMP_ACT_ALLOW" } ]"#,
    );
    for (argument, answer) in [
        (9, errno(EPERM)),
        (19, ALLOW),
        (29, errno(13)),
        (u64::MAX, KILL_PROCESS),
    ] {
        assert_eq!(filter.ask("ioctl", &[0, argument]), answer, "{argument}");
    }
    assert_eq!(filter.ask("prctl", &[1]), ALLOW);
}

#[test]
fn conditions_on_several_arguments_are_all_meant_and_on_one_any() {
    let filter = filter_of(
        r#""syscalls": [
        { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
          { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" },
          { "index": 1, "value": 2, "op": "SCMP_CMP_EQ" } ] },
        { "names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
          { "index": 1, "value": 0, "op": "SCMP_CMP_EQ" },
          { "index": 1, "value": 15, "op": "SCMP_CMP_EQ" } ] } ]"#,
    );
    assert_eq!(filter.ask("socket", &[1, 2]), ALLOW);
    assert_eq!(filter.ask("socket", &[1, 3]), errno(EPERM));
    assert_eq!(filter.ask("socket", &[2, 2]), errno(EPERM));
    assert_eq!(filter.ask("kill", &[1, 0]), ALLOW);
    assert_eq!(filter.ask("kill", &[1, 15]), ALLOW);
    assert_eq!(filter.ask("kill", &[1, 9]), errno(EPERM));
}

#[test]
fn a_hundred_rules_about_one_call_are_no_thousand_instructions() {
    let rules: Vec<String> = (0..100)
        .map(|n| {
            format!(
                r#"{{ "names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
                   {{ "index": 1, "value": {}, "op": "SCMP_CMP_EQ" }} ] }}"#,
                n * 3
            )
        })
        .collect();
    let filter = filter_of(&format!(r#""syscalls": [{}]"#, rules.join(",")));
    for n in 0..300 {
        let answer = if n % 3 == 0 { ALLOW } else { errno(EPERM) };
        assert_eq!(filter.ask("ioctl", &[0, n]), answer, "{n}");
    }
    assert!(filter.program.len() < 800, "{}", filter.program.len());
}

#[test]
fn a_profile_stands_beside_the_lists_and_the_strictest_answer_is_the_kernel_s_to_take() {
    let mut walls = box_of(DOCKER);
    let list = |refuses: &str| SystemCallFilter {
        allow: false,
        entries: vec![SystemCallEntry {
            name: refuses.to_owned(),
            remove: false,
            refusal: Some(Refusal::KillProcess),
        }],
    };
    walls.system_calls.architectures = Architectures::NATIVE;
    walls.system_calls.filter = Some(list("ptrace"));
    let host = Host::of_tests(Architecture::X86_64);
    let filters = |walls: &Walls| -> Vec<String> {
        let filters = crate::seccomp::compile(walls, &host).unwrap();
        filters.into_iter().map(|filter| filter.words).collect()
    };
    let words = filters(&walls);
    assert!(
        words[0].starts_with("seccomp: refuse ptrace:kill"),
        "{words:?}"
    );
    assert!(
        words[1].starts_with(
            "seccomp: profile test: 8 of 10 rules, else EPERM; calls of x86 and x32 too; "
        ),
        "{words:?}"
    );
    // A filter that refuses the next one's installation is installed behind it.
    walls.system_calls.filter = Some(list("seccomp"));
    assert!(filters(&walls)[1].starts_with("seccomp: refuse seccomp"));
    let program = compile(walls.system_calls.profile.as_ref().unwrap(), &walls, &host).program;
    walls.system_calls.programs = vec![program.clone(), program];
    let words = filters(&walls);
    assert!(words[2].starts_with("seccomp: program 1 of 2 as given; "));
    assert!(words[3].starts_with("seccomp: program 2 of 2 as given; "));
}

#[test]
fn what_a_profile_cannot_mean_is_refused_by_name() {
    let says = |json: &str| {
        let error = parse("test", json.as_bytes()).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    let with = |rest: &str| format!(r#"{{ "defaultAction": "SCMP_ACT_ALLOW", {rest} }}"#);
    let rule = |rest: &str| {
        with(&format!(
            r#""syscalls": [{{ "names": ["read"], "action": "SCMP_ACT_ERRNO", {rest} }}]"#
        ))
    };
    for (json, said) in [
        ("[".to_owned(), "no seccomp profile: EOF"),
        ("{}".to_owned(), "missing field `defaultAction`"),
        (
            with(r#""defaultaction": 1"#),
            "unknown field `defaultaction`",
        ),
        (
            with(r#""listenerPath": "/run/x""#),
            "listenerPath is not supported: nobody would listen",
        ),
        (
            r#"{ "defaultAction": "SCMP_ACT_NOTIFY" }"#.to_owned(),
            "SCMP_ACT_NOTIFY is not supported",
        ),
        (
            r#"{ "defaultAction": "SCMP_ACT_DENY" }"#.to_owned(),
            "action \"SCMP_ACT_DENY\" is none",
        ),
        (
            with(r#""architectures": ["SCMP_ARCH_VAX"]"#),
            "architecture \"SCMP_ARCH_VAX\" is none",
        ),
        (
            with(r#""flags": ["SECCOMP_X"]"#),
            "flag \"SECCOMP_X\" is none",
        ),
        (
            with(
                r#""architectures": ["SCMP_ARCH_X86"],
                   "archMap": [{ "architecture": "SCMP_ARCH_X86_64" }]"#,
            ),
            "architectures and archMap say the same thing twice",
        ),
        (
            with(r#""syscalls": [{ "names": [], "action": "SCMP_ACT_ALLOW" }]"#),
            "rule 0 of syscalls names no call",
        ),
        (
            with(r#""syscalls": [{ "name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW" }]"#),
            "name and names say the same thing twice",
        ),
        (rule(r#""errnoRet": 4096"#), "errno 4096 is above 4095"),
        (rule(r#""errno": "EWHAT""#), "\"EWHAT\" is no errno"),
        (
            with(r#""syscalls": [{ "names": ["a"], "action": "SCMP_ACT_KILL", "errnoRet": 1 }]"#),
            "SCMP_ACT_KILL takes no errno",
        ),
        (
            rule(r#""args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }]"#),
            "an argument's index is 0 to 5, not 6",
        ),
        (
            rule(r#""args": [{ "index": 0, "value": 0, "op": "==" }]"#),
            "operator \"==\" is none",
        ),
        (
            rule(r#""includes": { "caps": ["NET"] }"#),
            "capability \"NET\" is none",
        ),
        (
            rule(r#""includes": { "minKernel": "five" }"#),
            "\"five\" is no kernel version",
        ),
    ] {
        assert!(says(&json).contains(said), "{json}: {}", says(&json));
    }
}

fn holds(comparison: Comparison, argument: u64) -> bool {
    match comparison {
        Comparison::NotEqual(value) => argument != value,
        Comparison::Less(value) => argument < value,
        Comparison::LessOrEqual(value) => argument <= value,
        Comparison::Equal(value) => argument == value,
        Comparison::GreaterOrEqual(value) => argument >= value,
        Comparison::Greater(value) => argument > value,
        Comparison::MaskedEqual { mask, value } => argument & mask == value & mask,
    }
}

/// Numbers whose halves are near the edges.
fn edge() -> impl Strategy<Value = u64> {
    let half = || {
        prop_oneof![
            0_u64..3,
            0xffff_fffd_u64..=0xffff_ffff,
            0x7fff_ffff_u64..0x8000_0002
        ]
    };
    (half(), half()).prop_map(|(high, low)| high << 32 | low)
}

fn comparison() -> impl Strategy<Value = Comparison> {
    (0..7, edge(), edge()).prop_map(|(which, value, mask)| match which {
        0 => Comparison::NotEqual(value),
        1 => Comparison::Less(value),
        2 => Comparison::LessOrEqual(value),
        3 => Comparison::Equal(value),
        4 => Comparison::GreaterOrEqual(value),
        5 => Comparison::Greater(value),
        _ => Comparison::MaskedEqual { mask, value },
    })
}

proptest! {
    #[test]
    fn all_64_bits_are_compared_and_32_where_there_are_no_more(
        comparison in comparison(),
        argument in edge(),
    ) {
        let mut walls = box_of(
            r#"{ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                 { "names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
                   "args": [{ "index": 2, "value": 0, "op": "SCMP_CMP_EQ" }] } ] }"#,
        );
        let profile = walls.system_calls.profile.as_mut().unwrap();
        profile.rules[0].conditions = vec![ArgumentCondition { index: 2, comparison }];
        let filter = Filter::of(&walls);
        let wanted = |holds| if holds { ALLOW } else { errno(EPERM) };
        prop_assert_eq!(filter.ask("ioctl", &[0, 0, argument]), wanted(holds(comparison, argument)));
        let low = |value: u64| value & 0xffff_ffff;
        let narrow = match comparison {
            Comparison::NotEqual(v) => Comparison::NotEqual(low(v)),
            Comparison::Less(v) => Comparison::Less(low(v)),
            Comparison::LessOrEqual(v) => Comparison::LessOrEqual(low(v)),
            Comparison::Equal(v) => Comparison::Equal(low(v)),
            Comparison::GreaterOrEqual(v) => Comparison::GreaterOrEqual(low(v)),
            Comparison::Greater(v) => Comparison::Greater(low(v)),
            Comparison::MaskedEqual { mask, value } => Comparison::MaskedEqual {
                mask: low(mask),
                value: low(value),
            },
        };
        prop_assert_eq!(
            filter.ask_as(Abi::X86, "ioctl", &[0, 0, low(argument)]),
            wanted(holds(narrow, low(argument)))
        );
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".*") {
        let answer = parse("test", text.as_bytes());
        prop_assert!(answer.is_err());
    }
}
