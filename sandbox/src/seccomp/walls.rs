//! What the walls add to the filter: rules about the arguments of single calls.
//!
//! Arguments are compared by their low 32 bits where the kernel reads no more of them; a compare of
//! all 64 can be got around by setting bits that the kernel ignores (CVE-2019-10063).
#![forbid(unsafe_code)]

use super::answer::{EAFNOSUPPORT, ENOSYS, EPERM};
use super::bpf::Test;
use crate::config::{Abi, AddressFamilies, Namespaces, RestrictNamespaces, Walls};

/// What one wall says about one call.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) call: &'static str,
    /// In order; the first that applies decides, and nothing applying leaves the call alone.
    pub(super) checks: Vec<Check>,
}

#[derive(Debug)]
pub(super) struct Check {
    /// All have to hold; none holds always.
    pub(super) conditions: Vec<Condition>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) mask: u32,
    pub(super) test: Test,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// This wall has nothing against it.
    Pass,
    Errno(u16),
}

/// Claims that a wall looks at system calls beside the list of them.
pub(super) fn has_rules(walls: &Walls) -> bool {
    // What differs between the ABIs is how a rule is put, not whether there is one.
    !of_walls(walls, Abi::X86_64).is_empty()
}

/// The rules of all walls but the list of calls itself, and of every box with a filter.
pub(super) fn rules(walls: &Walls, abi: Abi) -> Vec<Rule> {
    let mut rules = of_walls(walls, abi);
    rules.push(terminal_injection());
    rules
}

fn of_walls(walls: &Walls, abi: Abi) -> Vec<Rule> {
    let mut rules = Vec::new();
    namespaces(&walls.restrict_namespaces, &mut rules);
    if let Some(families) = &walls.restrict_address_families {
        address_families(families, &mut rules);
    }
    if walls.restrict_realtime {
        realtime(&mut rules);
    }
    if walls.restrict_suid_sgid {
        suid_sgid(&mut rules);
    }
    if walls.restrict_suid_sgid || walls.restrict_address_families.is_some() {
        // A ring makes sockets and files without the calls that are looked at here.
        rules.push(refuse("io_uring_setup", ENOSYS));
    }
    if walls.lock_personality {
        rules.push(Rule {
            call: "personality",
            checks: vec![
                when(vec![equal(0, PERSONALITY_QUERY)], Outcome::Pass),
                when(vec![equal(0, 0)], Outcome::Pass),
                when(vec![], Outcome::Errno(EPERM)),
            ],
        });
    }
    if walls.memory_deny_write_execute {
        write_execute(abi, &mut rules);
    }
    let whole = [
        (walls.protect_clock, CLOCK),
        (walls.protect_hostname, HOSTNAME),
        (walls.protect_kernel_modules, MODULES),
        (walls.protect_kernel_logs, LOGS),
        (walls.protect_kernel_tunables, TUNABLES),
        (walls.private_devices, RAW_IO),
    ];
    for (_, calls) in whole.iter().filter(|(is_on, _)| *is_on) {
        rules.extend(calls.iter().map(|call| refuse(call, EPERM)));
    }
    rules
}

/// Input pushed into a terminal is typed by the user, as far as the shell outside can tell
/// (CVE-2017-5226, CVE-2023-1523). Every box with a filter refuses it.
fn terminal_injection() -> Rule {
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541C;
    Rule {
        call: "ioctl",
        checks: [TIOCSTI, TIOCLINUX]
            .map(|request| when(vec![equal(1, request)], Outcome::Errno(EPERM)))
            .into(),
    }
}

const CLOCK: &[&str] = &[
    "adjtimex",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_settime",
    "clock_settime64",
    "settimeofday",
    "stime",
];
const HOSTNAME: &[&str] = &["sethostname", "setdomainname"];
const MODULES: &[&str] = &["init_module", "finit_module", "delete_module"];
const LOGS: &[&str] = &["syslog"];
const TUNABLES: &[&str] = &["_sysctl"];
const RAW_IO: &[&str] = &["ioperm", "iopl"];

/// `personality(0xffffffff)` only asks.
const PERSONALITY_QUERY: u32 = 0xffff_ffff;

/// `CLONE_NEW*`.
const KINDS: [(u32, IsAllowed); 8] = [
    (0x0002_0000, |kinds| kinds.mount),
    (0x0200_0000, |kinds| kinds.cgroup),
    (0x0400_0000, |kinds| kinds.uts),
    (0x0800_0000, |kinds| kinds.ipc),
    (0x1000_0000, |kinds| kinds.user),
    (0x2000_0000, |kinds| kinds.pid),
    (0x4000_0000, |kinds| kinds.net),
    (CLONE_NEWTIME, |kinds| kinds.time),
];

type IsAllowed = fn(&Namespaces) -> bool;

/// Lies in the byte that is the exit signal in `clone(2)`, which therefore cannot make it.
const CLONE_NEWTIME: u32 = 0x80;

