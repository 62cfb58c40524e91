//! The lines of a `http` block: requests, and what they are answered.

use std::fmt::Write as _;

/// A request and its expected answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Whether it comes over TLS.
    pub is_tls: bool,
    /// `Host`; absent where only a path is given.
    pub authority: Option<String>,
    /// Path and query as sent.
    pub target: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2`.
    pub version: String,
    /// The server name sent in the TLS handshake; the host when absent.
    pub server_name: Option<String>,
    /// Further fields.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// What is answered.
    pub expectation: Expectation,
    /// Where it stands in the page.
    pub line: usize,
}

/// What a request is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The status.
    pub status: u16,
    /// Who answers.
    pub served: Served,
    /// Further claims.
    pub items: Vec<Item>,
}

/// Which endpoints answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// Not said, or nobody: the gateway answers itself.
    #[default]
    Unsaid,
    /// One of these.
    OneOf(Vec<String>),
    /// Each of these in turn, if asked often enough, and no other.
    All(Vec<String>),
}

/// One claim about an answer, or about what the endpoint saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The response has a field with this value.
    Field(String, String),
    /// The response has a field, whatever its value.
    HasField(String),
    /// The response has no such field.
    NoField(String),
    /// The endpoint saw a field with this value.
    Seen(String, String),
    /// The endpoint saw no such field.
    NotSeen(String),
    /// The endpoint saw this path.
    Path(String),
    /// The endpoint saw this query.
    Query(String),
    /// The endpoint saw this host.
    Host(String),
    /// The endpoint was spoken to in this protocol: `HTTP/1.1`, `HTTP/2`.
    Protocol(String),
    /// Whether the endpoint was spoken to over TLS.
    Tls(bool),
    /// The endpoint was asked for this name in the handshake; `none` for no name.
    Sni(String),
    /// The body of the answer holds this text.
    Says(String),
    /// The certificate shown is for this name; `default` is none of the page's.
    Certificate(String),
    /// The gateway answered for this reason.
    Reason(String),
}

/// Reads the lines of a block that begins at `first`.
pub(super) fn parse_requests(text: &str, first: usize) -> Result<Vec<Request>, String> {
    let mut requests: Vec<Request> = Vec::new();
    let mut is_open = false;
    for (offset, line) in text.lines().enumerate() {
        let at = first + offset;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let in_page = |why: String| format!("{at}: {why}");
        if !line.starts_with(' ') {
            unanswered(is_open, &requests)?;
            let (head, answer) = split_answer(line);
            let mut request = request_line(head.trim(), at).map_err(in_page)?;
            is_open = answer.is_none();
            if let Some(answer) = answer {
                request.expectation = expectation(answer).map_err(in_page)?;
            }
            requests.push(request);
            continue;
        }
        let Some(request) = requests.last_mut().filter(|_| is_open) else {
            return Err(in_page("this line belongs to no request".to_owned()));
        };
        let detail = line.trim();
        if let Some(answer) = split_answer(detail).1 {
            request.expectation = expectation(answer).map_err(in_page)?;
            is_open = false;
        } else if let Some(body) = detail.strip_prefix("< ") {
            request.body.push_str(body);
        } else if let Some(count) = detail.strip_prefix("@body ") {
            let count = count.trim().parse().map_err(|_| in_page("no number".to_owned()))?;
            request.body = "x".repeat(count);
        } else if let Some(name) = detail.strip_prefix("@sni ") {
            request.server_name = Some(name.trim().to_owned());
        } else if let Some((name, value)) = detail.split_once(':') {
            request.fields.push((name.trim().to_owned(), value.trim().to_owned()));
        } else {
            return Err(in_page(format!("`{detail}` is no field, body, or answer")));
        }
    }
    unanswered(is_open, &requests)?;
    Ok(requests)
}

fn unanswered(is_open: bool, requests: &[Request]) -> Result<(), String> {
    match requests.last() {
        Some(request) if is_open => Err(format!("{}: no answer is expected", request.line)),
        _ => Ok(()),
    }
}

/// What stands before and after the arrow.
fn split_answer(line: &str) -> (&str, Option<&str>) {
    for arrow in ["→", " -> "] {
        if let Some((head, answer)) = line.split_once(arrow) {
            return (head, Some(answer.trim()));
        }
    }
    (line, None)
}

fn request_line(text: &str, line: usize) -> Result<Request, String> {
    let mut words = text.split_whitespace();
    let (Some(method), Some(url)) = (words.next(), words.next()) else {
        return Err(format!("`{text}` is no request: METHOD URL [VERSION]"));
    };
    let version = words.next().unwrap_or("HTTP/1.1");
    if !["HTTP/1.0", "HTTP/1.1", "HTTP/2"].contains(&version) || words.next().is_some() {
        return Err(format!("`{text}` is no request: METHOD URL [VERSION]"));
    }
    let (is_tls, rest) = if let Some(rest) = url.strip_prefix("https://") {
        (true, Some(rest))
    } else {
        (false, url.strip_prefix("http://"))
    };
    let (authority, target) = match rest {
        None => (None, url.to_owned()),
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, target) = rest.split_at(end);
            let slash = if target.starts_with('/') { "" } else { "/" };
            (Some(authority.to_owned()), format!("{slash}{target}"))
        }
    };
    Ok(Request {
        method: method.to_owned(),
        is_tls,
        authority,
        target,
        version: version.to_owned(),
        server_name: None,
        fields: Vec::new(),
        body: String::new(),
        expectation: Expectation::default(),
        line,
    })
}

fn expectation(text: &str) -> Result<Expectation, String> {
    let mut items = claims(text).into_iter();
    let first = items.next().unwrap_or_default();
    let first = first.as_str();
    let (status, served) = first.split_once(' ').unwrap_or((first, ""));
    let status = status.parse().map_err(|_| format!("`{first}` begins with no status"))?;
    let names = |separator| served.split(separator).map(|name| name.trim().to_owned()).collect();
    let served = match served {
        "" => Served::Unsaid,
        _ if served.contains('&') => Served::All(names('&')),
        _ => Served::OneOf(names('|')),
    };
    let items = items.map(|text| item(text.trim())).collect::<Result<_, _>>()?;
    Ok(Expectation { status, served, items })
}

/// Splits at commas; a piece that begins no claim belongs to the value before it.
fn claims(text: &str) -> Vec<String> {
    let mut claims: Vec<String> = Vec::new();
    for piece in text.split(", ") {
        let is_claim = ["no ", "has ", "not seen "].iter().any(|start| piece.starts_with(start))
            || piece.split_once(": ").is_some_and(|(name, _)| !name.is_empty());
        match claims.last_mut() {
            Some(last) if !is_claim => {
                last.push_str(", ");
                last.push_str(piece);
            }
            _ => claims.push(piece.to_owned()),
        }
    }
    claims
}

fn item(text: &str) -> Result<Item, String> {
    if let Some(name) = text.strip_prefix("not seen ") {
        return Ok(Item::NotSeen(name.trim().to_owned()));
    }
    if let Some(name) = text.strip_prefix("has ") {
        return Ok(Item::HasField(name.trim().to_owned()));
    }
    if let Some(name) = text.strip_prefix("no ") {
        return Ok(Item::NoField(name.trim().to_owned()));
    }
    let Some((name, value)) = text.split_once(':') else {
        return Err(format!("`{text}` is no claim: `name: value`, `seen name: value`, `no name`"));
    };
    let (name, value) = (name.trim(), value.trim().to_owned());
    if let Some(name) = name.strip_prefix("seen ") {
        return Ok(Item::Seen(name.trim().to_owned(), value));
    }
    Ok(match name {
        "path" => Item::Path(value),
        "query" => Item::Query(value),
        "host" => Item::Host(value),
        "protocol" => Item::Protocol(value),
        "tls" => Item::Tls(value == "true"),
        "sni" => Item::Sni(value),
        "says" => Item::Says(value),
        "certificate" => Item::Certificate(value),
        "reason" => Item::Reason(value),
        _ => Item::Field(name.to_owned(), value),
    })
}

impl Request {
    /// The request in a line, for failures.
    pub fn describe(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        match &self.authority {
            Some(host) => format!("{} {scheme}://{host}{}", self.method, self.target),
            None => format!("{} {}", self.method, self.target),
        }
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        let authority = self.authority.as_deref().unwrap_or_default();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// The request as HTTP/1 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let version = if self.version == "HTTP/2" { "HTTP/1.1" } else { &self.version };
        let mut head = format!("{} {} {version}\r\n", self.method, self.target);
        if let Some(authority) = &self.authority {
            let _ = write!(head, "Host: {authority}\r\n");
        }
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        // Answers made by the gateway say their reason to clients that read JSON.
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            head.push_str("Accept: application/json\r\n");
        }
        if !self.body.is_empty() {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        head.push_str(&self.body);
        head.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_request_and_its_answer() {
        let text =
            "GET http://a.test:80/x?y → 200 web, path: /z, seen x-real-ip: 1.2.3.4, no etag\n";
        let request = &parse_requests(text, 1).unwrap()[0];
        assert_eq!((request.host(), request.target.as_str()), ("a.test", "/x?y"));
        assert_eq!(request.expectation.served, Served::OneOf(vec!["web".into()]));
        assert_eq!(
            request.expectation.items,
            [
                Item::Path("/z".into()),
                Item::Seen("x-real-ip".into(), "1.2.3.4".into()),
                Item::NoField("etag".into()),
            ]
        );
    }

    #[test]
    fn details_stand_indented_below_the_line() {
        let text = "POST https://a\n  @sni b\n  x-y: z\n  < body\n  → 308, location: https://a/\n\
                    GET /p HTTP/1.0 → 404\n";
        let requests = parse_requests(text, 1).unwrap();
        assert_eq!(requests[0].target, "/");
        assert_eq!(requests[0].server_name.as_deref(), Some("b"));
        assert_eq!((requests[0].fields.len(), requests[0].body.as_str()), (1, "body"));
        assert_eq!(
            requests[0].expectation.items,
            [Item::Field("location".into(), "https://a/".into())]
        );
        assert_eq!((&requests[1].authority, requests[1].expectation.status), (&None, 404));
    }

    #[test]
    fn a_request_without_an_answer_is_an_error() {
        let error = parse_requests("GET http://a/\nGET http://b/ → 200\n", 5).unwrap_err();
        assert!(error.starts_with("5: "), "{error}");
    }
}
