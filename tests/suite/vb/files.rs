//! What the box's tree is made of.

use super::case::{Anybody, Root, User, check, gives, refuses};

/// A root with nothing but what programs need.
macro_rules! small {
    ($rest:expr) => {
        concat!(
            "small() { $B --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \"$@\"; }; ",
            $rest
        )
    };
}

#[test]
fn the_root_holds_what_was_asked_for_and_nothing_else() {
    check(&[
        gives(Anybody, small!("small ls -A /"), "bin\nlib\nlib64\nusr"),
        gives(Anybody, small!("small stat -c '%a %F' /"), "755 directory"),
        gives(
            Anybody,
            small!("small sh -c 'stat -f -c %T /; echo x >/x && cat /x'"),
            "tmpfs\nx",
        ),
        gives(Root, small!("small stat -c '%u %g' / /bin"), "0 0\n0 0"),
        gives(
            User,
            small!("small stat -c '%u %g' / /bin"),
            "1000 1000\n1000 1000",
        ),
        gives(
            Anybody,
            small!("small --unshare-user --uid 7 --gid 8 stat -c '%u %g' /"),
            "7 8",
        ),
        gives(
            Anybody,
            small!(
                "small --proc /proc sh -c 'while read -r a b c d e f g; do test $e != / || echo $f; done </proc/self/mountinfo'"
            ),
            "rw,nosuid,nodev,relatime",
        ),
    ]);
}

#[test]
fn a_bind_shows_a_tree_with_its_mounts_nosuid_and_nodev() {
    check(&[
        gives(
            Anybody,
            small!(
                "mkdir d; echo a >d/f; small --bind d /x sh -c 'cat /x/f; echo b >/x/f'; cat d/f"
            ),
            "a\nb",
        ),
        gives(
            Anybody,
            small!("echo a >f; small --bind f /x/y/z cat /x/y/z"),
            "a",
        ),
        gives(
            Anybody,
            small!("echo a >f; small --bind f /x/y/z stat -c '%a %F' /x /x/y"),
            "700 directory\n700 directory",
        ),
        // The place of a file that was made for it.
        gives(
            Anybody,
            small!(
                "mkdir d; echo a >f; $B $R --bind d /mnt --bind f /mnt/n true; stat -c '%a %s' d/n"
            ),
            "444 0",
        ),
        gives(
            Anybody,
            small!("mkdir d e; $B $R --bind d /mnt --bind e /mnt/n true; stat -c '%a %F' d/n"),
            "755 directory",
        ),
        gives(
            Anybody,
            small!(
                "small --bind $D /x --proc /proc sh -c 'grep -c \" /x rw,nosuid,nodev\" /proc/self/mountinfo'"
            ),
            "1",
        ),
        gives(
            Anybody,
            small!(
                "small --dev-bind $D /x --proc /proc sh -c 'grep -c \" /x rw,nosuid,relatime\" /proc/self/mountinfo'"
            ),
            "1",
        ),
        // A link as the source is followed outside, and once.
        gives(
            Anybody,
            small!("mkdir d; echo a >d/f; ln -s d l; small --bind l /x cat /x/f"),
            "a",
        ),
        gives(
            Anybody,
            small!(
                "echo secret >f; ln -s f l; small --ro-bind l /x sh -c 'cat /x; test -L /x || echo file'"
            ),
            "secret\nfile",
        ),
        // Relative sources are the caller's.
        gives(
            Anybody,
            small!("mkdir d; echo a >d/f; cd d; small --bind . /x cat /x/f"),
            "a",
        ),
    ]);
}

