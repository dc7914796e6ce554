//! Users, groups, capabilities, user namespaces.

use super::case::{Anybody, Root, User, check, check_own, ends, gives, refuses};

#[test]
fn the_command_is_who_the_caller_is_unless_asked() {
    check(&[
        gives(Root, "$B $R sh -c 'id -u; id -g'", "0\n0"),
        gives(User, "$B $R sh -c 'id -u; id -g'", "1000\n1000"),
        gives(
            Anybody,
            "$B $R --unshare-user --uid 5 --gid 6 sh -c 'id -u; id -g'",
            "5\n6",
        ),
        gives(
            Anybody,
            "$B $R --unshare-user --uid 0 --gid 0 sh -c 'id -u; id -g'",
            "0\n0",
        ),
        gives(Root, "$B $R --uid 0 --gid 0 id -u", "0"),
        gives(User, "$B $R --uid 5 id -u", "5"),
        gives(
            Anybody,
            "$B $R --unshare-user --uid 2147483647 id -u",
            "2147483647",
        ),
    ]);
}

#[test]
fn a_user_namespace_holds_the_caller_alone() {
    check(&[
        gives(
            Root,
            "$B $R --unshare-user sh -c 'cat /proc/self/uid_map | tr -s \" \"; cat /proc/self/setgroups'",
            " 0 0 1\ndeny",
        ),
        gives(
            User,
            "$B $R sh -c 'cat /proc/self/uid_map /proc/self/gid_map | tr -s \" \"; cat /proc/self/setgroups'",
            " 1000 1000 1\n 1000 1000 1\ndeny",
        ),
        gives(
            User,
            "$B $R --uid 7 --gid 8 sh -c 'cat /proc/self/uid_map /proc/self/gid_map | tr -s \" \"'",
            " 7 1000 1\n 8 1000 1",
        ),
        // With a new /dev it is one below another.
        gives(
            User,
            "$B $R --dev /dev sh -c 'cat /proc/self/uid_map /proc/self/gid_map | tr -s \" \"'",
            " 1000 0 1\n 1000 0 1",
        ),
        gives(
            User,
            "$B $R --dev /dev --uid 0 --gid 0 sh -c 'cat /proc/self/uid_map | tr -s \" \"'",
            " 0 1000 1",
        ),
    ]);
}

#[test]
fn root_keeps_its_capabilities_unless_asked() {
    check(&[
        gives(
            Root,
            "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status >out; $B $R grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cmp - out && echo same",
            "same",
        ),
        gives(
            Root,
            "$B $R grep -E 'Cap(Inh|Amb)' /proc/self/status",
            "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000",
        ),
        gives(
            Root,
            "$B $R --cap-drop ALL grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status",
            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000",
        ),
        gives(
            Root,
            "$B $R --cap-drop ALL --cap-add CAP_KILL --cap-add cap_net_raw grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status",
            "CapInh:\t0000000000002020\nCapPrm:\t0000000000002020\nCapEff:\t0000000000002020\nCapAmb:\t0000000000002020",
        ),
        gives(
            Root,
            "$B $R --cap-drop CAP_KILL grep -E 'Cap(Eff|Bnd)' /proc/self/status | sed 's/.*\\(..\\)$/\\1/'",
            "df\nff",
        ),
        gives(
            Root,
            "$B $R --unshare-user --cap-drop ALL --cap-add CAP_KILL grep -E 'CapBnd' /proc/self/status",
            "CapBnd:\t0000000000000020",
        ),
        gives(
            Root,
            "$B $R --unshare-user grep -c 'CapEff:.*[1-9a-f]' /proc/self/status",
            "1",
        ),
    ]);
}

#[test]
fn root_keeps_what_it_has_where_more_is_added() {
    check(&[
        // With one that the caller does not have nothing is changed, else all is handed on.
        gives(
            Root,
            "p=$(grep CapPrm /proc/self/status | cut -f2); test $p = 000001ffffffffff && a=$p || a=0000000000000000; test \"$($B $R --cap-add ALL grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | xargs)\" = \"$a $p $p $a\" && echo same",
            "same",
        ),
        gives(
            Root,
            "p=$(grep CapPrm /proc/self/status | cut -f2); $B $R --cap-add CAP_KILL grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u | grep -c -x $p",
            "1",
        ),
    ]);
}

