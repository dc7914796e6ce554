//! Descriptors: what is passed on, what is used up, what is written to them.

use super::case::{Anybody, Case, Root, User, check, ends, gives, refuses};

/// The pid in JSON becomes P, ids of namespaces N.
macro_rules! plain {
    ($script:expr) => {
        concat!(
            $script,
            " | sed -E 's/(child-pid\": )[1-9][0-9]*/\\1P/; s/(-namespace\": )[1-9][0-9]*/\\1N/g'"
        )
    };
}

#[test]
fn what_the_caller_leaves_open_is_passed_on() {
    check(&[
        gives(Anybody, "echo a >f; $B $R cat /dev/fd/7 7<f", "a"),
        gives(
            Anybody,
            "echo a >f; $B $R --unshare-pid --proc /proc sh -c 'cat <&7' 7<f",
            "a",
        ),
        gives(Anybody, "echo a | $B $R cat", "a"),
    ]);
}

#[test]
fn what_is_used_up_is_closed() {
    check(&[
        gives(
            Anybody,
            "echo >f; $B $R --info-fd 3 --json-status-fd 4 --block-fd 5 sh -c 'for n in 3 4 5; do test -e /proc/$$/fd/$n && echo $n; done; true' 3>i 4>j 5<f",
            "",
        ),
        gives(
            Anybody,
            "echo >f; $B $R --sync-fd 3 sh -c 'test -e /proc/$$/fd/3 || echo closed' 3<f",
            "closed",
        ),
        gives(
            Anybody,
            "echo >f; $B $R --unshare-pid --as-pid-1 --proc /proc --sync-fd 3 sh -c 'test -e /proc/$$/fd/3 && echo open' 3<f",
            "open",
        ),
    ]);
}

/// Runs it with what follows; tells which of the first three descriptors it has.
macro_rules! first_three {
    ($options:expr, $redirections:expr) => {
        concat!(
            "mkdir d; $B $R ",
            $options,
            " sh -c 'for n in 0 1 2; do test -e /proc/$$/fd/$n && echo $n >&9; done; true' 9>&1 ",
            $redirections
        )
    };
}

#[test]
fn a_standard_descriptor_that_an_option_names_is_closed() {
    check(&[
        gives(Anybody, first_three!("", ""), "0\n1\n2"),
        gives(
            Anybody,
            first_three!("--json-status-fd 1", ">j; grep -c exit-code j"),
            "0\n2\n1",
        ),
        gives(
            Anybody,
            first_three!("--info-fd 1", ">i; grep -c child-pid i"),
            "0\n2\n1",
        ),
        gives(Anybody, first_three!("--info-fd 2", "2>i"), "0\n1"),
        gives(Anybody, first_three!("--block-fd 0", ""), "1\n2"),
        gives(
            Anybody,
            first_three!("--unshare-pid --proc /proc --block-fd 0", ""),
            "1\n2",
        ),
        gives(Anybody, first_three!("--sync-fd 1", ">f"), "0\n2"),
        gives(
            Anybody,
            first_three!("--tmpfs /tmp --file 0 /tmp/f", ""),
            "1\n2",
        ),
        gives(
            Anybody,
            first_three!("--tmpfs /tmp --ro-bind-data 0 /tmp/f", ""),
            "1\n2",
        ),
        gives(Anybody, first_three!("--bind-fd 0 /tmp", "<d"), "1\n2"),
        gives(Anybody, first_three!("--args 0", ""), "1\n2"),
        refuses(
            Anybody,
            first_three!("--args 0 --tmpfs /tmp --file 0 /tmp/f", ""),
            "Can't write data to file /tmp/f: Bad file descriptor",
        ),
        // Nobody else holds it either.
        gives(
            Anybody,
            "mkfifo i go; $B $R --info-fd 1 sh -c 'read x <go' >i 2>&- & grep -c child-pid i; echo >go; wait",
            "1",
        ),
    ]);
}

