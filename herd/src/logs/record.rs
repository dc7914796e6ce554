//! One line of a log file: `2026-11-22T03:31:46.123456Z out text`.
//!
//! The text is raw: every byte of the service but the newline that ended its line. A line longer
//! than [`MAX_TEXT`] is cut; each piece but the last is marked `out+`.
#![forbid(unsafe_code)]

use super::timestamp::{Timestamp, WIDTH};

/// The longest text of one record.
pub const MAX_TEXT: usize = 16 * 1024;

/// Whose words they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A line of the service.
    Out,
    /// A piece of a line that goes on in the next record.
    Piece,
    /// herd about the service.
    Herd,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Piece => "out+",
            Self::Herd => "herd",
        }
    }

    /// Where the text begins within a record.
    pub fn text_offset(self) -> usize {
        WIDTH + 1 + self.as_str().len() + 1
    }
}

/// A record read back from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub at: Timestamp,
    pub kind: Kind,
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Appends the record with its newline. Newlines within the text become spaces, and what is
    /// beyond [`MAX_TEXT`] is left out: callers cut before.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.at.write(out);
        out.push(b' ');
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.push(b' ');
        let start = out.len();
        out.extend(self.text.iter().take(MAX_TEXT));
        for byte in out.iter_mut().skip(start) {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
        out.push(b'\n');
    }

    /// Reads a line without its newline; `None` when herd did not write it.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = line.split_at_checked(WIDTH)?;
        let at = Timestamp::parse(time)?;
        let rest = rest.strip_prefix(b" ")?;
        [Kind::Out, Kind::Piece, Kind::Herd]
            .into_iter()
            .find_map(|kind| {
                let text = rest.strip_prefix(kind.as_str().as_bytes())?;
                let text = text.strip_prefix(b" ")?;
                Some(Self { at, kind, text })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_back(
            text in proptest::collection::vec(any::<u8>().prop_filter("newline", |b| *b != b'\n'), 0..100),
            kind in prop_oneof![Just(Kind::Out), Just(Kind::Piece), Just(Kind::Herd)],
        ) {
            let record = Record { at: Timestamp(1_234_567), kind, text: &text };
            let mut line = Vec::new();
            record.write(&mut line);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert_eq!(Record::parse(&line), Some(record));
            prop_assert_eq!(&line[kind.text_offset()..], &text[..]);
        }

        #[test]
        fn arbitrary_lines_never_panic(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(record) = Record::parse(&line) {
                prop_assert!(record.text.len() < line.len());
            }
        }
    }

    #[test]
    fn a_newline_cannot_forge_a_record() {
        let mut line = Vec::new();
        let text = b"a\n1970-01-01T00:00:00.000000Z herd forged";
        let at = Timestamp(0);
        let kind = Kind::Out;
        Record { at, kind, text }.write(&mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
