//! The command line as a whole: its definition, its manual, its aliases.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;

const MANUAL: &str = include_str!("../../../man/herd.1");

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(line.split(' ')).unwrap()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// The words after `.SS` in the manual's section VERBS, up to the first that is no verb.
fn documented_verbs() -> BTreeSet<String> {
    let verbs = MANUAL.split(".SH VERBS").nth(1).unwrap();
    let verbs = verbs.split(".SH ").next().unwrap();
    verbs
        .lines()
        .filter_map(|line| line.strip_prefix(".SS "))
        .flat_map(|line| line.split(", "))
        .map(|verb| verb.split(' ').next().unwrap().replace("\\-", "-"))
        .collect()
}

#[test]
fn the_manual_tells_of_every_verb_and_alias_and_of_no_other() {
    let command = Cli::command();
    let known: BTreeSet<String> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .flat_map(|verb| std::iter::once(verb.get_name()).chain(verb.get_visible_aliases()))
        .map(str::to_owned)
        .collect();
    assert_eq!(documented_verbs(), known);
}

#[test]
fn the_manual_tells_of_every_option() {
    let mut command = Cli::command();
    command.build();
    let manual = MANUAL.replace("\\-", "-");
    for verb in command.get_subcommands() {
        for option in verb.get_arguments().filter_map(clap::Arg::get_long) {
            let option = format!("--{option}");
            assert!(manual.contains(&option), "{}: {option}", verb.get_name());
        }
    }
}

#[test]
fn the_seeds_words_are_understood() {
    assert!(matches!(
        parse("herd fg units").verb,
        Verb::Run(run::RunArgs { dir: Some(_), .. })
    ));
    assert!(matches!(
        parse("herd foreground").verb,
        Verb::Run(run::RunArgs { dir: None, .. })
    ));
    assert!(matches!(parse("herd log web").verb, Verb::Logs(_)));
    assert!(matches!(parse("herd show web").verb, Verb::Status { .. }));
    let cli = parse("herd daemon --enabled-dir /etc/herd/enabled");
    assert!(cli.global.enabled_dir.is_some());
    let Verb::Add { command, .. } = parse("herd add web /bin/web --port 80 -v").verb else {
        panic!("another verb");
    };
    assert_eq!(command, ["/bin/web", "--port", "80", "-v"]);
}

#[test]
fn an_unknown_verb_is_a_usage_error_with_the_nearest_one() {
    let error = Cli::try_parse_from(["herd", "statsu"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("'status'"), "{error}");
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    use crate::control::protocol::Refusal;
    let cases = [
        (Refusal::NoSuchUnit { unit: "x".into() }, 3),
        (
            Refusal::BadName {
                name: "x".into(),
                reason: "y".into(),
            },
            2,
        ),
        (Refusal::JobFailed { failures: vec![] }, 1),
        (Refusal::PermissionDenied { reason: "x".into() }, 1),
    ];
    for (refusal, code) in cases {
        assert_eq!(Failure::from(refusal).code, code);
    }
    let unreachable = Places::find(&Global {
        runtime_dir: Some("/nonexistent/herd".into()),
        system: true,
        ..Global::default()
    })
    .unwrap()
    .connect()
    .unwrap_err();
    assert_eq!(unreachable.code, 4);
    assert_eq!(
        unreachable.message,
        "cannot reach herd at /nonexistent/herd/control.sock: no such file or directory"
    );
    let closed_pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert_eq!(Failure::from(closed_pipe).code, 0);
}
