//! What an attacker who has taken a service over can still reach: `herd security`.
//!
//! A pure judgement of the unit and of the walls its plan gave up. Each wall has a weight; what
//! stands open of it, in percent, makes the score: 0.0 is everything shut, 10.0 everything open. The
//! score is a way to compare units and to find the next wall to build, no proof.
#![forbid(unsafe_code)]

use sandbox::GivenUp;
use sandbox::config::{
    Architectures, CAPABILITIES, Keyring, NamespaceKind, Network, ProtectHome, ProtectProc,
    ProtectSystem, RestrictNamespaces, Root, Wall, Walls,
};
use serde::Serialize;
use units::Unit;
use units::unit::{Command, Entry};

/// The walls of one unit, and what they come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exposure {
    /// 0.0 to 10.0, in tenths.
    pub score: f32,
    pub word: &'static str,
    pub rows: Vec<Row>,
}

/// One wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The key of the unit that builds it.
    pub key: &'static str,
    pub stance: Stance,
    /// How much it counts.
    pub weight: u16,
    /// How much of it is open, in percent.
    pub open: u16,
    /// What that means.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stance {
    Stands,
    /// It stands in part.
    Relaxed,
    /// The unit leaves it out.
    Open,
    /// The unit asks for it, and does without on this machine (`best_effort`).
    GivenUp,
}

impl Stance {
    pub fn word(self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Relaxed => "relaxed",
            Self::Open => "open",
            Self::GivenUp => "given up",
        }
    }
}

/// Who runs the unit: what `user` means depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runner {
    pub is_root: bool,
}

/// Judges a unit.
pub fn exposure(unit: &Unit, runner: Runner, given_up: &[GivenUp]) -> Exposure {
    let mut rows = vec![user(unit, runner), limits(unit)];
    let bare = Walls::bare();
    let walls = unit.walls.as_deref().unwrap_or(&bare);
    rows.extend(sight(walls));
    rows.push(network(unit, walls));
    rows.extend(files(walls));
    rows.extend(privileges(walls));
    rows.extend(calls(walls));
    rows.extend(kernel(walls));
    rows.extend(entry(unit));
    for row in &mut rows {
        let wall = given_up.iter().find(|lost| is_of(row.key, lost.wall));
        if let Some(lost) = wall.filter(|_| row.open < 100) {
            row.stance = Stance::GivenUp;
            row.open = 100;
            row.detail = lost.reason.clone();
        }
    }
    let all: u32 = rows.iter().map(|row| u32::from(row.weight) * 100).sum();
    let open = |row: &Row| u32::from(row.weight) * u32::from(row.open);
    let open: u32 = rows.iter().map(open).sum();
    // Rounded up: what is not quite shut is not 0.0.
    let tenths = u8::try_from((open * 100).div_ceil(all.max(1))).unwrap_or(100);
    Exposure {
        score: f32::from(tenths) / 10.0,
        word: word(tenths),
        rows,
    }
}

fn word(tenths: u8) -> &'static str {
    match tenths {
        0..=25 => "safe",
        26..=45 => "ok",
        46..=70 => "exposed",
        _ => "unsafe",
    }
}

/// Walls whose name is not that of their row: keys that go with them.
const KEYS_OF: [(Wall, &[&str]); 6] = [
    (Wall::ReadOnlyRoot, &["protect_system"]),
    (
        Wall::SystemCalls,
        &[
            "system_call_filter",
            "system_call_architectures",
            "restrict_namespaces",
            "restrict_address_families",
            "restrict_realtime",
            "restrict_suid_sgid",
            "lock_personality",
            "memory_deny_write_execute",
            "protect_clock",
            "protect_hostname",
        ],
    ),
    (Wall::Capabilities, &["capability_bounding_set"]),
    (Wall::Keyring, &["keyring_mode"]),
    (Wall::NetNamespace, &["network.mode"]),
    (Wall::Paths, &[]),
];

