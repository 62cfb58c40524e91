//! Bytes of the grammar: tokens, blanks, lists.

/// Whether the byte may stand in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        table[index] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        index += 1;
    }
    table
};

/// Whether the bytes are a token: at least one token byte and nothing else.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether the byte may stand in a field value: all but control characters, HTAB excepted.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}

/// Whether the byte is SP or HTAB.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without outer blanks.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_skip_blanks_and_empty_members() {
        let found: Vec<&[u8]> = members(b" , a ,\tb b,,c").collect();
        assert_eq!(found, [b"a".as_slice(), b"b b", b"c"]);
    }

    #[test]
    fn tokens_hold_no_separators() {
        assert!(is_token(b"M-SEARCH"));
        for bad in [b"".as_slice(), b"a b", b"a:", b"\"a\"", b"a\x7f", "é".as_bytes()] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
