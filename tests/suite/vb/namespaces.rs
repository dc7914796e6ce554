//! Which namespaces are new, and what is in them.

use super::case::{Anybody, Root, User, check, ends, gives, refuses};

/// The kinds in which the box differs from the outside.
macro_rules! new_kinds {
    ($options:expr) => {
        concat!(
            "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done >o; $B $R ",
            $options,
            " sh -c 'for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done' | diff o - | grep '>' | sed 's/> \\(.*\\):.*/\\1/' | tr '\\n' ' '"
        )
    };
}

#[test]
fn only_the_namespaces_asked_for_are_new() {
    check(&[
        gives(Root, new_kinds!(""), "mnt"),
        gives(User, new_kinds!(""), "mnt user"),
        gives(Root, new_kinds!("--unshare-ipc"), "ipc mnt"),
        gives(Root, new_kinds!("--unshare-net"), "mnt net"),
        gives(Root, new_kinds!("--unshare-uts"), "mnt uts"),
        gives(Root, new_kinds!("--unshare-cgroup"), "cgroup mnt"),
        gives(Root, new_kinds!("--unshare-cgroup-try"), "cgroup mnt"),
        gives(Anybody, new_kinds!("--unshare-user"), "mnt user"),
        gives(Anybody, new_kinds!("--unshare-user-try"), "mnt user"),
        gives(
            Anybody,
            new_kinds!("--unshare-all --proc /proc"),
            "cgroup ipc mnt net pid user uts",
        ),
        gives(
            Anybody,
            new_kinds!("--unshare-all --share-net --proc /proc"),
            "cgroup ipc mnt pid user uts",
        ),
    ]);
}

#[test]
fn a_new_network_holds_loopback_and_it_is_up() {
    check(&[
        gives(
            Anybody,
            "$B $R --unshare-net sh -c 'grep -c : /proc/net/dev'",
            "1",
        ),
        gives(
            Anybody,
            "$B $R --unshare-net sh -c 'ip -o addr show lo | grep -c 127.0.0.1/8'",
            "1",
        ),
        gives(
            Anybody,
            "$B $R --unshare-net sh -c 'ip link show lo | grep -o LOWER_UP'",
            "LOWER_UP",
        ),
        gives(
            Anybody,
            "$B $R --unshare-net sh -c 'ip -o -4 route show table local | wc -l'",
            "3",
        ),
    ]);
}

#[test]
fn a_host_name_can_be_given_to_a_namespace_of_ones_own() {
    check(&[
        gives(
            Anybody,
            "old=$(uname -n); $B $R --unshare-uts --hostname inside uname -n; test $old = $(uname -n) && echo same",
            "inside\nsame",
        ),
        gives(
            Anybody,
            "$B $R --unshare-uts --hostname $(printf '\\377\\376') uname -n | od -An -tx1",
            " ff fe 0a",
        ),
        gives(
            Anybody,
            "$B $R --unshare-all --hostname inside uname -n",
            "inside",
        ),
        gives(
            Anybody,
            "test \"$($B $R --unshare-uts uname -n)\" = $(uname -n) && echo same",
            "same",
        ),
        gives(
            Anybody,
            "$B $R --unshare-uts --hostname a --hostname b uname -n 2>&1",
            "bwrap: Only the last --hostname option will take effect\nb",
        ),
        refuses(
            Anybody,
            "$B $R --unshare-uts --hostname aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa true",
            "Can't set hostname to aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: Invalid argument",
        ),
    ]);
}

#[test]
fn in_a_pid_namespace_the_command_is_2_unless_asked() {
    check(&[
        gives(
            Anybody,
            "$B $R --unshare-pid --proc /proc sh -c 'echo $$'",
            "2",
        ),
        gives(
            Anybody,
            "$B $R --unshare-pid --as-pid-1 --proc /proc sh -c 'echo $$; readlink /proc/1/exe | sed s,.*/,,'",
            "1\ndash",
        ),
        gives(
            Anybody,
            "$B $R --unshare-pid --proc /proc sh -c 'cut -c1-5 /proc/1/comm'",
            "bwrap",
        ),
        // PID 1 reaps orphans, ends with the last process, and hands the code of the command on.
        gives(
            Anybody,
            "$B $R --dev /dev --unshare-pid --proc /proc sh -c '(sh -c \"exit 3\" & exec true); while grep -q zombie /proc/[0-9]*/status 2>&-; do :; done; echo reaped'",
            "reaped",
        ),
        ends(
            Anybody,
            "$B $R --dev /dev --unshare-pid sh -c 'sleep 100 & exit 5'",
            5,
            "",
        ),
        ends(
            Anybody,
            "$B $R --dev /dev --unshare-pid --as-pid-1 sh -c 'sleep 100 & exit 5'",
            5,
            "",
        ),
        ends(
            Anybody,
            "$B $R --unshare-pid sh -c 'kill -TERM $$'",
            143,
            "",
        ),
        // A host's /proc that is still there shows the outside.
        gives(
            Anybody,
            "$B $R --unshare-pid sh -c 'test $(readlink /proc/self | wc -c) = 0 || true; test -d /proc/1 && echo host'",
            "host",
        ),
    ]);
}

#[test]
fn a_pid_namespace_can_be_joined() {
    check(&[
        gives(
            Root,
            "mkfifo f; unshare -pf --mount-proc sh -c 'echo >f; read x <f' & read x <f; inner=$(pgrep -P $!); $B $R --pidns 5 --proc /proc sh -c 'echo /proc/[0-9]*' 5</proc/$inner/ns/pid | wc -w; echo >f; wait",
            "2",
        ),
        gives(
            Root,
            "mkfifo f; unshare -pf --mount-proc sh -c 'echo >f; read x <f' & read x <f; inner=$(pgrep -P $!); $B $R --pidns 5 --unshare-pid --proc /proc sh -c 'echo $$; exit 4' 5</proc/$inner/ns/pid; echo $?; echo >f; wait",
            "2\n4",
        ),
        gives(
            Root,
            "mkfifo f; unshare -pf --mount-proc sh -c 'echo >f; read x <f' & read x <f; inner=$(pgrep -P $!); $B $R --pidns 5 sh -c 'exit 4' 5</proc/$inner/ns/pid; echo $?; echo >f; wait",
            "4",
        ),
        refuses(
            Root,
            "$B $R --pidns 77 true",
            "Setting pidns failed: Bad file descriptor\nUnexpected short read from pid socket",
        ),
        refuses(
            Anybody,
            "$B $R --pidns 3 true 3</proc/self/ns/net",
            "Setting pidns failed: Invalid argument\nUnexpected short read from pid socket",
        ),
    ]);
}
