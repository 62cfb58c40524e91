//! What should happen to a request: pure, synchronous, the only place that answers it.
//!
//! The proxy decides and then performs; `explain` decides and prints. The order of the steps is the
//! order of the code: path, host and route, body size, closed routes, redirects, HTTPS, endpoints.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Hostname, PathForm, Redirect, RedirectTarget};
use routing::{Found, Lookup, RequestHead as Matched};
use wire::{Authority, Method, Refusal, Target};

use crate::snapshot::{
    CompiledAction, CompiledRoute, CompiledUpstream, ListenerFacts, Snapshot, Split,
};

/// What is known about a request besides its head.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The listener it came through.
    pub listener: &'a ListenerFacts,
    /// The client's address after trusted proxies.
    pub client: IpAddr,
    /// Whether the client spoke HTTPS, to us or to a trusted proxy.
    pub is_https: bool,
    /// How long a body may be where the route does not say.
    pub body_bytes_max: Option<u64>,
}

/// Whether a request asks how the gateway itself is, which no route answers.
#[must_use]
pub fn asks_for_health(health_path: &str, method: Method, path: &[u8]) -> bool {
    matches!(method, Method::Get | Method::Head) && path == health_path.as_bytes()
}

/// What of a request's head is looked at.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: Method,
    /// The form of the target.
    pub target: Target,
    /// `Host` or `:authority`; absent in HTTP/1.0 without Host.
    pub authority: Option<&'a [u8]>,
    /// The path as sent.
    pub path: &'a [u8],
    /// The query with its `?`, or empty.
    pub query: &'a [u8],
    /// `Content-Length`, where one was sent.
    pub declared_length: Option<u64>,
}

/// Memory that decisions are made in, reused from request to request.
#[derive(Debug, Default)]
pub struct Scratch {
    host: String,
    /// Path and query that the upstream sees, where they differ from what was sent.
    pub(crate) forward: String,
}

/// What was found for a request.
#[derive(Debug)]
pub struct Decision<'s> {
    /// The route that matched.
    pub route: Option<&'s Arc<CompiledRoute>>,
    /// Without a route: the host block that covers the host, if there is one.
    pub nearest: Option<&'s Hostname>,
    /// What happens.
    pub verdict: Verdict<'s>,
}

impl<'s> Decision<'s> {
    fn of(route: Option<&'s Arc<CompiledRoute>>, verdict: Verdict<'s>) -> Self {
        Self { route, nearest: None, verdict }
    }
}

/// What happens to a request.
#[derive(Debug)]
pub enum Verdict<'s> {
    /// It goes to one of these backends.
    Forward {
        /// The weighted backends.
        split: SplitView<'s>,
        /// Path and query differ from what was sent; the new ones are in the scratch.
        rewritten: bool,
    },
    /// It is answered with a Location.
    Redirect {
        /// 3xx.
        status: u16,
        /// The Location.
        location: String,
        /// Why: `https-redirect` or `redirect`.
        reason: &'static str,
    },
    /// It is answered here.
    Respond {
        /// The status.
        status: u16,
        /// The stable reason.
        reason: Cow<'s, str>,
    },
    /// It is not a request that is served.
    Refuse(Refusal),
}

/// Backends of a decision, with their upstreams.
#[derive(Clone, Copy, Debug)]
pub struct SplitView<'s> {
    split: &'s Split,
    snapshot: &'s Snapshot,
}

impl<'s> SplitView<'s> {
    /// Draws one; `random` is any number.
    #[must_use]
    pub fn draw(&self, random: u32) -> Option<&'s Arc<CompiledUpstream>> {
        let point = if self.split.total <= 1 { 0 } else { random % self.split.total };
        self.snapshot.upstream(self.split.at(point)?)
    }

    /// All of them with their weights.
    pub fn upstreams(&self) -> impl Iterator<Item = (&'s Arc<CompiledUpstream>, u32)> + use<'s> {
        let snapshot = self.snapshot;
        self.split
            .backends
            .iter()
            .filter_map(move |(slot, weight)| Some((snapshot.upstream(*slot)?, *weight)))
    }
}

