//! Label selectors, as they are written for an API server.
//!
//! The API server reads them itself and is the one that picks by them: here it is only looked at
//! whether it will understand them, so that a slip of the pen is told at start and not by a gateway
//! that is never ready (Kubernetes documentation, Labels and Selectors, and Label syntax).

use std::iter::Peekable;

use super::value::Value;

/// The longest name of a label, and the longest value.
const LABEL_BYTES_MAX: usize = 63;
/// The longest prefix of a label's name.
const PREFIX_BYTES_MAX: usize = 253;

/// A label selector, such as `team=shop,tier in (web,api),!internal`; as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector(pub String);

impl Value for LabelSelector {
    fn parse(text: &str) -> Result<Self, String> {
        let example = "write it as in team=shop,tier in (web,api),!internal";
        read(text).map_err(|why| format!("is no label selector: {why}; {example}"))?;
        Ok(Self(text.to_owned()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
}

/// The signs; where several fit, the first does.
const SIGNS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", "<", ">"];

fn tokens(mut text: &str) -> impl Iterator<Item = Token<'_>> {
    std::iter::from_fn(move || {
        text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        if let Some(sign) = SIGNS.iter().find(|sign| text.starts_with(**sign)) {
            text = &text[sign.len()..];
            return Some(Token::Sign(sign));
        }
        let end = text.find(|c| "=!(),<> \t\r\n".contains(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        text = rest;
        (!word.is_empty()).then_some(Token::Word(word))
    })
}

/// Reads requirements, each but the last followed by a comma.
fn read(text: &str) -> Result<(), String> {
    let mut tokens = tokens(text).peekable();
    if tokens.peek().is_none() {
        return Err("it picks everything, being empty".into());
    }
    loop {
        requirement(&mut tokens)?;
        match tokens.next() {
            None => return Ok(()),
            Some(Token::Sign(",")) => {}
            Some(Token::Sign(found) | Token::Word(found)) => {
                return Err(format!("`{found}` where a comma or the end should be"));
            }
        }
    }
}

fn requirement<'a>(tokens: &mut Peekable<impl Iterator<Item = Token<'a>>>) -> Result<(), String> {
    let is_absence = tokens.next_if_eq(&Token::Sign("!")).is_some();
    match tokens.next() {
        Some(Token::Word(name)) => is_label_name(name)?,
        Some(Token::Sign(found)) => return Err(format!("`{found}` where a label should be")),
        None => return Err("it ends where a label should be".into()),
    }
    if is_absence || matches!(tokens.peek(), None | Some(Token::Sign(","))) {
        return Ok(());
    }
    match tokens.next() {
        Some(Token::Sign("=" | "==" | "!=")) => {
            // Without one, it is the empty value.
            tokens.next_if(|token| matches!(token, Token::Word(_))).map_or(Ok(()), is_label_value)
        }
        Some(Token::Sign(sign @ ("<" | ">"))) => match tokens.next() {
            // A value as any other: it cannot begin with a sign.
            Some(word @ Token::Word(number)) if number.parse::<i64>().is_ok() => {
                is_label_value(word)
            }
            _ => Err(format!("`{sign}` without a whole number")),
        },
        Some(Token::Word(word @ ("in" | "notin"))) => set(word, tokens),
        Some(Token::Sign(found) | Token::Word(found)) => {
            Err(format!("`{found}` where an operator should be"))
        }
        None => Ok(()),
    }
}

/// Values in parentheses, where there may be none; between two commas, before the first and after
/// the last is the empty value. As the API server does, it takes two commas together.
fn set<'a>(
    operator: &str,
    tokens: &mut Peekable<impl Iterator<Item = Token<'a>>>,
) -> Result<(), String> {
    let (comma, end) = (Token::Sign(","), Token::Sign(")"));
    if tokens.next() != Some(Token::Sign("(")) {
        return Err(format!("`{operator}` without values in parentheses"));
    }
    if tokens.next_if_eq(&end).is_some() {
        return Ok(());
    }
    loop {
        match tokens.next() {
            Some(word @ Token::Word(_)) => {
                is_label_value(word)?;
                if tokens.next_if_eq(&end).is_some() {
                    return Ok(());
                }
                if tokens.peek() != Some(&comma) {
                    return Err(format!("the values of `{operator}` do not end with `)`"));
                }
            }
            Some(Token::Sign(",")) => {
                if tokens.next_if_eq(&end).is_some() {
                    return Ok(());
                }
                tokens.next_if_eq(&comma);
            }
            _ => return Err(format!("the values of `{operator}` do not end with `)`")),
        }
    }
}

/// `[PREFIX/]NAME`.
fn is_label_name(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let is_dns_label = |label: &str| {
        let is_lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(is_lower)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_prefix =
        |prefix: &str| prefix.len() <= PREFIX_BYTES_MAX && prefix.split('.').all(is_dns_label);
    if name.is_empty() || !is_label(name) || !prefix.is_none_or(is_prefix) {
        return Err(format!("`{text}` is no name of a label"));
    }
    Ok(())
}

fn is_label_value(token: Token<'_>) -> Result<(), String> {
    match token {
        Token::Word(text) if !is_label(text) => Err(format!("`{text}` is no value of a label")),
        _ => Ok(()),
    }
}

fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_outer = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(is_inner)
        && is_outer(bytes.first())
        && is_outer(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an API server of 1.36 took, and what it answered 400; but it takes an empty one, too.
    #[test]
    fn what_an_api_server_understands_is_a_selector_and_nothing_else() {
        let long = format!("a={}", "x".repeat(64));
        for text in [
            "a",
            "!a",
            "a=b",
            "a==b",
            "a!=b",
            "a=",
            "a!=",
            "a = b , c",
            "a in (b)",
            "a in(b,c)",
            "a notin (b,)",
            "a in (,b)",
            "a in (,)",
            "a in (b,,c)",
            "a in (b,,,)",
            "a in ()",
            "a>1",
            "a<1",
            "x.io/a=b",
            "in in (in)",
            "a=b,a!=c",
            "A_b.C=1.2-3",
            "notin",
            "a\n=\tb",
            " a ",
            "a=in",
        ] {
            assert_eq!(read(text), Ok(()), "{text}");
        }
        for text in [
            "",
            " ",
            ",",
            "a,",
            ",a",
            "a,,b",
            "a=b c",
            "=b",
            "a in b",
            "a<-1",
            "a in (b",
            "a in (b,,)",
            "a in (,,)",
            "a in",
            "a>b",
            "a>",
            "a b",
            "!",
            "!a=b",
            "-a",
            "a=-b",
            "a=b/c",
            "X.io/a",
            "/a",
            "a/",
            "a/b/c",
            "a in (b c)",
            "a===b",
            "a=!b",
            "(a)",
            "ä=b",
            "a=ä",
            &long,
            "!!a",
            "a in (b))",
            "a=>1",
            "a in ((b)",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