#[test]
fn what_was_closed_stays_closed() {
    check(&[
        gives(Anybody, first_three!("", "<&-"), "1\n2"),
        gives(Anybody, first_three!("", ">&-"), "0\n2"),
        gives(Anybody, first_three!("", "2>&-"), "0\n1"),
        gives(Anybody, first_three!("", "<&- >&- 2>&-"), ""),
        gives(
            Anybody,
            first_three!("--unshare-all --proc /proc", "<&- >&-"),
            "2",
        ),
        gives(
            Anybody,
            first_three!("--json-status-fd 3 --dev /dev", "3>j <&- >&-"),
            "2",
        ),
        refuses(
            Anybody,
            first_three!("--json-status-fd 0", "<&-"),
            "Write to info_fd: Bad file descriptor",
        ),
        refuses(
            Anybody,
            first_three!("--tmpfs /tmp --file 0 /tmp/f", "<&-"),
            "Can't write data to file /tmp/f: Bad file descriptor",
        ),
    ]);
}

/// Starts it with a pipe that nobody reads, as descriptor W or, with `gone`, as one of the first three.
macro_rules! unread {
    ($rest:expr) => {
        concat!(
            "cat >p.py <<'E'\nimport os,signal,subprocess,sys\n",
            "B=os.environ['B']; R=os.environ['R'].split()\n",
            "r,w=os.pipe()\n",
            "def run(*a,**k): return subprocess.run([B]+R+[str(w) if x=='W' else x for x in a],pass_fds=[w],**k).returncode\n",
            $rest,
            "\nE\npython3 p.py"
        )
    };
}

#[test]
fn a_pipe_that_nobody_reads_ends_the_launcher() {
    check(&[
        gives(
            Anybody,
            unread!(
                "os.close(r)\nprint(run('--info-fd','W','true'), run('--json-status-fd','W','true'), run('--unshare-pid','--info-fd','W','true'))"
            ),
            "-13 -13 -13",
        ),
        // One that goes away meanwhile.
        gives(
            Anybody,
            unread!(
                "p=subprocess.Popen([B]+R+['--json-status-fd',str(w),'sh','-c','read x; exit 3'],pass_fds=[w],stdin=subprocess.PIPE)\nos.close(w); os.read(r,99); os.close(r); p.stdin.close(); print(p.wait())"
            ),
            "-13",
        ),
        gives(
            Anybody,
            unread!(
                "os.close(r)\nprint(subprocess.run([B,'--help'],stdout=w).returncode, subprocess.run([B,'--nosuch'],stderr=w).returncode)"
            ),
            "-13 -13",
        ),
        // Who ignores the signal gets the error.
        ends(
            Anybody,
            unread!("os.close(r)\nsys.exit(run('--info-fd','W','true',restore_signals=False))"),
            1,
            "",
        )
        .saying("Write to info_fd: Broken pipe"),
    ]);
}

#[test]
fn the_info_is_the_json_that_bubblewrap_writes() {
    check(&[
        gives(
            Anybody,
            plain!("$B $R --info-fd 3 true 3>&1"),
            "{\n    \"child-pid\": P,\n    \"mnt-namespace\": N\n}",
        ),
        gives(
            Anybody,
            plain!("$B $R --unshare-all --info-fd 3 true 3>&1"),
            "{\n    \"child-pid\": P,\n    \"cgroup-namespace\": N,\n    \"ipc-namespace\": N,\n    \"mnt-namespace\": N,\n    \"net-namespace\": N,\n    \"pid-namespace\": N,\n    \"uts-namespace\": N\n}",
        ),
        gives(
            Anybody,
            plain!("$B $R --unshare-pid --unshare-uts --json-status-fd 3 sh -c 'exit 3' 3>&1"),
            "{ \"child-pid\": P, \"mnt-namespace\": N, \"pid-namespace\": N, \"uts-namespace\": N }\n{ \"exit-code\": 3 }",
        ),
        gives(
            Anybody,
            plain!("$B $R --json-status-fd 3 sh -c 'kill -9 $$' 3>&1"),
            "{ \"child-pid\": P, \"mnt-namespace\": N }\n{ \"exit-code\": 137 }",
        ),
        // Without a command that runs there is no exit code.
        gives(
            Anybody,
            plain!("$B $R --json-status-fd 3 /nosuch 3>&1 2>/dev/null"),
            "{ \"child-pid\": P, \"mnt-namespace\": N }",
        ),
        gives(
            Anybody,
            plain!("$B $R --unshare-pid --json-status-fd 3 --chdir /nosuch true 3>&1 2>/dev/null"),
            "{ \"child-pid\": P, \"mnt-namespace\": N, \"pid-namespace\": N }",
        ),
        refuses(
            Anybody,
            "$B $R --info-fd 77 true",
            "Write to info_fd: Bad file descriptor",
        ),
        refuses(
            Anybody,
            "$B $R --json-status-fd 77 true",
            "Write to info_fd: Bad file descriptor",
        ),
    ]);
}