fn namespaces(restricted: &RestrictNamespaces, rules: &mut Vec<Rule>) {
    let allowed = match restricted {
        RestrictNamespaces::None => return,
        RestrictNamespaces::All => Namespaces::default(),
        RestrictNamespaces::AllowOnly(kinds) => *kinds,
    };
    let denied: u32 = KINDS
        .iter()
        .filter(|(_, is_allowed)| !is_allowed(&allowed))
        .map(|(flag, _)| flag)
        .sum();
    if denied == 0 {
        return;
    }
    let refuse_any = |call, argument, bits| Rule {
        call,
        checks: vec![when(vec![any_of(argument, bits)], Outcome::Errno(EPERM))],
    };
    rules.push(refuse_any("unshare", 0, denied));
    rules.push(refuse_any("clone", 0, denied & !CLONE_NEWTIME));
    // Its flags are behind a pointer; libraries fall back to clone when it is not there.
    rules.push(refuse("clone3", ENOSYS));
    if allowed == Namespaces::default() {
        rules.push(refuse("setns", EPERM));
        return;
    }
    let mut setns = refuse_any("setns", 1, denied);
    // Type 0 joins whatever the descriptor is.
    let any_kind = when(vec![equal(1, 0)], Outcome::Errno(EPERM));
    setns.checks.insert(0, any_kind);
    rules.push(setns);
}

fn address_families(families: &AddressFamilies, rules: &mut Vec<Rule>) {
    let refused = Outcome::Errno(EAFNOSUPPORT);
    let (listed, outcome, others) = match families {
        AddressFamilies::Only(listed) => (listed, Outcome::Pass, Some(refused)),
        AddressFamilies::AllBut(listed) => (listed, refused, None),
    };
    for call in ["socket", "socketpair"] {
        let mut checks: Vec<Check> = listed
            .iter()
            .map(|family| when(vec![equal(0, u32::from(*family))], outcome))
            .collect();
        checks.extend(others.map(|outcome| when(vec![], outcome)));
        rules.push(Rule { call, checks });
    }
}

fn realtime(rules: &mut Vec<Rule>) {
    const RESET_ON_FORK: u32 = 0x4000_0000;
    // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
    let mut checks: Vec<Check> = [0, 3, 5]
        .map(|policy| {
            let condition = Condition {
                argument: 1,
                mask: !RESET_ON_FORK,
                test: Test::Equal(policy),
            };
            when(vec![condition], Outcome::Pass)
        })
        .into();
    checks.push(when(vec![], Outcome::Errno(EPERM)));
    rules.push(Rule {
        call: "sched_setscheduler",
        checks,
    });
    // The policy is behind a pointer.
    rules.push(refuse("sched_setattr", ENOSYS));
}

fn suid_sgid(rules: &mut Vec<Rule>) {
    const SUID_SGID: u32 = 0o6000;
    // O_CREAT and the bit that O_TMPFILE adds to O_DIRECTORY.
    const CREATES: u32 = 0o100 | 0o20_000_000;
    for (call, mode) in [
        ("chmod", 1),
        ("fchmod", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("mknod", 1),
        ("mknodat", 2),
        ("creat", 1),
    ] {
        let checks = vec![when(vec![any_of(mode, SUID_SGID)], Outcome::Errno(EPERM))];
        rules.push(Rule { call, checks });
    }
    for (call, flags, mode) in [("open", 1, 2), ("openat", 2, 3)] {
        let conditions = vec![any_of(flags, CREATES), any_of(mode, SUID_SGID)];
        rules.push(Rule {
            call,
            checks: vec![when(conditions, Outcome::Errno(EPERM))],
        });
    }
    // Mode and flags are behind a pointer.
    rules.push(refuse("openat2", ENOSYS));
}

fn write_execute(abi: Abi, rules: &mut Vec<Rule>) {
    const PROT_WRITE: u32 = 2;
    const PROT_EXEC: u32 = 4;
    const SHM_EXEC: u32 = 0o100_000;
    const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
    let both = Condition {
        argument: 2,
        mask: PROT_WRITE | PROT_EXEC,
        test: Test::Equal(PROT_WRITE | PROT_EXEC),
    };
    let mmap = if abi.is_narrow() {
        // What is called mmap there takes its arguments behind a pointer.
        rules.push(refuse("mmap", ENOSYS));
        "mmap2"
    } else {
        "mmap"
    };
    rules.push(Rule {
        call: mmap,
        checks: vec![when(vec![both], Outcome::Errno(EPERM))],
    });
    for (call, bits) in [
        ("mprotect", PROT_EXEC),
        ("pkey_mprotect", PROT_EXEC),
        ("shmat", SHM_EXEC),
    ] {
        let checks = vec![when(vec![any_of(2, bits)], Outcome::Errno(EPERM))];
        rules.push(Rule { call, checks });
    }
    // Under this personality every mapping that can be read can be executed, too.
    rules.push(Rule {
        call: "personality",
        checks: vec![
            when(vec![equal(0, PERSONALITY_QUERY)], Outcome::Pass),
            when(vec![any_of(0, READ_IMPLIES_EXEC)], Outcome::Errno(EPERM)),
        ],
    });
}

fn refuse(call: &'static str, errno: u16) -> Rule {
    Rule {
        call,
        checks: vec![when(vec![], Outcome::Errno(errno))],
    }
}

fn when(conditions: Vec<Condition>, outcome: Outcome) -> Check {
    Check {
        conditions,
        outcome,
    }
}

fn equal(argument: u8, value: u32) -> Condition {
    Condition {
        argument,
        mask: u32::MAX,
        test: Test::Equal(value),
    }
}

fn any_of(argument: u8, bits: u32) -> Condition {
    Condition {
        argument,
        mask: u32::MAX,
        test: Test::AnyOf(bits),
    }
}
