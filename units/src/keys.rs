//! The one table of all keys of the language.
//!
//! It says which keys there are, what each means and takes, and which are refused and why. Reading
//! units, suggestions, `herd schema` and the test of herd.unit(5) all work from it. Keys are read
//! in the order of the table, so a key stands after those it builds on.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::LazyLock;

/// One key of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub group: Group,
    /// `restart`, or with its table `limits.memory`.
    pub path: &'static str,
    /// What it takes, in words.
    pub values: &'static str,
    /// Empty when there is none.
    pub default: &'static str,
    pub doc: &'static str,
    pub status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Supported,
    /// Comes with this part of herd.
    NotYet(&'static str),
    /// Never comes, for this reason.
    Refused(&'static str),
}

/// Which part of the reader takes the key, and its chapter in herd.unit(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Identity,
    Commands,
    Surroundings,
    Directories,
    Scheduling,
    Dependencies,
    Conditions,
    Lifecycle,
    Ready,
    Health,
    Limits,
    Log,
    Box,
    Network,
    Triggers,
}

use Group::{
    Box, Commands, Conditions, Dependencies, Directories, Health, Identity, Lifecycle, Limits, Log,
    Network, Ready, Scheduling, Surroundings, Triggers,
};

/// Tables of a unit; any other key with a dot in its path is a table's.
pub const TABLES: [&str; 8] = [
    "ready",
    "health",
    "condition",
    "assert",
    "limits",
    "log",
    "box",
    "network",
];

impl Key {
    /// The key at this path.
    pub fn find(path: &str) -> Option<&'static Self> {
        Self::index(path).and_then(|index| KEYS.get(index))
    }

    pub(crate) fn index(path: &str) -> Option<usize> {
        static BY_PATH: LazyLock<HashMap<&str, usize>> =
            LazyLock::new(|| KEYS.iter().enumerate().map(|(i, k)| (k.path, i)).collect());
        BY_PATH.get(path).copied()
    }

    /// The name without its table.
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The table the key stands in, if any.
    pub fn table(&self) -> Option<&'static str> {
        self.path.split_once('.').map(|(table, _)| table)
    }
}

/// A sentence about the key that was probably meant.
pub(crate) fn suggestion(table: Option<&str>, name: &str) -> Option<String> {
    let mates = KEYS.iter().filter(|key| key.table() == table);
    let tables = TABLES.iter().copied().filter(|_| table.is_none());
    if let Some(near) = nearest(name, mates.map(Key::name).chain(tables)) {
        return Some(format!("did you mean `{near}`?"));
    }
    let named = |key: &&Key| key.name() == name && !matches!(key.status, Status::Refused(_));
    if let Some(elsewhere) = KEYS.iter().find(named) {
        return Some(match elsewhere.table() {
            Some(other) => format!("`{name}` is a key of [{other}]"),
            None => format!("`{name}` stands at the top, before the first table"),
        });
    }
    None
}