/// Claims that giving up this wall opens this row.
fn is_of(key: &str, wall: Wall) -> bool {
    match KEYS_OF.iter().find(|(known, _)| *known == wall) {
        Some((_, keys)) => keys.contains(&key),
        None => wall.name() == key,
    }
}

fn row(key: &'static str, weight: u16, open: u16, detail: impl Into<String>) -> Row {
    let stance = match open {
        0 => Stance::Stands,
        1..=99 => Stance::Relaxed,
        _ => Stance::Open,
    };
    Row {
        key,
        stance,
        weight,
        open,
        detail: detail.into(),
    }
}

/// A wall that stands or does not.
fn switch(key: &'static str, weight: u16, stands: bool, shut: &str, open: &str) -> Row {
    match stands {
        true => row(key, weight, 0, shut),
        false => row(key, weight, 100, open),
    }
}

fn user(unit: &Unit, runner: Runner) -> Row {
    let named = unit.surroundings.as_deref().and_then(|s| s.user.as_deref());
    let is_root = match named {
        Some(user) => user == "root" || user == "0",
        None => runner.is_root,
    };
    let mapped = unit
        .walls
        .as_deref()
        .is_some_and(|walls| walls.namespaces.user || walls.user_namespace.is_some());
    let boxed = unit.walls.is_some();
    match (is_root, mapped, boxed) {
        (false, ..) => row("user", 20, 0, "runs as a user of its own or herd's"),
        (true, true, _) => row("user", 20, 25, "is root in a user namespace alone"),
        (true, false, true) => row(
            "user",
            20,
            50,
            "is root without capabilities: what root owns is its own",
        ),
        (true, false, false) => row("user", 20, 100, "is root"),
    }
}

fn limits(unit: &Unit) -> Row {
    let cgroup = unit.limits.as_deref().map(|limits| &limits.cgroup);
    let memory = cgroup.is_some_and(|cgroup| cgroup.memory.is_some());
    let tasks = cgroup.is_some_and(|cgroup| cgroup.tasks.is_some());
    match (memory, tasks) {
        (true, true) => row("limits", 6, 0, "memory and tasks are limited"),
        (true, false) => row("limits", 6, 50, "may start processes without end"),
        (false, true) => row("limits", 6, 50, "may use all memory"),
        (false, false) => row("limits", 6, 100, "may use all memory and processes"),
    }
}

/// What it sees of others.
fn sight(walls: &Walls) -> Vec<Row> {
    let kinds = walls.namespaces;
    let mut rows = vec![
        switch(
            "pid_namespace",
            10,
            kinds.pid,
            "sees no process but its own",
            "sees, and may signal, processes of its user",
        ),
        switch(
            "ipc_namespace",
            4,
            kinds.ipc,
            "shares no memory with others",
            "reaches shared memory and semaphores of others",
        ),
        switch(
            "uts_namespace",
            1,
            kinds.uts,
            "has a host name of its own",
            "shares the host name",
        ),
        switch(
            "cgroup_namespace",
            1,
            kinds.cgroup,
            "sees its own group as the root",
            "sees the tree of groups",
        ),
    ];
    let hides = match walls.protect_proc {
        ProtectProc::Invisible | ProtectProc::Ptraceable => 0,
        ProtectProc::NoAccess => 30,
        ProtectProc::Default => 100,
    };
    rows.push(match (hides, walls.proc_subset_pid) {
        (0, true) => row("protect_proc", 6, 0, "/proc is its own processes alone"),
        (0, false) => row("protect_proc", 6, 20, "/proc shows the kernel's figures"),
        (hides, _) => row("protect_proc", 6, hides, "/proc shows processes of others"),
    });
    rows
}

