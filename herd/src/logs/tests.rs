//! The path from a pipe to the files, with the real thread.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use units::UnitName;
use units::unit::{LogPolicy, LogTarget};

use super::capture::{Capture, DRAIN_SIZE, Drained, pipe};
use super::record::{Kind, MAX_TEXT, Record};
use super::sink::{DEFAULT_POLICY, Setup, Sink};
use super::timestamp::Timestamp;

const DEADLINE: Duration = Duration::from_secs(20);

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

fn sink(directory: &Path) -> Sink {
    Sink::open(&Setup {
        directory: Some(directory.to_owned()),
        ..Setup::default()
    })
    .unwrap()
}

/// `(kind, text)` of each record, and every line is one.
fn records(path: &Path) -> Vec<(Kind, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    bytes
        .strip_suffix(b"\n")
        .map(|bytes| bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .map(|line| Record::parse(line).expect("a whole record"))
        .map(|record| (record.kind, record.text.to_vec()))
        .collect()
}

#[test]
fn lines_written_before_the_exit_are_all_kept() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    let (read, write) = pipe().unwrap();
    let mut service = fs::File::from(write);
    let mut capture = Capture::new(read, name("web"));
    let mut buffer = vec![0; DRAIN_SIZE];
    assert_eq!(
        capture.drain(&mut buffer, Timestamp(1), &sink),
        Drained::Empty
    );
    service.write_all(b"one\ntw").unwrap();
    assert_eq!(
        capture.drain(&mut buffer, Timestamp(2), &sink),
        Drained::Empty
    );
    service
        .write_all(b"o\n\n\xff raw \x1b[0m\nunended")
        .unwrap();
    drop(service);
    assert_eq!(
        capture.drain(&mut buffer, Timestamp(3), &sink),
        Drained::Closed
    );
    sink.say(&name("web"), Timestamp(4), "exited: exit 0");
    assert!(sink.close(DEADLINE));
    let texts: Vec<&[u8]> = vec![b"one", b"two", b"", b"\xff raw \x1b[0m", b"unended"];
    let mut expected: Vec<_> = texts.iter().map(|t| (Kind::Out, t.to_vec())).collect();
    expected.push((Kind::Herd, b"exited: exit 0".to_vec()));
    let path = directory.path().join("web.log");
    assert_eq!(records(&path), expected);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
}

#[test]
fn a_long_line_is_cut_into_pieces_that_add_up() {
    for length in [
        MAX_TEXT - 1,
        MAX_TEXT,
        MAX_TEXT + 1,
        3 * MAX_TEXT,
        5 * MAX_TEXT + 7,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let sink = sink(directory.path());
        let (read, write) = pipe().unwrap();
        let mut capture = Capture::new(read, name("web"));
        let line: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        let text = [line.as_slice(), b"\nnext\n"].concat();
        let writer = std::thread::spawn(move || {
            for part in text.chunks(5000) {
                fs::File::from(write.try_clone().unwrap())
                    .write_all(part)
                    .unwrap();
            }
        });
        let mut buffer = vec![0; DRAIN_SIZE];
        while capture.drain(&mut buffer, Timestamp(1), &sink) != Drained::Closed {
            let mut fds = [rustix::event::PollFd::new(
                &capture,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).unwrap();
        }
        writer.join().unwrap();
        assert!(sink.close(DEADLINE));
        let mut found = records(&directory.path().join("web.log"));
        assert_eq!(found.pop(), Some((Kind::Out, b"next".to_vec())));
        let (last, pieces) = found.split_last().unwrap();
        assert_eq!(last.0, Kind::Out);
        assert!(
            pieces
                .iter()
                .all(|(kind, text)| *kind == Kind::Piece && text.len() == MAX_TEXT)
        );
        let whole: Vec<u8> = found.into_iter().flat_map(|(_, text)| text).collect();
        assert_eq!(whole, line);
    }
}

#[test]
fn one_call_reads_a_bounded_amount() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    let (read, write) = pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&write, 4 * DRAIN_SIZE).unwrap();
    let mut service = fs::File::from(write);
    service.write_all(&vec![b'\n'; 3 * DRAIN_SIZE]).unwrap();
    let mut capture = Capture::new(read, name("web"));
    let mut buffer = vec![0; 4096];
    for _ in 0..3 {
        assert_eq!(
            capture.drain(&mut buffer, Timestamp(1), &sink),
            Drained::More
        );
    }
    assert_eq!(
        capture.drain(&mut buffer, Timestamp(1), &sink),
        Drained::Empty
    );
    assert!(sink.close(DEADLINE));
}

