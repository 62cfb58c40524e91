//! One escaping function per sink. Everything from the network or from objects passes one of them.
//!
//! What they have in common: no input can end a line, end its quotation, or reach a terminal as a
//! control sequence (C0 and C1 controls, DEL and line separators never come out as they are).

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Which bytes need more than copying, in JSON and in quoted text alike: controls, `"`, `\`, DEL
/// and everything that is not ASCII.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] =
            byte < 0x20 || byte >= 0x7f || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    special
};

/// How many bytes at the front can be copied as they are. Looks at eight bytes at a time, since
/// most values have nothing special anywhere.
#[inline]
fn plain_len(value: &[u8]) -> usize {
    let (words, rest) = value.as_chunks::<8>();
    let plain_words =
        words.iter().position(|word| any_special(u64::from_ne_bytes(*word))).unwrap_or(words.len());
    let scanned = plain_words * 8;
    let tail = if plain_words < words.len() { &value[scanned..] } else { rest };
    let plain_tail = tail.iter().position(|&byte| SPECIAL[usize::from(byte)]);
    scanned + plain_tail.unwrap_or(tail.len())
}

/// Whether any of the eight bytes is [`SPECIAL`].
#[inline]
fn any_special(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    // Sets the high bit of some byte exactly when some byte is below `bound`, given that none has
    // its high bit set; bytes equal to `b` are those below 1 after xor with `b`.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (word | below(word, 0x20) | equal(b'"') | equal(b'\\') | equal(0x7f)) & HIGH != 0
}

/// Writes `value` as the inside of a JSON string (RFC 8259, section 7).
///
/// UTF-8 stays; what is not UTF-8 becomes U+FFFD; controls (C1 ones too), line separators and
/// characters that change the direction of writing become `\u` escapes.
#[inline]
pub fn json(out: &mut Vec<u8>, value: &[u8]) {
    let plain = plain_len(value);
    out.extend_from_slice(&value[..plain]);
    if plain < value.len() {
        json_special(out, &value[plain..]);
    }
}

#[cold]
fn json_special(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            json_char(out, character);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn json_char(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ if is_unprintable(character) => {
            // All of them lie in the basic plane, so that four digits suffice.
            let code = character as u32;
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                out.push(HEX[(code >> shift & 0xf) as usize]);
            }
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Controls, line separators, and characters that reorder what a reader sees.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Writes `value` as the inside of a quotation in the text access log: `"` and `\` get a backslash,
/// every other byte outside printable ASCII becomes `\xHH`. Nothing is lost.
#[inline]
pub fn text(out: &mut Vec<u8>, value: &[u8]) {
    let plain = plain_len(value);
    out.extend_from_slice(&value[..plain]);
    if plain < value.len() {
        text_special(out, &value[plain..]);
    }
}

#[cold]
fn text_special(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ if SPECIAL[usize::from(byte)] => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
            _ => out.push(byte),
        }
    }
}

/// Writes `value` as the inside of a label value of Prometheus's text format: `\`, `"` and line
/// feed get a backslash as the format says; other unprintable characters, for which it has no
/// escape, become U+FFFD.
pub fn label(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ if is_unprintable(character) => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}

/// Writes `value` into a line of the process log or of a terminal: printable characters of any
/// script stay, everything unprintable becomes `\n`, `\t`, `\xHH` or `\u{HHHH}`.
pub fn terminal(out: &mut impl std::fmt::Write, value: &str) -> std::fmt::Result {
    for character in value.chars() {
        match character {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            _ if is_unprintable(character) => write!(out, "\\u{{{:x}}}", character as u32)?,
            _ => out.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(value: &[u8]) -> String {
        let mut out = Vec::new();
        json(&mut out, value);
        String::from_utf8(out).expect("JSON output is UTF-8")
    }

    fn text_of(value: &[u8]) -> String {
        let mut out = Vec::new();
        text(&mut out, value);
        String::from_utf8(out).expect("text output is ASCII")
    }

    fn label_of(value: &str) -> String {
        let mut out = String::new();
        label(&mut out, value);
        out
    }

    fn terminal_of(value: &str) -> String {
        let mut out = String::new();
        terminal(&mut out, value).expect("writing to a String");
        out
    }

    #[test]
    fn ordinary_text_is_copied() {
        let text = "/cart?item=1&x=~%20'<>{}[]";
        assert_eq!(json_of(text.as_bytes()), text);
        assert_eq!(text_of(text.as_bytes()), text);
        assert_eq!(label_of(text), text);
        assert_eq!(terminal_of(text), text);
    }

    #[test]
    fn quotes_and_backslashes_cannot_end_a_quotation() {
        assert_eq!(json_of(br#"a"b\"#), r#"a\"b\\"#);
        assert_eq!(text_of(br#"a"b\"#), r#"a\"b\\"#);
        assert_eq!(label_of(r#"a"b\"#), r#"a\"b\\"#);
    }

    #[test]
    fn a_line_feed_cannot_begin_a_forged_record() {
        assert_eq!(json_of(b"a\r\nb"), r"a\r\nb");
        assert_eq!(text_of(b"a\r\nb"), r"a\x0d\x0ab");
        assert_eq!(label_of("a\nb"), r"a\nb");
        assert_eq!(terminal_of("a\r\nb"), r"a\r\nb");
        assert_eq!(json_of("a\u{2028}b\u{85}".as_bytes()), r"a\u2028b\u0085");
    }

    #[test]
    fn escape_sequences_cannot_reach_a_terminal() {
        assert_eq!(json_of(b"\x1b[31m\x7f\0"), r"\u001b[31m\u007f\u0000");
        assert_eq!(text_of(b"\x1b[31m\x7f\0"), r"\x1b[31m\x7f\x00");
        assert_eq!(label_of("\u{1b}[31m\u{9b}0m"), "\u{fffd}[31m\u{fffd}0m");
        assert_eq!(terminal_of("\u{1b}[31m\u{9b}0m\u{202e}"), r"\u{1b}[31m\u{9b}0m\u{202e}");
        assert_eq!(text_of("\u{9b}".as_bytes()), r"\xc2\x9b");
    }

    #[test]
    fn invalid_utf8_is_replaced_in_json_and_kept_apart_in_text() {
        assert_eq!(json_of(b"a\xff\xfeb\xc3"), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(text_of(b"a\xffb"), r"a\xffb");
        assert_eq!(json_of("grün 日本".as_bytes()), "grün 日本");
    }

    #[test]
    fn eight_bytes_at_a_time_find_what_one_at_a_time_does() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut value = *b"abcdefghijklmnopqrst";
                value[place] = byte;
                let slow = value.iter().position(|&b| SPECIAL[usize::from(b)]).unwrap_or(20);
                assert_eq!(plain_len(&value), slow, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn no_byte_whatever_leaves_its_line_or_its_quotation() {
        for byte in 0..=u8::MAX {
            for out in [json_of(&[b'a', byte, b'b']), text_of(&[b'a', byte, b'b'])] {
                assert!(!out.chars().any(char::is_control), "{byte:#x}: {out:?}");
                let unescaped = out.replace(r"\\", "").replace("\\\"", "");
                assert!(!unescaped.contains('"'), "{byte:#x}: {out:?}");
            }
        }
    }
}