#[test]
fn the_ids_told_are_those_of_the_box() {
    check(&[
        gives(
            Anybody,
            "$B $R --unshare-all --proc /proc --info-fd 3 sh -c 'for n in cgroup ipc mnt net pid uts; do stat -Lc %i /proc/self/ns/$n; done' 3>info >ids; grep -o 'namespace\": [0-9]*' info | sed 's/.* //' | cmp - ids && echo same",
            "same",
        ),
        gives(
            Anybody,
            "mkfifo f; ($B $R --info-fd 3 --block-fd 4 sh -c 'echo $PPID $$' 3>info 4<f >pid) & exec 4>f; echo >&4; wait; grep -o 'pid\": [0-9]*' info | sed 's/.* //' | grep -c -w \"$(cut -d' ' -f2 pid)\"",
            "1",
        ),
    ]);
}

#[test]
fn a_box_waits_for_a_byte_or_the_end() {
    check(&[
        gives(
            Anybody,
            "mkfifo f; $B $R --block-fd 3 sh -c 'test -e go && echo went' 3<f & exec 3>f; touch go; echo >&3; wait",
            "went",
        ),
        gives(
            Anybody,
            "mkfifo f; $B $R --block-fd 3 sh -c 'test -e go && echo went' 3<f & exec 3>f; touch go; exec 3>&-; wait",
            "went",
        ),
        gives(Anybody, "$B $R --block-fd 77 echo went", "went"),
        // Its tree stands while it waits.
        gives(
            Anybody,
            "mkfifo f i; $B $R --dir /tmp --info-fd 4 --block-fd 3 true 3<f 4>i & exec 3>f; grep -q child-pid i; echo told; echo >&3; wait",
            "told",
        ),
    ]);
}

#[test]
fn somebody_else_can_map_the_users() {
    check(&[
        gives(
            Root,
            "mkfifo f i; $B $R --unshare-user --info-fd 4 --userns-block-fd 3 sh -c 'cat /proc/self/uid_map | tr -s \" \"; id -u' 3<f 4>i & exec 3>f; pid=$(grep -o 'pid\": [0-9]*' i | sed 's/.* //'); echo '0 0 1' >/proc/$pid/uid_map; echo '0 0 1' >/proc/$pid/gid_map; echo >&3; wait",
            " 0 0 1\n0",
        ),
        gives(
            User,
            "mkfifo f i; $B $R --unshare-user --uid 9 --info-fd 4 --userns-block-fd 3 sh -c 'cat /proc/self/uid_map | tr -s \" \"; id -u' 3<f 4>i & exec 3>f; pid=$(grep -o 'pid\": [0-9]*' i | sed 's/.* //'); echo '9 1000 1' >/proc/$pid/uid_map; echo deny >/proc/$pid/setgroups; echo '0 1000 1' >/proc/$pid/gid_map; echo >&3; wait",
            " 9 1000 1\n9",
        ),
    ]);
}

#[test]
fn a_descriptor_is_kept_open_while_the_box_lives() {
    check(&[
        // The reader sees the end only after the last process of the box has gone.
        gives(
            Anybody,
            "mkfifo f; ($B $R --unshare-pid --sync-fd 3 sh -c 'echo done' 3>f; echo ended) & cat f; wait",
            "done\nended",
        ),
        gives(Anybody, "$B $R --sync-fd 77 echo fine", "fine"),
    ]);
}

