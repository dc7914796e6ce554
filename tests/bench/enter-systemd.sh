#!/bin/bash
# enter-systemd.sh WORK SVC N : Debian's systemd as PID 1 of PID, mount, cgroup, IPC and UTS namespaces
# of its own, with only the units in WORK/units. cgroup2 only (a hybrid machine's unified tree, or the
# real one); /run is a tmpfs of its own.
set -euo pipefail
export work=$1 svc=$2 n=$3
cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/herdbench-$(basename "$work")
mkdir -p "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
echo "$cgroup" >"$work/cgroup2"
# svc in mode flap stamps the moment before systemd's exec, after the namespaces: those are not systemd's cost
exec unshare -pmuiCf --propagation private --kill-child -- bash -c '
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /run
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount --bind /dev/null /dev/console 2>/dev/null || true
    export container=herdbench SYSTEMD_UNIT_PATH=$work/units SYSTEMD_LOG_LEVEL=warning
    "$svc" "$work/table" "$n" flap
    exec setpriv --bounding-set=-audit_write,-audit_control /lib/systemd/systemd --system \
        --unit=default.target --show-status=no --dump-core=no --crash-reboot=no --log-target=console'
