//! Words the launcher does not take, and what it says of itself.

use super::case::{Anybody, Case, Root, User, check, ends, gives, refuses};

#[test]
fn what_cannot_be_read_is_refused_in_the_words_of_bubblewrap() {
    check(&[
        refuses(Anybody, "$B --foo", "Unknown option --foo"),
        refuses(Anybody, "$B - true", "Unknown option -"),
        refuses(Anybody, "$B --bind", "--bind takes two arguments"),
        refuses(Anybody, "$B $R --argv0", "--argv0 takes one argument"),
        refuses(
            Anybody,
            "$B --overlay a b",
            "--overlay takes three arguments",
        ),
        refuses(Anybody, "$B --uid x true", "Invalid uid: x"),
        refuses(Anybody, "$B --gid -1 true", "Invalid gid: -1"),
        refuses(Anybody, "$B --info-fd x true", "Invalid fd: x"),
        refuses(
            Anybody,
            "$B --args 77 true",
            "Can't read --args data: Bad file descriptor",
        ),
        refuses(Anybody, "$B --cap-add CAP_FOO true", "unknown cap: CAP_FOO"),
        refuses(
            Anybody,
            "$B --perms 8 --dir /a true",
            "--perms takes an octal argument <= 07777",
        ),
        refuses(
            Anybody,
            "$B --perms 700 --bind /a /b true",
            "--perms must be followed by an option that creates a file",
        ),
        refuses(
            Anybody,
            "$B --size 0 true",
            "--size takes a non-zero number of bytes",
        ),
        refuses(
            Anybody,
            "$B --size 5 --dir /a true",
            "--size must be followed by --tmpfs",
        ),
        refuses(
            Anybody,
            "$B --overlay-src /usr true",
            "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay",
        ),
        refuses(
            Anybody,
            "$B --exec-label x true",
            "labeling not supported on this system",
        ),
        refuses(Anybody, "$B --setenv =a b true", "setenv failed"),
    ]);
}

#[test]
fn combinations_that_make_no_sense_are_refused_in_the_words_of_bubblewrap() {
    check(&[
        refuses(
            Anybody,
            "$B $R --userns-block-fd 3 true",
            "--userns-block-fd requires --unshare-user",
        ),
        refuses(
            Anybody,
            "$B $R --userns-block-fd 3 --unshare-user true",
            "--userns-block-fd requires --info-fd",
        ),
        refuses(
            Anybody,
            "$B $R --userns 3 --unshare-user true",
            "--userns not compatible --unshare-user",
        ),
        refuses(
            Anybody,
            "$B $R --disable-userns true",
            "--disable-userns requires --unshare-user",
        ),
        refuses(
            Root,
            "$B $R --uid 5 true",
            "Specifying --uid requires --unshare-user or --userns",
        ),
        refuses(
            Anybody,
            "$B $R --hostname x true",
            "Specifying --hostname requires --unshare-uts",
        ),
        refuses(
            Anybody,
            "$B $R --as-pid-1 true",
            "Specifying --as-pid-1 requires --unshare-pid",
        ),
        refuses(
            Anybody,
            "$B $R --unshare-pid --as-pid-1 --lock-file /etc/passwd true",
            "Specifying --as-pid-1 and --lock-file is not permitted",
        ),
        refuses(
            Anybody,
            "$B $R --seccomp 5 --add-seccomp-fd 6 true",
            "--add-seccomp-fd cannot be combined with --seccomp",
        ),
    ]);
}

#[test]
fn without_a_command_there_is_the_usage_and_a_failure() {
    check(&[
        ends(
            Anybody,
            "$B 2>&1 | head -n 1; $B 2>/dev/null",
            1,
            "usage: bwrap [OPTIONS...] [--] COMMAND [ARGS...]",
        ),
        ends(
            Anybody,
            "$B $R 2>&1 | head -n 1; $B $R 2>/dev/null",
            1,
            "usage: bwrap [OPTIONS...] [--] COMMAND [ARGS...]",
        ),
        ends(Anybody, "$B $R -- 2>/dev/null", 1, ""),
        gives(
            Anybody,
            "$B --help 2>/dev/null | head -n 1",
            "usage: bwrap [OPTIONS...] [--] COMMAND [ARGS...]",
        ),
        gives(
            Anybody,
            "$B --help | grep -c -- '--\\(bind-fd\\|ro-overlay\\|argv0\\|level-prefix\\) '",
            "4",
        ),
        gives(Anybody, "$B --help >/dev/null; echo $?", "0"),
    ]);
}

#[test]
fn the_version_is_one_that_scripts_can_read() {
    check(&[
        gives(Anybody, "$B --version", "bubblewrap 0.11.0"),
        gives(Anybody, "$B $R --version --foo", "bubblewrap 0.11.0"),
    ]);
}

