//! Fields of a head, as ranges over its buffer, and the names that we treat.
//!
//! A name is classified once, by its length and then one comparison; from then on a field is one
//! byte and a set of fields one word, so that writing a head onward costs a mask test per line.
//!
//! A name that becomes a guarded name when `_` is read as `-` shadows it: many applications fold
//! both to one variable, so such a field must never pass beside the one that we set.

/// A range of bytes in the buffer that a head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From byte `start` to before byte `end`. Heads are far shorter than 4 GiB.
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Where `part` lies in `buf`. `part` must be a slice of `buf`.
    pub(crate) fn within(buf: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr());
        debug_assert!(start + part.len() <= buf.len(), "not a part of this buffer");
        Self::new(start, start + part.len())
    }

    /// The bytes. `buf` must be the buffer that the head was parsed from.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end as usize]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as sent.
    pub name: Span,
    /// The value, outer blanks trimmed.
    pub value: Span,
    /// The whole line with its CRLF, for verbatim copies.
    pub line: Span,
    /// Which field it is, if it is one we treat.
    pub known: Known,
    /// Named by `Connection` (and not protected): not forwarded.
    pub nominated: bool,
    /// The name holds `_`.
    pub underscore: bool,
    /// The name is that of a [`KnownSet::GUARDED`] field but for `_` in place of `-`: never
    /// forwarded upstream.
    pub shadows: bool,
}

macro_rules! known_fields {
    ($($variant:ident $name:literal $doc:literal;)+) => {
        /// The fields that we treat apart, and the others.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Known {
            /// Any other field.
            #[default]
            Other,
            $(#[doc = $doc] $variant,)+
        }

        impl Known {
            /// Every treated field.
            pub const ALL: &'static [Known] = &[$(Known::$variant,)+];

            /// The name in lower case; empty for [`Known::Other`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Known::Other => "",
                    $(Known::$variant => $name,)+
                }
            }
        }
    };
}

known_fields! {
    Host "host" "`Host`";
    Connection "connection" "`Connection`";
    ContentLength "content-length" "`Content-Length`";
    TransferEncoding "transfer-encoding" "`Transfer-Encoding`";
    Te "te" "`TE`";
    Trailer "trailer" "`Trailer`";
    Upgrade "upgrade" "`Upgrade`";
    KeepAlive "keep-alive" "`Keep-Alive`";
    ProxyConnection "proxy-connection" "`Proxy-Connection`";
    ProxyAuthenticate "proxy-authenticate" "`Proxy-Authenticate`";
    ProxyAuthorization "proxy-authorization" "`Proxy-Authorization`";
    Proxy "proxy" "`Proxy`: read by CGI programs as a setting, so never passed on";
    Http2Settings "http2-settings" "`HTTP2-Settings`";
    Expect "expect" "`Expect`";
    Date "date" "`Date`";
    Server "server" "`Server`";
    Location "location" "`Location`";
    Refresh "refresh" "`Refresh`";
    Cookie "cookie" "`Cookie`";
    SetCookie "set-cookie" "`Set-Cookie`";
    ContentType "content-type" "`Content-Type`";
    ContentEncoding "content-encoding" "`Content-Encoding`";
    ContentRange "content-range" "`Content-Range`";
    CacheControl "cache-control" "`Cache-Control`";
    Vary "vary" "`Vary`";
    Range "range" "`Range`";
    Accept "accept" "`Accept`";
    AcceptEncoding "accept-encoding" "`Accept-Encoding`";
    UserAgent "user-agent" "`User-Agent`";
    Referer "referer" "`Referer`";
    Origin "origin" "`Origin`";
    Authorization "authorization" "`Authorization`";
    WwwAuthenticate "www-authenticate" "`WWW-Authenticate`";
    Forwarded "forwarded" "`Forwarded`";
    Via "via" "`Via`";
    MaxForwards "max-forwards" "`Max-Forwards`";
    XForwardedFor "x-forwarded-for" "`X-Forwarded-For`";
    XForwardedProto "x-forwarded-proto" "`X-Forwarded-Proto`";
    XForwardedHost "x-forwarded-host" "`X-Forwarded-Host`";
    XForwardedPort "x-forwarded-port" "`X-Forwarded-Port`";
    XForwardedPrefix "x-forwarded-prefix" "`X-Forwarded-Prefix`";
    XForwardedScheme "x-forwarded-scheme" "`X-Forwarded-Scheme`";
    XScheme "x-scheme" "`X-Scheme`";
    XRealIp "x-real-ip" "`X-Real-IP`";
    XRequestId "x-request-id" "`X-Request-ID`";
    XOriginalUri "x-original-uri" "`X-Original-URI`";
    XOriginalMethod "x-original-method" "`X-Original-Method`";
    XOriginalForwardedFor "x-original-forwarded-for" "`X-Original-Forwarded-For`";
    XAuthRequestRedirect "x-auth-request-redirect" "`X-Auth-Request-Redirect`";
    SslClientVerify "ssl-client-verify" "`Ssl-Client-Verify`";
    SslClientCert "ssl-client-cert" "`Ssl-Client-Cert`";
    SslClientSubjectDn "ssl-client-subject-dn" "`Ssl-Client-Subject-Dn`";
    SslClientIssuerDn "ssl-client-issuer-dn" "`Ssl-Client-Issuer-Dn`";
    Traceparent "traceparent" "`Traceparent`";
    Tracestate "tracestate" "`Tracestate`";
    StrictTransportSecurity "strict-transport-security" "`Strict-Transport-Security`";
    SecWebsocketKey "sec-websocket-key" "`Sec-WebSocket-Key`";
    SecWebsocketAccept "sec-websocket-accept" "`Sec-WebSocket-Accept`";
    SecWebsocketVersion "sec-websocket-version" "`Sec-WebSocket-Version`";
    SecWebsocketProtocol "sec-websocket-protocol" "`Sec-WebSocket-Protocol`";
    SecWebsocketExtensions "sec-websocket-extensions" "`Sec-WebSocket-Extensions`";
    XAccelBuffering "x-accel-buffering" "`X-Accel-Buffering`";
    GrpcStatus "grpc-status" "`Grpc-Status`";
}

