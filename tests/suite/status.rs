//! `herd status`, `list`, `is-active`, `is-failed`, `why`.

use crate::fixture::Herd;

#[test]
fn an_enabled_unit_is_started() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    assert_eq!(herd.state("web"), "active");
    assert!(herd.main_pid("web") > 0);
}
