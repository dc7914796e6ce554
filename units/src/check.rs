//! What no single key shows: keys that contradict one another, or that need another.
#![forbid(unsafe_code)]

mod network;

use sandbox::config::{
    Amount, Architectures, CpuPolicy, EnterRoot, NamespaceKind, Network, ProtectHome,
    ProtectSystem, Root, RootOverlay, Wall, Walls,
};

use crate::diagnostic::{Diagnostic, Severity};
use crate::document::Document;
use crate::read::Draft;
use crate::reader::Reader;
use crate::unit::{Input, Kind, Output, PrivateUsers, Ready, Restart, Unit};

/// Tells every contradiction of the unit, each at the key that is in the wrong.
pub(crate) fn check(draft: &Draft, document: &Document<'_>, reader: &mut Reader<'_>) {
    let mut check = Check { document, reader };
    let unit = &draft.unit;
    check.what_runs(unit);
    check.twice();
    check.lifecycle(draft);
    check.probes(draft);
    check.surroundings(unit);
    check.limits(unit);
    check.walls(draft);
    check.network(draft);
    check.identity(unit);
}

struct Check<'c, 't, 'r> {
    document: &'c Document<'t>,
    reader: &'c mut Reader<'r>,
}

impl Check<'_, '_, '_> {
    fn given(&self, path: &str) -> bool {
        self.document.find(path).is_some()
    }

    fn error(&mut self, path: &str, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        match self.document.find(path) {
            Some(entry) => {
                let (file, span) = (entry.file, entry.key_span.clone());
                self.reader
                    .report(Severity::Error, file, span, message.into(), hint);
            }
            None => self.file_error(message.into(), hint),
        }
    }

    /// About the file as a whole.
    fn file_error(&mut self, message: String, hint: Option<String>) {
        let Some(source) = self.reader.files.first() else {
            return;
        };
        self.reader.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            source: source.clone(),
            span: None,
            message,
            hint,
        });
    }

    fn what_runs(&mut self, unit: &Unit) {
        let runs = self.given("command");
        match unit.kind {
            Kind::Service if !runs => {
                let hint = "give it `command = \"/path/to/program\"`, or `kind = \"target\"`";
                self.file_error(
                    "a service needs a command".to_owned(),
                    Some(hint.to_owned()),
                );
            }
            Kind::Service => {}
            Kind::Target => {
                for path in [
                    "command",
                    "args",
                    "oneshot",
                    "ready",
                    "boxed",
                    "health.interval",
                ] {
                    if self.given(path) {
                        self.error(
                            path,
                            format!("a target runs nothing, so `{path}` means nothing"),
                            "",
                        );
                    }
                }
                for path in [
                    "command_condition",
                    "command_pre",
                    "command_post",
                    "command_reload",
                    "command_stop",
                    "command_stop_post",
                ] {
                    if self.given(path) {
                        self.error(
                            path,
                            format!("a target runs nothing, so `{path}` means nothing"),
                            "",
                        );
                    }
                }
            }
        }
        if unit.kind == Kind::Target {
            self.limits_of_a_target();
        }
        if self.given("args") && !runs && unit.kind == Kind::Service {
            self.error("args", "`args` without `command`", "");
        }
        if unit.commands.oneshot {
            if matches!(unit.lifecycle.restart, Restart::Always | Restart::OnSuccess) {
                let hint = "a oneshot that ended well is done; \"on-failure\" repeats a failed one";
                self.error(
                    "restart",
                    "a oneshot cannot be started again after success",
                    hint,
                );
            }
            let waits = matches!(unit.ready, Ready::Forking { .. } | Ready::Idle);
            if waits || self.given("health.interval") {
                self.error("ready", "a oneshot is ready when its command has ended", "");
            }
        }
        if unit.commands.oneshot && self.given("runtime_max") {
            let hint = "the command of a oneshot is limited by `timeout_start`";
            self.error(
                "runtime_max",
                "`runtime_max` means nothing to a oneshot",
                hint,
            );
        }
    }

    /// They are those of the slice of that name: of its group, so of no process.
    fn limits_of_a_target(&mut self) {
        let of_a_group = |path: &str| SLICE_LIMITS.contains(&path);
        let keys: Vec<&'static str> = self
            .document
            .entries
            .iter()
            .map(|entry| entry.key().path)
            .filter(|path| path.starts_with("limits.") && !of_a_group(path))
            .collect();
        for path in keys {
            let hint = "limits on memory, CPU, tasks and I/O hold for the slice of that name";
            let message = format!("a target runs nothing, so `{path}` means nothing");
            self.error(path, message, hint);
        }
    }

    /// Two spellings of one key.
    fn twice(&mut self) {
        for (alias, key) in [
            ("restart_delay_ms", "restart_delay"),
            ("start_delay_ms", "start_delay"),
            ("env", "environment"),
            ("box.device_allow", "limits.devices"),
        ] {
            if self.given(alias) && self.given(key) {
                let message = format!("`{alias}` and `{key}` are the same key");
                self.error(alias, message, "keep one of them");
            }
        }
    }

    fn lifecycle(&mut self, draft: &Draft) {
        let lifecycle = &draft.unit.lifecycle;
        if lifecycle.restart_delay > lifecycle.restart_delay_max {
            let message = "`restart_delay_max` is below `restart_delay`";
            self.error("restart_delay_max", message, "");
        }
        if lifecycle.restart == Restart::No {
            for path in ["max_retries", "restart_steps", "restart_delay_max"] {
                // An oneshot rests by default; the seed's units write these beside it.
                if self.given(path) && self.given("restart") && !draft.unit.commands.oneshot {
                    let message = format!("`{path}` means nothing when `restart` is \"no\"");
                    self.error(path, message, "");
                }
            }
        }
        for path in ["start_limit_interval", "start_limit_action"] {
            if self.given(path) && draft.start_limit_burst.is_none() {
                let hint = "how many starts are allowed is `start_limit_burst`";
                self.error(path, format!("`{path}` without `start_limit_burst`"), hint);
            }
        }
        if self.given("pid_file") && !matches!(draft.unit.ready, Ready::Forking { .. }) {
            let hint = "the file is read when `ready = \"forking\"`";
            self.error("pid_file", "`pid_file` without `ready = \"forking\"`", hint);
        }
        if self.given("reload_signal") && self.given("command_reload") {
            let message = "`reload_signal` and `command_reload` are two ways to reload";
            self.error("reload_signal", message, "keep one of them");
        }
        if !lifecycle.send_sigkill && self.given("final_kill_signal") {
            let message = "`final_kill_signal` is never sent when `send_sigkill` is false";
            self.error("final_kill_signal", message, "");
        }
    }

    fn probes(&mut self, draft: &Draft) {
        let tables = [
            ("ready", &draft.ready_probe),
            ("health", &draft.health_probe),
        ];
        for (table, parts) in tables {
            let written: Vec<String> = ["tcp", "http", "unix", "command", "path"]
                .iter()
                .map(|probe| format!("{table}.{probe}"))
                .filter(|path| self.given(path))
                .collect();
            let prefix = format!("{table}.");
            let mut entries = self.document.entries.iter();
            let first = entries.find(|entry| entry.key().path.starts_with(&prefix));
            if written.is_empty()
                && parts.probes.is_empty()
                && let Some(entry) = first
            {
                let path = entry.key().path;
                let hint = "give it one of tcp, http, unix, command, path";
                self.error(path, format!("[{table}] probes nothing"), hint);
            }
            if let [_, second, ..] = written.as_slice() {
                let message = format!("[{table}] has more than one probe");
                self.error(
                    second,
                    message,
                    "keep one; a command can try several things",
                );
            }
        }
    }

    fn surroundings(&mut self, unit: &Unit) {
        let Some(around) = &unit.surroundings else {
            return;
        };
        let real_time = matches!(
            around.scheduling.cpu_policy,
            Some(CpuPolicy::Fifo | CpuPolicy::RoundRobin)
        );
        if around.scheduling.cpu_priority.is_some() && !real_time {
            let path = "cpu_scheduling_priority";
            let hint = "set `cpu_scheduling_policy` to \"fifo\" or \"rr\"";
            self.error(path, "a priority is for real-time policies alone", hint);
        }
        if real_time && around.scheduling.cpu_priority.is_none() {
            let path = "cpu_scheduling_policy";
            let hint = "set `cpu_scheduling_priority` to 1 to 99";
            self.error(path, "a real-time policy needs a priority", hint);
        }
        let uses_tty = around.stdin == Input::Tty
            || around.stdout == Output::Tty
            || around.stderr == Output::Tty;
        if around.tty.is_some() && !uses_tty {
            let hint = "set `stdin`, `stdout` or `stderr` to \"tty\"";
            self.error("tty", "no stream uses the terminal", hint);
        }
        let boxed_real_time = unit
            .walls
            .as_ref()
            .is_some_and(|walls| walls.restrict_realtime);
        if real_time && boxed_real_time && self.given("box.restrict_realtime") {
            let message = "`restrict_realtime` forbids the policy that the unit asks for";
            self.error("cpu_scheduling_policy", message, "");
        }
    }

    fn limits(&mut self, unit: &Unit) {
        let Some(limits) = &unit.limits else {
            return;
        };
        let cgroup = &limits.cgroup;
        if is_above(cgroup.memory_high, cgroup.memory) {
            self.error("limits.memory_high", "`memory_high` is above `memory`", "");
        }
        if is_above(cgroup.memory_min, cgroup.memory) {
            self.error("limits.memory_min", "`memory_min` is above `memory`", "");
        }
        if is_above(cgroup.memory_low, cgroup.memory) {
            self.error("limits.memory_low", "`memory_low` is above `memory`", "");
        }
    }

    /// As whom a process runs, and who else exists for it.
    fn identity(&mut self, unit: &Unit) {
        let around = unit.surroundings.as_deref();
        let dynamic = around.is_some_and(|around| around.dynamic_user);
        if dynamic {
            for path in ["user", "group"] {
                if self.given(path) {
                    let message = format!("`{path}` and `dynamic_user` name two users");
                    self.error(path, message, "keep one of them");
                }
            }
            let hint = "what it leaves elsewhere would be its successor's: it takes `boxed = true`, \
                        with `private_tmp` and a strict `protect_system`";
            let apart = unit.walls.as_ref().is_some_and(|walls| {
                let strict = walls.protect_system == ProtectSystem::Strict || walls.read_only_root;
                walls.private_tmp && strict && walls.root.is_host()
            });
            if !apart {
                self.error(
                    "dynamic_user",
                    "a user for one run needs a box around it",
                    hint,
                );
            }
        }
        let (Some(walls), Some(entry)) = (&unit.walls, &unit.entry) else {
            return self.maps(unit);
        };
        let named = around.is_some_and(|around| around.user.is_some());
        if entry.remove_ipc && !dynamic && !named {
            let message = "`remove_ipc` is about a user of the unit's own";
            self.error("box.remove_ipc", message, "name a `user`");
        }
        let shifted = entry.private_users == PrivateUsers::Pick || walls.user_namespace.is_some();
        if entry.remove_ipc && shifted {
            let message = "`remove_ipc` is about a user that is the same outside";
            let hint = "an ipc namespace of the box's own leaves nothing behind";
            self.error("box.remove_ipc", message, hint);
        }
        let joins = |kind| walls.join.iter().any(|join| join.kind == kind);
        let own = entry.private_users != PrivateUsers::No || entry.disable_userns;
        if (own || walls.user_namespace.is_some()) && joins(NamespaceKind::User) {
            let message = "a user namespace is joined, and another is to be made";
            let hint = "leave out `private_users`, `disable_userns` and the maps";
            self.error("box.namespace_paths", message, hint);
        }
        if entry.private_users != PrivateUsers::No && walls.user_namespace.is_some() {
            let message = "`private_users` and `uid_map` are two answers to one question";
            self.error("box.private_users", message, "keep one of them");
        }
        self.maps(unit);
    }

    fn maps(&mut self, unit: &Unit) {
        for (path, other) in [
            ("box.uid_map", "box.gid_map"),
            ("box.gid_map", "box.uid_map"),
        ] {
            if self.given(path) && !self.given(other) {
                let short = other.trim_start_matches("box.");
                let message = format!("`{path}` without `{short}`");
                self.error(path, message, "a user namespace has both maps");
            }
        }
        let Some(walls) = &unit.walls else { return };
        let made = walls.namespaces;
        for join in &walls.join {
            let (name, both) = match join.kind {
                NamespaceKind::Ipc => ("ipc", made.ipc),
                NamespaceKind::Uts => ("uts", made.uts),
                NamespaceKind::Cgroup => ("cgroup", made.cgroup),
                NamespaceKind::Net => ("net", made.net),
                NamespaceKind::Time => ("time", made.time),
                NamespaceKind::User => ("user", made.user),
                NamespaceKind::Mount | NamespaceKind::Pid | NamespaceKind::SecondUser => continue,
            };
            if both {
                let message = format!("the {name} namespace is joined, and another is to be made");
                let hint = "leave it out of `namespaces`, and of [network]";
                let path = match self.given("box.namespace_paths") {
                    true => "box.namespace_paths",
                    false => "network.mode",
                };
                self.error(path, message, hint);
            }
        }
    }

    fn walls(&mut self, draft: &Draft) {
        if !draft.boxed {
            self.no_box();
            return;
        }
        let Some(walls) = &draft.unit.walls else {
            return;
        };
        let hint = "add it to `capability_bounding_set`, or leave that key out";
        let bounded = &walls.capability_bounding_set;
        let outside = walls
            .ambient_capabilities
            .iter()
            .any(|c| !bounded.contains(c));
        if outside && self.given("box.capability_bounding_set") {
            let path = "box.ambient_capabilities";
            self.error(
                path,
                "an ambient capability is not in the bounding set",
                hint,
            );
        }
        let delegates = draft.unit.limits.as_ref();
        if delegates.is_some_and(|limits| limits.cgroup.delegation.is_some()) {
            if !walls.namespaces.cgroup || !walls.namespaces.mount {
                let message = "`delegate` in a box needs a cgroup and a mount namespace";
                let hint = "without them the box would see the groups of others";
                self.error("limits.delegate", message, hint);
            }
            if walls.protect_control_groups && self.given("box.protect_control_groups") {
                let message = "`protect_control_groups` shuts the groups that `delegate` opens";
                self.error("box.protect_control_groups", message, "keep one of them");
            }
        }
        let new_net = walls.namespaces.net;
        if self.given("network.mode") && walls.network == Network::Host && new_net {
            let message = "`mode = \"host\"` and a network namespace contradict each other";
            self.error("network.mode", message, "");
        }
        if walls.as_pid_1 && !walls.namespaces.pid {
            self.error("box.as_pid_1", "`as_pid_1` needs a pid namespace", "");
        }
        if walls.hostname.is_some() && !walls.namespaces.uts {
            self.error("box.hostname", "`hostname` needs a uts namespace", "");
        }
        if walls.domainname.is_some() && !walls.namespaces.uts {
            self.error("box.domainname", "`domainname` needs a uts namespace", "");
        }
        self.entry(&draft.unit, walls);
        self.new_privileges(&draft.unit, walls);
        self.root(walls);
        if !walls.namespaces.mount {
            self.file_system_without_mounts();
        }
        let hides_homes = matches!(walls.protect_home, ProtectHome::Yes | ProtectHome::Tmpfs);
        if hides_homes && !self.given("box_root") {
            self.command_in_a_hidden_home(&draft.unit);
        }
    }

    /// What only makes sense with a root of the box's own.
    fn root(&mut self, walls: &Walls) {
        if walls.root.is_host() && walls.enter_root == EnterRoot::Chroot {
            self.error("box.pivot", "chroot needs a `box_root` to change to", "");
        }
        if walls.root_overlay != RootOverlay::None && !matches!(walls.root, Root::Directory(_)) {
            let hint = "the host's tree is many file systems; [[box.mount]] has overlays for one";
            let message = "`root_overlay` needs a directory as `box_root`";
            self.error("box.root_overlay", message, hint);
        }
        if !walls.exec_paths.is_empty() && walls.no_exec_paths.is_empty() {
            let message = "`exec_paths` opens what `no_exec_paths` shuts, and that is nothing";
            self.error("box.exec_paths", message, "add `no_exec_paths = [\"/\"]`");
        }
    }

    /// How the command enters the box.
    fn entry(&mut self, unit: &Unit, walls: &Walls) {
        let Some(entry) = unit.entry.as_deref() else {
            return;
        };
        if entry.shares_session {
            self.shared_session(unit, walls);
        }
        let stored = unit.lifecycle.file_descriptor_store_max;
        if !entry.inherit_fds.is_empty() && stored > 0 {
            let message = "`inherit_fds` and a descriptor store would want the same numbers";
            self.error("box.inherit_fds", message, "keep one of them");
        }
        if let Ready::Fd(number) = unit.ready
            && entry.inherit_fds.contains(&number)
        {
            let message = format!("descriptor {number} is the one that `ready` waits on");
            self.error(
                "box.inherit_fds",
                message,
                "choose another number for `ready`",
            );
        }
    }

    /// Filters and landlock hold for good only where no program gains privileges.
    fn new_privileges(&mut self, unit: &Unit, walls: &Walls) {
        if walls.no_new_privileges || !self.given("box.no_new_privileges") {
            return;
        }
        let entry = unit.entry.as_ref();
        let has_profile = entry.is_some_and(|entry| entry.seccomp_profile.is_some());
        let (what, path) = if sandbox::seccomp::filters(walls) || has_profile {
            (
                "a system call filter stands, and takes",
                "which filters nothing",
            )
        } else if walls.landlock.is_required() {
            ("landlock takes", "without `landlock`")
        } else {
            return;
        };
        let message = format!("{what} `no_new_privileges` with it");
        let hint = format!("leave the key out, or start from `profile = \"minimal\"`, {path}");
        self.error("box.no_new_privileges", message, &hint);
    }

    /// Who shares herd's session shares its terminal: what keeps the box from typing into it, and
    /// what ends the service as a whole though it has no session of its own, must both stand.
    fn shared_session(&mut self, unit: &Unit, walls: &Walls) {
        let path = "box.new_session";
        let around = unit.surroundings.as_deref();
        if around.is_some_and(|around| around.stdin == Input::Tty) {
            let message = "a terminal of its own (`stdin = \"tty\"`) takes a session of its own";
            self.error(path, message, "leave `new_session` out");
        }
        if !walls.namespaces.pid {
            let message = "without a session of its own the service needs a pid namespace";
            self.error(
                path,
                message,
                "add \"pid\" to `namespaces`, so that all of it ends with it",
            );
        }
        let is_native = walls.system_calls.architectures != Architectures::All;
        let filters = is_native && walls.no_new_privileges;
        if !filters || walls.best_effort.contains(&Wall::SystemCalls) {
            let message = "in herd's session the box could type into herd's terminal";
            let hint = "only a system call filter that is required keeps it from that: set \
                        `system_call_architectures = [\"native\"]`, and take \"system_calls\" out of \
                        `best_effort`";
            self.error(path, message, hint);
        }
    }

    /// It would end in a bare "permission denied" at the start.
    fn command_in_a_hidden_home(&mut self, unit: &Unit) {
        let bound = ["box.bind_paths", "box.bind_read_only_paths"];
        let program = unit.commands.main.as_ref().filter(|main| !main.unboxed);
        let Some(program) = program.and_then(|main| main.argv.first()) else {
            return;
        };
        let homes = ["/home/", "/root/", "/run/user/"];
        let Some(home) = homes.iter().find(|home| program.starts_with(**home)) else {
            return;
        };
        if let Some(entry) = self.document.find("command")
            && !bound.iter().any(|path| self.given(path))
        {
            let (file, span) = (entry.file, entry.key_span.clone());
            let home = home.trim_end_matches('/');
            let message = format!("the command lies in {home}, which the box hides");
            let hint = "install it elsewhere, or set `protect_home = \"read-only\"` in [box]";
            let hint = Some(hint.to_owned());
            self.reader
                .report(Severity::Warning, file, span, message, hint);
        }
    }

    /// Keys that build on a mount namespace, in a box without one.
    fn file_system_without_mounts(&mut self) {
        for path in [
            "box_root",
            "box.read_only_root",
            "box.protect_system",
            "box.protect_home",
            "box.private_tmp",
            "box.private_devices",
            "box.protect_proc",
            "box.read_only_paths",
            "box.read_write_paths",
            "box.inaccessible_paths",
            "box.temporary_file_system",
            "box.bind_paths",
            "box.bind_read_only_paths",
        ] {
            if self.given(path) {
                let message = format!("`{path}` needs a mount namespace");
                self.error(path, message, "add \"mount\" to `namespaces`");
            }
        }
    }

    /// Box keys of a unit that is not boxed.
    fn no_box(&mut self) {
        let keys: Vec<&'static str> = self
            .document
            .entries
            .iter()
            .map(|entry| entry.key().path)
            .filter(|path| {
                path.starts_with("box.")
                    || path.starts_with("network.")
                    || matches!(*path, "box_root" | "mount")
            })
            .collect();
        for path in keys {
            let message = format!("`{path}` means nothing without a box");
            self.error(path, message, "set `boxed = true` at the top");
        }
    }
}

/// What a target may limit for the slice of its name.
const SLICE_LIMITS: [&str; 14] = [
    "limits.memory",
    "limits.memory_high",
    "limits.memory_low",
    "limits.memory_min",
    "limits.swap",
    "limits.cpu",
    "limits.cpu_weight",
    "limits.cpus",
    "limits.memory_nodes",
    "limits.tasks",
    "limits.io_weight",
    "limits.io_read",
    "limits.io_write",
    "limits.huge_pages",
];

/// Claims that one amount is above another of the same kind.
fn is_above(amount: Option<Amount>, other: Option<Amount>) -> bool {
    match (amount, other) {
        (Some(Amount::Exactly(amount)), Some(Amount::Exactly(other))) => amount > other,
        (Some(Amount::Percent(amount)), Some(Amount::Percent(other))) => amount > other,
        _ => false,
    }
}
