//! Overlay file systems.

use super::case::{Anybody, Root, User, check, gives, refuses};

/// Three layers, `a` at the bottom.
macro_rules! layers {
    ($rest:expr) => {
        concat!(
            "small() { $B --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \"$@\"; }; ",
            "mkdir a b c up work; for l in a b c; do echo $l >$l/$l; echo $l >$l/all; done; echo b >a/ab; echo b >b/ab; ",
            $rest
        )
    };
}

#[test]
fn layers_are_stacked_from_the_bottom_up() {
    check(&[
        gives(
            Anybody,
            layers!(
                "small --overlay-src a --overlay-src b --overlay-src c --ro-overlay /o sh -c 'ls /o; cat /o/all'"
            ),
            "a\nab\nall\nb\nc\nc",
        ),
        gives(
            Anybody,
            layers!(
                "small --overlay-src c --overlay-src b --overlay-src a --ro-overlay /o cat /o/all"
            ),
            "a",
        ),
        gives(
            Anybody,
            layers!(
                "small --overlay-src a --overlay-src b --ro-overlay /o sh -c 'touch /o/x 2>&- || echo refused'"
            ),
            "refused",
        ),
    ]);
}

#[test]
fn what_is_written_to_a_temporary_overlay_is_gone_with_the_box() {
    check(&[
        gives(
            Anybody,
            layers!(
                "small --overlay-src a --tmp-overlay /o sh -c 'echo new >/o/all; rm /o/a; cat /o/all; ls /o'; ls a; cat a/all"
            ),
            "new\nab\nall\na\nab\nall\na",
        ),
        gives(
            Anybody,
            layers!(
                "small --overlay-src a --tmp-overlay /o --overlay-src b --tmp-overlay /p sh -c 'touch /o/x; ls /o; ls /p'"
            ),
            "a\nab\nall\nx\nab\nall\nb",
        ),
    ]);
}

#[test]
fn what_is_written_to_a_persistent_overlay_is_kept_in_its_upper_directory() {
    check(&[gives(
        Anybody,
        layers!(
            "small --overlay-src a --overlay up work /o sh -c 'echo new >/o/all; touch /o/x'; ls up; cat up/all a/all"
        ),
        "all\nx\nnew\na",
    )]);
}

#[test]
fn an_overlay_can_be_the_root() {
    check(&[gives(
        Root,
        "$B --overlay-src / --tmp-overlay / sh -c 'touch /new && ls /new'; test -e /new || echo gone",
        "/new\ngone",
    )]);
}

#[test]
fn paths_of_layers_may_hold_what_separates_options() {
    check(&[gives(
        Anybody,
        layers!(
            "mkdir 'x:y,z\\w'; echo odd >'x:y,z\\w/f'; small --overlay-src 'x:y,z\\w' --overlay-src a --ro-overlay /o cat /o/f"
        ),
        "odd",
    )]);
}

#[test]
fn layers_that_do_not_exist_are_refused() {
    check(&[
        refuses(
            Anybody,
            layers!("small --overlay-src a --overlay-src nosuch --ro-overlay /o true"),
            "Can't find source path nosuch: No such file or directory",
        ),
        refuses(
            Anybody,
            layers!("small --overlay-src a --overlay nosuch work /o true"),
            "Can't find source path nosuch: No such file or directory",
        ),
        refuses(
            Anybody,
            layers!("small --overlay-src a --overlay up nosuch /o true"),
            "Can't find source path nosuch: No such file or directory",
        ),
        refuses(
            Anybody,
            layers!("small --overlay-src a --overlay-src a --ro-overlay /o true"),
            "Can't make overlay mount on /newroot/o with options lowerdir=/oldrootD/a:/oldrootD/a,userxattr: Overlay directories may not overlap",
        ),
        refuses(
            Anybody,
            layers!("small --overlay-src a --overlay up up /o true"),
            "Can't make overlay mount on /newroot/o with options upperdir=/oldrootD/up,workdir=/oldrootD/up,lowerdir=/oldrootD/a,userxattr: Invalid argument",
        ),
        refuses(
            Anybody,
            layers!("echo >file; small --overlay-src a --overlay-src file --ro-overlay /o true"),
            "Can't make overlay mount on /newroot/o with options lowerdir=/oldrootD/file:/oldrootD/a,userxattr: Invalid argument",
        ),
        refuses(
            Anybody,
            layers!("echo >file; small --overlay-src a --overlay-src file/x --ro-overlay /o true"),
            "Can't find source path file/x: Not a directory",
        ),
    ]);
}
