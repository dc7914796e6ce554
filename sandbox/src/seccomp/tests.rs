//! Decisions of compiled filters, through the interpreter.
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::answer::{ALLOW, EAFNOSUPPORT, ENOSYS, EPERM, KILL_PROCESS, LOG, errno};
use super::compile::CompileError;
use super::filter::{FilterError, default_filter};
use super::fixture::{Filter, filtered, open_walls};
use super::interpreter::Call;
use super::{compile, groups};
use crate::config::*;
use crate::host::{Architecture, Host};

const EACCES: u16 = 13;
const X86_64: Abi = Abi::X86_64;
const AUDIT_I386: u32 = 0x4000_0003;

#[test]
fn an_allow_list_refuses_known_calls_and_does_not_know_newer_ones() {
    let filter = Filter::of(&filtered(true, &[("@basic-io", false, None)]));
    assert_eq!(filter.ask("read", &[]), ALLOW);
    assert_eq!(filter.ask("execve", &[]), ALLOW, "@default is always there");
    assert_eq!(filter.ask("mount", &[]), errno(EPERM));
    assert_eq!(filter.ask("statmount", &[]), errno(EPERM));
    assert_eq!(filter.number(471, &[]), errno(ENOSYS));
    assert_eq!(filter.number(100_000, &[]), errno(ENOSYS));
    // A hole in the table.
    assert_eq!(filter.number(400, &[]), errno(ENOSYS));
}

#[test]
fn entries_are_taken_in_order_and_have_errnos_of_their_own() {
    let filter = Filter::of(&filtered(
        true,
        &[
            ("@system-service", false, None),
            ("@privileged", true, None),
            ("chown", false, None),
            ("ptrace", true, Some(13)),
            ("kcmp", false, Some(38)),
        ],
    ));
    assert_eq!(filter.ask("fchown", &[]), errno(EPERM));
    assert_eq!(filter.ask("chown", &[]), ALLOW);
    assert_eq!(filter.ask("ptrace", &[]), errno(EACCES));
    assert_eq!(filter.ask("kcmp", &[]), errno(ENOSYS));
}

#[test]
fn a_deny_list_lets_the_rest_through() {
    let mut walls = filtered(
        false,
        &[
            ("@mount", false, None),
            ("umount2", true, None),
            ("reboot", false, Some(13)),
        ],
    );
    walls.system_calls.refusal = Refusal::KillProcess;
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask("mount", &[]), KILL_PROCESS);
    assert_eq!(filter.ask("umount2", &[]), ALLOW);
    assert_eq!(filter.ask("reboot", &[]), errno(EACCES));
    assert_eq!(filter.number(100_000, &[]), ALLOW);
}

#[test]
fn no_call_has_a_second_name() {
    let walls = filtered(false, &[("ptrace", false, None)]);
    let filter = Filter::of(&walls);
    let ptrace = X86_64.number("ptrace").unwrap();
    assert_eq!(filter.ask("ptrace", &[]), errno(EPERM));
    assert_eq!(filter.number(ptrace | 0x4000_0000, &[]), errno(ENOSYS));
    // x32's own ptrace, which old kernels had without the bit, too.
    assert_eq!(filter.number(521, &[]), errno(ENOSYS));
    assert_eq!(filter.number(u32::MAX, &[]), errno(ENOSYS));
    let call = Call {
        architecture: AUDIT_I386,
        number: 20,
        arguments: [0; 6],
    };
    assert_eq!(filter.program.decide(&call).0, errno(EPERM));
}

#[test]
fn an_entry_may_kill_where_others_have_an_errno() {
    let mut walls = filtered(true, &[("@system-service", false, None)]);
    let entries = &mut walls.system_calls.filter.as_mut().unwrap().entries;
    entries.push(SystemCallEntry {
        name: "ptrace".to_owned(),
        remove: true,
        refusal: Some(Refusal::KillProcess),
    });
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask("ptrace", &[]), KILL_PROCESS);
    assert_eq!(filter.ask("mount", &[]), errno(EPERM));
}

