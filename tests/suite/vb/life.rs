//! How a box ends, and what is left of it.

use super::case::{Anybody, Case, Root, User, check, ends, gives, refuses};

#[test]
fn the_exit_code_is_that_of_the_command() {
    check(&[
        ends(Anybody, "$B $R true", 0, ""),
        ends(Anybody, "$B $R sh -c 'exit 7'", 7, ""),
        ends(Anybody, "$B $R sh -c 'exit 255'", 255, ""),
        ends(Anybody, "$B $R --unshare-pid sh -c 'exit 255'", 255, ""),
        ends(Anybody, "$B $R sh -c 'kill -9 $$'", 137, ""),
        ends(Anybody, "$B $R sh -c 'kill -TERM $$'", 143, ""),
        ends(Anybody, "$B $R --unshare-pid sh -c 'kill -9 $$'", 137, ""),
        ends(
            Anybody,
            "$B $R --unshare-all --new-session --die-with-parent sh -c 'exit 9'",
            9,
            "",
        ),
    ]);
}

#[test]
fn a_box_dies_with_its_launcher_when_asked() {
    check(&[
        gives(
            Anybody,
            "mkfifo f; $B $R --die-with-parent --unshare-pid sh -c 'echo up; exec sleep 60' >f & exec 3<f; read x <&3; kill -9 $!; cat <&3; wait $!; echo $?",
            "137",
        ),
        gives(
            Anybody,
            "mkfifo f; $B $R --die-with-parent sh -c 'echo up; exec sleep 60' >f & exec 3<f; read x <&3; kill -9 $!; cat <&3; wait $!; echo $?",
            "137",
        ),
        gives(
            Anybody,
            "mkfifo f; sh -c '$B $R --die-with-parent --unshare-pid sh -c \"echo up; exec sleep 60\" >f & echo; wait' & exec 3<f; read x <&3; kill -9 $!; cat <&3; echo gone",
            "\ngone",
        ),
    ]);
}

#[test]
fn a_launcher_that_is_told_to_end_ends() {
    check(&[gives(
        Anybody,
        "mkfifo f; $B $R --die-with-parent --unshare-pid sh -c 'echo up; exec sleep 60' >f & exec 3<f; read x <&3; kill -TERM $!; cat <&3; wait $!; echo $?",
        "143",
    )]);
}

#[test]
fn other_children_of_the_launcher_are_left_alone() {
    check(&[
        // The shell has a child, and becomes the launcher.
        ends(Anybody, "sh -c 'exit 5' & exec $B $R sh -c 'exit 6'", 6, ""),
        gives(Anybody, "trap '' CHLD; $B $R sh -c 'exit 6'; echo $?", "6"),
        gives(
            Anybody,
            "trap '' CHLD; $B $R --unshare-pid sh -c 'exit 6'; echo $?",
            "6",
        ),
    ]);
}

#[test]
fn nothing_is_left_behind() {
    check(&[
        gives(
            Anybody,
            "ls -A /tmp /dev/shm | grep -v '^\\.tmp' | sort >before; cat /proc/self/mountinfo >mounts; echo x | $B $R --unshare-all --tmpfs /tmp --bind-data 0 /tmp/x --dev /dev --proc /proc true; cmp mounts /proc/self/mountinfo && echo same",
            "same",
        ),
        gives(
            Anybody,
            "cat /proc/self/mountinfo >mounts; $B $R --tmpfs /tmp --bind /nosuch /x true 2>&-; $B $R --tmpfs /tmp --chmod 700 /nosuch true 2>&-; cmp mounts /proc/self/mountinfo && echo same",
            "same",
        ),
    ]);
}
