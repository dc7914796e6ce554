//! How a box ends, and what is left of it.

use super::case::{Anybody, check, check_own, ends, gives};

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
    // bubblewrap misses its launcher's death about once in a few hundred times, and then waits for the command.
    check_own(&[
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
            "mkfifo f; sh -c 'echo; $B $R --die-with-parent --unshare-pid sh -c \"echo up; exec sleep 60\" >f & wait' & exec 3<f; read x <&3; kill -9 $!; cat <&3; echo gone",
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

/// Each box is held by a block, and its child, of which the launcher tells, is killed there.
const KILLED: &str = "mkfifo s b; exec 5<>b; for more in --share-net --unshare-pid --as-pid-1 --unshare-all; do \
    [ $more = --as-pid-1 ] && more=\"--unshare-pid $more\"; \
    $B $R $more --json-status-fd 4 --block-fd 5 echo ran 4>s & exec 6<s; read -r line <&6; \
    line=${line#*: }; kill -9 ${line%%[!0-9]*}; wait $!; echo $?; cat <&6; done";

#[test]
fn a_box_that_is_killed_while_it_is_built_tells_of_no_end_of_a_command() {
    let case = || gives(Anybody, KILLED, "137\n137\n137\n137");
    check(&[case()]);
    check_own(&[case().saying(
        "killed by SIGKILL before the command was executed\n\
         killed by SIGKILL before the command was executed\n\
         killed by SIGKILL before the command was executed\n\
         killed by SIGKILL before the command was executed",
    )]);
}

#[test]
fn a_signal_to_the_whole_job_comes_once() {
    let case = || {
        gives(
            Anybody,
            r#"mkfifo f; setsid $B $R --dev /dev --unshare-pid perl -e '$| = 1; $SIG{CONT} = sub { $n++; print "c\n" }; $SIG{WINCH} = sub { print "$n\n"; exit 5 }; print "up\n"; select undef, undef, undef, 0.01 while 1' >f & exec 3<f; read x <&3; kill -CONT -$!; read x <&3; kill -WINCH -$!; cat <&3; wait $!; echo $?"#,
            "1\n5",
        )
    };
    check(&[case()]);
    check_own(&[case()]);
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
