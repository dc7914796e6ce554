//! Command lines of programs that call bubblewrap, in full.

use super::case::{Anybody, Root, User, check, ends, gives, refuses};

#[test]
fn a_shell_with_a_system_of_its_own() {
    // After bubblewrap's own demonstration.
    check(&[gives(
        Anybody,
        "echo 'me:x:0:0::/:/bin/sh' >passwd; echo 'us:x:0:' >group; \
         $B --ro-bind /usr /usr --dir /tmp --dir /var --symlink ../tmp var/tmp --proc /proc --dev /dev \
         --ro-bind /etc/hostname /etc/resolv.conf --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
         --symlink usr/bin /bin --symlink usr/sbin /sbin --chdir / --unshare-all --share-net \
         --die-with-parent --dir /run/user/7 --setenv XDG_RUNTIME_DIR /run/user/7 --setenv PS1 'demo$ ' \
         --file 3 /etc/passwd --file 4 /etc/group \
         /bin/sh -c 'pwd; ls / /etc; readlink /var/tmp; cat /etc/passwd; touch $XDG_RUNTIME_DIR/x /tmp/y && ls /run/user/7; echo /proc/[0-9]*' 3<passwd 4<group",
        "/\n/:\nbin\ndev\netc\nlib\nlib64\nproc\nrun\nsbin\ntmp\nusr\nvar\n\n/etc:\ngroup\npasswd\nresolv.conf\n../tmp\nme:x:0:0::/:/bin/sh\nx\n/proc/1 /proc/2",
    )]);
}

#[test]
fn an_application_with_its_runtime() {
    // After flatpak: options by descriptor, a filter, files from memory, a lock, a status to follow.
    check(&[gives(
        Anybody,
        "mkdir app data; echo app >app/file; echo '[Application]' >info; touch lock; mkfifo go; \
         python3 -c \"import struct,sys; sys.stdout.buffer.write(struct.pack('HBBI',6,0,0,0x7fff0000))\" >filter; \
         printf '%s\\0' --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
            --bind $D/app /app --lock-file /app/lock --unshare-ipc --unshare-pid --unshare-net --unshare-uts --hostname app \
            --proc /proc --dev /dev --tmpfs /tmp --dir /var/tmp --perms 0700 --dir /run/user/1 --ro-bind-data 4 /.flatpak-info \
            --ro-bind-data 5 /run/info --bind $D/data /var/data --ro-bind-try /nosuch /etc/nosuch --symlink /app/etc /etc/app \
            --remount-ro / --seccomp 6 --block-fd 7 --json-status-fd 8 --sync-fd 9 --clearenv --setenv PATH /app/bin:/usr/bin \
            --setenv HOME /var/data --cap-drop ALL --die-with-parent --new-session --chdir /app >args; cp lock app/lock; \
         $B --args 3 -- sh -c 'cat file /.flatpak-info; (touch /x) 2>&- || echo sealed; touch /var/data/kept /tmp/x; uname -n; stat -c %a /run/user/1; exit 3' \
            3<args 4<info 5<info 6<filter 7<go 8>status 9>synced & echo >go; wait $!; echo $?; ls data; tail -n 1 status",
        "app\n[Application]\nsealed\napp\n700\n3\nkept\n{ \"exit-code\": 3 }",
    )]);
}

#[test]
fn a_decoder_that_sees_nothing() {
    // After glycin: no environment, no home, no network; data comes on descriptors that are passed on.
    check(&[gives(
        Anybody,
        "echo picture >image; mkdir cache; $B --unshare-all --die-with-parent --chdir / --ro-bind /usr /usr --dev /dev \
         --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache --ro-bind-try /nosuch.conf /nosuch.conf --tmpfs /tmp-home --tmpfs /tmp-run \
         --clearenv --setenv HOME /tmp-home --setenv XDG_RUNTIME_DIR /tmp-run --symlink /usr/lib /lib --symlink /usr/lib64 /lib64 \
         --bind-try $D/cache /cache /usr/bin/env sh -c 'cat <&7; env | sort; touch /cache/thumb; ls /' 7<image; ls cache",
        "picture\nHOME=/tmp-home\nPWD=/\nXDG_RUNTIME_DIR=/tmp-run\ncache\ndev\netc\nlib\nlib64\ntmp-home\ntmp-run\nusr\nthumb",
    )]);
}

#[test]
fn a_message_bus_through_a_proxy() {
    // As flatpak puts xdg-dbus-proxy beside a box: the proxy's socket is bound, the bus is not.
    let installed = |name: &str| std::path::Path::new("/usr/bin").join(name).exists();
    if !["xdg-dbus-proxy", "dbus-daemon", "dbus-send"]
        .iter()
        .all(|name| installed(name))
    {
        return;
    }
    check(&[gives(
        Anybody,
        "dbus-daemon --session --nofork --address=unix:path=$D/bus 2>/dev/null & bus=$!; \
         while ! test -S bus; do :; done; mkfifo ready; \
         $B --bind / / --die-with-parent xdg-dbus-proxy --fd=5 unix:path=$D/bus $D/proxy --filter 5>ready & \
         proxy=$!; exec 6<ready; head -c 1 <&6 >/dev/null; \
         $B --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --dev /dev --proc /proc --unshare-all \
            --ro-bind $D/proxy /run/bus --setenv DBUS_SESSION_BUS_ADDRESS unix:path=/run/bus \
            sh -c 'dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames | grep -c org.freedesktop.DBus; ls /run'; \
         kill $proxy $bus; wait",
        "2\nbus",
    )]);
}
