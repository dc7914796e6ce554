//! The table of options: the parser's lookup, `--help` and the check of the manual come from it.
#![forbid(unsafe_code)]

/// Which option a word of the command line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    Help,
    Version,
    Args,
    Argv0,
    LevelPrefix,
    UnshareAll,
    ShareNet,
    UnshareUser,
    UnshareUserTry,
    UnshareIpc,
    UnsharePid,
    UnshareNet,
    UnshareUts,
    UnshareCgroup,
    UnshareCgroupTry,
    Userns,
    Userns2,
    DisableUserns,
    AssertUsernsDisabled,
    Pidns,
    Uid,
    Gid,
    Hostname,
    Chdir,
    Clearenv,
    Setenv,
    Unsetenv,
    LockFile,
    SyncFd,
    Bind,
    BindTry,
    DevBind,
    DevBindTry,
    RoBind,
    RoBindTry,
    BindFd,
    RoBindFd,
    RemountRo,
    OverlaySrc,
    Overlay,
    TmpOverlay,
    RoOverlay,
    ExecLabel,
    FileLabel,
    Proc,
    Dev,
    Tmpfs,
    Mqueue,
    Dir,
    File,
    BindData,
    RoBindData,
    Symlink,
    Seccomp,
    AddSeccompFd,
    BlockFd,
    UsernsBlockFd,
    InfoFd,
    JsonStatusFd,
    NewSession,
    DieWithParent,
    AsPid1,
    CapAdd,
    CapDrop,
    Perms,
    Size,
    Chmod,
    // What vb has beyond bubblewrap.
    UnshareMount,
    Netns,
    Mntns,
    Utsns,
    Ipcns,
    PivotRoot,
    Chroot,
    Rootfs,
    Profile,
    LandlockRead,
    LandlockWrite,
    LandlockReadWrite,
    LandlockExecute,
    LandlockReadTry,
    LandlockWriteTry,
    LandlockReadWriteTry,
    LandlockExecuteTry,
    LandlockBind,
    LandlockConnect,
    Memory,
    Swap,
    Cpu,
    Tasks,
}

/// One option: how it is spelt, what it takes, what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Spelling {
    pub name: &'static str,
    pub operands: &'static [&'static str],
    pub flag: Flag,
    /// For `--help`: a line, without a full stop.
    pub purpose: &'static str,
}

const fn spelling(
    name: &'static str,
    operands: &'static [&'static str],
    flag: Flag,
    purpose: &'static str,
) -> Spelling {
    Spelling {
        name,
        operands,
        flag,
        purpose,
    }
}