#[test]
fn others_have_no_capability_unless_given_in_their_namespace() {
    check(&[
        gives(
            User,
            "$B $R grep Cap /proc/self/status",
            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000",
        ),
        gives(
            User,
            "$B $R --uid 0 grep Cap /proc/self/status",
            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000",
        ),
        gives(
            User,
            "$B $R --dev /dev --cap-add CAP_KILL --cap-add 13 grep Cap /proc/self/status",
            "CapInh:\t0000000000002020\nCapPrm:\t0000000000002020\nCapEff:\t0000000000002020\nCapBnd:\t0000000000002020\nCapAmb:\t0000000000002020",
        ),
        gives(
            User,
            "$B $R --cap-add ALL --cap-drop CAP_CHOWN grep CapEff /proc/self/status | sed 's/.*\\(...\\)$/\\1/'",
            "ffe",
        ),
        gives(
            User,
            "$B $R --uid 0 --cap-add ALL --tmpfs /tmp sh -c 'mount -t tmpfs t /tmp && echo mounted'",
            "mounted",
        ),
    ]);
}

#[test]
fn nobody_gains_privileges() {
    check(&[
        gives(
            Anybody,
            "$B $R grep NoNewPrivs /proc/self/status",
            "NoNewPrivs:\t1",
        ),
        gives(
            Anybody,
            "$B --dev-bind / / sh -c 'grep -c \" / / .*nosuid\" /proc/self/mountinfo'",
            "1",
        ),
    ]);
}

#[test]
fn further_user_namespaces_can_be_disabled() {
    check(&[
        gives(Anybody, "$B $R --unshare-user --uid 1 unshare -U true 2>&1 && echo made", "made"),
        ends(Anybody, "$B $R --unshare-user --disable-userns unshare -U true", 1, "").saying("unshare: unshare failed: No space left on device"),
        ends(Anybody, "$B $R --unshare-user --uid 0 --cap-add ALL --disable-userns unshare -U true", 1, "").saying("unshare: unshare failed: No space left on device"),
        ends(
            Anybody,
            "$B $R --unshare-user --uid 0 --cap-add ALL --disable-userns --proc /proc sh -c '(echo 9 >/proc/sys/user/max_user_namespaces) 2>&-; unshare -U true'",
            1,
            "",
        )
        .saying("unshare: unshare failed: No space left on device"),
        gives(Anybody, "$B $R --unshare-user --disable-userns --assert-userns-disabled echo fine", "fine"),
        gives(Anybody, "$B $R --unshare-user --uid 4 --disable-userns id -u", "4"),
        refuses(
            Anybody,
            "$B $R --unshare-user --assert-userns-disabled true",
            "creation of new user namespaces was not disabled as requested",
        ),
        gives(
            Anybody,
            "$B $R --unshare-user --disable-userns $B $R --unshare-user true 2>&1; true",
            "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
        ),
        gives(
            Root,
            "$B $R --unshare-user --disable-userns $B $R --assert-userns-disabled echo fine 2>&1; true",
            "fine",
        ),
    ]);
}

#[test]
fn mounts_of_a_box_that_can_make_no_user_namespace_cannot_be_undone() {
    check(&[
        gives(
            User,
            "mkdir d; $B $R --proc /proc --unshare-pid --unshare-user --disable-userns --cap-add CAP_SYS_ADMIN sh -c 'mount -o remount,rw,bind / 2>&- || echo read-only; (echo pwn >d/f) 2>&- || echo empty; umount /proc 2>&- || echo covered'; ls d",
            "read-only\nempty\ncovered",
        ),
        gives(
            Root,
            "mkdir d; for drop in ALL CAP_SYS_RESOURCE; do $B $R --proc /proc --unshare-pid --unshare-user --disable-userns --cap-drop $drop sh -c 'mount -o remount,rw,bind / 2>&- || echo read-only; umount /proc/sys 2>&- || echo covered'; done; $B $R --unshare-user --disable-userns sh -c 'mount -o remount,rw,bind / 2>&- || echo read-only'",
            "read-only\ncovered\nread-only\ncovered\nread-only",
        ),
        gives(
            User,
            "for more in '' '--dev /dev' '--uid 7'; do $B $R --proc /proc --unshare-pid --unshare-user --disable-userns $more sh -c 'read a b c </proc/self/uid_map; echo $a $b $c'; done",
            "1000 1000 1\n1000 0 1\n7 7 1",
        ),
    ]);
}