#[test]
fn files_rotate_by_size_and_keep_their_number() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("web.log.3"), "of a longer chain\n").unwrap();
    let sink = sink(directory.path());
    let policy = LogPolicy {
        max_size: 100,
        max_files: 2,
        ..DEFAULT_POLICY
    };
    sink.set_policy(&name("web"), Some(&policy));
    for number in 0..20_i64 {
        let text = format!("line {number:02}");
        sink.line(&name("web"), Timestamp(number), Kind::Out, text.as_bytes());
    }
    assert!(sink.close(DEADLINE));
    let files = ["web.log.2", "web.log.1", "web.log"].map(|file| directory.path().join(file));
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 100);
    }
    let texts: Vec<_> = files.iter().flat_map(|file| records(file)).collect();
    let first = 20 - texts.len();
    for (offset, (_, text)) in texts.iter().enumerate() {
        assert_eq!(text, format!("line {:02}", first + offset).as_bytes());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    assert_eq!(sink.lost(&name("web")), 0);
}

#[test]
fn files_rotate_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    let policy = LogPolicy {
        max_age: Some(Duration::from_secs(10)),
        ..DEFAULT_POLICY
    };
    sink.set_policy(&name("web"), Some(&policy));
    for second in [0, 5, 10, 11, 12] {
        let at = Timestamp(1_000_000 * second);
        sink.line(&name("web"), at, Kind::Out, second.to_string().as_bytes());
    }
    assert!(sink.close(DEADLINE));
    assert_eq!(records(&directory.path().join("web.log.1")).len(), 3);
    assert_eq!(records(&directory.path().join("web.log")).len(), 2);
}

#[test]
fn the_rate_limit_drops_counts_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    let policy = LogPolicy {
        rate_limit: Some((3, Duration::from_secs(1))),
        ..DEFAULT_POLICY
    };
    sink.set_policy(&name("web"), Some(&policy));
    for at in [0, 1, 2, 3, 4, 1_000_000] {
        sink.line(&name("web"), Timestamp(at), Kind::Out, b"x");
    }
    assert_eq!(sink.lost(&name("web")), 2);
    assert!(sink.close(DEADLINE));
    let found = records(&directory.path().join("web.log"));
    assert_eq!(found.len(), 5);
    assert_eq!(
        found[3],
        (Kind::Herd, b"2 lines lost: over the rate limit".to_vec())
    );
}

#[test]
fn a_unit_without_a_log_keeps_nothing_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    let policy = LogPolicy {
        target: LogTarget::Null,
        ..DEFAULT_POLICY
    };
    sink.set_policy(&name("web"), Some(&policy));
    sink.line(&name("web"), Timestamp(1), Kind::Out, b"x");
    assert!(sink.close(DEADLINE));
    assert_eq!(sink.lost(&name("web")), 0);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_link_or_a_fifo_in_the_place_of_a_log_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, "").unwrap();
    symlink(&victim, directory.path().join("web.log")).unwrap();
    nix::unistd::mkfifo(
        &directory.path().join("db.log"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    let sink = sink(directory.path());
    sink.line(&name("web"), Timestamp(1), Kind::Out, b"x");
    sink.line(&name("db"), Timestamp(1), Kind::Out, b"x");
    assert!(sink.close(DEADLINE));
    assert_eq!(fs::read(&victim).unwrap(), b"");
    assert_eq!(sink.lost(&name("web")), 1);
    assert_eq!(sink.lost(&name("db")), 1);
}

#[test]
fn a_torn_last_record_does_not_spoil_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.log");
    fs::write(&path, "2026-11-22T03:31:46.123456Z out hal").unwrap();
    let sink = sink(directory.path());
    sink.line(&name("web"), Timestamp(1), Kind::Out, b"x");
    assert!(sink.close(DEADLINE));
    assert_eq!(records(&path)[1], (Kind::Out, b"x".to_vec()));
}

/// 1,000 units, more than may be open at once, each line in its own file.
#[test]
fn many_units_share_few_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    for round in 0..2 {
        for number in 0..200 {
            let text = format!("{round}");
            sink.line(
                &name(&format!("u{number}")),
                Timestamp(round),
                Kind::Out,
                text.as_bytes(),
            );
        }
    }
    assert!(sink.close(DEADLINE));
    for number in 0..200 {
        let found = records(&directory.path().join(format!("u{number}.log")));
        assert_eq!(
            found,
            [(Kind::Out, b"0".to_vec()), (Kind::Out, b"1".to_vec())]
        );
    }
}