/// The options bubblewrap 0.11 has.
pub const BUBBLEWRAP: &[Spelling] = &[
    spelling("--help", &[], Flag::Help, "Show this help and exit"),
    spelling("--version", &[], Flag::Version, "Show the version and exit"),
    spelling(
        "--args",
        &["FD"],
        Flag::Args,
        "Take further options, separated by NUL bytes, from FD",
    ),
    spelling(
        "--argv0",
        &["VALUE"],
        Flag::Argv0,
        "Let the command see VALUE as its own name",
    ),
    spelling(
        "--level-prefix",
        &[],
        Flag::LevelPrefix,
        "Start messages with their level, as in <3>",
    ),
    spelling(
        "--unshare-all",
        &[],
        Flag::UnshareAll,
        "New namespaces of every kind; user and cgroup where possible",
    ),
    spelling(
        "--share-net",
        &[],
        Flag::ShareNet,
        "Keep the network in spite of --unshare-all",
    ),
    spelling(
        "--unshare-user",
        &[],
        Flag::UnshareUser,
        "New user namespace (always, unless called by root)",
    ),
    spelling(
        "--unshare-user-try",
        &[],
        Flag::UnshareUserTry,
        "New user namespace, if that is possible",
    ),
    spelling("--unshare-ipc", &[], Flag::UnshareIpc, "New IPC namespace"),
    spelling("--unshare-pid", &[], Flag::UnsharePid, "New PID namespace"),
    spelling(
        "--unshare-net",
        &[],
        Flag::UnshareNet,
        "New network namespace with nothing but loopback",
    ),
    spelling("--unshare-uts", &[], Flag::UnshareUts, "New UTS namespace"),
    spelling(
        "--unshare-cgroup",
        &[],
        Flag::UnshareCgroup,
        "New cgroup namespace",
    ),
    spelling(
        "--unshare-cgroup-try",
        &[],
        Flag::UnshareCgroupTry,
        "New cgroup namespace, if that is possible",
    ),
    spelling(
        "--userns",
        &["FD"],
        Flag::Userns,
        "Join this user namespace instead of making one",
    ),
    spelling(
        "--userns2",
        &["FD"],
        Flag::Userns2,
        "Join this user namespace once all is set up",
    ),
    spelling(
        "--disable-userns",
        &[],
        Flag::DisableUserns,
        "No further user namespace can be made inside",
    ),
    spelling(
        "--assert-userns-disabled",
        &[],
        Flag::AssertUsernsDisabled,
        "Refuse to run where a user namespace could be made inside",
    ),
    spelling(
        "--pidns",
        &["FD"],
        Flag::Pidns,
        "Join this PID namespace (with --unshare-pid: make one below it)",
    ),
    spelling(
        "--uid",
        &["UID"],
        Flag::Uid,
        "User id inside (needs --unshare-user or --userns)",
    ),
    spelling(
        "--gid",
        &["GID"],
        Flag::Gid,
        "Group id inside (needs --unshare-user or --userns)",
    ),
    spelling(
        "--hostname",
        &["NAME"],
        Flag::Hostname,
        "Host name inside (needs --unshare-uts)",
    ),
    spelling(
        "--chdir",
        &["DIR"],
        Flag::Chdir,
        "Start in the directory DIR",
    ),
    spelling("--clearenv", &[], Flag::Clearenv, "Empty the environment"),
    spelling(
        "--setenv",
        &["VAR", "VALUE"],
        Flag::Setenv,
        "Set an environment variable",
    ),
    spelling(
        "--unsetenv",
        &["VAR"],
        Flag::Unsetenv,
        "Remove an environment variable",
    ),
    spelling(
        "--lock-file",
        &["DEST"],
        Flag::LockFile,
        "Hold a read lock on DEST as long as the box lives",
    ),
    spelling(
        "--sync-fd",
        &["FD"],
        Flag::SyncFd,
        "Keep FD open as long as the box lives",
    ),
    spelling(
        "--bind",
        &["SRC", "DEST"],
        Flag::Bind,
        "Show SRC of the host at DEST",
    ),
    spelling(
        "--bind-try",
        &["SRC", "DEST"],
        Flag::BindTry,
        "The same, if SRC exists",
    ),
    spelling(
        "--dev-bind",
        &["SRC", "DEST"],
        Flag::DevBind,
        "Show SRC of the host at DEST, devices usable",
    ),
    spelling(
        "--dev-bind-try",
        &["SRC", "DEST"],
        Flag::DevBindTry,
        "The same, if SRC exists",
    ),
    spelling(
        "--ro-bind",
        &["SRC", "DEST"],
        Flag::RoBind,
        "Show SRC of the host at DEST, read-only",
    ),
    spelling(
        "--ro-bind-try",
        &["SRC", "DEST"],
        Flag::RoBindTry,
        "The same, if SRC exists",
    ),
    spelling(
        "--bind-fd",
        &["FD", "DEST"],
        Flag::BindFd,
        "Show the directory or file FD stands for at DEST",
    ),
    spelling(
        "--ro-bind-fd",
        &["FD", "DEST"],
        Flag::RoBindFd,
        "The same, read-only",
    ),
    spelling(
        "--remount-ro",
        &["DEST"],
        Flag::RemountRo,
        "Make the mount at DEST read-only, not those below it",
    ),
    spelling(
        "--overlay-src",
        &["SRC"],
        Flag::OverlaySrc,
        "One layer of the overlay that follows, from the bottom up",
    ),
    spelling(
        "--overlay",
        &["RWSRC", "WORKDIR", "DEST"],
        Flag::Overlay,
        "Overlay at DEST that writes into RWSRC (WORKDIR: empty, same file system)",
    ),
    spelling(
        "--tmp-overlay",
        &["DEST"],
        Flag::TmpOverlay,
        "Overlay at DEST whose writes vanish with the box",
    ),
    spelling(
        "--ro-overlay",
        &["DEST"],
        Flag::RoOverlay,
        "Read-only overlay at DEST",
    ),
    spelling(
        "--exec-label",
        &["LABEL"],
        Flag::ExecLabel,
        "SELinux label of the command (refused: not supported)",
    ),
    spelling(
        "--file-label",
        &["LABEL"],
        Flag::FileLabel,
        "SELinux label of new files (refused: not supported)",
    ),
    spelling("--proc", &["DEST"], Flag::Proc, "New procfs at DEST"),
    spelling("--dev", &["DEST"], Flag::Dev, "New minimal /dev at DEST"),
    spelling("--tmpfs", &["DEST"], Flag::Tmpfs, "New tmpfs at DEST"),
    spelling(
        "--mqueue",
        &["DEST"],
        Flag::Mqueue,
        "New POSIX message queue file system at DEST",
    ),
    spelling("--dir", &["DEST"], Flag::Dir, "Make a directory at DEST"),
    spelling(
        "--file",
        &["FD", "DEST"],
        Flag::File,
        "Make a file at DEST from what FD holds",
    ),
    spelling(
        "--bind-data",
        &["FD", "DEST"],
        Flag::BindData,
        "Bind a file over DEST, made from what FD holds",
    ),
    spelling(
        "--ro-bind-data",
        &["FD", "DEST"],
        Flag::RoBindData,
        "The same, read-only",
    ),
    spelling(
        "--symlink",
        &["SRC", "DEST"],
        Flag::Symlink,
        "Make a symbolic link at DEST that reads SRC",
    ),
    spelling(
        "--seccomp",
        &["FD"],
        Flag::Seccomp,
        "Filter system calls by the program FD holds (once)",
    ),
    spelling(
        "--add-seccomp-fd",
        &["FD"],
        Flag::AddSeccompFd,
        "Filter system calls by the program FD holds (repeatable)",
    ),
    spelling(
        "--block-fd",
        &["FD"],
        Flag::BlockFd,
        "Wait until something can be read from FD",
    ),
    spelling(
        "--userns-block-fd",
        &["FD"],
        Flag::UsernsBlockFd,
        "Wait on FD until somebody has set up the user namespace",
    ),
    spelling(
        "--info-fd",
        &["FD"],
        Flag::InfoFd,
        "Write JSON about the box to FD",
    ),
    spelling(
        "--json-status-fd",
        &["FD"],
        Flag::JsonStatusFd,
        "Write JSON about the box, and its exit code, to FD, a line each",
    ),
    spelling(
        "--new-session",
        &[],
        Flag::NewSession,
        "Leave the terminal's session",
    ),
    spelling(
        "--die-with-parent",
        &[],
        Flag::DieWithParent,
        "Kill the box when the caller dies",
    ),
    spelling(
        "--as-pid-1",
        &[],
        Flag::AsPid1,
        "Let the command be PID 1 itself",
    ),
    spelling(
        "--cap-add",
        &["CAP"],
        Flag::CapAdd,
        "Give the command a capability, or ALL",
    ),
    spelling(
        "--cap-drop",
        &["CAP"],
        Flag::CapDrop,
        "Take a capability, or ALL, from the command",
    ),
    spelling(
        "--perms",
        &["OCTAL"],
        Flag::Perms,
        "Permissions for the option that follows (--dir, --file, --tmpfs, ...)",
    ),
    spelling(
        "--size",
        &["BYTES"],
        Flag::Size,
        "Size for the --tmpfs that follows",
    ),
    spelling(
        "--chmod",
        &["OCTAL", "PATH"],
        Flag::Chmod,
        "Change the permissions of PATH, which exists",
    ),
];

