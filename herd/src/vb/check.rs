//! What the options ask for together, and what cannot be asked for together.
#![forbid(unsafe_code)]

use super::arguments::Arguments;

/// What the caller and the machine add to the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    pub uid: u32,
    pub gid: u32,
    /// The kernel makes user namespaces for root (`/proc/sys/user/max_user_namespaces` is not 0).
    pub user_namespaces: bool,
    /// The kernel knows cgroup namespaces.
    pub cgroup_namespaces: bool,
}

/// Refuses what makes no sense, in bubblewrap's order; then turns "try" into yes or no.
///
/// # Errors
/// The sentence, or `None` where the usage is to be shown.
pub fn settle(
    arguments: &mut Arguments,
    circumstances: &Circumstances,
) -> Result<(), Option<&'static str>> {
    before_the_command(arguments).map_err(Some)?;
    let joined = arguments.descriptors.user_namespace.is_some();
    let unshare = &mut arguments.unshare;
    // Nobody but root can make any namespace without a user namespace first.
    if circumstances.uid != 0 && !joined {
        unshare.user = true;
    }
    if unshare.user_try && circumstances.user_namespaces {
        unshare.user = true;
    }
    if arguments.command.is_empty() {
        return Err(None);
    }
    with_the_command(arguments, circumstances).map_err(Some)?;
    let unshare = &mut arguments.unshare;
    if unshare.cgroup_try {
        unshare.cgroup = circumstances.cgroup_namespaces;
    }
    Ok(())
}

fn before_the_command(arguments: &Arguments) -> Result<(), &'static str> {
    let unshare = &arguments.unshare;
    let descriptors = &arguments.descriptors;
    let held = descriptors.user_namespace_block.is_some();
    let joined = descriptors.user_namespace.is_some();
    refuse(&[
        (
            held && !unshare.user,
            "--userns-block-fd requires --unshare-user",
        ),
        (
            held && descriptors.info.is_none(),
            "--userns-block-fd requires --info-fd",
        ),
        (
            joined && unshare.user,
            "--userns not compatible --unshare-user",
        ),
        (
            joined && unshare.user_try,
            "--userns not compatible --unshare-user-try",
        ),
        (
            arguments.disable_user_namespaces && !unshare.user,
            "--disable-userns requires --unshare-user",
        ),
        (
            arguments.disable_user_namespaces && held,
            "--disable-userns is not compatible with  --userns-block-fd",
        ),
    ])
}

fn with_the_command(
    arguments: &Arguments,
    circumstances: &Circumstances,
) -> Result<(), &'static str> {
    let unshare = &arguments.unshare;
    let own = &arguments.own;
    let maps = unshare.user || arguments.descriptors.user_namespace.is_some();
    let other = |wanted: Option<u32>, real| wanted.is_some_and(|id| id != real);
    refuse(&[
        (
            !maps && other(arguments.uid, circumstances.uid),
            "Specifying --uid requires --unshare-user or --userns",
        ),
        (
            !maps && other(arguments.gid, circumstances.gid),
            "Specifying --gid requires --unshare-user or --userns",
        ),
        (
            !unshare.uts && own.uts_namespace.is_none() && arguments.hostname.is_some(),
            "Specifying --hostname requires --unshare-uts",
        ),
        (
            arguments.as_pid_1 && !unshare.pid,
            "Specifying --as-pid-1 requires --unshare-pid",
        ),
        (
            arguments.as_pid_1 && !arguments.lock_files.is_empty(),
            "Specifying --as-pid-1 and --lock-file is not permitted",
        ),
        (
            unshare.cgroup && !circumstances.cgroup_namespaces,
            "Cannot create new cgroup namespace because the kernel does not support it",
        ),
        (
            unshare.net && own.network_namespace.is_some(),
            "--netns not compatible --unshare-net",
        ),
        (
            unshare.uts && own.uts_namespace.is_some(),
            "--utsns not compatible --unshare-uts",
        ),
        (
            unshare.ipc && own.ipc_namespace.is_some(),
            "--ipcns not compatible --unshare-ipc",
        ),
    ])
}

fn refuse(rules: &[(bool, &'static str)]) -> Result<(), &'static str> {
    rules
        .iter()
        .find(|(broken, _)| *broken)
        .map_or(Ok(()), |(_, sentence)| Err(sentence))
}
