//! From known inputs to unknown ones, always the same for the same seed.

/// A stream of numbers (xorshift64*).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `end`, which is at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

const LONGEST: usize = 16 << 10;

/// What parsers stumble over.
const ODD: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"'",
    b"\\",
    b"%",
    b"%%",
    b"%n",
    b"$",
    b"${",
    b"}",
    b"[",
    b"]",
    b"[[",
    b"=",
    b",",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"4294967296",
    b"1e999",
    b"NaN",
    b"infinity",
    b"99999999999999999999999999y",
    b"584554y",
    b"2.5h",
    b"\xff",
    b"\xc3\x28",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"\x1b[2J",
    b"../",
    b"/",
    b"//",
    b":",
    b"\\040",
    b"\\x",
    b"{",
    b"{}",
    b"null",
    b"true",
    b"\\u0000",
    b"\\ud800",
];

/// One of `known`, changed in some places.
pub(crate) fn mutated(known: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = known[random.below(known.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(32)).min(bytes.len());
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            4 => drop(bytes.splice(at..end, ODD[random.below(ODD.len())].iter().copied())),
            5 | 6 if !words.is_empty() => {
                let word = words[random.below(words.len())].clone();
                drop(bytes.splice(at..end, word));
            }
            7 => {
                let other = &known[random.below(known.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(200)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The words of all inputs: keys, options, numbers.
pub(crate) fn words(known: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let mut words: Vec<Vec<u8>> = known
        .iter()
        .flat_map(|bytes| bytes.split(|byte| !is_word(byte)))
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    words.sort();
    words.dedup();
    words
}