/// The candidate that is written most like the text, if one is near at all.
pub(crate) fn nearest<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // Comparing costs the product of the lengths; a long text is near to nothing.
    if text.len() > 64 {
        return None;
    }
    let plain = text.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|known| {
            (
                strsim::damerau_levenshtein(&plain, &known.to_ascii_lowercase()),
                known,
            )
        })
        .filter(|(distance, known)| *distance * 3 <= known.len().max(text.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

const fn key(
    group: Group,
    path: &'static str,
    values: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    let status = Status::Supported;
    Key {
        group,
        path,
        values,
        default,
        doc,
        status,
    }
}

const fn later(
    group: Group,
    path: &'static str,
    values: &'static str,
    doc: &'static str,
    with: &'static str,
) -> Key {
    let status = Status::NotYet(with);
    Key {
        group,
        path,
        values,
        default: "",
        doc,
        status,
    }
}

const fn refused(
    group: Group,
    path: &'static str,
    values: &'static str,
    doc: &'static str,
    reason: &'static str,
) -> Key {
    let status = Status::Refused(reason);
    Key {
        group,
        path,
        values,
        default: "",
        doc,
        status,
    }
}

#[rustfmt::skip]
pub static KEYS: [Key; 328] = [
    key(Identity, "description", "text", "", "what the unit is, in a few words, shown by herd status"),
    key(Identity, "documentation", "list of text", "[]", "where to read more: URIs and man pages"),
    key(Identity, "kind", "\"service\", \"target\"", "\"service\"", "a service runs something; a target is a point that others order themselves around"),
    key(Identity, "wanted_by", "list of units", "[]", "once enabled, this unit is among the wants of those"),
    key(Identity, "required_by", "list of units", "[]", "once enabled, this unit is among the requires of those"),
    key(Identity, "aliases", "list of names", "[]", "further names of the unit"),
    key(Identity, "on_change", "\"keep\", \"restart\"", "\"keep\"", "what becomes of the running service when its file changes"),
    key(Commands, "command", "command", "", "the program to run"),
    key(Commands, "args", "text or list of text", "[]", "more arguments, put after those of command"),
    key(Commands, "command_condition", "command, or list of commands", "[]", "run before all else: exit 1 to 254 skips the start quietly, 255 or a signal fails it"),
    key(Commands, "command_pre", "command, or list of commands", "[]", "run before command; a failure fails the start"),
    key(Commands, "command_post", "command, or list of commands", "[]", "run once the service is ready"),
    key(Commands, "command_reload", "command, or list of commands", "[]", "run by herd reload"),
    key(Commands, "command_stop", "command, or list of commands", "[]", "run to stop the service; what remains afterwards gets kill_signal"),
    key(Commands, "command_stop_post", "command, or list of commands", "[]", "run after the service has ended, however it ended"),
    key(Commands, "oneshot", "true, false", "false", "the service is done when its command exits"),
    key(Commands, "remain_after_exit", "true, false", "false", "a service whose command ended well stays active"),
    key(Surroundings, "user", "name or number", "herd's own", "the user the commands run as"),
    key(Surroundings, "group", "name or number", "the user's", "the group the commands run as"),
    key(Surroundings, "supplementary_groups", "list of groups", "[]", "further groups"),
    key(Surroundings, "dynamic_user", "true, false", "false", "runs as a user of its own that exists while it runs"),
    key(Surroundings, "working_directory", "path or \"~\"", "\"/\"", "where the commands start; \"-\" in front makes a missing one fall back to /"),
    key(Surroundings, "umask", "mode", "\"0022\"", "the file mode creation mask"),
    key(Surroundings, "environment", "table, or list of NAME=value", "{}", "variables of the commands"),
    key(Surroundings, "env", "list of NAME=value", "[]", "the same as environment"),
    key(Surroundings, "environment_file", "path or list of paths", "[]", "files of NAME=value lines, read at each start; \"-\" in front makes one optional"),
    key(Surroundings, "pass_environment", "list of names", "[]", "variables taken over from herd's own environment"),
    key(Surroundings, "unset_environment", "list of names", "[]", "variables taken away last of all"),
    key(Surroundings, "stdin", "\"null\", \"tty\", \"file:PATH\", \"data:TEXT\"", "\"null\"", "where standard input comes from"),
    key(Surroundings, "stdout", "\"log\", \"null\", \"tty\", \"inherit\", \"file:PATH\", \"append:PATH\", \"truncate:PATH\"", "\"log\"", "where standard output goes"),
    key(Surroundings, "stderr", "as stdout", "as stdout", "where standard error goes"),
    key(Surroundings, "tty", "path", "\"/dev/console\"", "the terminal that \"tty\" means"),
    refused(Surroundings, "pam_name", "text", "a PAM session", "needs PAM modules, which a static binary cannot load"),
    key(Directories, "runtime_directory", "name or list of names", "[]", "directories made below /run, given to the user, writable in a box, named in $RUNTIME_DIRECTORY"),
    key(Directories, "runtime_directory_mode", "mode", "\"0755\"", "the mode of runtime_directory"),
    key(Directories, "state_directory", "name or list of names", "[]", "directories made below /var/lib, given to the user, writable in a box, named in $STATE_DIRECTORY"),
    key(Directories, "state_directory_mode", "mode", "\"0755\"", "the mode of state_directory"),
    key(Directories, "cache_directory", "name or list of names", "[]", "directories made below /var/cache, given to the user, writable in a box, named in $CACHE_DIRECTORY"),
    key(Directories, "cache_directory_mode", "mode", "\"0755\"", "the mode of cache_directory"),
    key(Directories, "logs_directory", "name or list of names", "[]", "directories made below /var/log, given to the user, writable in a box, named in $LOGS_DIRECTORY"),
    key(Directories, "logs_directory_mode", "mode", "\"0755\"", "the mode of logs_directory"),
    key(Directories, "configuration_directory", "name or list of names", "[]", "directories made below /etc, given to the user, read-only in a box, named in $CONFIGURATION_DIRECTORY"),
    key(Directories, "configuration_directory_mode", "mode", "\"0755\"", "the mode of configuration_directory"),
    key(Directories, "runtime_directory_preserve", "true, false, \"restart\"", "false", "whether runtime_directory outlives a stop, or only a restart"),
    key(Scheduling, "nice", "-20 to 19", "0", "the nice level"),
    key(Scheduling, "oom_score_adjust", "-1000 to 1000", "0", "how readily the kernel kills it when memory runs out"),
    key(Scheduling, "cpu_scheduling_policy", "\"other\", \"batch\", \"idle\", \"fifo\", \"rr\"", "\"other\"", "the scheduling policy"),
    key(Scheduling, "cpu_scheduling_priority", "1 to 99", "", "the real-time priority, for \"fifo\" and \"rr\""),
    key(Scheduling, "cpu_affinity", "list of CPUs", "all", "the CPUs it may run on"),
    key(Scheduling, "io_scheduling_class", "\"none\", \"realtime\", \"best-effort\", \"idle\"", "\"none\"", "the I/O scheduling class"),
    key(Scheduling, "io_scheduling_priority", "0 to 7", "4", "the I/O priority within the class, 0 first"),
    key(Scheduling, "timer_slack", "duration", "herd's own", "how far timers may be put off"),
    key(Dependencies, "requires", "list of units", "[]", "started with this unit; if one fails to start or is stopped, this one stops too"),
    key(Dependencies, "requisite", "list of units", "[]", "must be active already, or the start fails"),
    key(Dependencies, "wants", "list of units", "[]", "started with this unit; their failure changes nothing"),
    key(Dependencies, "binds_to", "list of units", "[]", "like requires, and this unit stops as soon as one of them is no longer active"),
    key(Dependencies, "part_of", "list of units", "[]", "stopping or restarting one of those does the same to this unit"),
    key(Dependencies, "upholds", "list of units", "[]", "started again whenever this unit is active and they are not"),
    key(Dependencies, "conflicts", "list of units", "[]", "never active at the same time; starting one stops the other"),
    key(Dependencies, "before", "list of units", "[]", "those are started after this unit is ready, and stopped before it"),
    key(Dependencies, "after", "list of units", "[]", "this unit is started once those are ready, and stopped before them"),
    key(Dependencies, "on_failure", "list of units", "[]", "started when this unit fails"),
    key(Dependencies, "on_success", "list of units", "[]", "started when this unit ends well"),
    key(Dependencies, "requires_mounts_for", "list of paths", "[]", "paths whose file systems must be mounted"),
    key(Dependencies, "default_dependencies", "true, false", "true", "where herd boots the machine: start after sysinit and basic, and a target after what it wants"),
    key(Dependencies, "stop_when_unneeded", "true, false", "false", "stop once no active unit requires or wants it"),
    key(Dependencies, "refuse_manual_start", "true, false", "false", "only a dependency may start it"),
    key(Dependencies, "refuse_manual_stop", "true, false", "false", "only a dependency may stop it"),
    key(Lifecycle, "ready", "\"exec\", \"notify\", \"fd:N\", \"forking\", \"idle\", or a table with a probe", "\"exec\"", "when dependants may go on"),
    key(Lifecycle, "pid_file", "path", "", "for ready = \"forking\": where the daemon writes its process id"),
    key(Lifecycle, "restart", "\"no\", \"on-success\", \"on-failure\", \"on-abnormal\", \"on-watchdog\", \"on-abort\", \"always\", true, false", "\"on-failure\" (\"no\" with oneshot)", "when a service that ended by itself is started again"),
    key(Lifecycle, "restart_delay", "duration, or milliseconds", "\"100ms\"", "the wait before the second restart in a row; the first is immediate"),
    key(Lifecycle, "restart_delay_ms", "milliseconds", "100", "the same as restart_delay"),
    key(Lifecycle, "restart_delay_max", "duration", "\"30s\"", "what the wait grows to"),
    key(Lifecycle, "restart_steps", "1 to 1000", "doubling", "steps from restart_delay to restart_delay_max"),
    key(Lifecycle, "max_retries", "0 to 4294967295", "0", "exactly so many restarts, then failed; 0 is without end"),
    key(Lifecycle, "start_limit_burst", "1 to 4294967295", "", "so many starts within start_limit_interval, then failed"),
    key(Lifecycle, "start_limit_interval", "duration", "\"10s\"", "the time over which starts are counted"),
    key(Lifecycle, "start_limit_action", "\"none\", \"exit\", \"exit-force\", \"reboot\", \"poweroff\", \"halt\", \"kexec\", \"soft-reboot\", some with \"-force\" or \"-immediate\"", "\"none\"", "what herd does when the start limit is reached"),
    key(Lifecycle, "success_exit_status", "list of exit codes and signals", "[]", "ends that count as success, beside 0"),
    key(Lifecycle, "restart_prevent_exit_status", "list of exit codes and signals", "[]", "ends that are never followed by a restart"),
    key(Lifecycle, "restart_force_exit_status", "list of exit codes and signals", "[]", "ends that are always followed by a restart"),
    key(Lifecycle, "start_delay", "duration, or milliseconds", "\"0s\"", "the wait before the first start"),
    key(Lifecycle, "start_delay_ms", "milliseconds", "0", "the same as start_delay"),
    key(Lifecycle, "timeout_start", "duration", "\"90s\" (\"infinity\" with oneshot)", "how long a start may take until it counts as failed"),
    key(Lifecycle, "timeout_stop", "duration", "\"90s\"", "how long a stop may take until what remains is killed"),
    key(Lifecycle, "timeout_abort", "duration", "timeout_stop", "how long the service may take to end after watchdog_signal"),
    key(Lifecycle, "runtime_max", "duration", "\"infinity\"", "how long the service may run"),
    key(Lifecycle, "watchdog", "duration", "\"infinity\"", "the service must send WATCHDOG=1 at least this often"),
    key(Lifecycle, "watchdog_signal", "signal", "\"ABRT\"", "what a service that missed its watchdog gets"),
    key(Lifecycle, "kill_mode", "\"control-group\", \"mixed\", \"process\", \"none\"", "\"control-group\"", "which processes a stop ends"),
    key(Lifecycle, "kill_signal", "signal", "\"TERM\"", "the signal of a stop"),
    key(Lifecycle, "restart_kill_signal", "signal", "kill_signal", "the signal of the stop that is part of a restart"),
    key(Lifecycle, "reload_signal", "signal", "", "herd reload sends it to the main process"),
    key(Lifecycle, "final_kill_signal", "signal", "\"KILL\"", "the signal that ends what outlived timeout_stop"),
    key(Lifecycle, "send_sighup", "true, false", "false", "send SIGHUP right after kill_signal, for shells"),
    key(Lifecycle, "send_sigkill", "true, false", "true", "whether final_kill_signal is sent at all"),
    key(Lifecycle, "failure_action", "\"none\", \"exit\", \"exit-force\", \"reboot\", \"poweroff\", \"halt\", \"kexec\", \"soft-reboot\", some with \"-force\" or \"-immediate\"", "\"none\"", "what herd does when the unit fails"),
    key(Lifecycle, "success_action", "\"none\", \"exit\", \"exit-force\", \"reboot\", \"poweroff\", \"halt\", \"kexec\", \"soft-reboot\", some with \"-force\" or \"-immediate\"", "\"none\"", "what herd does when the unit ends well"),
    key(Lifecycle, "file_descriptor_store_max", "0 to 4096", "0", "how many descriptors herd keeps for the service (FDSTORE=1)"),
    key(Ready, "ready.tcp", "\"HOST:PORT\"", "", "the port accepts a connection; the host is an address or localhost"),
    key(Ready, "ready.http", "\"http://HOST:PORT/PATH\"", "", "the answer's status is 200 to 399"),
    key(Ready, "ready.unix", "path", "", "the socket accepts a connection"),
    key(Ready, "ready.command", "command", "", "the command exits with 0"),
    key(Ready, "ready.path", "path", "", "the path exists"),
    key(Ready, "ready.interval", "duration", "\"250ms\"", "the time from one try to the next"),
    key(Ready, "ready.timeout", "duration", "\"5s\"", "how long one try may take"),
    key(Health, "health.tcp", "\"HOST:PORT\"", "", "the port accepts a connection; the host is an address or localhost"),
    key(Health, "health.http", "\"http://HOST:PORT/PATH\"", "", "the answer's status is 200 to 399"),
    key(Health, "health.unix", "path", "", "the socket accepts a connection"),
    key(Health, "health.command", "command", "", "the command exits with 0"),
    key(Health, "health.path", "path", "", "the path exists"),
    key(Health, "health.interval", "duration", "\"10s\"", "the time from one probe to the next"),
    key(Health, "health.timeout", "duration", "\"5s\"", "how long one probe may take"),
    key(Health, "health.retries", "1 to 1000", "3", "so many failures in a row make the service unhealthy"),
    key(Health, "health.start_period", "duration", "\"0s\"", "failures within this time after the start do not count"),
    key(Health, "health.on_unhealthy", "\"restart\", \"stop\", \"report\"", "\"restart\"", "what happens to an unhealthy service"),
    key(Conditions, "condition.path_exists", "path", "", "the path exists"),
    key(Conditions, "condition.path_is_directory", "path", "", "the path is a directory"),
    key(Conditions, "condition.directory_not_empty", "path", "", "the directory holds something"),
    key(Conditions, "condition.file_not_empty", "path", "", "the file holds something"),
    key(Conditions, "condition.file_is_executable", "path", "", "the file is executable"),
    key(Conditions, "condition.path_is_read_write", "path", "", "the file system of the path is writable"),
    key(Conditions, "condition.user", "name or number", "", "herd runs as this user"),
    key(Conditions, "condition.group", "name or number", "", "herd runs with this group"),
    key(Conditions, "condition.virtualization", "\"yes\", \"no\", \"vm\", \"container\", or a name", "", "the machine is virtual, of this kind"),
    key(Conditions, "condition.kernel_command_line", "WORD or WORD=value", "", "the kernel's command line holds the word"),
    key(Conditions, "condition.capability", "capability", "", "herd has the capability in its bounding set"),
    key(Conditions, "condition.architecture", "name", "", "the machine's architecture"),
    key(Conditions, "condition.environment", "NAME or NAME=value", "", "herd's own environment has the variable"),
    key(Conditions, "condition.memory", "comparison and size", "", "physical memory, as \">= 1G\""),
    key(Conditions, "condition.cpus", "comparison and number", "", "CPUs that herd may use, as \">= 2\""),
    key(Conditions, "condition.first_boot", "true, false", "", "the machine boots for the first time: there was no /etc/machine-id, or \"uninitialized\" in it"),
    key(Conditions, "assert.path_exists", "path", "", "the path exists"),
    key(Conditions, "assert.path_is_directory", "path", "", "the path is a directory"),
    key(Conditions, "assert.directory_not_empty", "path", "", "the directory holds something"),
    key(Conditions, "assert.file_not_empty", "path", "", "the file holds something"),
    key(Conditions, "assert.file_is_executable", "path", "", "the file is executable"),
    key(Conditions, "assert.path_is_read_write", "path", "", "the file system of the path is writable"),
    key(Conditions, "assert.user", "name or number", "", "herd runs as this user"),
    key(Conditions, "assert.group", "name or number", "", "herd runs with this group"),
    key(Conditions, "assert.virtualization", "\"yes\", \"no\", \"vm\", \"container\", or a name", "", "the machine is virtual, of this kind"),
    key(Conditions, "assert.kernel_command_line", "WORD or WORD=value", "", "the kernel's command line holds the word"),
    key(Conditions, "assert.capability", "capability", "", "herd has the capability in its bounding set"),
    key(Conditions, "assert.architecture", "name", "", "the machine's architecture"),
    key(Conditions, "assert.environment", "NAME or NAME=value", "", "herd's own environment has the variable"),
    key(Conditions, "assert.memory", "comparison and size", "", "physical memory, as \">= 1G\""),
    key(Conditions, "assert.cpus", "comparison and number", "", "CPUs that herd may use, as \">= 2\""),
    key(Conditions, "assert.first_boot", "true, false", "", "the machine boots for the first time: there was no /etc/machine-id, or \"uninitialized\" in it"),
    key(Limits, "limits.memory", "size, share or \"infinity\"", "\"infinity\"", "memory the unit may use; beyond it the kernel kills"),
    key(Limits, "limits.memory_high", "size, share or \"infinity\"", "\"infinity\"", "memory beyond which the unit is slowed and reclaimed"),
    key(Limits, "limits.memory_low", "size or share", "0", "memory the kernel spares while others have some to give"),
    key(Limits, "limits.memory_min", "size or share", "0", "memory the kernel never takes away"),
    key(Limits, "limits.swap", "size, share or \"infinity\"", "\"infinity\"", "swap the unit may use"),
    key(Limits, "limits.cpu", "percent of one core", "no limit", "CPU time: \"150%\" is one and a half cores"),
    key(Limits, "limits.cpu_weight", "1 to 10000", "100", "share of the CPU against other units"),
    key(Limits, "limits.cpus", "list of CPUs", "all", "the CPUs the unit may run on"),
    key(Limits, "limits.memory_nodes", "list of NUMA nodes", "all", "the nodes whose memory the unit may use"),
    key(Limits, "limits.tasks", "number, share or \"infinity\"", "\"infinity\"", "processes and threads the unit may have"),
    key(Limits, "limits.io_weight", "1 to 10000", "100", "share of the disk against other units"),
    key(Limits, "limits.io_read", "table of path = size", "{}", "bytes a second read from a device"),
    key(Limits, "limits.io_write", "table of path = size", "{}", "bytes a second written to a device"),
    key(Limits, "limits.huge_pages", "table of page size = size or \"infinity\"", "{}", "huge pages the unit may use and reserve"),
    key(Limits, "limits.devices", "list of devices", "all", "the device nodes the unit may open and make"),
    key(Limits, "limits.freeze", "true, false", "false", "the unit is frozen as soon as its command runs, until herd thaw"),
    key(Limits, "limits.oom_policy", "\"continue\", \"stop\", \"kill\"", "\"stop\"", "what an out-of-memory kill of one process means for the unit"),
    key(Limits, "limits.oom_group", "true, false", "false", "an out-of-memory kill takes all processes of the unit"),
    key(Limits, "limits.delegate", "true, false, or list of controllers", "false", "the unit may divide its cgroup by groups of its own"),
    key(Limits, "limits.slice", "name", "", "the cgroup that the unit shares with others"),
    key(Limits, "limits.open_files", "number or \"infinity\"", "herd's own", "open file descriptors of each process"),
    key(Limits, "limits.core", "size or \"infinity\"", "herd's own", "size of a core dump"),
    key(Limits, "limits.processes", "number or \"infinity\"", "herd's own", "processes of the user"),
    key(Limits, "limits.locked_memory", "size or \"infinity\"", "herd's own", "memory locked in RAM"),
    key(Limits, "limits.stack", "size or \"infinity\"", "herd's own", "size of the stack"),
    key(Limits, "limits.data", "size or \"infinity\"", "herd's own", "size of the data segment"),
    key(Limits, "limits.address_space", "size or \"infinity\"", "herd's own", "size of the address space"),
    key(Limits, "limits.file_size", "size or \"infinity\"", "herd's own", "size of a file the process writes"),
    key(Limits, "limits.cpu_time", "duration", "herd's own", "CPU time of each process"),
    key(Limits, "limits.msgqueue", "size or \"infinity\"", "herd's own", "bytes in message queues"),
    key(Limits, "limits.nice", "-20 to 19", "herd's own", "the lowest nice level that the process may give itself"),
    key(Limits, "limits.rt_priority", "0 to 99", "herd's own", "the highest real-time priority"),
    key(Limits, "limits.rt_time", "duration", "herd's own", "real-time CPU time without a blocking call"),
    key(Limits, "limits.signals", "number or \"infinity\"", "herd's own", "signals pending"),
    key(Limits, "limits.file_locks", "number or \"infinity\"", "herd's own", "file locks held"),
    key(Log, "log.target", "\"file\", \"kmsg\", \"console\", \"inherit\", \"null\"", "\"file\"", "where captured output goes; \"journal\" and \"syslog\" are not supported yet"),
    key(Log, "log.max_size", "size", "\"16M\"", "a log file that reaches it is rotated"),
    key(Log, "log.max_files", "0 to 1000", "4", "rotated files kept beside the current one"),
    key(Log, "log.max_age", "duration", "\"infinity\"", "rotated files older than this are deleted"),
    key(Log, "log.rate_limit", "\"LINES/DURATION\"", "no limit", "lines beyond it are dropped and counted"),
    later(Log, "log.compress", "true, false", "compress rotated files", "logs"),
    later(Log, "log.level", "level", "the least severe lines that are kept", "logs"),
    later(Log, "log.fields", "table", "fields added to each line", "logs"),
    later(Log, "log.format", "format", "how lines are stored", "logs"),
    key(Box, "boxed", "true, false", "false", "run the commands in a sandbox: the default box"),
    key(Box, "box_root", "path, or \"empty\"", "\"/\"", "the directory that is / in the box; \"empty\": a new file system in memory"),
    key(Box, "mount", "list of \"proc\", \"tmpfs\"", "[]", "accepted for old units: every box has a /proc and a /tmp of its own"),
    later(Box, "bundle", "path", "an OCI bundle to run", "boxes and images"),
    later(Box, "image", "name", "an image to run", "boxes and images"),
    later(Box, "join_box", "unit", "run in the box of another unit", "boxes and images"),
    refused(Box, "core", "number", "a CPU to run on", "use cpu_affinity, or limits.core for the size of core dumps"),
    refused(Box, "stack", "text", "a network stack", "use [network] mode, or limits.stack for the size of the stack"),
    key(Box, "box.profile", "\"default\", \"strict\", \"minimal\", \"none\"", "\"default\"", "the bundle of walls that the keys below change"),
    key(Box, "box.namespaces", "list of \"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\", \"user\", \"net\", \"time\"", "[\"mount\",\"pid\",\"ipc\",\"uts\",\"cgroup\"]", "exactly the namespaces that are new"),
    key(Box, "box.namespace_paths", "table of kind = path", "{}", "namespaces of others that the box joins instead of making its own"),
    key(Box, "box.restrict_namespaces", "true, false, or list of namespaces", "true", "true: no new namespace inside; a list: only these kinds"),
    key(Box, "box.disable_userns", "true, false", "false", "no user namespace can be made inside, by the kernel's own counter"),
    key(Box, "box.read_only_root", "true, false", "true", "the whole tree is read-only but for what the unit owns"),
    key(Box, "box.root_overlay", "\"tmp\", or { upper, work }", "none", "writes to box_root go to memory, or to another directory"),
    key(Box, "box.pivot", "true, false", "true", "false: the root is entered by chroot, which is weaker"),
    key(Box, "box.hostname", "name", "the unit's name", "the host name inside"),
    key(Box, "box.domainname", "name", "the host's", "the NIS domain name inside"),
    key(Box, "box.protect_system", "true, false, \"full\", \"strict\"", "\"strict\"", "true: /usr and /boot read-only; \"full\": /etc too; \"strict\": everything"),
    key(Box, "box.protect_home", "true, false, \"read-only\", \"tmpfs\"", "true", "home directories hidden, read-only, or empty"),
    key(Box, "box.private_tmp", "true, false", "true", "a /tmp and a /var/tmp of its own"),
    key(Box, "box.private_devices", "true, false", "true", "a /dev with null, zero, full, random, urandom, tty and pts alone"),
    key(Box, "box.private_mounts", "true, false", "true", "mounts made later are seen on their own side alone; false: the host's come in"),
    key(Box, "box.protect_proc", "\"default\", \"noaccess\", \"invisible\", \"ptraceable\"", "\"invisible\"", "what /proc shows of other users' processes"),
    key(Box, "box.proc_subset", "\"all\", \"pid\"", "\"all\"", "\"pid\": only the process part of /proc"),
    key(Box, "box.read_only_paths", "list of paths", "[]", "read-only inside; \"-\" in front: skipped when missing"),
    key(Box, "box.read_write_paths", "list of paths", "[]", "writable inside, though the rest is read-only"),
    key(Box, "box.inaccessible_paths", "list of paths", "[]", "not to be entered or read inside"),
    key(Box, "box.no_exec_paths", "list of paths", "[]", "no program runs from here or below"),
    key(Box, "box.exec_paths", "list of paths", "[]", "programs run from here, though no_exec_paths shuts what is above"),
    key(Box, "box.temporary_file_system", "list of \"PATH[:OPTIONS]\"", "[]", "empty file systems in memory; options size=, mode=, ro"),
    key(Box, "box.bind_paths", "list of \"[-]SOURCE[:TARGET[:rbind|norbind]]\"", "[]", "paths of the host that appear inside"),
    key(Box, "box.bind_read_only_paths", "list, as bind_paths", "[]", "the same, read-only"),
    key(Box, "box.no_new_privileges", "true, false", "true", "no program gains privileges (setuid files have no effect)"),
    key(Box, "box.capability_bounding_set", "list of capabilities", "[]", "capabilities that can be had at all; \"~\" in front of the first: all but these"),
    key(Box, "box.ambient_capabilities", "list of capabilities", "[]", "capabilities the command gets, though it is not root"),
    key(Box, "box.secure_bits", "list of \"keep-caps\", \"no-setuid-fixup\", \"noroot\", and these with \"-locked\"", "[]", "what user 0 is to the command and its children"),
    key(Box, "box.lock_personality", "true, false", "true", "personality(2) refused"),
    key(Box, "box.memory_deny_write_execute", "true, false", "false", "no memory both writable and executable"),
    key(Box, "box.restrict_realtime", "true, false", "true", "real-time scheduling refused"),
    key(Box, "box.restrict_suid_sgid", "true, false", "true", "setting setuid and setgid bits refused"),
    key(Box, "box.remove_ipc", "true, false", "false", "System V and POSIX objects of the user are removed when its last service stops"),
    key(Box, "box.system_call_filter", "list of calls and @groups", "[\"@system-service\"]", "calls allowed; \"~\" in front takes away; [] allows all"),
    key(Box, "box.system_call_error_number", "errno, or \"kill\"", "\"EPERM\"", "what a refused call gets"),
    key(Box, "box.system_call_architectures", "list of \"native\", \"x86\", \"x32\", \"arm\" and more", "[\"native\"]", "calls of other architectures are refused; [] allows them"),
    key(Box, "box.system_call_log", "list of calls and @groups", "[]", "calls that the kernel logs; \"~\" in front of the first: all but these"),
    key(Box, "box.seccomp_profile", "path", "", "an OCI seccomp profile, as Docker and Podman take it"),
    key(Box, "box.restrict_address_families", "list of families, or \"none\"", "all", "socket families allowed; \"~\" in front of the first: all but these"),
    key(Box, "box.protect_kernel_tunables", "true, false", "true", "/proc/sys, /sys and the like read-only"),
    key(Box, "box.protect_kernel_modules", "true, false", "true", "no loading of kernel modules"),
    key(Box, "box.protect_kernel_logs", "true, false", "true", "no reading of the kernel's log"),
    key(Box, "box.protect_control_groups", "true, false", "true", "/sys/fs/cgroup read-only"),
    key(Box, "box.protect_clock", "true, false", "true", "no setting of clocks"),
    key(Box, "box.protect_hostname", "true, false", "true", "no setting of the host name"),
    key(Box, "box.device_policy", "\"auto\", \"closed\", \"strict\"", "\"auto\"", "which device nodes are open besides those allowed"),
    key(Box, "box.device_allow", "list of devices", "all", "the same as limits.devices"),
    key(Box, "box.keyring_mode", "\"private\", \"shared\", \"inherit\"", "\"private\"", "a session keyring of its own, one with the user's keyring in it, or herd's"),
    key(Box, "box.private_users", "true, false, \"self\", \"identity\", \"pick\"", "false", "a user namespace: with root and the user as themselves (true), the first 65536 as themselves, or as numbers that nobody has outside"),
    key(Box, "box.uid_map", "list of \"INSIDE:OUTSIDE:COUNT\"", "[]", "the users of a user namespace; with gid_map"),
    key(Box, "box.gid_map", "list of \"INSIDE:OUTSIDE:COUNT\"", "[]", "the groups of a user namespace; with uid_map"),
    key(Box, "box.landlock", "list of { path, access, optional } or { tcp, access }", "", "files and TCP ports that may be reached; all others are denied"),
    key(Box, "box.landlock_scope", "list of \"abstract_unix_socket\", \"signal\"", "[\"abstract_unix_socket\"] where the kernel can", "what does not leave the box, whatever it shares"),
    key(Box, "box.as_pid_1", "true, false", "false", "the command itself is process 1 of the box"),
    key(Box, "box.new_session", "true, false", "true", "a session of its own; false shares herd's, terminal included"),
    key(Box, "box.die_with_parent", "true, false", "false", "killed when herd dies"),
    key(Box, "box.inherit_fds", "list of numbers", "[]", "descriptors that herd itself was started with and that the command gets under the same numbers"),
    key(Box, "box.argv0", "text", "the command's first word", "the name the program sees as its own"),
    key(Box, "box.clear_environment", "true, false", "false", "start with no variable but those the unit names"),
    key(Box, "box.mount", "list of tables", "[]", "mounts and files of the box, made one after the other"),
    key(Box, "box.idmap", "list of \"INSIDE:OUTSIDE:COUNT\"", "none", "owners of what [[box.mount]] binds, as the box sees them and as they are on disk"),
    key(Box, "box.best_effort", "list of walls", "[]", "walls that may be missing where the kernel cannot build them"),
    key(Network, "network.mode", "\"host\", \"none\", \"loopback\", \"bridge\", \"join:UNIT\", \"macvlan:INTERFACE\", \"ipvlan:INTERFACE\", or \"path:PATH\"", "\"host\"", "the host's network, none at all, loopback alone, one of the box's own, or another's"),
    key(Network, "network.bridge", "name, or list of names", "\"default\"", "the networks that the box is on, eth0 first"),
    key(Network, "network.address", "IPv4 address", "chosen", "its IPv4 address; with macvlan and ipvlan \"ADDRESS/LENGTH\""),
    key(Network, "network.address6", "IPv6 address", "chosen", "its IPv6 address; with macvlan and ipvlan \"ADDRESS/LENGTH\""),
    key(Network, "network.gateway", "address, or one of each family", "none", "where the default route leads, with macvlan and ipvlan"),
    key(Network, "network.dns", "list of addresses", "the host's", "its name servers"),
    key(Network, "network.hosts", "table of name = address", "{}", "more names in its /etc/hosts"),
    key(Network, "network.ports", "list of \"[ADDRESS:]PORT[:PORT][/PROTOCOL]\"", "[]", "ports of the host that lead into the box"),
    key(Network, "network.mac", "hardware address", "made from the address", "the hardware address of eth0"),
    key(Network, "network.mtu", "1280 to 65535", "the network's", "the largest packet, in bytes"),
    key(Network, "network.isolate", "true, false", "false", "no other box is reached, nor reaches this one"),
    key(Network, "network.allow", "list of \"[in|out] PEER[:PORTS][/PROTOCOL]\"", "[]", "connections that are let through"),
    key(Network, "network.deny", "list of \"[in|out] PEER[:PORTS][/PROTOCOL]\"", "[]", "connections that are not let through"),
    key(Network, "network.rate_in", "size", "no limit", "bytes a second into the box; what is above is dropped"),
    key(Network, "network.rate_out", "size", "no limit", "bytes a second out of the box; what is above is dropped"),
    key(Network, "network.connection_rate", "1 to 4294967295", "no limit", "new connections a second, both ways together"),
    later(Triggers, "socket", "list of tables", "a socket that starts the service", "timers, sockets and paths"),
    later(Triggers, "socket.stream", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.datagram", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.sequential", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.fifo", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.netlink", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.message_queue", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.special", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.accept", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.name", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.mode", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.user", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.group", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.backlog", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.bind_to_device", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.reuse_port", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.free_bind", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.keep_alive", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.no_delay", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.receive_buffer", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.send_buffer", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.pass_credentials", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.max_connections", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.max_connections_per_source", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.trigger_limit", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.remove_on_stop", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "socket.defer", "", "key of [[socket]]", "timers, sockets and paths"),
    later(Triggers, "timer", "list of tables", "a time at which the service starts", "timers, sockets and paths"),
    later(Triggers, "timer.on_calendar", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.on_boot", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.on_startup", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.on_active", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.on_unit_active", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.on_unit_inactive", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.accuracy", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.randomized_delay", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.fixed_random_delay", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.persistent", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "timer.wake_system", "", "key of [[timer]]", "timers, sockets and paths"),
    later(Triggers, "path", "list of tables", "a path whose change starts the service", "timers, sockets and paths"),
    later(Triggers, "path.exists", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "path.exists_glob", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "path.changed", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "path.modified", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "path.directory_not_empty", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "path.make_directory", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "path.trigger_limit", "", "key of [[path]]", "timers, sockets and paths"),
    later(Triggers, "credentials", "table", "secrets for the service", "credentials"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_there_once_and_documented() {
        for (position, key) in KEYS.iter().enumerate() {
            assert_eq!(Key::index(key.path), Some(position), "{} twice", key.path);
            assert!(!key.doc.is_empty(), "{} without a word", key.path);
            assert!(key.path.matches('.').count() <= 1, "{}", key.path);
        }
    }

    #[test]
    fn suggestions_know_spelling_and_place() {
        let said = |table, name| suggestion(table, name).unwrap_or_default();
        assert_eq!(said(None, "comand"), "did you mean `command`?");
        assert_eq!(said(None, "restart-delay"), "did you mean `restart_delay`?");
        assert_eq!(said(None, "private_tmp"), "`private_tmp` is a key of [box]");
        assert_eq!(said(Some("limits"), "memroy"), "did you mean `memory`?");
        assert_eq!(said(None, "heath"), "did you mean `health`?");
        assert_eq!(suggestion(None, "zzzzzz"), None);
        assert_eq!(suggestion(None, &"x".repeat(10_000)), None);
    }
}
