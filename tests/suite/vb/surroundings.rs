//! Environment, working directory, session, terminal.

use super::case::{Anybody, Case, Root, User, check, ends, gives, refuses};

#[test]
fn the_environment_is_changed_in_order() {
    check(&[
        gives(Anybody, "X=1 $B $R sh -c 'echo $X'", "1"),
        gives(
            Anybody,
            "$B $R --setenv X 1 --setenv X 2 sh -c 'echo $X'",
            "2",
        ),
        gives(
            Anybody,
            "X=1 $B $R --unsetenv X sh -c 'echo ${X-none}'",
            "none",
        ),
        gives(
            Anybody,
            "$B $R --setenv X 1 --unsetenv X sh -c 'echo ${X-none}'",
            "none",
        ),
        gives(
            Anybody,
            "$B $R --setenv X 1 --clearenv --setenv Y 2 env",
            "Y=2\nPWD=D",
        ),
        gives(Anybody, "$B $R --clearenv env", "PWD=D"),
        gives(
            Anybody,
            "$B $R --setenv PWD x --setenv X '' env | grep -e ^X -e ^PWD",
            "PWD=D\nX=",
        ),
        gives(
            Anybody,
            "env -i B=1 A=2 B=3 $B $R /usr/bin/env",
            "B=3\nA=2\nPWD=D",
        ),
        gives(
            Anybody,
            "env -i Z=1 A=2 $B $R --setenv Z 3 --setenv C 4 /usr/bin/env",
            "Z=3\nA=2\nC=4\nPWD=D",
        ),
    ]);
}

#[test]
fn the_command_starts_where_the_caller_is_or_at_home_or_at_the_root() {
    check(&[
        gives(Anybody, "$B $R pwd -P", "D"),
        gives(
            Anybody,
            "cd /usr; $B --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin sh -c 'pwd; echo $PWD'",
            "/usr\n/usr",
        ),
        gives(
            Anybody,
            "$B --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin sh -c 'pwd; echo $PWD'",
            "/\n/",
        ),
        gives(
            Anybody,
            "HOME=/usr/bin $B --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin sh -c 'pwd; echo $PWD'",
            "/usr/bin\n/usr/bin",
        ),
        gives(
            Anybody,
            "$B --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin --setenv HOME /usr/lib sh -c 'pwd; echo $PWD'",
            "/usr/lib\n/usr/lib",
        ),
        gives(
            Anybody,
            "$B $R --chdir /usr/bin sh -c 'pwd; echo $PWD'",
            "/usr/bin\n/usr/bin",
        ),
        gives(
            Anybody,
            "$B $R --chdir usr sh -c 'pwd -P; echo $PWD' ",
            "/usr\n/usr",
        ),
        gives(Anybody, "$B $R --chdir usr env | grep ^PWD", "PWD=usr"),
        gives(
            Anybody,
            "cd /bin; PWD=/bin $B $R env | grep ^PWD",
            "PWD=/bin",
        ),
        gives(
            Anybody,
            "mkdir d; cd d; PWD=/nonsense $B $R env | grep ^PWD | sed 's,.*/,,'",
            "d",
        ),
        refuses(
            Anybody,
            "$B $R --chdir /nosuch true",
            "Can't chdir to /nosuch: No such file or directory",
        ),
        refuses(
            Anybody,
            "$B $R --chdir /etc/passwd true",
            "Can't chdir to /etc/passwd: Not a directory",
        ),
        refuses(
            Anybody,
            "$B $R --chdir '' true",
            "Can't chdir to : No such file or directory",
        ),
    ]);
}

#[test]
fn a_session_of_its_own_is_made_when_asked() {
    check(&[
        gives(
            Anybody,
            "$B $R sh -c 'test $(ps -o sid= -p $$) = $$ || echo same'",
            "same",
        ),
        gives(
            Anybody,
            "$B $R --new-session sh -c 'test $(ps -o sid= -p $$) = $$ && echo own'",
            "own",
        ),
        gives(
            Anybody,
            "script -qec \"$B $R --new-session sh -c '(exec 3<>/dev/tty) || echo none'\" /dev/null </dev/null 2>&1 | tr -d '\\r' | grep -o none",
            "none",
        ),
    ]);
}

#[test]
fn signals_and_masks_are_handed_on_as_they_are() {
    check(&[
        gives(
            Anybody,
            "$B $R grep SigBlk /proc/self/status",
            "SigBlk:\t0000000000000000",
        ),
        gives(
            Anybody,
            "grep -E 'Sig(Blk|Ign)' /proc/self/status >out; $B $R --unshare-pid --proc /proc grep -E 'Sig(Blk|Ign)' /proc/self/status | cmp - out && echo same",
            "same",
        ),
        gives(
            Anybody,
            "trap '' HUP PIPE; $B $R grep SigIgn /proc/self/status | sed -E 's/.*(....)$/\\1/'",
            "1001",
        ),
        gives(Anybody, "$B $R sh -c 'nice'; nice -n 5 $B $R nice", "0\n5"),
        gives(Anybody, "ulimit -n 77; $B $R sh -c 'ulimit -n'", "77"),
    ]);
}

#[test]
fn a_terminal_stays_the_commands_own() {
    check(&[
        // In the foreground: reading from it stops nobody.
        gives(
            Anybody,
            r#"mkfifo in go; (echo hello; exec cat go) >in &
               script -qec "$B $R --unshare-pid sh -c 'read x; echo got-\$x; test -t 0 && echo terminal'" /dev/null <in | tr -d '\r' | grep -v '^hello'; echo >go; wait"#,
            "got-hello\nterminal",
        ),
    ]);
}
