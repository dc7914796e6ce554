//! What voidbox, from which `vb` has its flags, did wrong: users, groups, capabilities, names.

use super::case::{Anybody, Root, check, gives};

/// Its number 3: only user 0 was mapped, so that every other one failed.
#[test]
fn any_number_can_be_the_user_and_the_group() {
    check(&[
        gives(
            Anybody,
            "$B $R --unshare-user --uid 1234 --gid 56 sh -c 'id -u; id -g; cat /proc/self/setgroups'",
            "1234\n56\ndeny",
        ),
        gives(
            Anybody,
            "$B $R --unshare-user --uid 1234 --gid 56 --dev /dev sh -c 'id -u; id -g; cat /proc/self/setgroups'",
            "1234\n56\ndeny",
        ),
    ]);
}

/// Its number 4: capabilities went before the mounts that needed them, and those given were lost at
/// `execve` by everybody but root.
#[test]
fn capabilities_go_after_the_mounts_and_outlive_execve() {
    check(&[
        gives(
            Anybody,
            "$B $R --unshare-user --cap-drop ALL --tmpfs /mnt --dev /dev --proc /proc sh -c 'grep CapEff /proc/self/status | cut -f2'",
            "0000000000000000",
        ),
        gives(
            Anybody,
            "$B $R --unshare-user --uid 7 --gid 7 --cap-drop ALL --cap-add CAP_NET_RAW sh -c 'exec sh -c \"grep -E ^Cap.*Eff /proc/self/status | cut -f2\"'",
            "0000000000002000",
        ),
    ]);
}

/// Its number 18: a host name without a UTS namespace was given to the host.
#[test]
fn a_host_name_never_reaches_the_host() {
    check(&[gives(
        Root,
        "old=$(uname -n); $B $R --hostname inside true 2>/dev/null; echo $?; test $old = $(uname -n) && echo same",
        "1\nsame",
    )]);
}