/// One step that was decided, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which: `path`, `route`, `body-limit`, `closed`, `redirect`, `https-redirect`, `rewrite`,
    /// `endpoints`.
    pub name: &'static str,
    /// What it found, in a sentence.
    pub finding: String,
}

/// Hears what was decided, step by step. The proxy's is `()`, which costs nothing.
pub trait Trace {
    /// One step was decided.
    fn step(&mut self, name: &'static str, finding: impl FnOnce() -> String);
}

impl Trace for () {
    fn step(&mut self, _: &'static str, _: impl FnOnce() -> String) {}
}

impl Trace for Vec<Step> {
    fn step(&mut self, name: &'static str, finding: impl FnOnce() -> String) {
        self.push(Step { name, finding: finding() });
    }
}

/// Decides. Pure: the same snapshot and request give the same decision.
pub fn decide<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    request: &RequestLine<'_>,
    scratch: &mut Scratch,
    trace: &mut impl Trace,
) -> Decision<'s> {
    let matched = match Paths::of(request, &mut scratch.host) {
        Ok(paths) => paths,
        Err(refusal) => return Decision::of(None, Verdict::Refuse(refusal)),
    };
    trace.step("path", || matched.describe(request));
    let head = matched.head();
    let nearest = match snapshot.hosts.lookup(&head) {
        Lookup::Route(found) => {
            let route = found.route;
            trace.step("route", || format!("{} {}", found.host, found.path));
            if is_ambiguous(snapshot, &found, &matched) {
                let reason = Cow::Borrowed("ambiguous-path");
                return Decision::of(Some(route), Verdict::Respond { status: 400, reason });
            }
            let forward = &mut scratch.forward;
            let verdict = filters(snapshot, facts, request, &found, &matched, forward, trace);
            return Decision::of(Some(route), verdict);
        }
        Lookup::NoHost => None,
        Lookup::NoPath { nearest } => Some(nearest),
    };
    trace.step("route", || "none matches".to_owned());
    let (status, reason) = match request.target {
        Target::Asterisk => (400, "asterisk-without-route"),
        Target::Origin => (404, "no-route"),
    };
    let verdict = Verdict::Respond { status, reason: Cow::Borrowed(reason) };
    Decision { route: None, nearest, verdict }
}

