//! What a user sees of a broken unit: all of it at once, as a golden file.
use units::diagnostic::render_all;
use units::{Facts, SourceText, UnitName, parse_unit};

#[test]
fn a_broken_unit_is_told_everything_at_once() {
    let text = include_str!("../../../tests/golden/broken.toml");
    let files = [SourceText::new("orders.toml", text)];
    let name = UnitName::new("orders").unwrap();
    let parsed = parse_unit(&name, &files, &Facts::of_the_system());
    assert_eq!(parsed.unit, None);
    let shown = render_all(&parsed.diagnostics, false);
    insta::with_settings!({
        snapshot_path => "../../../tests/golden",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("diagnostics", shown);
    });
    let first = parsed.diagnostics[0].to_plain();
    assert_eq!((first.line, first.column), (Some(1), Some(1)));
    assert_eq!(first.hint.as_deref(), Some("did you mean `description`?"));
}

#[test]
fn syntax_errors_are_told_with_the_problems_of_what_could_be_read() {
    let files = [SourceText::new(
        "x.toml",
        "command = \nnise = 3\nuser = \"a\" b\n",
    )];
    let name = UnitName::new("x").unwrap();
    let parsed = parse_unit(&name, &files, &Facts::of_the_system());
    let shown = render_all(&parsed.diagnostics, false);
    for part in ["x.toml:1:", "unknown key `nise`", "x.toml:3:"] {
        assert!(shown.contains(part), "{part} not in\n{shown}");
    }
}

#[test]
fn escapes_of_a_terminal_never_reach_it() {
    let text = "command = \"x\"\n\"\\u001b[31mred\" = 1\nuser = \"\\u001b]0;x\\u0007\"\nkind = \"\\u001b[1m\"\n";
    let files = [SourceText::new("x.toml", text)];
    let name = UnitName::new("x").unwrap();
    let parsed = parse_unit(&name, &files, &Facts::of_the_system());
    for diagnostic in &parsed.diagnostics {
        assert!(
            !diagnostic.message.contains('\u{1b}'),
            "{}",
            diagnostic.message
        );
        assert!(!diagnostic.render(false).contains('\u{1b}'));
    }
    assert!(parsed.diagnostics.len() >= 2);
}

#[test]
fn landlock_that_lets_nothing_run_is_warned_of() {
    let name = UnitName::new("tool").unwrap();
    let warnings = |rules: &str| {
        let text =
            format!("command = \"/usr/bin/tool\"\nboxed = true\n[box]\nlandlock = [{rules}]\n");
        let files = [SourceText::new("tool.toml", text)];
        let parsed = parse_unit(&name, &files, &Facts::of_the_system());
        assert!(parsed.unit.is_some());
        render_all(&parsed.diagnostics, false)
    };
    let read = "{ path = \"/srv\", access = \"read_write\" }";
    for rules in ["", read, "{ tcp = 80, access = \"bind\" }"] {
        let shown = warnings(rules);
        let message = "warning: no rule lets a program be executed, the command neither";
        assert!(shown.starts_with(message), "{shown}");
    }
    let run = "{ path = \"/usr\", access = \"execute\" }";
    assert_eq!(warnings(run), "");
    assert_eq!(warnings(&format!("{read}, {run}")), "");
}

#[test]
fn a_command_that_the_box_hides_is_warned_of() {
    let name = UnitName::new("tool").unwrap();
    let warnings = |text: &str| {
        let files = [SourceText::new("tool.toml", text)];
        let parsed = parse_unit(&name, &files, &Facts::of_the_system());
        assert!(parsed.unit.is_some());
        render_all(&parsed.diagnostics, false)
    };
    let unit = "command = \"/root/bin/tool\"\nboxed = true\n";
    let shown = warnings(unit);
    assert!(
        shown.starts_with("warning: the command lies in /root, which the box hides"),
        "{shown}"
    );
    for harmless in [
        "command = \"/root/bin/tool\"\n".to_owned(),
        "command = \"/usr/bin/tool\"\nboxed = true\n".to_owned(),
        format!("{unit}box_root = \"/srv/tool\"\n"),
        format!("{unit}[box]\nprotect_home = \"read-only\"\n"),
        format!("{unit}[box]\nbind_read_only_paths = [\"/root/bin\"]\n"),
    ] {
        assert_eq!(warnings(&harmless), "", "{harmless}");
    }
}
