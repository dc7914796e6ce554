//! Reading what a sink wrote, across units and rotations.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use units::UnitName;
use units::unit::LogPolicy;

use super::follow::Follow;
use super::read::{Entry, Filter, Needle, all, last, units};
use super::record::Kind;
use super::sink::{DEFAULT_POLICY, Setup, Sink};
use super::timestamp::Timestamp;

const DEADLINE: Duration = Duration::from_secs(20);

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

fn small_files(directory: &Path, names: &[&str]) -> Sink {
    let sink = Sink::open(&Setup {
        directory: Some(directory.to_owned()),
        ..Setup::default()
    })
    .unwrap();
    let policy = LogPolicy {
        max_size: 200,
        max_files: 1000,
        ..DEFAULT_POLICY
    };
    for unit in names {
        sink.set_policy(&name(unit), Some(&policy));
    }
    sink
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| format!("{}:{}", entry.unit, String::from_utf8_lossy(&entry.text)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_last_lines_are_the_end_of_all_lines(
        lines in proptest::collection::vec((0..3_usize, 0..90_usize), 0..60),
        count in 0..70_usize,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let names = ["a", "b", "c"];
        let sink = small_files(directory.path(), &names);
        let mut written = Vec::new();
        for (at, (unit, length)) in (0..).zip(lines) {
            let text = "x".repeat(length);
            sink.line(&name(names[unit]), Timestamp(at), Kind::Out, text.as_bytes());
            written.push(format!("{}:{text}", names[unit]));
        }
        prop_assert!(sink.close(DEADLINE));
        let found = units(directory.path()).unwrap();
        let mut read = Vec::new();
        all(directory.path(), &found, &Filter::default(), |entry| {
            read.push(entry);
            Ok(())
        }).unwrap();
        prop_assert_eq!(texts(&read), &written[..]);
        let (end, _) = last(directory.path(), &found, count, &Filter::default()).unwrap();
        prop_assert_eq!(texts(&end), &written[written.len().saturating_sub(count)..]);
    }
}

#[test]
fn times_and_text_choose_the_lines() {
    let directory = tempfile::tempdir().unwrap();
    let sink = small_files(directory.path(), &["web"]);
    for at in 0..30 {
        let text = if at % 2 == 0 {
            "GET /Index"
        } else {
            "POST /form"
        };
        sink.line(&name("web"), Timestamp(at), Kind::Out, text.as_bytes());
    }
    assert!(sink.close(DEADLINE));
    let mut filter = Filter {
        since: Some(Timestamp(10)),
        until: Some(Timestamp(15)),
        contains: Some(Needle::new("index", true)),
    };
    let unit = [name("web")];
    let mut times = Vec::new();
    all(directory.path(), &unit, &filter, |entry| {
        times.push(entry.at.0);
        Ok(())
    })
    .unwrap();
    assert_eq!(times, [10, 12, 14]);
    let (end, _) = last(directory.path(), &unit, 2, &filter).unwrap();
    assert_eq!(end.iter().map(|e| e.at.0).collect::<Vec<_>>(), [12, 14]);
    filter.contains = Some(Needle::new("index", false));
    assert_eq!(last(directory.path(), &unit, 2, &filter).unwrap().0, []);
}

#[test]
fn following_loses_nothing_through_rotations_and_sees_new_units() {
    let directory = tempfile::tempdir().unwrap();
    let sink = small_files(directory.path(), &["web", "db"]);
    for at in 0..5 {
        sink.line(
            &name("web"),
            Timestamp(at),
            Kind::Out,
            at.to_string().as_bytes(),
        );
    }
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let mut follow = Follow::new(directory.path(), None).unwrap();
    let (seen, positions) =
        last(directory.path(), &[name("web")], 100, &Filter::default()).unwrap();
    follow.go_on_from(positions);
    let mut found = texts(&seen);
    let mut expected: Vec<String> = (0..5).map(|at| format!("web:{at}")).collect();
    for at in 5..200 {
        let unit = if at % 50 == 0 { "db" } else { "web" };
        sink.line(
            &name(unit),
            Timestamp(at),
            Kind::Out,
            at.to_string().as_bytes(),
        );
        expected.push(format!("{unit}:{at}"));
    }
    // The writer may be anywhere by now; each wait ends with at least one record.
    while found.len() < expected.len() {
        let more = follow.next(&Filter::default(), writer.as_fd()).unwrap();
        found.extend(texts(&more.unwrap()));
    }
    assert!(sink.close(DEADLINE));
    let by_unit = |lines: &[String], unit: &str| -> Vec<String> {
        lines
            .iter()
            .filter(|l| l.starts_with(unit))
            .cloned()
            .collect()
    };
    assert_eq!(by_unit(&found, "web"), by_unit(&expected, "web"));
    assert_eq!(by_unit(&found, "db"), by_unit(&expected, "db"));
}

#[test]
fn following_ends_when_nobody_reads() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut follow = Follow::new(directory.path(), None).unwrap();
    drop(reader);
    assert_eq!(
        follow.next(&Filter::default(), writer.as_fd()).unwrap(),
        None
    );
}
