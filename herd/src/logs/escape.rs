//! Text of strangers made safe for a terminal: no control character reaches it.
#![forbid(unsafe_code)]

/// Appends `text` with every control character, direction override and byte that is not UTF-8
/// shown as `\x1b` or `\u{202e}`. A tab stays.
pub fn sanitise(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_harmless(character) {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else if let Ok(byte) = u8::try_from(u32::from(character))
                && byte < 0x80
            {
                hex(byte, out);
            } else {
                out.extend_from_slice(format!("\\u{{{:x}}}", u32::from(character)).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            hex(*byte, out);
        }
    }
}

/// [`sanitise`] for text, as text.
pub fn sanitised(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    sanitise(text.as_bytes(), &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn is_harmless(character: char) -> bool {
    // C0, DEL and C1 are control; the rest turns the direction of what follows.
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character == '\t' || !(character.is_control() || turns)
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_escape_is_shown_and_not_sent() {
        assert_eq!(sanitised("\u{1b}]0;owned\u{7}"), "\\x1b]0;owned\\x07");
        assert_eq!(sanitised("a\tb\r"), "a\tb\\x0d");
        assert_eq!(sanitised("\u{9b}31m \u{202e}"), "\\u{9b}31m \\u{202e}");
        let mut out = Vec::new();
        sanitise(b"gr\xc3\xbc\xc3\x9fe \xff\x9b", &mut out);
        assert_eq!(out, "grüße \\xff\\x9b".as_bytes());
    }

    proptest! {
        #[test]
        fn nothing_that_steers_a_terminal_is_left(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            sanitise(&text, &mut out);
            let shown = String::from_utf8(out).unwrap();
            prop_assert!(shown.chars().all(|c| c == '\t' || !c.is_control()));
        }
    }
}