/// The mount namespace is this test thread's own, and goes with it; the writer inherits it.
#[test]
fn a_full_disk_costs_lines_and_is_told_when_there_is_room_again() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = Some("size=64k,mode=0755");
    mount(
        Some("tmpfs"),
        directory.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        options,
    )
    .unwrap();
    let ballast = directory.path().join("ballast");
    fs::write(&ballast, vec![0; 40 * 1024]).unwrap();

    let full = sink(directory.path());
    let text = [b'x'; 1000];
    for at in 0..100 {
        full.line(&name("web"), Timestamp(at), Kind::Out, &text);
    }
    assert!(full.close(DEADLINE));
    let lost = full.lost(&name("web"));
    let mut found = records(&directory.path().join("web.log"));
    found.retain(|(kind, _)| *kind == Kind::Out);
    let kept = u64::try_from(found.len()).unwrap();
    assert!(lost > 0 && kept > 0, "{lost} lost, {kept} kept");
    assert_eq!(lost + kept, 100);

    // A second writer meets the full disk, then room.
    let again = sink(directory.path());
    again.line(&name("web"), Timestamp(200), Kind::Out, &text);
    let mut spins = 0_u64;
    while again.lost(&name("web")) == 0 {
        spins += 1;
        assert!(spins < 1 << 32, "the lost line is never counted");
        std::thread::yield_now();
    }
    fs::remove_file(&ballast).unwrap();
    again.line(&name("web"), Timestamp(201), Kind::Out, b"room");
    assert!(again.close(DEADLINE));
    let found = records(&directory.path().join("web.log"));
    let tail = &found[found.len() - 2..];
    assert_eq!(
        tail[0],
        (Kind::Herd, b"1 line lost: no space left on device".to_vec())
    );
    assert_eq!(tail[1], (Kind::Out, b"room".to_vec()));
    // What is mounted on cannot be removed.
    umount2(directory.path(), MntFlags::MNT_DETACH).unwrap();
}

/// The writer waits for a disk here by way of the lock that a batch holds.
#[test]
fn a_flood_of_one_unit_leaves_room_for_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(directory.path());
    {
        let mut batch = sink.batch(&name("flood"));
        for _ in 0..6000 {
            batch.line(Timestamp(1), Kind::Out, &[b'x'; 1000]);
        }
    }
    let lost = sink.lost(&name("flood"));
    assert!((1800..2300).contains(&lost), "{lost} lost");
    sink.line(&name("web"), Timestamp(2), Kind::Out, b"heard");
    assert!(sink.close(DEADLINE));
    assert_eq!(sink.lost(&name("web")), 0);
    assert_eq!(records(&directory.path().join("web.log")).len(), 1);
    let kept = u64::try_from(records(&directory.path().join("flood.log")).len()).unwrap();
    assert_eq!(kept + lost, 6000);
}

#[test]
fn what_a_mistake_of_the_writer_costs_stands_in_the_file_of_each_unit() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::open(&Setup {
        is_later: true,
        ..Setup::default()
    })
    .unwrap();
    let (web, db) = (name("web"), name("db"));
    for (unit, text) in [(&web, "one"), (&db, "two"), (&web, "three")] {
        sink.line(unit, Timestamp(1), Kind::Out, text.as_bytes());
    }
    sink.break_writer();
    sink.begin(directory.path()).unwrap();
    while sink.lost(&web) < 2 {
        std::thread::yield_now();
    }
    assert_eq!((sink.lost(&web), sink.lost(&db)), (2, 1));
    for unit in [&web, &db] {
        sink.line(unit, Timestamp(2), Kind::Out, b"later");
    }
    assert!(sink.close(DEADLINE));
    for (unit, lost) in [("web", "2 lines"), ("db", "1 line")] {
        let notice = format!("{lost} lost: a mistake in herd's log writer");
        assert_eq!(
            records(&directory.path().join(format!("{unit}.log"))),
            [
                (Kind::Herd, notice.into_bytes()),
                (Kind::Out, b"later".to_vec())
            ]
        );
    }
}

/// Of a machine whose file systems are there once more.
#[test]
fn a_directory_that_is_begun_twice_loses_nothing_and_stays() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("herd");
    let sink = Sink::open(&Setup {
        is_later: true,
        ..Setup::default()
    })
    .unwrap();
    let web = name("web");
    assert!(sink.is_held());
    for text in ["one", "two", "three"] {
        sink.begin(&directory).unwrap();
        assert!(!sink.is_held());
        sink.line(&web, Timestamp(1), Kind::Out, text.as_bytes());
        while fs::read(directory.join("web.log"))
            .is_ok_and(|bytes| !bytes.ends_with(format!("{text}\n").as_bytes()))
        {
            std::thread::yield_now();
        }
    }
    assert!(sink.close(DEADLINE));
    let texts: Vec<_> = records(&directory.join("web.log"))
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}
