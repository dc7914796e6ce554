//! A boot as an SVG: one row for each unit, from left to right in time.
//!
//! Dark is the way up, light the time the unit was up since, red what failed. The kernel and herd itself have
//! rows of their own. Everything is a function of the reply: the same boot gives the same bytes.
#![forbid(unsafe_code)]

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Text, Title};

use super::blame::{is_of_boot, summary};
use super::phrases::span;
use crate::control::protocol::{BootReply, BootUnit, State, UnitKind};

const WIDTH: i64 = 1000;
const ROW: i64 = 18;
const BAR: i64 = 12;
const MARGIN: i64 = 16;
const HEAD: i64 = 72;
/// A letter of the labels, on average; where a label has room is judged by it.
const LETTER: i64 = 7;
/// More lines than this only confuse.
const MOST_TICKS: i64 = 10;

const KERNEL: &str = "#9aa0a6";
const HERD: &str = "#c9a227";
const SERVICE: &str = "#1f6feb";
const TARGET: &str = "#8250df";
const FAILED: &str = "#d1242f";
const UP: &str = "#cfe3ff";
const GRID: &str = "#e4e7eb";
const INK: &str = "#24292f";

/// One bar and its label. Moments are microseconds from the left edge.
struct Row<'a> {
    label: String,
    colour: &'static str,
    from: i64,
    to: i64,
    /// Until then it was up.
    up_to: Option<i64>,
    note: &'a str,
}

/// The picture, as text. Units that began after the boot was over are not in it.
pub(super) fn chart(boot: &BootReply) -> Document {
    let rows = rows(boot);
    let end = rows.iter().map(|row| row.to).max().unwrap_or(0).max(1);
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let height = HEAD + count * ROW + MARGIN;
    let whole = WIDTH + 2 * MARGIN;
    let mut document = Document::new()
        .set("viewBox", (0, 0, whole, height))
        .set("width", whole)
        .set("height", height)
        .set("font-family", "system-ui, sans-serif")
        .set("font-size", 12)
        .add(Title::new("Boot under herd"))
        .add(
            Rectangle::new()
                .set("width", "100%")
                .set("height", "100%")
                .set("fill", "white"),
        )
        .add(
            text(MARGIN, 24, format!("herd {}", env!("CARGO_PKG_VERSION")))
                .set("font-size", 16)
                .set("font-weight", "bold"),
        )
        .add(text(MARGIN, 42, summary(boot)));
    document = document.add(axis(end, height));
    for (index, row) in (0_i64..).zip(&rows) {
        document = document.add(draw(row, HEAD + index * ROW, end));
    }
    document
}

fn rows(boot: &BootReply) -> Vec<Row<'_>> {
    let zero = boot.kernel_usec.unwrap_or(0);
    let first = boot.units.first().map_or(0, |unit| unit.begun_usec);
    let end = zero + boot.finished_usec.unwrap_or(first);
    let bar = |label: &str, colour, from, to| Row {
        label: format!("{label} ({})", span(to - from)),
        colour,
        from,
        to,
        up_to: None,
        note: "",
    };
    let mut rows = Vec::new();
    if boot.kernel_usec.is_some() {
        rows.push(bar("kernel", KERNEL, 0, zero));
    }
    rows.push(bar("herd", HERD, zero, zero + first));
    let units = boot.units.iter().filter(|unit| is_of_boot(boot, unit));
    rows.extend(units.map(|unit| of_unit(unit, zero, end)));
    rows
}

fn of_unit(unit: &BootUnit, zero: i64, end: i64) -> Row<'_> {
    let from = zero + unit.begun_usec;
    let to = unit.took_usec.map_or(end.max(from), |took| from + took);
    let took = unit
        .took_usec
        .map_or_else(|| "still on the way".to_owned(), span);
    let colour = match (unit.state, unit.kind) {
        (State::Failed, _) => FAILED,
        (_, UnitKind::Target) => TARGET,
        (_, UnitKind::Service) => SERVICE,
    };
    let is_up = matches!(unit.state, State::Active | State::Reloading);
    Row {
        label: format!("{} ({took})", unit.name),
        colour,
        from,
        to,
        up_to: (is_up && end > to).then_some(end),
        note: unit.state.as_str(),
    }
}