/// The options vb has on top.
pub const OWN: &[Spelling] = &[
    spelling("-h", &[], Flag::Help, "Show this help and exit"),
    spelling(
        "--unshare-mount",
        &[],
        Flag::UnshareMount,
        "New mount namespace: always the case",
    ),
    spelling(
        "--netns",
        &["FD"],
        Flag::Netns,
        "Join this network namespace",
    ),
    spelling(
        "--mntns",
        &["FD"],
        Flag::Mntns,
        "Take sources from this mount namespace",
    ),
    spelling("--utsns", &["FD"], Flag::Utsns, "Join this UTS namespace"),
    spelling("--ipcns", &["FD"], Flag::Ipcns, "Join this IPC namespace"),
    spelling(
        "--pivot-root",
        &[],
        Flag::PivotRoot,
        "Enter the new root by pivot_root: the default",
    ),
    spelling("--no-pivot-root", &[], Flag::Chroot, "The same as --chroot"),
    spelling(
        "--chroot",
        &[],
        Flag::Chroot,
        "Enter the new root by chroot, which is weaker",
    ),
    spelling(
        "--rootfs",
        &["DIR"],
        Flag::Rootfs,
        "Start from this directory instead of an empty root",
    ),
    spelling(
        "--profile",
        &["NAME"],
        Flag::Profile,
        "A set of walls: none, minimal, default, strict",
    ),
    spelling(
        "--landlock-read",
        &["PATH"],
        Flag::LandlockRead,
        "Reading and executing below PATH stay allowed",
    ),
    spelling(
        "--landlock-write",
        &["PATH"],
        Flag::LandlockWrite,
        "Writing below PATH stays allowed",
    ),
    spelling(
        "--landlock-rw",
        &["PATH"],
        Flag::LandlockReadWrite,
        "Reading and writing below PATH stay allowed",
    ),
    spelling(
        "--landlock-exec",
        &["PATH"],
        Flag::LandlockExecute,
        "Executing below PATH stays allowed",
    ),
    spelling(
        "--landlock-read-try",
        &["PATH"],
        Flag::LandlockReadTry,
        "As --landlock-read, if PATH exists",
    ),
    spelling(
        "--landlock-write-try",
        &["PATH"],
        Flag::LandlockWriteTry,
        "As --landlock-write, if PATH exists",
    ),
    spelling(
        "--landlock-rw-try",
        &["PATH"],
        Flag::LandlockReadWriteTry,
        "As --landlock-rw, if PATH exists",
    ),
    spelling(
        "--landlock-exec-try",
        &["PATH"],
        Flag::LandlockExecuteTry,
        "As --landlock-exec, if PATH exists",
    ),
    spelling(
        "--landlock-bind",
        &["PORT"],
        Flag::LandlockBind,
        "Binding TCP sockets to PORT stays allowed",
    ),
    spelling(
        "--landlock-connect",
        &["PORT"],
        Flag::LandlockConnect,
        "Connecting TCP sockets to PORT stays allowed",
    ),
    spelling(
        "--memory",
        &["SIZE"],
        Flag::Memory,
        "Memory of the box: bytes, or with K, M, G",
    ),
    spelling(
        "--swap",
        &["SIZE"],
        Flag::Swap,
        "Swap of the box: bytes, or with K, M, G",
    ),
    spelling(
        "--cpu",
        &["PERCENT"],
        Flag::Cpu,
        "CPU time of the box, 100 being one CPU",
    ),
    spelling(
        "--tasks",
        &["NUMBER"],
        Flag::Tasks,
        "Processes and threads of the box",
    ),
];