#[test]
fn what_is_logged_is_made_and_what_is_refused_stays_refused() {
    let mut walls = filtered(true, &[("@system-service", false, None)]);
    let log = |all_but, names: &[&str]| {
        Some(SystemCallLog {
            all_but,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    walls.system_calls.log = log(false, &["@mount", "getpid", "unshare"]);
    walls.restrict_namespaces = RestrictNamespaces::All;
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask("getpid", &[]), LOG);
    assert_eq!(filter.ask("getppid", &[]), ALLOW);
    assert_eq!(filter.ask("mount", &[]), errno(EPERM));
    // A wall's rule looks first.
    assert_eq!(filter.ask("unshare", &[0x1000_0000]), errno(EPERM));
    assert_eq!(filter.ask("unshare", &[0x400]), LOG);
    let mut open = open_walls();
    open.system_calls.log = log(true, &["getpid"]);
    let filter = Filter::of(&open);
    assert_eq!(filter.ask("getpid", &[]), ALLOW);
    assert_eq!(filter.ask("mount", &[]), LOG);
    assert_eq!(filter.number(100_000, &[]), LOG);
    let words = &compile(&open, &Host::of_tests(Architecture::X86_64)).unwrap()[0].words;
    assert!(words.contains("; log all but getpid; "), "{words}");
    open.system_calls.log = log(false, &["getpidd"]);
    assert!(matches!(
        compile(&open, &Host::of_tests(Architecture::X86_64)),
        Err(CompileError::Log(_))
    ));
}

#[test]
fn architectures_that_are_let_have_the_same_list_and_walls() {
    let mut walls = filtered(false, &[("connect", false, None), ("msgget", false, None)]);
    walls.restrict_address_families = Some(AddressFamilies::Only(vec![1]));
    walls.memory_deny_write_execute = true;
    walls.protect_clock = true;
    for architectures in [
        Architectures::All,
        Architectures::NativeAnd(vec![Abi::X86, Abi::X32, Abi::Arm]),
    ] {
        walls.system_calls.architectures = architectures;
        let filter = Filter::of(&walls);
        for abi in [X86_64, Abi::X86, Abi::X32] {
            assert_eq!(filter.ask_as(abi, "getpid", &[]), ALLOW, "{abi:?}");
            assert_eq!(filter.ask_as(abi, "connect", &[]), errno(EPERM));
            assert_eq!(filter.ask_as(abi, "socket", &[1]), ALLOW);
            assert_eq!(filter.ask_as(abi, "socket", &[2]), errno(EAFNOSUPPORT));
            assert_eq!(filter.ask_as(abi, "ioctl", &[0, 0x5412]), errno(EPERM));
        }
        let x86 = |call, arguments: &[u64]| filter.ask_as(Abi::X86, call, arguments);
        // connect, bind, and socket whose family is behind a pointer.
        assert_eq!(x86("socketcall", &[3]), errno(EPERM));
        assert_eq!(x86("socketcall", &[2]), ALLOW);
        assert_eq!(x86("socketcall", &[1]), errno(ENOSYS));
        // msgget and shmat, with a version in the high half.
        assert_eq!(x86("ipc", &[0x1_000d]), errno(EPERM));
        assert_eq!(x86("ipc", &[21]), errno(ENOSYS));
        assert_eq!(x86("ipc", &[22]), ALLOW);
        assert_eq!(x86("mmap", &[]), errno(ENOSYS));
        assert_eq!(x86("mmap2", &[0, 0, 6]), errno(EPERM));
        assert_eq!(x86("stime", &[]), errno(EPERM));
        assert_eq!(x86("clock_settime64", &[]), errno(EPERM));
    }
    walls.system_calls.architectures = Architectures::NativeAnd(vec![Abi::X86]);
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask_as(Abi::X86, "getpid", &[]), ALLOW);
    assert_eq!(filter.ask_as(Abi::X32, "getpid", &[]), errno(ENOSYS));
}

#[test]
fn x32_has_numbers_of_its_own() {
    let mut walls = filtered(false, &[("ptrace", false, None)]);
    walls.system_calls.architectures = Architectures::NativeAnd(vec![Abi::X32]);
    let filter = Filter::of(&walls);
    assert_eq!(Abi::X32.number("ptrace"), Some(0x4000_0000 | 521));
    assert_eq!(filter.number(0x4000_0000 | 521, &[]), errno(EPERM));
    // Without the bit it is none of anybody's, with the number of 64 bits none of x32's.
    assert_eq!(filter.number(521, &[]), errno(ENOSYS));
    assert_eq!(filter.number(0x4000_0000 | 101, &[]), errno(ENOSYS));
    assert_eq!(filter.number(0x4000_0000 | 39, &[]), ALLOW);
    assert_eq!(filter.number(u32::MAX, &[]), errno(ENOSYS));
}

#[test]
fn a_program_of_the_caller_s_is_looked_at() {
    use super::{Program, ProgramError};
    let code = |instructions: &[(u16, u8, u8, u32)]| -> Vec<u8> {
        let each = instructions.iter().flat_map(|(code, yes, no, k)| {
            let mut bytes = code.to_ne_bytes().to_vec();
            bytes.extend([*yes, *no]);
            bytes.extend(k.to_ne_bytes());
            bytes
        });
        each.collect()
    };
    let allow = (0x06, 0, 0, ALLOW);
    let error = |instructions: &[(u16, u8, u8, u32)]| {
        Program::from_bytes(&code(instructions))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(Program::from_bytes(&code(&[allow])).unwrap().len(), 1);
    assert_eq!(Program::from_bytes(&[]), Err(ProgramError::Empty));
    assert_eq!(Program::from_bytes(&[0; 12]), Err(ProgramError::Size(12)));
    assert_eq!(
        Program::from_bytes(&code(&vec![allow; 4097])),
        Err(ProgramError::TooLong(4097))
    );
    assert!(Program::from_bytes(&code(&vec![allow; 4096])).is_ok());
    assert_eq!(
        error(&[(0x20, 0, 0, 64), allow]),
        "instruction 0 of the seccomp program loads from 64, where nothing is"
    );
    assert_eq!(
        error(&[(0x28, 0, 0, 0), allow]),
        "instruction 0 of the seccomp program (0x0028) is none that seccomp knows"
    );
    assert_eq!(
        error(&[allow, (0x15, 0, 1, 0), allow]),
        "instruction 1 of the seccomp program jumps out of it"
    );
    assert_eq!(
        error(&[(0x05, 0, 0, u32::MAX), allow]),
        "instruction 0 of the seccomp program jumps out of it"
    );
    assert_eq!(
        error(&[(0x34, 0, 0, 0), allow]),
        "instruction 0 of the seccomp program divides by zero or shifts by 0"
    );
    assert_eq!(
        error(&[(0x20, 0, 0, 0)]),
        "the seccomp program does not end with a return"
    );
}

#[test]
fn terminal_injection_is_refused_whatever_the_high_bits_say() {
    let filter = Filter::of(&open_walls());
    for request in [0x5412, 0x541C, 0x5412 | 1 << 32, 0x5412 | u64::MAX << 32] {
        assert_eq!(filter.ask("ioctl", &[0, request]), errno(EPERM));
    }
    assert_eq!(filter.ask("ioctl", &[0, 0x5413]), ALLOW);
}

#[test]
fn new_namespaces_are_refused_by_every_call_that_makes_them() {
    let mut walls = open_walls();
    walls.restrict_namespaces = RestrictNamespaces::All;
    let filter = Filter::of(&walls);
    for flag in [
        0x0002_0000_u64,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(filter.ask("unshare", &[flag]), errno(EPERM));
        assert_eq!(filter.ask("unshare", &[flag | 1 << 40]), errno(EPERM));
        assert_eq!(filter.ask("clone", &[flag | 17]), errno(EPERM));
        assert_eq!(filter.ask("setns", &[3, flag]), errno(EPERM));
    }
    assert_eq!(filter.ask("unshare", &[0x80]), errno(EPERM));
    assert_eq!(filter.ask("setns", &[3, 0]), errno(EPERM));
    assert_eq!(filter.ask("clone3", &[]), errno(ENOSYS));
    // CLONE_FILES, a thread of glibc's, a fork with an exit signal of 0x80.
    assert_eq!(filter.ask("unshare", &[0x400]), ALLOW);
    assert_eq!(filter.ask("clone", &[0x003d_0f00]), ALLOW);
    assert_eq!(filter.ask("clone", &[0x80]), ALLOW);
}

#[test]
fn some_kinds_of_namespaces_can_be_left_open() {
    let mut walls = open_walls();
    walls.restrict_namespaces = RestrictNamespaces::AllowOnly(Namespaces {
        user: true,
        mount: true,
        ..Namespaces::default()
    });
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask("unshare", &[0x1002_0000]), ALLOW);
    assert_eq!(filter.ask("unshare", &[0x5000_0000]), errno(EPERM));
    assert_eq!(filter.ask("setns", &[3, 0x1000_0000]), ALLOW);
    assert_eq!(filter.ask("setns", &[3, 0x4000_0000]), errno(EPERM));
    assert_eq!(filter.ask("setns", &[3, 0]), errno(EPERM));
}

#[test]
fn address_families_are_a_list_of_what_may_be() {
    let mut walls = open_walls();
    walls.restrict_address_families = Some(AddressFamilies::Only(vec![1, 2]));
    let filter = Filter::of(&walls);
    for call in ["socket", "socketpair"] {
        assert_eq!(filter.ask(call, &[1]), ALLOW);
        assert_eq!(filter.ask(call, &[2]), ALLOW);
        assert_eq!(filter.ask(call, &[17]), errno(EAFNOSUPPORT));
        // The kernel reads an int: 1<<32|17 is AF_PACKET, 1<<32|1 is AF_UNIX.
        assert_eq!(filter.ask(call, &[17 | 1 << 32]), errno(EAFNOSUPPORT));
        assert_eq!(filter.ask(call, &[1 | 1 << 32]), ALLOW);
    }
    assert_eq!(filter.ask("io_uring_setup", &[]), errno(ENOSYS));
    walls.restrict_address_families = Some(AddressFamilies::AllBut(vec![17, 38]));
    let all_but = Filter::of(&walls);
    assert_eq!(all_but.ask("socket", &[38]), errno(EAFNOSUPPORT));
    assert_eq!(all_but.ask("socket", &[17 | 1 << 32]), errno(EAFNOSUPPORT));
    assert_eq!(all_but.ask("socket", &[1]), ALLOW);
    assert_eq!(all_but.ask("socket", &[300]), ALLOW);
    walls.restrict_address_families = Some(AddressFamilies::Only(vec![]));
    assert_eq!(Filter::of(&walls).ask("socket", &[1]), errno(EAFNOSUPPORT));
}

#[test]
fn realtime_scheduling_is_refused() {
    let mut walls = open_walls();
    walls.restrict_realtime = true;
    let filter = Filter::of(&walls);
    for (policy, verdict) in [
        (0, ALLOW),
        (3, ALLOW),
        (5, ALLOW),
        (0x4000_0000, ALLOW),
        (1, errno(EPERM)),
        (2, errno(EPERM)),
        (0x4000_0001, errno(EPERM)),
        (6, errno(EPERM)),
    ] {
        assert_eq!(filter.ask("sched_setscheduler", &[0, policy]), verdict);
    }
    assert_eq!(filter.ask("sched_setattr", &[]), errno(ENOSYS));
}

#[test]
fn no_file_becomes_suid_or_sgid() {
    let mut walls = open_walls();
    walls.restrict_suid_sgid = true;
    let filter = Filter::of(&walls);
    let refused = errno(EPERM);
    for (call, arguments, verdict) in [
        ("chmod", vec![0, 0o4755], refused),
        ("chmod", vec![0, 0o755], ALLOW),
        ("chmod", vec![0, 0o1777], ALLOW),
        ("fchmod", vec![0, 0o2755], refused),
        ("fchmodat", vec![0, 0, 0o6755], refused),
        ("fchmodat2", vec![0, 0, 0o2755], refused),
        ("mknod", vec![0, 0o104_755], refused),
        ("mknodat", vec![0, 0, 0o104_755], refused),
        ("creat", vec![0, 0o4755], refused),
        ("open", vec![0, 0o101, 0o4755], refused),
        // Without O_CREAT the mode is not read.
        ("open", vec![0, 1, 0o4755], ALLOW),
        ("openat", vec![0, 0, 0o101, 0o4755], refused),
        ("openat", vec![0, 0, 0o20_200_001, 0o4755], refused),
        ("openat", vec![0, 0, 0o101, 0o644], ALLOW),
        ("openat", vec![0, 0, 0o200_000, 0o6000], ALLOW),
        ("openat2", vec![], errno(ENOSYS)),
        ("io_uring_setup", vec![], errno(ENOSYS)),
    ] {
        assert_eq!(
            filter.ask(call, &arguments),
            verdict,
            "{call} {arguments:?}"
        );
    }
}

#[test]
fn no_memory_is_written_and_executed() {
    let mut walls = open_walls();
    walls.memory_deny_write_execute = true;
    let filter = Filter::of(&walls);
    let refused = errno(EPERM);
    for (call, arguments, verdict) in [
        ("mmap", vec![0, 0, 7], refused),
        ("mmap", vec![0, 0, 6], refused),
        ("mmap", vec![0, 0, 5], ALLOW),
        ("mmap", vec![0, 0, 3], ALLOW),
        ("mprotect", vec![0, 0, 5], refused),
        ("mprotect", vec![0, 0, 3], ALLOW),
        ("pkey_mprotect", vec![0, 0, 4], refused),
        ("shmat", vec![0, 0, 0o100_000], refused),
        ("shmat", vec![0, 0, 0], ALLOW),
        ("personality", vec![0xffff_ffff], ALLOW),
        ("personality", vec![0x0040_0000], refused),
        ("personality", vec![8], ALLOW),
    ] {
        assert_eq!(
            filter.ask(call, &arguments),
            verdict,
            "{call} {arguments:?}"
        );
    }
    walls.lock_personality = true;
    let filter = Filter::of(&walls);
    assert_eq!(filter.ask("personality", &[0xffff_ffff]), ALLOW);
    assert_eq!(filter.ask("personality", &[0]), ALLOW);
    assert_eq!(filter.ask("personality", &[8]), refused);
}

#[test]
fn the_protect_walls_refuse_whole_calls() {
    let mut walls = open_walls();
    walls.protect_clock = true;
    walls.protect_hostname = true;
    walls.protect_kernel_modules = true;
    walls.protect_kernel_logs = true;
    walls.private_devices = true;
    let filter = Filter::of(&walls);
    for call in [
        "settimeofday",
        "adjtimex",
        "clock_settime",
        "sethostname",
        "init_module",
        "delete_module",
        "syslog",
        "iopl",
    ] {
        assert_eq!(filter.ask(call, &[]), errno(EPERM), "{call}");
    }
    assert_eq!(filter.ask("clock_gettime", &[]), ALLOW);
}

#[test]
fn the_default_filter_keeps_out_what_attackers_like() {
    let mut walls = open_walls();
    walls.system_calls.filter = Some(default_filter());
    walls.restrict_namespaces = RestrictNamespaces::All;
    let filter = Filter::of(&walls);
    for call in [
        "userfaultfd",
        "bpf",
        "perf_event_open",
        "kexec_load",
        "kexec_file_load",
        "keyctl",
        "add_key",
        "request_key",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "fsopen",
        "fsmount",
        "mount_setattr",
        "pivot_root",
        "chroot",
        "ptrace",
        "pidfd_getfd",
        "open_by_handle_at",
        "fanotify_init",
        "quotactl",
        "init_module",
        "reboot",
        "swapon",
        "iopl",
        "modify_ldt",
        "settimeofday",
        "syslog",
        "lookup_dcookie",
    ] {
        assert_eq!(filter.ask(call, &[]), errno(EPERM), "{call}");
    }
    assert_eq!(filter.ask("io_uring_setup", &[]), errno(ENOSYS));
    for call in [
        "openat",
        "socket",
        "epoll_wait",
        "execve",
        "landlock_restrict_self",
        "mseal",
    ] {
        assert_eq!(filter.ask(call, &[]), ALLOW, "{call}");
    }
    assert_eq!(filter.ask("clone", &[17]), ALLOW);
}

#[test]
fn the_default_filter_is_small_and_quick() {
    let mut walls = open_walls();
    walls.system_calls.filter = Some(default_filter());
    walls.restrict_namespaces = RestrictNamespaces::All;
    walls.restrict_suid_sgid = true;
    walls.lock_personality = true;
    for architecture in [
        Architecture::X86_64,
        Architecture::Aarch64,
        Architecture::Riscv64,
    ] {
        let filter = Filter::on(&walls, architecture);
        let worst = (0..600)
            .map(|number| {
                let call = Call {
                    architecture: Abi::native(architecture).audit(),
                    number,
                    arguments: [0; 6],
                };
                filter.program.decide(&call).1
            })
            .max()
            .unwrap();
        assert!(filter.program.len() <= 330, "{}", filter.program.len());
        assert!(worst <= 22, "{worst} steps");
    }
    let filters = compile(&walls, &Host::of_tests(Architecture::X86_64)).unwrap();
    let text = &filters[0].words;
    assert!(
        text.starts_with("seccomp: allow @system-service ~@keyring ~io_uring_setup:ENOSYS"),
        "{text}"
    );
    assert!(
        text.contains(" calls), else EPERM; no namespaces, suid, personality"),
        "{text}"
    );
}

#[test]
fn a_name_that_means_nothing_is_an_error_with_the_nearest() {
    let error = |entries: &[(&str, bool, Option<i32>)], allow| {
        compile(
            &filtered(allow, entries),
            &Host::of_tests(Architecture::X86_64),
        )
        .unwrap_err()
    };
    let CompileError::Filter(unknown) = error(&[("opennat", false, None)], true) else {
        panic!("another error");
    };
    assert_eq!(
        unknown.to_string(),
        "there is no system call \"opennat\"; did you mean \"openat\"?"
    );
    let CompileError::Filter(unknown) = error(&[("@system-servise", false, None)], true) else {
        panic!("another error");
    };
    assert_eq!(
        unknown.to_string(),
        "there is no group of system calls \"@system-servise\"; did you mean \"@system-service\"?"
    );
    assert!(matches!(
        error(&[("read", false, Some(0))], true),
        CompileError::Filter(FilterError::Errno { errno: 0, .. })
    ));
    assert!(matches!(
        error(&[("read", true, Some(1))], false),
        CompileError::Filter(FilterError::Contradiction(_))
    ));
}

#[test]
fn a_call_of_another_architecture_is_a_note_and_no_error() {
    let walls = filtered(true, &[("riscv_hwprobe", false, None)]);
    let host = Host::of_tests(Architecture::X86_64);
    assert!(compile(&walls, &host).is_ok());
    assert_eq!(
        super::notes(&walls, &host),
        ["system call riscv_hwprobe does not exist on this architecture"]
    );
}

#[test]
fn nothing_is_left_out_in_silence() {
    let mut walls = open_walls();
    walls.system_calls.architectures = Architectures::All;
    assert_eq!(
        compile(&walls, &Host::of_tests(Architecture::X86_64)),
        Ok(vec![])
    );
    let mut without = Host::of_tests(Architecture::X86_64);
    without.seccomp = false;
    walls.system_calls.architectures = Architectures::NATIVE;
    assert_eq!(compile(&walls, &without), Err(CompileError::Unavailable));
}

#[test]
fn every_group_is_known_everywhere() {
    for architecture in [
        Architecture::X86_64,
        Architecture::Aarch64,
        Architecture::Riscv64,
    ] {
        for group in groups::names().chain(["@known"]) {
            let walls = filtered(false, &[(group, false, None)]);
            assert!(
                compile(&walls, &Host::of_tests(architecture)).is_ok(),
                "{group}"
            );
        }
    }
    // Every member is a group or a call with a home; every call of the table has one, too.
    let all: Vec<&str> = groups::all_calls().collect();
    for name in X86_64.calls().keys() {
        assert!(all.contains(name), "{name} is in no group");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The tree says what the list says, for every number.
    #[test]
    fn the_tree_agrees_with_the_list(
        picked in proptest::collection::btree_set(0_usize..370, 0..80),
        allow: bool,
        probe in 0_u32..0x5000_0000,
    ) {
        let calls: std::collections::BTreeMap<u32, &str> =
            X86_64.calls().iter().map(|(name, number)| (*number, *name)).collect();
        let names: Vec<(u32, &str)> = calls.iter().map(|(n, name)| (*n, *name)).collect();
        let entries: Vec<_> = picked
            .iter()
            .filter_map(|index| Some((names.get(*index)?.1, false, Some(13))))
            .collect();
        let filter = Filter::of(&filtered(allow, &entries));
        let plain = Filter::of(&filtered(allow, &[]));
        for number in (0..700).chain([probe, probe | 0x4000_0000]) {
            let listed = entries.iter().any(|(name, ..)| calls.get(&number) == Some(name));
            let wanted = if listed { errno(EACCES) } else { plain.number(number, &[]) };
            prop_assert_eq!(filter.number(number, &[]), wanted, "{}", number);
        }
    }
}