#[test]
fn what_covers_proc_goes_only_with_the_capabilities_for_it() {
    // bubblewrap covers nothing here: what access(2) says of /proc/sys is about its directories.
    check_own(&[gives(
        Root,
        "for more in '--cap-drop ALL' --disable-userns; do $B $R --proc /proc --unshare-pid --unshare-user $more sh -c 'umount /proc/sys 2>&- || echo covered; (: >>/proc/sys/kernel/core_pattern) 2>&- || echo refused'; done",
        "covered\nrefused\ncovered\nrefused",
    )]);
}

#[test]
fn boxes_can_be_made_in_boxes() {
    check(&[
        gives(
            User,
            "$B $R --unshare-all --dev /dev --proc /proc $B $R --unshare-all --dev /dev sh -c 'id -u; echo fine'",
            "1000\nfine",
        ),
        gives(
            Root,
            "$B $R --unshare-all --dev /dev --proc /proc $B $R --unshare-all --dev /dev sh -c 'id -u; echo fine'",
            "0\nfine",
        ),
    ]);
}

#[test]
fn a_box_is_refused_where_the_kernel_makes_no_namespace() {
    check(&[
        refuses(
            User,
            "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; setpriv --reuid 0 --bounding-set=-all --inh-caps=-all $B $R --unshare-user true'",
            "Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
        ),
        refuses(
            Root,
            "setpriv --bounding-set=-all --inh-caps=-all $B $R true",
            "Creating new namespace failed: Operation not permitted",
        ),
        gives(
            Anybody,
            "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; $B $R --unshare-user-try echo fine'",
            "fine",
        ),
    ]);
}

#[test]
fn a_user_namespace_can_be_joined() {
    check(&[
        gives(
            Anybody,
            "mkfifo f; unshare -Ur sh -c 'echo >f; read x <f' & read x <f; id=$(readlink /proc/$!/ns/user); test \"$($B $R --userns 5 readlink /proc/self/ns/user 5</proc/$!/ns/user)\" = \"$id\" && echo same; echo >f; wait",
            "same",
        ),
        gives(
            Anybody,
            "mkfifo f; unshare -Ur sh -c 'echo >f; read x <f' & read x <f; $B $R --userns 5 --uid 0 --gid 0 sh -c 'id -u; id -g' 5</proc/$!/ns/user; echo >f; wait",
            "0\n0",
        ),
        refuses(
            Anybody,
            "$B $R --userns 5 true 5</etc/passwd",
            "Joining the specified user namespace failed, it might not be a descendant of the current user namespace.",
        ),
        refuses(
            Anybody,
            "$B $R --userns 77 true",
            "Joining specified user namespace failed: Bad file descriptor",
        ),
        refuses(
            Anybody,
            "$B $R --userns2 77 true",
            "Setting userns2 failed: Bad file descriptor",
        ),
    ]);
}

#[test]
fn groups_stay_as_they_are_in_a_user_namespace_of_somebody_else() {
    check(&[
        refuses(
            Anybody,
            "unshare -U -r sh -c 'sleep 30 >&- 2>&- & echo $! >p'; exec 9</proc/$(cat p)/ns/user; kill $(cat p); $B --userns 9 $R --gid 6 true",
            "unable to switch to gid 6: Invalid argument",
        ),
        refuses(
            Anybody,
            "unshare -U -r sh -c 'sleep 30 >&- 2>&- & echo $! >p'; exec 9</proc/$(cat p)/ns/user; kill $(cat p); $B --userns 9 $R --uid 5 true",
            "unable to switch to uid 5: Invalid argument",
        ),
        gives(
            Anybody,
            "unshare -U -r sh -c 'sleep 30 >&- 2>&- & echo $! >p'; exec 9</proc/$(cat p)/ns/user; kill $(cat p); $B --userns 9 $R --uid 0 --gid 0 id -u",
            "0",
        ),
    ]);
}

#[test]
fn a_second_user_namespace_that_cannot_be_joined_is_told() {
    check(&[refuses(
        User,
        "unshare -U sh -c 'sleep 30 >&- 2>&- & echo $! >p'; exec 9</proc/$(cat p)/ns/user; kill $(cat p); $B --bind / / --dev /dev --userns2 9 true",
        "Setting userns2 failed: Operation not permitted",
    )]);
}