/// Finds an option by its spelling.
pub fn find(word: &[u8]) -> Option<&'static Spelling> {
    BUBBLEWRAP
        .iter()
        .chain(OWN)
        .find(|spelling| spelling.name.as_bytes() == word)
}

impl Spelling {
    /// What bubblewrap says when operands are missing. Some of its sentences differ from the rest.
    pub fn complaint(&self) -> String {
        let amount = match (self.flag, self.operands.len()) {
            (Flag::Argv0 | Flag::Chdir | Flag::RemountRo, _) => "one argument",
            (_, 2) => "two arguments",
            (_, 3) => "three arguments",
            (_, _) => "an argument",
        };
        let name = if self.flag == Flag::RoBindFd {
            "--bind-fd"
        } else {
            self.name
        };
        format!("{name} takes {amount}")
    }
}

/// The text of `--help`.
pub fn usage(called: &str) -> String {
    let mut text = format!("usage: {called} [OPTIONS...] [--] COMMAND [ARGS...]\n\n");
    for spelling in BUBBLEWRAP {
        line(&mut text, spelling);
    }
    text.push_str("\nBeyond bubblewrap:\n\n");
    for spelling in OWN {
        line(&mut text, spelling);
    }
    text.push_str("\nvb doctor [--json] [--strict] tells what this machine can do.\n");
    text
}

fn line(text: &mut String, spelling: &Spelling) {
    let mut left = spelling.name.to_owned();
    for operand in spelling.operands {
        left.push(' ');
        left.push_str(operand);
    }
    text.push_str(&format!("    {left:<28} {}\n", spelling.purpose));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_stands_once() {
        let mut names: Vec<_> = BUBBLEWRAP.iter().chain(OWN).map(|one| one.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn help_names_every_option_after_the_line_scripts_look_for() {
        let text = usage("/usr/bin/bwrap");
        assert!(text.starts_with("usage: /usr/bin/bwrap [OPTIONS...] [--] COMMAND [ARGS...]\n"));
        for spelling in BUBBLEWRAP.iter().chain(OWN) {
            let line = format!("    {}", spelling.name);
            assert!(text.lines().any(|one| one.starts_with(&line)), "{line}");
        }
    }
}