/// By the network namespace that it is in.
fn network(unit: &Unit, walls: &Walls) -> Row {
    let joined = walls
        .join
        .iter()
        .any(|join| join.kind == NamespaceKind::Net);
    let of = unit
        .entry
        .as_ref()
        .and_then(|entry| entry.network_of.as_ref());
    let (share, words) = match walls.network {
        Network::None | Network::Loopback => (0, "reaches nobody by the network"),
        Network::Private(_) => (40, "has a network of its own that leads outside"),
        Network::Host if of.is_some() => (40, "has the network of another unit"),
        Network::Host if joined => (40, "has a network that is not herd's"),
        Network::Host => (100, "shares the host's network"),
    };
    row("network.mode", 15, share, words)
}

fn files(walls: &Walls) -> Vec<Row> {
    let own_root = walls.root != Root::Host;
    let strict = walls.read_only_root || walls.protect_system == ProtectSystem::Strict;
    let system = match walls.protect_system {
        _ if strict => (0, "no file of the system can be written"),
        _ if own_root => (20, "its own root can be written"),
        ProtectSystem::Full => (30, "/usr, /boot and /etc are read-only"),
        ProtectSystem::Yes => (50, "/usr and /boot are read-only"),
        ProtectSystem::Strict | ProtectSystem::No => (100, "the system can be written"),
    };
    let home = match walls.protect_home {
        ProtectHome::Yes | ProtectHome::Tmpfs => (0, "no home directory is seen"),
        _ if own_root => (0, "no home directory is in its root"),
        ProtectHome::ReadOnly => (50, "home directories can be read"),
        ProtectHome::No => (100, "home directories are open"),
    };
    let private = |is_private: bool| is_private || own_root;
    vec![
        row("protect_system", 10, system.0, system.1),
        row("protect_home", 10, home.0, home.1),
        switch(
            "private_tmp",
            6,
            private(walls.private_tmp),
            "has a /tmp of its own",
            "meets others in /tmp",
        ),
        switch(
            "private_devices",
            8,
            private(walls.private_devices),
            "has no device but null and its kin",
            "sees the devices of the host",
        ),
        switch(
            "landlock",
            4,
            walls.landlock.enabled,
            "landlock names the files it reaches",
            "no landlock rule names the files it reaches",
        ),
    ]
}

/// Capabilities that are as good as root, by `capabilities(7)`.
const AS_GOOD_AS_ROOT: [&str; 10] = [
    "dac_override",
    "dac_read_search",
    "setuid",
    "setgid",
    "setpcap",
    "sys_module",
    "sys_rawio",
    "sys_ptrace",
    "sys_admin",
    "bpf",
];

fn privileges(walls: &Walls) -> Vec<Row> {
    let bounding = &walls.capability_bounding_set;
    let names: Vec<&str> = bounding
        .iter()
        .filter_map(|number| CAPABILITIES.get(usize::from(*number)).copied())
        .collect();
    let great = names.iter().any(|name| AS_GOOD_AS_ROOT.contains(name));
    let capabilities = match names.len() {
        0 => row(
            "capability_bounding_set",
            20,
            0,
            "has no capability and no way to one",
        ),
        count if count >= CAPABILITIES.len() => row(
            "capability_bounding_set",
            20,
            100,
            "may have every capability",
        ),
        _ if great => row(
            "capability_bounding_set",
            20,
            80,
            format!("may have {}: as good as root", names.join(", ")),
        ),
        _ => row(
            "capability_bounding_set",
            20,
            25,
            format!("may have {}", names.join(", ")),
        ),
    };
    let nothing_gained = walls.no_new_privileges || sandbox::seccomp::filters(walls);
    vec![
        capabilities,
        switch(
            "no_new_privileges",
            10,
            nothing_gained,
            "gains nothing by setuid programs",
            "setuid programs give it privileges",
        ),
        switch(
            "keyring_mode",
            2,
            walls.keyring == Keyring::Private,
            "has a keyring of its own",
            "reaches the keys of herd's session",
        ),
    ]
}