#[test]
fn read_only_means_every_mount_below_too() {
    check(&[
        gives(
            Anybody,
            small!("echo a >f; small --ro-bind $D /x sh -c '(echo b >/x/f) 2>&- || cat /x/f'"),
            "a",
        ),
        gives(
            Anybody,
            "mkdir d; unshare -Urm sh -c 'mount -t tmpfs t d && mkdir d/e && mount -t tmpfs t d/e && $B --ro-bind / / sh -c \"(touch d/x || touch d/e/x) 2>&- || echo refused\"'",
            "refused",
        ),
        gives(
            Anybody,
            "$B $R sh -c 'touch /dev/shm/x 2>&- || echo refused'",
            "refused",
        ),
        gives(
            Anybody,
            "$B $R --tmpfs /tmp --dir /tmp/a --tmpfs /tmp/a --remount-ro /tmp sh -c 'touch /tmp/x 2>&- || touch /tmp/a/x && echo below'",
            "below",
        ),
    ]);
}

#[test]
fn devices_work_where_they_are_asked_for_only() {
    check(&[
        gives(
            Anybody,
            "$B $R sh -c '(echo x >/dev/null) 2>&- || echo refused'",
            "refused",
        ),
        gives(
            Anybody,
            "$B --dev-bind / / sh -c 'echo x >/dev/null && echo fine'",
            "fine",
        ),
        gives(
            Anybody,
            "$B $R --dev-bind /dev /dev sh -c 'echo x >/dev/null && echo fine'",
            "fine",
        ),
    ]);
}

#[test]
fn a_source_that_does_not_exist_is_an_error_unless_tried() {
    check(&[
        refuses(
            Anybody,
            "$B $R --bind /nosuch /tmp true",
            "Can't find source path /nosuch: No such file or directory",
        ),
        refuses(
            Anybody,
            "$B $R --ro-bind nosuch/./x /tmp true",
            "Can't find source path nosuch/./x: No such file or directory",
        ),
        gives(
            Anybody,
            "$B $R --bind-try /nosuch /x --ro-bind-try /nosuch /y --dev-bind-try /nosuch /z echo fine",
            "fine",
        ),
        gives(
            Anybody,
            small!("small --bind-try /nosuch /x test -e /x || echo none"),
            "none",
        ),
        // Only what is missing is skipped.
        refuses(
            Anybody,
            "$B $R --bind-try /etc/passwd/x /tmp true",
            "Can't find source path /etc/passwd/x: Not a directory",
        ),
        refuses(
            User,
            "mkdir -m 0 d; $B $R --bind d/x /tmp true",
            "Can't find source path d/x: No such file or directory",
        ),
        refuses(
            Anybody,
            "ln -s l l; $B $R --bind l /tmp true",
            "Can't find source path l: Too many levels of symbolic links",
        ),
    ]);
}

#[test]
fn what_cannot_be_made_is_told_with_its_place() {
    check(&[
        refuses(
            Anybody,
            "$B $R --dir /nosuch true",
            "Can't mkdir /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --dir /nosuch/x true",
            "Can't mkdir parents for /nosuch/x: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --dir /etc/passwd true",
            "Can't mkdir /etc/passwd: Not a directory",
        ),
        refuses(
            Anybody,
            "$B $R --dir /etc/passwd/x true",
            "Can't mkdir parents for /etc/passwd/x: Not a directory",
        ),
        refuses(
            Anybody,
            "$B $R --bind /etc /etc/passwd true",
            "Can't mkdir /etc/passwd: Not a directory",
        ),
        refuses(
            Anybody,
            "$B $R --bind /etc/passwd /etc true",
            "Can't create file at /etc: Is a directory",
        ),
        refuses(
            Anybody,
            "$B $R --bind /etc/passwd /nosuch true",
            "Can't create file at /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --proc /nosuch true",
            "Can't mkdir /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --dev /nosuch true",
            "Can't mkdir /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --tmpfs /nosuch true",
            "Can't mkdir /nosuch: Read-only file system",
        ),
        refuses(
            Root,
            "$B $R --mqueue /nosuch true",
            "Can't mkdir /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "echo x | $B $R --file 0 /nosuch true",
            "Can't create file /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "echo x | $B $R --bind-data 0 /nosuch true",
            "Can't create file at /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --tmpfs /tmp --file 77 /tmp/x true",
            "Can't write data to file /tmp/x: Bad file descriptor",
        ),
        refuses(
            Anybody,
            "$B $R --tmpfs /tmp --ro-bind-data 77 /tmp/x true",
            "Can't write data to file /tmp/x: Bad file descriptor",
        ),
        refuses(
            Anybody,
            "$B $R --symlink a /nosuch true",
            "Can't make symlink at /nosuch: Read-only file system",
        ),
        gives(Anybody, "$B $R --dir '' echo fine", "fine"),
        refuses(
            Anybody,
            "$B $R --mqueue /nosuch true",
            "Can't mkdir /nosuch: Read-only file system",
        ),
        refuses(
            Anybody,
            "$B $R --mqueue /etc/passwd true",
            "Can't mkdir /etc/passwd: Not a directory",
        ),
        refuses(
            Anybody,
            "python3 -c 'import os; os.dup2(os.memfd_create(\"x\", 0), 9); os.execvp(os.environ[\"B\"], [os.environ[\"B\"], \"--ro-bind\", \"/\", \"/\", \"--bind-fd\", \"9\", \"/tmp\", \"true\"])'",
            "Can't find source path /proc/self/fd/9: No such file or directory",
        ),
    ]);
}

