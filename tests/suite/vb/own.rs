//! What `vb` has beyond bubblewrap.

use super::case::{Anybody, Root, User, check_own, ends, gives, refuses};

#[test]
fn it_says_which_bubblewrap_it_stands_for() {
    check_own(&[
        gives(
            Anybody,
            "$B --version | sed 's/^vb [0-9.]*/vb N/'",
            "vb N (bubblewrap 0.11.0)",
        ),
        gives(
            Anybody,
            "$B -h | head -n 1",
            "usage: vb [OPTIONS...] [--] COMMAND [ARGS...]",
        ),
        refuses(Anybody, "$B --foo", "Unknown option --foo"),
    ]);
}

#[test]
fn the_doctor_tells_what_the_machine_can_do() {
    check_own(&[
        gives(Anybody, "$B doctor >out && grep -c namespaces out", "1"),
        gives(Anybody, "$B doctor --json | grep -c readiness", "1"),
    ]);
}

#[test]
fn a_profile_is_a_usable_box_by_itself() {
    check_own(&[
        gives(
            Anybody,
            "$B --profile minimal sh -c 'echo $$; (touch /etc/x) 2>&- || echo refused; touch /tmp/x && echo x >/dev/null && ls /tmp'",
            "2\nrefused\nx",
        ),
        gives(
            Anybody,
            "$B --profile default grep -E 'CapEff|Seccomp:' /proc/self/status",
            "CapEff:\t0000000000000000\nSeccomp:\t2",
        ),
        gives(
            Anybody,
            "$B --profile default sh -c 'unshare -U true 2>&- || echo refused; ls /sys/class/net >/dev/null && echo net'",
            "refused\nnet",
        ),
        gives(
            Anybody,
            "$B --profile strict sh -c 'grep -c : /proc/net/dev'",
            "1",
        ),
        gives(
            Anybody,
            "$B --profile none $R grep Seccomp: /proc/self/status",
            "Seccomp:\t0",
        ),
        // The tree is what other options make of it.
        gives(
            Anybody,
            "$B --profile default --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 ls /",
            "bin\nlib\nlib64\nusr",
        ),
        refuses(
            Anybody,
            "$B --profile hard true",
            "--profile takes none, minimal, default or strict, not hard",
        ),
    ]);
}

#[test]
fn landlock_denies_what_is_not_named() {
    check_own(&[
        gives(
            Anybody,
            "mkdir r w; echo a >r/f; $B --dev-bind / / --landlock-read /usr --landlock-read /bin --landlock-read /lib --landlock-read-try /lib64 --landlock-read /etc --landlock-read $D/r --landlock-rw $D/w \
             sh -c 'cat r/f; (echo b >r/f) 2>&- || echo no-write; (rm r/f) 2>&- || echo no-remove; echo c >w/f && cat w/f; (ls /) 2>&- || echo no-list'",
            "a\nno-write\nno-remove\nc\nno-list",
        ),
        // A file by itself, and nothing at all.
        gives(
            Anybody,
            "echo a >f; echo b >g; $B --dev-bind / / --landlock-exec /usr --landlock-exec /bin --landlock-exec /lib --landlock-exec-try /lib64 --landlock-read $D/f sh -c 'cat f; (cat g) 2>&- || echo denied'",
            "a\ndenied",
        ),
        ends(
            Anybody,
            "mkdir e; $B --dev-bind / / --landlock-read $D/e true 2>&-",
            1,
            "",
        ),
        gives(
            Anybody,
            "$B --dev-bind / / --unshare-net --landlock-bind 4242 python3 -c 'import socket\nfor p in (4242, 4243):\n  try: socket.socket().bind((\"127.0.0.1\", p)); print(\"bound\")\n  except OSError as e: print(e.errno)'",
            "bound\n13",
        ),
        gives(
            Anybody,
            "$B --dev-bind / / --unshare-net --landlock-connect 4242 python3 -c 'import socket\nfor p in (4242, 4243):\n  try: socket.socket().connect((\"127.0.0.1\", p))\n  except OSError as e: print(e.errno)'",
            "111\n13",
        ),
        // Bubblewrap's caller may want no rule for what is missing.
        gives(
            Anybody,
            "$B --dev-bind / / --landlock-read / --landlock-read-try /nosuch --landlock-write-try /nosuch --landlock-rw-try /nosuch --landlock-exec-try /nosuch echo fine",
            "fine",
        ),
        refuses(
            Anybody,
            "$B $R --landlock-bind 0 true",
            "--landlock-bind takes a port from 1 to 65535",
        ),
    ]);
}