#[test]
fn the_last_of_several_wins_with_a_warning() {
    check(&[Case {
        who: Anybody,
        script: "$B $R --chdir /etc --chdir /usr pwd",
        code: 0,
        out: "/usr",
        err: "Only the last --chdir option will take effect",
    }]);
}

#[test]
fn messages_carry_their_level_when_asked() {
    check(&[
        Case {
            who: Anybody,
            script: "$B $R --level-prefix /nosuch",
            code: 1,
            out: "",
            err: "<3>bwrap: execvp /nosuch: No such file or directory",
        },
        Case {
            who: Anybody,
            script: "$B $R --level-prefix --chdir / --chdir /usr pwd",
            code: 0,
            out: "/usr",
            err: "<4>bwrap: Only the last --chdir option will take effect",
        },
        Case {
            who: Anybody,
            script: "$B --level-prefix --foo",
            code: 1,
            out: "",
            err: "<3>bwrap: Unknown option --foo",
        },
        Case {
            who: Anybody,
            script: "$B --level-prefix $R --bind /nosuch /x true",
            code: 1,
            out: "",
            err: "<3>bwrap: Can't find source path /nosuch: No such file or directory",
        },
    ]);
}

#[test]
fn options_can_come_from_a_descriptor() {
    check(&[
        gives(
            Anybody,
            "printf '%s\\0' --ro-bind / / --setenv X 'a b' >args; $B --args 3 sh -c 'echo $X' 3<args",
            "a b",
        ),
        // The descriptor is used up, a command in the file does not count.
        gives(
            Anybody,
            "printf '%s\\0' --ro-bind / / false >args; $B --args 3 sh -c 'test -e /proc/self/fd/3 || echo closed' 3<args",
            "closed",
        ),
        gives(
            Anybody,
            "printf '%s\\0' --ro-bind / / >one; printf '%s\\0' --setenv X 1 >two; $B --args 3 --args 4 sh -c 'echo $X' 3<one 4<two",
            "1",
        ),
        refuses(
            Anybody,
            "printf '%s\\0' --args 4 >args; $B --args 3 true 3<args",
            "--args not supported in arguments file",
        ),
        refuses(
            Anybody,
            "yes -- --new-session | head -n 8999 | tr '\\n' '\\0' >args; $B --args 3 true 3<args",
            "Exceeded maximum number of arguments 9000",
        ),
    ]);
}

#[test]
fn what_stands_behind_the_first_word_that_is_no_option_is_the_command() {
    check(&[
        gives(Anybody, "$B $R echo --dir", "--dir"),
        gives(Anybody, "$B $R -- echo --dir", "--dir"),
        gives(Anybody, "$B $R -- echo -- x", "-- x"),
        refuses(
            Anybody,
            "$B $R -- --foo",
            "execvp --foo: No such file or directory",
        ),
    ]);
}

#[test]
fn a_command_is_found_as_execvp_finds_it() {
    check(&[
        refuses(
            Anybody,
            "$B $R nosuch",
            "execvp nosuch: No such file or directory",
        ),
        refuses(Anybody, "$B $R ''", "execvp : No such file or directory"),
        refuses(
            Anybody,
            "$B $R /etc/passwd",
            "execvp /etc/passwd: Permission denied",
        ),
        refuses(Anybody, "$B $R /etc", "execvp /etc: Permission denied"),
        refuses(
            Anybody,
            "$B $R /etc/passwd/x",
            "execvp /etc/passwd/x: Not a directory",
        ),
        // The path is the command's own.
        gives(
            Anybody,
            "mkdir bin; printf '#!/bin/sh\\necho found' >bin/thing; chmod 755 bin/thing; $B $R --setenv PATH $D/bin thing",
            "found",
        ),
        // A directory that cannot be searched is told only if nothing is found.
        refuses(
            Anybody,
            "mkdir bin; touch bin/thing; PATH=$D/bin:/usr/bin $B $R thing",
            "execvp thing: Permission denied",
        ),
        // A file without a first line for the kernel is run by the shell.
        gives(
            Anybody,
            "echo 'echo script $0 $1' >s; chmod 755 s; $B $R ./s a",
            "script ./s a",
        ),
        gives(Anybody, "$B $R --unsetenv PATH sh -c 'echo found'", "found"),
        gives(
            Anybody,
            "$B $R --argv0 other sh -c 'cat /proc/$$/cmdline | tr \"\\0\" \" \"; :' | cut -c1-8",
            "other -c",
        ),
        refuses(
            User,
            "mkdir -m 000 bin; PATH=$D/bin:/usr/bin $B $R nosuch",
            "execvp nosuch: Permission denied",
        ),
    ]);
}