#[test]
fn directories_keep_the_mode_they_have() {
    check(&[
        gives(
            Anybody,
            small!("small --dir /a/b stat -c %a /a /a/b"),
            "755\n755",
        ),
        gives(
            Anybody,
            small!("small --perms 0700 --dir /a/b stat -c %a /a /a/b"),
            "700\n700",
        ),
        gives(
            Anybody,
            small!("small --perms 0750 --dir /a/b stat -c %a /a /a/b"),
            "750\n750",
        ),
        gives(
            Anybody,
            small!("small --perms 1777 --dir /a/b stat -c %a /a /a/b"),
            "755\n1777",
        ),
        gives(
            Anybody,
            small!("small --dir /a --perms 0700 --dir /a stat -c %a /a"),
            "755",
        ),
        gives(
            Anybody,
            small!("umask 077; small --dir /a/b stat -c %a /a /a/b"),
            "755\n755",
        ),
        gives(Anybody, small!("umask 027; small sh -c umask"), "0027"),
        gives(Anybody, small!("small --dir a stat -c %a /a"), "755"),
    ]);
}

#[test]
fn a_tmpfs_has_the_mode_and_the_size_asked_for() {
    check(&[
        gives(Anybody, small!("small --tmpfs /t stat -c %a /t"), "755"),
        gives(
            Anybody,
            small!("small --perms 1777 --tmpfs /t --tmpfs /u stat -c %a /t /u"),
            "1777\n755",
        ),
        gives(
            Anybody,
            small!("small --size 1048576 --tmpfs /t stat -f -c '%b %S' /t"),
            "256 4096",
        ),
        gives(
            Anybody,
            small!(
                "small --size 0x1000 --perms 700 --tmpfs /t sh -c 'stat -f -c \"%b %S\" /t; stat -c %a /t'"
            ),
            "1 4096\n700",
        ),
        gives(
            Anybody,
            small!(
                "small --tmpfs /t --proc /proc sh -c 'grep -c \" /t rw,nosuid,nodev,relatime - tmpfs\" /proc/self/mountinfo'"
            ),
            "1",
        ),
        gives(
            Anybody,
            "$B $R --tmpfs /etc sh -c 'ls -A /etc; touch /etc/x && echo writable'",
            "writable",
        ),
    ]);
}