#[test]
fn a_directory_can_be_the_root() {
    check_own(&[
        gives(
            Anybody,
            "mkdir -p d/usr d/bin d/lib d/lib64; touch d/mark; $B --rootfs d --ro-bind /usr /usr --ro-bind /bin /bin --ro-bind /lib /lib --ro-bind /lib64 /lib64 sh -c 'ls / /..'",
            "/:\nbin\nlib\nlib64\nmark\nusr\n\n/..:\nbin\nlib\nlib64\nmark\nusr",
        ),
        gives(Anybody, "$B $R --chroot --dir /tmp/. pwd -P", "D"),
        gives(
            Anybody,
            "$B --chroot --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 ls / /..",
            "/:\nbin\nlib\nlib64\nusr\n\n/..:\nbin\nlib\nlib64\nusr",
        ),
    ]);
}

#[test]
fn limits_hold_the_box_as_a_whole() {
    check_own(&[
        gives(
            Root,
            "$B $R --tasks 5 --memory 64M sh -c 'grep -o vb-[0-9]*-[0-9]* /proc/self/cgroup | sort -u | wc -l'",
            "1",
        ),
        ends(
            Root,
            "$B --dev-bind / / --memory 32M --swap 0 python3 -c 'x = bytearray(200 << 20)'",
            137,
            "",
        ),
        ends(
            Root,
            "$B --dev-bind / / --tasks 3 sh -c 'sleep 9 & sleep 9 & sleep 9 &' 2>&-",
            2,
            "",
        ),
        // The group is gone with the box.
        gives(
            Root,
            "g=$($B $R --tasks 5 sh -c 'grep -o vb-[0-9]*-[0-9]* /proc/self/cgroup | head -n 1'); find /sys/fs/cgroup -name $g | wc -l",
            "0",
        ),
        // That of a launcher that was killed goes with the next one.
        gives(
            Root,
            "mkfifo f; $B $R --tasks 5 --memory 64M sh -c 'echo $$; exec sleep 60' >f & read pid <f; kill -9 $!; kill -9 $pid; wait; g=$!; find /sys/fs/cgroup -name \"vb-$g-*\" | grep -q . && echo left; while grep -q . $(find /sys/fs/cgroup -path \"*/vb-$g-*/cgroup.procs\"); do :; done; $B $R --tasks 5 true; find /sys/fs/cgroup -name \"vb-$g-*\" | wc -l",
            "left\n0",
        ),
        refuses(
            Anybody,
            "$B $R --landlock-rw /nosuch true",
            "Can't find path of Landlock rule /nosuch: No such file or directory",
        ),
        refuses(
            Anybody,
            "$B $R --memory lots true",
            "--memory takes a number of bytes above zero, or one with K, M, G or T",
        ),
    ]);
}

#[test]
fn namespaces_of_others_can_be_joined() {
    check_own(&[
        gives(
            Root,
            "mkfifo f; unshare -niu sh -c 'hostname other; echo >f; read x <f' & read x <f; $B $R --netns 5 --ipcns 6 --utsns 7 sh -c 'uname -n; grep -c : /proc/net/dev; readlink /proc/self/ns/ipc' 5</proc/$!/ns/net 6</proc/$!/ns/ipc 7</proc/$!/ns/uts >out; readlink /proc/$!/ns/ipc | grep -c -F -f - out; head -n 2 out; echo >f; wait",
            "1\nother\n1",
        ),
        gives(
            Root,
            "mkdir m; mkfifo f; unshare -m sh -c 'mount -t tmpfs t m; echo a >m/f; echo >f; read x <f' & read x <f; $B --mntns 5 --ro-bind / / cat $D/m/f 5</proc/$!/ns/mnt; echo >f; wait",
            "a",
        ),
        refuses(
            Anybody,
            "$B $R --unshare-net --netns 5 true",
            "--netns not compatible --unshare-net",
        ),
        refuses(
            Anybody,
            "$B $R --netns 77 true",
            "Setting netns failed: Bad file descriptor",
        ),
    ]);
}

#[test]
fn who_ends_the_launcher_ends_its_command() {
    check_own(&[
        gives(
            Anybody,
            "mkfifo f; $B $R --unshare-pid sh -c 'trap \"echo told; exit 7\" TERM; echo up; while :; do :; done' >f & exec 3<f; read x <&3; kill -TERM $!; cat <&3; wait $!; echo $?",
            "told\n7",
        ),
        gives(
            Anybody,
            "mkfifo f; $B $R sh -c 'echo up; exec sleep 60' >f & exec 3<f; read x <&3; kill -HUP $!; cat <&3; wait $!; echo $?",
            "129",
        ),
    ]);
}