#[test]
fn lock_files_are_locked_while_the_box_lives() {
    check(&[
        gives(
            Anybody,
            "touch lock; cat >try.py <<'E'\nimport fcntl,sys\ntry:\n  fcntl.lockf(open('lock','r+'), fcntl.LOCK_EX|fcntl.LOCK_NB)\n  print('free')\nexcept OSError:\n  print('locked')\nE\nmkfifo f; $B $R --lock-file $D/lock sh -c 'python3 try.py 2>&1; sleep 0' ; python3 try.py",
            "locked\nfree",
        ),
        // A relative one starts where the command does.
        gives(Anybody, "$B $R --chdir / --lock-file etc/passwd echo fine", "fine"),
        gives(Anybody, "touch lock; $B $R --lock-file lock echo fine", "fine"),
        ends(Anybody, "touch lock; $B --bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --lock-file lock true", 1, "").saying("Unable to open lock file lock: No such file or directory"),
        gives(
            Anybody,
            "touch a b; $B $R --lock-file $D/a --lock-file $D/b echo fine",
            "fine",
        ),
        refuses(
            Anybody,
            "$B $R --lock-file /nosuch sleep 100",
            "Unable to open lock file /nosuch: No such file or directory",
        ),
    ]);
}

/// A filter that answers `mkdir` and `mkdirat` with errno 77 (x86-64) or allows all.
macro_rules! filter {
    ($script:expr) => {
        concat!(
            "python3 - <<'E'\nimport struct\nf=lambda c,t,n,k: struct.pack('HBBI',c,t,n,k)\n",
            "def prog(nr,e): return f(0x20,0,0,0)+f(0x15,0,1,nr)+f(6,0,0,0x50000|e)+f(6,0,0,0x7fff0000)\n",
            "open('mkdir','wb').write(prog(83,71))\nopen('chmod','wb').write(prog(268,72))\nopen('clone3','wb').write(prog(435,38))\nopen('odd','wb').write(b'x'*9)\nopen('bad','wb').write(b'\\xff'*16)\nE\n",
            $script
        )
    };
}

#[test]
fn behind_a_filter_that_has_no_clone3_a_box_is_built_all_the_same() {
    check(&[gives(
        Anybody,
        filter!(
            "$B --dev-bind / / --seccomp 3 $B $R --unshare-pid --proc /proc sh -c 'echo inner $$; exit 3' 3<clone3; echo $?"
        ),
        "inner 2\n3",
    )]);
}

#[test]
fn system_calls_are_filtered_by_programs_from_descriptors() {
    check(&[
        gives(
            Anybody,
            filter!(
                "$B $R --bind $D $D --seccomp 3 python3 -c 'import os\ntry: os.mkdir(\"x\")\nexcept OSError as e: print(e.errno)' 3<mkdir"
            ),
            "71",
        ),
        gives(
            Anybody,
            filter!(
                "$B $R --bind $D $D --add-seccomp-fd 3 --add-seccomp-fd 4 python3 -c 'import os\nfor f in (lambda: os.mkdir(\"x\"), lambda: os.chmod(\".\", 0o700, dir_fd=0)):\n  try: f()\n  except OSError as e: print(e.errno)' 3<mkdir 4<chmod"
            ),
            "71\n72",
        ),
        gives(
            Anybody,
            filter!("$B $R --seccomp 3 grep Seccomp: /proc/self/status 3<mkdir"),
            "Seccomp:\t2",
        ),
        gives(
            Anybody,
            filter!("$B $R --seccomp 3 sh -c 'test -e /proc/self/fd/3 || echo closed' 3<mkdir"),
            "closed",
        ),
        gives(
            Anybody,
            "$B $R grep Seccomp: /proc/self/status",
            "Seccomp:\t0",
        ),
        refuses(
            Anybody,
            filter!("$B $R --seccomp 3 true 3<odd"),
            "Invalid seccomp data, must be multiple of 8",
        ),
        refuses(
            Anybody,
            filter!("$B $R --add-seccomp-fd 3 true 3<odd"),
            "Invalid seccomp data, must be multiple of 8",
        ),
        refuses(
            Anybody,
            "$B $R --seccomp 77 true",
            "Can't read seccomp data: Bad file descriptor",
        ),
        refuses(
            Anybody,
            filter!("$B $R --seccomp 3 true 3<bad"),
            "Unable to set up system call filtering as requested: prctl(PR_SET_SECCOMP) reported EINVAL. (Hint: this requires a kernel configured with CONFIG_SECCOMP and CONFIG_SECCOMP_FILTER.)",
        ),
    ]);
}