#[test]
fn data_comes_from_descriptors() {
    check(&[
        gives(
            Anybody,
            small!(
                "echo hello | small --file 0 /a/f sh -c 'cat /a/f; stat -c %a /a/f; echo more >>/a/f; cat /a/f'"
            ),
            "hello\n666\nhello\nmore",
        ),
        gives(
            Anybody,
            small!("echo hello | small --perms 0640 --file 0 /a/f stat -c '%a' /a /a/f"),
            "750\n640",
        ),
        gives(
            Anybody,
            small!(
                "echo hello | small --bind-data 0 /f sh -c 'cat /f; stat -c %a /f; echo more >>/f; cat /f'"
            ),
            "hello\n600\nhello\nmore",
        ),
        gives(
            Anybody,
            small!(
                "echo hello | small --ro-bind-data 0 /f sh -c 'cat /f; stat -c %a /f; (echo more >>/f) 2>&- || echo refused'"
            ),
            "hello\n600\nrefused",
        ),
        gives(
            Anybody,
            small!("echo hello | small --perms 0444 --ro-bind-data 0 /f stat -c %a /f"),
            "444",
        ),
        gives(
            Anybody,
            "echo 'root:x:0:0::/:/bin/sh' >p; $B $R --ro-bind-data 3 /etc/passwd cat /etc/passwd 3<p",
            "root:x:0:0::/:/bin/sh",
        ),
        // Everything there is, however it comes.
        gives(
            Anybody,
            small!(
                "(printf a; head -c 100000 /dev/zero; printf b) | small --file 0 /f stat -c %s /f"
            ),
            "100002",
        ),
        gives(
            Anybody,
            small!("small --file 0 /f stat -c %s /f </dev/null"),
            "0",
        ),
        // What was used is closed.
        gives(
            Anybody,
            small!(
                "echo x >f; small --proc /proc --file 3 /a --bind-data 4 /b sh -c 'for n in 3 4; do test -e /proc/$$/fd/$n || echo closed; done' 3<f 4<f"
            ),
            "closed\nclosed",
        ),
    ]);
}

#[test]
fn links_are_made_once() {
    check(&[
        gives(
            Anybody,
            small!("small --symlink a/b /x/y readlink /x/y"),
            "a/b",
        ),
        gives(
            Anybody,
            small!("small --symlink a /x --symlink a /x readlink /x"),
            "a",
        ),
        refuses(
            Anybody,
            small!("small --symlink a /x --symlink b /x true"),
            "Can't make symlink at /x: existing destination is a",
        ),
        refuses(
            Anybody,
            small!("small --symlink a /x/ true"),
            "Can't make symlink at /x/: destination exists and is not a symlink",
        ),
        refuses(
            Anybody,
            small!("small --symlink a /x/y/ true"),
            "Can't make symlink at /x/y/: destination exists and is not a symlink",
        ),
        refuses(
            Anybody,
            small!("small --dir /x --symlink b /x true"),
            "Can't make symlink at /x: destination exists and is not a symlink",
        ),
        gives(
            Anybody,
            small!("small --symlink '' /x true 2>&1 || true"),
            "bwrap: Can't make symlink at /x: No such file or directory",
        ),
    ]);
}

#[test]
fn permissions_can_be_changed_afterwards() {
    check(&[
        gives(
            Anybody,
            small!("small --dir /a --chmod 0700 /a stat -c %a /a"),
            "700",
        ),
        refuses(
            Anybody,
            small!("small --chmod 0700 /a true"),
            "Can't chmod 0700 /a: No such file or directory",
        ),
        refuses(
            Anybody,
            small!("small --chmod 0 /a true"),
            "Can't chmod 0 /a: No such file or directory",
        ),
        gives(Anybody, small!("small --chmod 0711 / stat -c %a /"), "711"),
    ]);
}