/// The longest treated name.
const NAME_LENGTH_MAX: usize = 25;

/// Places of the table of names: so many that a multiplier without collisions is soon found.
const PLACES: usize = 512;

/// The treated names by [`place`]; unused places hold [`Known::Other`].
static BY_PLACE: [Known; PLACES] = table(MULTIPLIER);

/// The first odd multiplier by which no two names share a place: a name is found by one comparison.
const MULTIPLIER: u32 = {
    let mut multiplier = 0x9e37_79b1_u32;
    while !tells_apart(multiplier) {
        multiplier = multiplier.wrapping_add(2);
    }
    multiplier
};

/// Where a name stands, by its length and the bytes that tell names of one length apart, whatever
/// their case.
const fn place(name: &[u8], multiplier: u32) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let fourth_last = name[length.saturating_sub(4)];
    let bytes = [length as u8, name[0] | 0x20, name[length - 1] | 0x20, fourth_last | 0x20];
    (u32::from_le_bytes(bytes).wrapping_mul(multiplier) >> 23) as usize % PLACES
}

const fn table(multiplier: u32) -> [Known; PLACES] {
    let mut table = [Known::Other; PLACES];
    let mut index = 0;
    while index < Known::ALL.len() {
        let known = Known::ALL[index];
        table[place(known.name().as_bytes(), multiplier)] = known;
        index += 1;
    }
    table
}

const fn tells_apart(multiplier: u32) -> bool {
    let mut taken = [false; PLACES];
    let mut index = 0;
    while index < Known::ALL.len() {
        let place = place(Known::ALL[index].name().as_bytes(), multiplier);
        if taken[place] {
            return false;
        }
        taken[place] = true;
        index += 1;
    }
    true
}