/// The filters of a route in their order, and its action.
fn filters<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    request: &RequestLine<'_>,
    found: &Found<'s, Arc<CompiledRoute>>,
    paths: &Paths<'_>,
    forward: &mut String,
    trace: &mut impl Trace,
) -> Verdict<'s> {
    let route: &'s CompiledRoute = found.route;
    let policy = &route.route.policy;
    let allowed = policy.body_limit.map(|limit| limit.bytes_max).or(facts.body_bytes_max);
    if let (Some(allowed), Some(length)) = (allowed, request.declared_length)
        && length > allowed
    {
        trace.step("body-limit", || format!("{length} bytes, {allowed} allowed"));
        return Verdict::Respond { status: 413, reason: Cow::Borrowed("body-too-large") };
    }
    if let Some(closed) = &policy.closed {
        trace.step("closed", || format!("{}: {}", closed.code, closed.field));
        return Verdict::Respond { status: 503, reason: Cow::Borrowed(&closed.code) };
    }
    if let CompiledAction::Redirect(redirect) = &route.action {
        let location = location(redirect, facts, request);
        trace.step("redirect", || format!("{} {location}", redirect.status));
        return Verdict::Redirect { status: redirect.status, location, reason: "redirect" };
    }
    if let Some(redirect) = route.https_redirect
        && !facts.is_https
    {
        if host_text(request).is_empty() {
            // HTTP/1.0 without Host: there is no URL to name.
            trace.step("https-redirect", || "the request names no host".to_owned());
            return Verdict::Refuse(Refusal::HostMissing);
        }
        let location = https_location(facts, request, redirect.strip_bare_slash);
        trace.step("https-redirect", || format!("{} {location}", redirect.status));
        let status = redirect.status;
        return Verdict::Redirect { status, location, reason: "https-redirect" };
    }
    let split = match &route.action {
        CompiledAction::Forward(split) => split,
        CompiledAction::Respond { status, reason } => {
            trace.step("respond", || format!("{status} {reason}"));
            return Verdict::Respond { status: *status, reason: Cow::Borrowed(reason) };
        }
        CompiledAction::Redirect(_) => unreachable!("answered above"),
    };
    let view = SplitView { split, snapshot };
    if view.upstreams().all(|(upstream, weight)| weight == 0 || upstream.endpoints.is_empty()) {
        trace.step("endpoints", || "none".to_owned());
        return Verdict::Respond { status: 503, reason: Cow::Borrowed("no-endpoint") };
    }
    match forward_path(found, request, paths, forward) {
        Ok(rewritten) => {
            if rewritten {
                trace.step("rewrite", || forward.clone());
            }
            Verdict::Forward { split: view, rewritten }
        }
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// Host and path of a request in the forms that are matched.
struct Paths<'r> {
    host: Option<&'r str>,
    canonical: Cow<'r, str>,
    decoded: Cow<'r, [u8]>,
}

impl<'r> Paths<'r> {
    fn of(request: &RequestLine<'r>, host: &'r mut String) -> Result<Self, Refusal> {
        let host = match request.authority {
            Some(text) if !text.is_empty() => Some(Authority::parse(text)?.normalized(host)),
            _ => None,
        };
        if request.target == Target::Asterisk {
            // The server as a whole: host-less rules that cover everything, and no Exact `/`.
            let (host, whole) = (None, "//");
            return Ok(Self { host, canonical: whole.into(), decoded: whole.as_bytes().into() });
        }
        let path = if request.path.is_empty() { b"/" } else { request.path };
        Ok(Self { host, canonical: wire::canonical(path)?, decoded: wire::decoded(path)? })
    }

    fn head(&self) -> Matched<'_> {
        Matched { host: self.host, canonical: &self.canonical, decoded: &self.decoded }
    }

    fn describe(&self, request: &RequestLine<'_>) -> String {
        let mut text = format!("host {} path {}", self.host.unwrap_or("(none)"), self.canonical);
        if *self.canonical.as_bytes() != *request.path {
            let _ = write!(text, " (sent as {})", String::from_utf8_lossy(request.path));
        }
        text
    }
}

/// Whether the decoded and the canonical form of a path choose routes that admit different
/// requests: then nobody can say which policy was meant.
fn is_ambiguous(
    snapshot: &Snapshot,
    found: &Found<'_, Arc<CompiledRoute>>,
    paths: &Paths<'_>,
) -> bool {
    if found.path_form == PathForm::Canonical || *paths.decoded == *paths.canonical.as_bytes() {
        return false;
    }
    let other = Matched { decoded: paths.canonical.as_bytes(), ..paths.head() };
    match snapshot.hosts.lookup(&other) {
        Lookup::Route(other) => other.route.access != found.route.access,
        Lookup::NoHost | Lookup::NoPath { .. } => false,
    }
}

