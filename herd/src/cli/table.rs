//! Columns that line up.

use super::screen::{Colour, Screen};

/// One field of a row.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) colour: Colour,
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::coloured(Colour::Plain, text)
    }

    pub(super) fn coloured(colour: Colour, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { text, colour }
    }
}

/// The lines of a table: each column as wide as its widest cell, the last one cut where the screen
/// ends.
pub(super) fn lines(screen: &Screen, header: &[&str], rows: &[Vec<Cell>]) -> Vec<String> {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let titles: Vec<Cell> = header
        .iter()
        .map(|title| Cell::coloured(Colour::Bold, *title))
        .collect();
    std::iter::once(&titles)
        .chain(rows)
        .map(|row| line(screen, &widths, row))
        .collect()
}

fn line(screen: &Screen, widths: &[usize], row: &[Cell]) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let is_last = index + 1 == row.len();
        let room = screen
            .width
            .map_or(usize::MAX, |all| all.saturating_sub(used));
        let text: String = cell.text.chars().take(room).collect();
        let length = text.chars().count();
        line.push_str(&screen.paint(cell.colour, text));
        if !is_last {
            let gap = width.saturating_sub(length) + 2;
            line.push_str(&" ".repeat(gap));
            used += length + gap;
        }
    }
    line.truncate(line.trim_end().len());
    line
}