#[test]
fn a_mount_can_be_made_read_only_afterwards() {
    check(&[
        gives(
            Anybody,
            small!("small --tmpfs /t --dir /t/a --remount-ro /t sh -c 'touch /t/x 2>&- || ls /t'"),
            "a",
        ),
        gives(
            Anybody,
            small!("small --remount-ro / sh -c 'touch /x 2>&- || echo refused'"),
            "refused",
        ),
        refuses(
            Anybody,
            "$B $R --remount-ro /etc true",
            "Can't remount readonly on /newroot/etc: Unable to find \"/newroot/etc\" in mount table",
        ),
        refuses(
            Anybody,
            "$B $R --remount-ro /nosuch true",
            "Can't remount readonly on /newroot/nosuch: realpath(destination): No such file or directory",
        ),
    ]);
}

#[test]
fn dev_has_what_programs_expect() {
    check(&[
        gives(
            Anybody,
            small!("small --dev /dev ls -A /dev"),
            "core\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero",
        ),
        gives(
            Anybody,
            small!(
                "small --dev /dev sh -c 'for l in core fd ptmx stdin stdout stderr; do readlink /dev/$l; done'"
            ),
            "/proc/kcore\n/proc/self/fd\npts/ptmx\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2",
        ),
        gives(
            Anybody,
            small!(
                "small --dev /dev sh -c 'echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x >/dev/full' 2>/dev/null; true"
            ),
            "3\n3",
        ),
        gives(
            Anybody,
            small!("small --dev /dev stat -c '%n %a %F' /dev /dev/pts /dev/shm"),
            "/dev 755 directory\n/dev/pts 755 directory\n/dev/shm 755 directory",
        ),
        gives(
            Anybody,
            small!("small --dev /dev sh -c 'touch /dev/x /dev/shm/y && ls /dev/x /dev/shm'"),
            "/dev/x\n\n/dev/shm:\ny",
        ),
        gives(
            Anybody,
            small!(
                "small --proc /proc --dev /dev sh -c 'cut -d\" \" -f5,6 /proc/self/mountinfo | grep ^/dev/'"
            ),
            "/dev/null rw,nosuid,relatime\n/dev/zero rw,nosuid,relatime\n/dev/full rw,nosuid,relatime\n/dev/random rw,nosuid,relatime\n/dev/urandom rw,nosuid,relatime\n/dev/tty rw,nosuid,relatime\n/dev/pts rw,nosuid,noexec,relatime",
        ),
        gives(
            Anybody,
            small!(
                "small --proc /proc --dev /dev grep -o 'rw,.*mode=620,ptmxmode=666' /proc/self/mountinfo | cut -d' ' -f1"
            ),
            "rw,nosuid,noexec,relatime",
        ),
        gives(
            Anybody,
            "$B $R --dev /dev sh -c 'echo x >/dev/null && ls /dev | wc -l'",
            "14",
        ),
        // With a terminal on stdout there is a console.
        gives(
            Anybody,
            "script -qec \"$B $R --dev /dev sh -c 'test -c /dev/console && echo console; tty'\" /dev/null </dev/null | tr -d '\\r' | head -n 1",
            "console",
        ),
    ]);
}

#[test]
fn proc_is_covered_where_it_could_be_written_to() {
    check(&[
        gives(
            Anybody,
            "$B $R --unshare-pid --proc /proc sh -c 'echo $$; echo /proc/[0-9]*'",
            "2\n/proc/1 /proc/2",
        ),
        gives(
            Anybody,
            small!(
                "small --proc /proc sh -c 'test -d /proc/self && grep -c \" /proc rw,nosuid,nodev,.*proc\" /proc/self/mountinfo'"
            ),
            "1",
        ),
        gives(
            Root,
            "$B $R --unshare-pid --proc /proc sh -c 'for f in sys sysrq-trigger irq bus; do test -w /proc/$f && echo $f; done; true'",
            "",
        ),
        gives(
            Root,
            small!(
                "small --unshare-pid --proc /proc sh -c 'grep \" /proc/\\(irq\\|bus\\) \" /proc/self/mountinfo | cut -d\" \" -f5,6'"
            ),
            "/proc/irq ro,nosuid,nodev,noexec,relatime\n/proc/bus ro,nosuid,nodev,noexec,relatime",
        ),
        gives(
            User,
            small!(
                "small --unshare-pid --proc /proc sh -c 'grep -c \" /proc/\" /proc/self/mountinfo'; true"
            ),
            "0",
        ),
    ]);
}