/// Fills `forward` and answers true where the upstream sees another path than was sent.
fn forward_path(
    found: &Found<'_, Arc<CompiledRoute>>,
    request: &RequestLine<'_>,
    paths: &Paths<'_>,
    forward: &mut String,
) -> Result<bool, Refusal> {
    if request.target == Target::Asterisk {
        return Ok(false);
    }
    forward.clear();
    if let Some(rewrite) = &found.route.route.policy.rewrite {
        let mut raw = String::new();
        found.rewrite(&paths.head(), &rewrite.target, &mut raw);
        let escaped = escape_path(&raw);
        forward.push_str(&wire::canonical(escaped.as_bytes())?);
    } else {
        let as_sent = match found.path_form {
            PathForm::Canonical => matches!(paths.canonical, Cow::Borrowed(_)),
            PathForm::Decoded => !has_dot_segment(request.path),
        };
        if as_sent && !request.path.is_empty() {
            return Ok(false);
        }
        forward.push_str(&paths.canonical);
    }
    // A query is forwarded as sent; the parser admitted ASCII alone.
    forward.push_str(&String::from_utf8_lossy(request.query));
    Ok(true)
}

/// Writes a rewritten path as a request target: what a path may not hold is percent-encoded.
fn escape_path(raw: &str) -> Cow<'_, str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
    if raw.starts_with('/') && raw.bytes().all(fits) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len() + 8);
    if !raw.starts_with('/') {
        out.push('/');
    }
    for byte in raw.bytes() {
        if fits(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// Whether a segment of a path as sent is `.` or `..`, percent-encoded or not.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| {
        let mut dots = 0;
        let mut rest = segment;
        while let Some((&first, tail)) = rest.split_first() {
            rest = match first {
                b'.' => tail,
                b'%' if tail.len() >= 2 && tail[..2].eq_ignore_ascii_case(b"2e") => &tail[2..],
                _ => return false,
            };
            dots += 1;
        }
        dots == 1 || dots == 2
    })
}

fn target_text(request: &RequestLine<'_>) -> String {
    let path = if request.path.is_empty() { b"/" } else { request.path };
    let mut text = String::from_utf8_lossy(path).into_owned();
    text.push_str(&String::from_utf8_lossy(request.query));
    text
}

/// The host of a request as it was sent, without its port.
fn host_text<'a>(request: &RequestLine<'a>) -> &'a str {
    request
        .authority
        .and_then(|text| Authority::parse(text).ok())
        .map_or("", |authority| authority.host)
}

fn https_location(facts: &Facts<'_>, request: &RequestLine<'_>, strip_bare_slash: bool) -> String {
    let mut out = format!("https://{}", host_text(request));
    let port = facts.listener.redirect_port.unwrap_or(443);
    if port != 443 {
        let _ = write!(out, ":{port}");
    }
    let target = target_text(request);
    if !(strip_bare_slash && target == "/") {
        out.push_str(&target);
    }
    out
}

fn location(redirect: &Redirect, facts: &Facts<'_>, request: &RequestLine<'_>) -> String {
    match &redirect.target {
        RedirectTarget::Url(url) => url.to_string(),
        RedirectTarget::Path(path) if host_text(request).is_empty() => {
            format!("{path}{}", String::from_utf8_lossy(request.query))
        }
        RedirectTarget::Path(path) => {
            let (scheme, usual) = if facts.is_https { ("https", 443) } else { ("http", 80) };
            let mut out = format!("{scheme}://{}", host_text(request));
            let port = if facts.is_https == facts.listener.is_tls() {
                facts.listener.public_port
            } else {
                usual
            };
            if port != usual {
                let _ = write!(out, ":{port}");
            }
            out.push_str(path);
            out.push_str(&String::from_utf8_lossy(request.query));
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_seen_encoded_too() {
        for path in ["/a/../b", "/.", "/%2e%2E/", "/a/.%2e"] {
            assert!(has_dot_segment(path.as_bytes()), "{path}");
        }
        for path in ["/a/...", "/a.b", "/.well-known/x", "/%2f"] {
            assert!(!has_dot_segment(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_rewritten_path_is_a_target_again() {
        assert_eq!(escape_path("/a b"), "/a%20b");
        assert_eq!(escape_path("/a%20b"), "/a%20b");
        assert_eq!(escape_path("x?y"), "/x%3Fy");
    }
}