fn calls(walls: &Walls) -> Vec<Row> {
    let calls = &walls.system_calls;
    let filter = match &calls.filter {
        Some(filter) if filter.allow => (0, "only listed system calls go through"),
        _ if calls.profile.is_some() => (0, "a profile says which system calls go through"),
        Some(_) => (50, "all system calls but those listed go through"),
        None if !calls.programs.is_empty() => (50, "programs of its own filter system calls"),
        None => (100, "every system call goes through"),
    };
    let namespaces = match &walls.restrict_namespaces {
        RestrictNamespaces::All => (0, "makes no namespace"),
        RestrictNamespaces::AllowOnly(kinds) if kinds.user => (80, "makes user namespaces"),
        RestrictNamespaces::AllowOnly(_) => (30, "makes some kinds of namespaces"),
        RestrictNamespaces::None => (100, "makes namespaces, and is root in them"),
    };
    let native = matches!(&calls.architectures, Architectures::NativeAnd(more) if more.is_empty());
    vec![
        row("system_call_filter", 20, filter.0, filter.1),
        switch(
            "system_call_architectures",
            4,
            native,
            "calls of other architectures are refused",
            "calls of other architectures go around filters",
        ),
        row("restrict_namespaces", 10, namespaces.0, namespaces.1),
        switch(
            "restrict_address_families",
            5,
            walls.restrict_address_families.is_some(),
            "makes sockets of named families alone",
            "makes sockets of every family",
        ),
        switch(
            "restrict_suid_sgid",
            3,
            walls.restrict_suid_sgid,
            "makes no setuid file",
            "leaves setuid files behind",
        ),
        switch(
            "memory_deny_write_execute",
            5,
            walls.memory_deny_write_execute,
            "runs no code that it wrote itself",
            "may write code and run it",
        ),
        switch(
            "lock_personality",
            2,
            walls.lock_personality,
            "keeps its personality",
            "changes its personality",
        ),
        switch(
            "restrict_realtime",
            2,
            walls.restrict_realtime,
            "takes no CPU for itself",
            "may take a CPU for itself",
        ),
    ]
}

fn kernel(walls: &Walls) -> Vec<Row> {
    vec![
        switch(
            "protect_kernel_tunables",
            8,
            walls.protect_kernel_tunables,
            "writes no setting of the kernel",
            "settings of the kernel are in reach",
        ),
        switch(
            "protect_kernel_modules",
            5,
            walls.protect_kernel_modules,
            "loads no module",
            "modules are in reach",
        ),
        switch(
            "protect_kernel_logs",
            2,
            walls.protect_kernel_logs,
            "reads no log of the kernel",
            "the kernel's log is in reach",
        ),
        switch(
            "protect_control_groups",
            5,
            walls.protect_control_groups,
            "writes to no cgroup",
            "cgroups are in reach",
        ),
        switch(
            "protect_clock",
            2,
            walls.protect_clock,
            "sets no clock",
            "clocks are in reach",
        ),
        switch(
            "protect_hostname",
            1,
            walls.protect_hostname,
            "sets no host name",
            "the host name is in reach",
        ),
    ]
}

/// What of herd's own it gets, and what of it runs outside.
fn entry(unit: &Unit) -> Vec<Row> {
    let none = Entry::default();
    let entry = unit.entry.as_deref().unwrap_or(&none);
    let commands = &unit.commands;
    let all = commands.main.iter().chain(&commands.condition);
    let all = all.chain(&commands.pre).chain(&commands.post);
    let all = all.chain(&commands.reload).chain(&commands.stop);
    let unboxed = |command: &Command| command.unboxed;
    let outside = all
        .chain(&commands.stop_post)
        .filter(|one| unboxed(one))
        .count();
    let mut rows = vec![
        switch(
            "new_session",
            3,
            !entry.shares_session,
            "has a session of its own",
            "shares herd's session and terminal",
        ),
        switch(
            "inherit_fds",
            2,
            entry.inherit_fds.is_empty(),
            "gets no descriptor of herd's",
            "gets descriptors of herd's",
        ),
    ];
    if unit.walls.is_some() && outside > 0 {
        let detail = format!("{outside} of its commands run outside of the box");
        rows.push(row("unboxed", 10, 100, detail));
    }
    rows
}