impl Known {
    /// Which field a name is, whatever its case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let known = BY_PLACE[place(name, MULTIPLIER)];
        if known.name().as_bytes().eq_ignore_ascii_case(name) { known } else { Known::Other }
    }

    /// Which field a name would be if each `_` were `-`.
    #[must_use]
    pub fn of_folded(name: &[u8]) -> Self {
        let mut folded = [0; NAME_LENGTH_MAX];
        let Some(folded) = folded.get_mut(..name.len()) else { return Known::Other };
        for (to, from) in folded.iter_mut().zip(name) {
            *to = if *from == b'_' { b'-' } else { *from };
        }
        Known::of(folded)
    }
}

/// Whether two names are one to an application that reads `_` and `-` alike, whatever their case.
#[must_use]
pub fn same_folded_name(left: &[u8], right: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    left.len() == right.len() && left.iter().map(fold).eq(right.iter().map(fold))
}

/// A set of treated fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSet(u64);

impl KnownSet {
    /// No field.
    pub const EMPTY: KnownSet = KnownSet(0);

    /// Fields of one connection, never forwarded as they came (RFC 9110 section 7.6.1).
    pub const HOP_BY_HOP: KnownSet = KnownSet::of(&[
        Known::Connection,
        Known::TransferEncoding,
        Known::Te,
        Known::Trailer,
        Known::Upgrade,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::ProxyAuthenticate,
        Known::ProxyAuthorization,
        Known::Http2Settings,
    ]);

    /// Fields that the gateway sets, or that carry identity or framing: a name that differs from
    /// one of these by `_` in place of `-` is never forwarded upstream.
    pub const GUARDED: KnownSet = KnownSet::of(&[
        Known::Host,
        Known::ContentLength,
        Known::Proxy,
        Known::Expect,
        Known::Cookie,
        Known::Authorization,
        Known::Forwarded,
        Known::XForwardedFor,
        Known::XForwardedProto,
        Known::XForwardedHost,
        Known::XForwardedPort,
        Known::XForwardedPrefix,
        Known::XForwardedScheme,
        Known::XScheme,
        Known::XRealIp,
        Known::XRequestId,
        Known::XOriginalUri,
        Known::XOriginalMethod,
        Known::XOriginalForwardedFor,
        Known::XAuthRequestRedirect,
        Known::SslClientVerify,
        Known::SslClientCert,
        Known::SslClientSubjectDn,
        Known::SslClientIssuerDn,
        Known::Traceparent,
        Known::Tracestate,
    ])
    .union(KnownSet::HOP_BY_HOP);

    /// These fields.
    #[must_use]
    pub const fn of(fields: &[Known]) -> Self {
        let mut set = Self::EMPTY;
        let mut index = 0;
        while index < fields.len() {
            set = set.with(fields[index]);
            index += 1;
        }
        set
    }

    /// The set and this field.
    #[must_use]
    pub const fn with(self, known: Known) -> Self {
        Self(self.0 | 1 << known as u8)
    }

    /// Whether the field is in the set.
    #[must_use]
    pub const fn contains(self, known: Known) -> bool {
        self.0 & 1 << known as u8 != 0
    }

    /// The fields of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The fields that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The set without the fields of the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_no_other() {
        for known in Known::ALL {
            let name = known.name();
            assert_eq!(Known::of(name.as_bytes()), *known);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), *known);
            assert_eq!(Known::of(format!("{name}x").as_bytes()), Known::Other);
            assert_eq!(Known::of(name.replace('-', "_").as_bytes()) == *known, !name.contains('-'));
            assert_eq!(Known::of_folded(name.replace('-', "_").as_bytes()), *known);
        }
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(&[b'a'; 300]), Known::Other);
        assert_eq!(Known::of_folded(&[b'_'; 300]), Known::Other);
    }

    #[test]
    fn the_set_fits_one_word() {
        assert!(Known::ALL.len() < 64);
        let all = KnownSet::of(Known::ALL);
        assert!(Known::ALL.iter().all(|known| all.contains(*known)));
        assert!(!all.contains(Known::Other));
    }

    #[test]
    fn folded_names_are_compared_without_regard_to_case() {
        assert!(same_folded_name(b"X_Auth-User", b"x-auth_user"));
        assert!(!same_folded_name(b"X-Auth", b"X-Auth-User"));
    }
}