fn draw(row: &Row<'_>, top: i64, end: i64) -> Group {
    let (from, to) = (place(row.from, end), place(row.to, end));
    let mut group = Group::new();
    if let Some(up_to) = row.up_to {
        group = group.add(bar(to, place(up_to, end), top, UP));
    }
    let mut way = bar(from, to, top, row.colour);
    if !row.note.is_empty() {
        way = way.add(Title::new(format!("{}, now {}", row.label, row.note)));
    }
    // Beside the bar's end while there is room, else before its beginning.
    let letters = i64::try_from(row.label.chars().count()).unwrap_or(i64::MAX);
    let needs = letters.saturating_mul(LETTER);
    let label = if to + needs < WIDTH + MARGIN {
        text(to + 5, top + BAR - 2, row.label.clone())
    } else {
        text(from - 5, top + BAR - 2, row.label.clone()).set("text-anchor", "end")
    };
    group.add(way).add(label)
}

/// A moment that is not zero is seen, however short.
fn bar(from: i64, to: i64, top: i64, colour: &str) -> Rectangle {
    Rectangle::new()
        .set("x", from)
        .set("y", top)
        .set("width", (to - from).max(1))
        .set("height", BAR)
        .set("fill", colour)
}

fn text(x: i64, y: i64, content: impl Into<String>) -> Text {
    Text::new(content.into())
        .set("x", x)
        .set("y", y)
        .set("fill", INK)
}

/// Lines at round moments.
fn axis(end: i64, height: i64) -> Group {
    let step = step(end);
    let mut group = Group::new();
    let mut moment = 0;
    while moment <= end {
        let x = place(moment, end);
        let line = Line::new()
            .set("x1", x)
            .set("x2", x)
            .set("y1", HEAD - 8)
            .set("y2", height - MARGIN)
            .set("stroke", GRID);
        group = group
            .add(line)
            .add(text(x, HEAD - 12, span(moment)).set("font-size", 10));
        moment += step;
    }
    group
}

/// 1, 2 or 5 times a power of ten, at most [`MOST_TICKS`] of which fill the picture.
fn step(end: i64) -> i64 {
    let mut power = 1_i64;
    loop {
        for factor in [1, 2, 5] {
            let step = power.saturating_mul(factor);
            if end / step <= MOST_TICKS {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

fn place(moment: i64, end: i64) -> i64 {
    let share = i128::from(moment.clamp(0, end)) * i128::from(WIDTH) / i128::from(end.max(1));
    MARGIN + i64::try_from(share).unwrap_or(WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, begun: i64, took: Option<i64>, state: State) -> BootUnit {
        BootUnit {
            name: name.to_owned(),
            begun_usec: begun,
            took_usec: took,
            state,
            ..BootUnit::default()
        }
    }

    fn boot() -> BootReply {
        BootReply {
            kernel_usec: Some(400_000),
            finished_usec: Some(100_000),
            units: vec![
                unit("db", 10_000, Some(50_000), State::Active),
                unit("web", 60_000, Some(40_000), State::Failed),
                unit("slow", 60_000, None, State::Activating),
                unit("later", 900_000, Some(1), State::Active),
            ],
        }
    }

    #[test]
    fn the_picture_has_a_row_for_the_kernel_herd_and_each_unit_of_the_boot() {
        let picture = chart(&boot()).to_string();
        for part in [
            "kernel (400.0ms)",
            "herd (10.0ms)",
            "db (50.0ms)",
            "web (40.0ms)",
            "slow (still on the way)",
            "2 units in 100.0ms, after 400.0ms of kernel; 1 came later; still on the way: slow",
            FAILED,
        ] {
            assert!(picture.contains(part), "{part}: {picture}");
        }
        assert!(!picture.contains("later ("), "{picture}");
        assert_eq!(picture, chart(&boot()).to_string());
    }

    #[test]
    fn a_boot_of_nothing_is_a_picture_too() {
        let picture = chart(&BootReply::default()).to_string();
        assert!(picture.contains("no unit has come up"), "{picture}");
    }

    #[test]
    fn lines_stand_at_round_moments_and_are_few() {
        let cases = [(1, 1), (10, 1), (11, 2), (99, 10), (54_321, 5_000)];
        for (end, expected) in cases {
            assert_eq!(step(end), expected, "{end}");
        }
        for end in [7, 1_000, 123_456, 999_999_999, i64::MAX] {
            assert!(end / step(end) <= MOST_TICKS, "{end}");
        }
    }
}