#[test]
fn message_queues_are_mounted_where_asked() {
    check(&[gives(
        Anybody,
        small!(
            "small --unshare-ipc --mqueue /q --proc /proc sh -c 'grep -c \"/q rw,.* - mqueue\" /proc/self/mountinfo'"
        ),
        "1",
    )]);
}

#[test]
fn a_bind_can_take_a_descriptor() {
    check(&[
        gives(
            Anybody,
            small!(
                "mkdir d; echo a >d/f; small --bind-fd 3 /x sh -c 'cat /x/f; echo b >/x/f' 3<d; cat d/f"
            ),
            "a\nb",
        ),
        gives(
            Anybody,
            small!(
                "mkdir d; echo a >d/f; small --ro-bind-fd 3 /x sh -c 'cat /x/f; (echo b >/x/f) 2>&- || echo refused' 3<d"
            ),
            "a\nrefused",
        ),
        gives(
            Anybody,
            small!("echo a >f; small --bind-fd 3 /x cat /x 3<f"),
            "a",
        ),
        gives(
            Anybody,
            small!(
                "mkdir d; small --proc /proc --bind-fd 3 /x sh -c 'test -e /proc/$$/fd/3 || echo closed' 3<d"
            ),
            "closed",
        ),
        refuses(
            Anybody,
            "$B $R --bind-fd 77 /tmp true",
            "Can't find source path /proc/self/fd/77: No such file or directory",
        ),
        // What has been moved away meanwhile is bound where it is now.
        gives(
            Anybody,
            small!("mkdir d; echo a >d/f; exec 3<d; mv d e; small --bind-fd 3 /x cat /x/f"),
            "a",
        ),
    ]);
}

#[test]
fn later_operations_cover_earlier_ones() {
    check(&[
        gives(
            Anybody,
            "$B $R --tmpfs /etc --ro-bind /etc/hostname /etc/name sh -c 'ls /etc'",
            "name",
        ),
        gives(
            Anybody,
            small!("mkdir d; touch d/f; small --tmpfs /x --bind d /x ls /x"),
            "f",
        ),
        gives(
            Anybody,
            small!("mkdir d; touch d/f; small --bind d /x --tmpfs /x ls /x"),
            "",
        ),
        gives(
            Anybody,
            "mkdir d; echo a >d/f; $B $R --bind d /tmp --ro-bind / / test -e /tmp/f || echo covered",
            "covered",
        ),
        gives(
            Anybody,
            "$B $R --bind / / sh -c 'test -w $D && echo writable'",
            "writable",
        ),
    ]);
}

#[test]
fn nothing_of_the_hosts_tree_is_left_to_be_reached() {
    check(&[
        // By the parent of the root, whatever is mounted on it.
        gives(
            Anybody,
            "mkdir -p d/usr; $B --bind d / --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 ls /.. /../..",
            "/..:\nbin\nlib\nlib64\nusr\n\n/../..:\nbin\nlib\nlib64\nusr",
        ),
        gives(
            Anybody,
            small!("echo x | small --bind-data 0 /f --overlay-src /usr --tmp-overlay /o ls /.."),
            "bin\nf\nlib\nlib64\no\nusr",
        ),
        gives(
            Root,
            "mkdir -p d/usr; echo x | $B --tmpfs / --bind d / --tmpfs / --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --bind-data 0 /f ls /..",
            "bin\nf\nlib\nlib64\nusr",
        ),
        gives(
            Anybody,
            small!(
                "small --proc /proc sh -c 'ls -A /oldroot /newroot 2>&-; cut -d\" \" -f5 /proc/self/mountinfo | grep -v /proc/ | sort -u'"
            ),
            "/\n/proc\n/usr",
        ),
        gives(
            Anybody,
            small!("small --dir /d sh -c 'cd /d; cd ../../../..; pwd; ls'"),
            "/\nbin\nd\nlib\nlib64\nusr",
        ),
        // A link in a source leads nowhere but inside.
        gives(
            Anybody,
            small!(
                "mkdir d; ln -s /etc/passwd d/l; small --bind d /x sh -c 'cat /x/l 2>&- || echo nowhere'"
            ),
            "nowhere",
        ),
    ]);
}

#[test]
fn more_sources_than_descriptors_are_bound_all_the_same() {
    check(&[
        gives(
            Anybody,
            "x=$(seq -f '--ro-bind /etc/hostname /e/d%g' 1100); prlimit --nofile=1024:4096 $B --bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev $x sh -c 'ls /e | wc -l; cmp /e/d1 /e/d1100;  ulimit -n; ulimit -Hn'",
            "1100\n1024\n4096",
        ),
        gives(
            Anybody,
            "x=$(seq -f '--ro-bind /etc/localtime /e/d%g' 200); ln -s /etc l; prlimit --nofile=32 $B --bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev $x --bind $D/l/../etc/passwd /p --ro-bind-try /nowhere /e/0 sh -c 'ls /e | wc -l; cmp /e/d1 /e/d200; head -c 5 /p; ulimit -n'",
            "200\nroot:32",
        ),
        gives(
            Anybody,
            "bash -c 'x=; for i in $(seq 10 610); do eval \"exec $i</etc/hostname\"; x=\"$x --ro-bind-data $i /e/d$i\"; done; ulimit -S -n 1024; $B --bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 $x sh -c \"ls /e | wc -l; cmp /e/d10 /e/d610; ulimit -n\"'",
            "601\n1024",
        ),
        refuses(
            Anybody,
            "x=$(seq -f '--ro-bind /etc/hostname /e/d%g' 100); prlimit --nofile=64 $B $R $x --tmpfs /e true",
            "Can't mkdir parents for /e/d1: Read-only file system",
        ),
    ]);
}

#[test]
fn an_empty_source_is_none() {
    check(&[
        refuses(
            Anybody,
            "$B $R --ro-bind '' /tmp true",
            "Can't find source path : No such file or directory",
        ),
        gives(
            Anybody,
            "$B --bind / / --tmpfs /tmp --ro-bind-try '' /tmp/x echo fine",
            "fine",
        ),
    ]);
}

#[test]
fn a_descriptor_has_its_data_once() {
    check(&[
        refuses(
            Anybody,
            "$B --bind / / --tmpfs /tmp --file 9 /tmp/a --file 9 /tmp/b true 9</etc/hostname",
            "Can't write data to file /tmp/b: Bad file descriptor",
        ),
        refuses(
            Anybody,
            "$B --bind / / --tmpfs /tmp --ro-bind-data 9 /tmp/a --file 9 /tmp/b true 9</etc/hostname",
            "Can't write data to file /tmp/b: Bad file descriptor",
        ),
    ]);
}

#[test]
fn a_file_behind_a_link_that_leads_nowhere_is_made_where_it_leads() {
    check(&[gives(
        Anybody,
        "echo hi | $B --bind / / --tmpfs /tmp --dir /tmp/q --symlink q/new /tmp/x --file 0 /tmp/x sh -c 'cat /tmp/q/new; readlink /tmp/x'",
        "hi\nq/new",
    )]);
}

#[test]
fn directories_above_a_target_have_their_mode_each_time_they_are_made() {
    check(&[gives(
        Anybody,
        "mkdir d; $B --bind / / --tmpfs /tmp --tmpfs /tmp/a --bind d /tmp/a/b/c --tmpfs /tmp/a --bind d /tmp/a/b/c --bind d /tmp/a/b/e stat -c %a /tmp/a/b",
        "700",
    )]);
}
