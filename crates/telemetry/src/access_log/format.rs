//! A record as a line: JSON or text. Hand-written, since it runs once per request.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::AccessRecord;
use super::timestamp::Timestamp;
use crate::escape;

/// The version of the JSON schema.
const SCHEMA_VERSION: u64 = 1;

/// Room for a record of usual length, so that it is made once.
const RECORD_BYTES: usize = 1024;

/// A field's name with all that stands between the value before and its own, in each format and
/// for bare and for quoted values: one copy instead of four.
struct Key {
    json: &'static str,
    json_quoted: &'static str,
    text: &'static str,
    text_quoted: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        &Key {
            json: concat!(",\"", $name, "\":"),
            json_quoted: concat!(",\"", $name, "\":\""),
            text: concat!(" ", $name, "="),
            text_quoted: concat!(" ", $name, "=\""),
        }
    };
}

/// How one format writes a field. Keys are ours and need no escaping.
trait Fields {
    fn number(&mut self, key: &'static Key, value: u64);
    fn address(&mut self, key: &'static Key, value: SocketAddr);
    /// One of a fixed set of words, or hex digits.
    fn word(&mut self, key: &'static Key, value: &str);
    /// Anything at all.
    fn string(&mut self, key: &'static Key, value: &[u8]);

    fn string_unless_empty(&mut self, key: &'static Key, value: &[u8]) {
        if !value.is_empty() {
            self.string(key, value);
        }
    }

    fn word_unless_empty(&mut self, key: &'static Key, value: &str) {
        if !value.is_empty() {
            self.word(key, value);
        }
    }
}

/// Appends the record as a JSON object and a line feed.
pub(crate) fn json(out: &mut Vec<u8>, stamp: &mut Timestamp, record: &AccessRecord<'_>) {
    out.reserve(RECORD_BYTES);
    out.extend_from_slice(b"{\"v\":");
    integer(out, SCHEMA_VERSION);
    out.extend_from_slice(b",\"time\":\"");
    stamp.write(out, record.time_us);
    out.extend_from_slice(b"\",\"client\":\"");
    ip(out, record.client);
    out.push(b'"');
    let mut fields = Json(out);
    fields.string(key!("method"), record.method);
    fields.string(key!("path"), record.path);
    if let Some(query) = record.query {
        fields.string(key!("query"), query);
    }
    fields.word(key!("protocol"), record.protocol.name());
    fields.number(key!("status"), u64::from(record.status));
    common(&mut fields, record);
    out.extend_from_slice(b"}\n");
}

/// Appends the record as a line of text.
pub(crate) fn text(out: &mut Vec<u8>, stamp: &mut Timestamp, record: &AccessRecord<'_>) {
    out.reserve(RECORD_BYTES);
    stamp.write(out, record.time_us);
    out.push(b' ');
    ip(out, record.client);
    out.extend_from_slice(b" \"");
    escape::text(out, record.method);
    out.push(b' ');
    escape::text(out, record.path);
    if let Some(query) = record.query {
        out.push(b'?');
        escape::text(out, query);
    }
    out.push(b' ');
    out.extend_from_slice(record.protocol.name().as_bytes());
    out.extend_from_slice(b"\" ");
    integer(out, u64::from(record.status));
    common(&mut Text(out), record);
    out.push(b'\n');
}

/// The fields that both formats write alike.
fn common(fields: &mut impl Fields, record: &AccessRecord<'_>) {
    if record.peer.ip() != record.client {
        fields.address(key!("peer"), record.peer);
    }
    fields.word(key!("scheme"), if record.tls.is_some() { "https" } else { "http" });
    fields.string_unless_empty(key!("host"), record.host);
    fields.string_unless_empty(key!("reason"), record.reason.as_bytes());
    fields.string_unless_empty(key!("detail"), record.detail.as_bytes());
    fields.number(key!("bytes_in"), record.bytes_in);
    fields.number(key!("bytes_out"), record.bytes_out);
    fields.number(key!("duration_us"), record.duration_us);
    fields.string_unless_empty(key!("namespace"), record.namespace.as_bytes());
    fields.string_unless_empty(key!("ingress"), record.ingress.as_bytes());
    fields.string_unless_empty(key!("route"), record.route.as_bytes());
    fields.string_unless_empty(key!("service"), record.service.as_bytes());
    if let Some(upstream) = &record.upstream {
        fields.address(key!("upstream"), upstream.address);
        // Absent where it never answered.
        if upstream.status != 0 {
            fields.number(key!("upstream_status"), u64::from(upstream.status));
            fields.number(key!("upstream_duration_us"), upstream.duration_us);
        }
        fields.number(key!("attempts"), u64::from(upstream.attempts));
    }
    fields.string_unless_empty(key!("request_id"), record.request_id);
    fields.word_unless_empty(key!("generation"), record.generation);
    if let Some(tls) = &record.tls {
        fields.word(key!("tls"), tls.version);
        fields.string_unless_empty(key!("sni"), tls.sni.as_bytes());
    }
    fields.string_unless_empty(key!("user_agent"), record.user_agent);
    fields.string_unless_empty(key!("referer"), record.referer);
}

struct Json<'o>(&'o mut Vec<u8>);

impl Fields for Json<'_> {
    #[inline]
    fn number(&mut self, key: &'static Key, value: u64) {
        self.0.extend_from_slice(key.json.as_bytes());
        integer(self.0, value);
    }

    #[inline]
    fn address(&mut self, key: &'static Key, value: SocketAddr) {
        self.0.extend_from_slice(key.json_quoted.as_bytes());
        socket(self.0, value);
        self.0.push(b'"');
    }

    #[inline]
    fn word(&mut self, key: &'static Key, value: &str) {
        self.string(key, value.as_bytes());
    }

    #[inline]
    fn string(&mut self, key: &'static Key, value: &[u8]) {
        self.0.extend_from_slice(key.json_quoted.as_bytes());
        escape::json(self.0, value);
        self.0.push(b'"');
    }
}

struct Text<'o>(&'o mut Vec<u8>);

impl Fields for Text<'_> {
    #[inline]
    fn number(&mut self, key: &'static Key, value: u64) {
        self.0.extend_from_slice(key.text.as_bytes());
        integer(self.0, value);
    }

    #[inline]
    fn address(&mut self, key: &'static Key, value: SocketAddr) {
        self.0.extend_from_slice(key.text.as_bytes());
        socket(self.0, value);
    }

    #[inline]
    fn word(&mut self, key: &'static Key, value: &str) {
        self.0.extend_from_slice(key.text.as_bytes());
        // A word has nothing to escape; should one ever have, its line still holds together.
        escape::text(self.0, value.as_bytes());
    }

    #[inline]
    fn string(&mut self, key: &'static Key, value: &[u8]) {
        self.0.extend_from_slice(key.text_quoted.as_bytes());
        escape::text(self.0, value);
        self.0.push(b'"');
    }
}

#[inline]
fn integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => ipv4(out, address),
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

#[inline]
fn ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let [a, b, c, d] = address.octets();
    for octet in [a, b, c] {
        integer(out, u64::from(octet));
        out.push(b'.');
    }
    integer(out, u64::from(d));
}

#[inline]
fn socket(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            ipv4(out, *address.ip());
            out.push(b':');
            integer(out, u64::from(address.port()));
        }
        SocketAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, TlsRecord, UpstreamRecord};

    fn full() -> AccessRecord<'static> {
        AccessRecord {
            client: "2001:db8::7".parse().unwrap(),
            method: b"GET",
            host: b"shop.test",
            path: b"/cart",
            query: Some(b"item=1"),
            protocol: Protocol::Http2,
            status: 200,
            bytes_in: 120,
            bytes_out: 4_096,
            duration_us: 1_234,
            upstream: Some(UpstreamRecord {
                address: "10.0.0.9:8080".parse().unwrap(),
                status: 200,
                duration_us: 1_100,
                attempts: 2,
            }),
            namespace: "shop",
            ingress: "front",
            route: "/",
            service: "shop/cart:80",
            request_id: b"6f1d",
            generation: "00000000deadbeef",
            tls: Some(TlsRecord { version: "1.3", sni: "shop.test" }),
            user_agent: b"curl/8",
            referer: b"https://shop.test/",
            ..AccessRecord::new(1_709_210_096_000_789, "10.1.2.3:5000".parse().unwrap())
        }
    }

    fn json_of(record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        json(&mut out, &mut Timestamp::default(), record);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn text_of(record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        text(&mut out, &mut Timestamp::default(), record);
        String::from_utf8(out).expect("text is ASCII")
    }

    #[test]
    fn every_field_has_its_promised_json_name() {
        assert_eq!(
            json_of(&full()),
            concat!(
                r#"{"v":1,"time":"2024-02-29T12:34:56.000789Z","client":"2001:db8::7","#,
                r#""method":"GET","path":"/cart","query":"item=1","protocol":"HTTP/2","#,
                r#""status":200,"#,
                r#""peer":"10.1.2.3:5000","scheme":"https","host":"shop.test","bytes_in":120,"#,
                r#""bytes_out":4096,"duration_us":1234,"namespace":"shop","ingress":"front","#,
                r#""route":"/","service":"shop/cart:80","upstream":"10.0.0.9:8080","#,
                r#""upstream_status":200,"upstream_duration_us":1100,"attempts":2,"#,
                r#""request_id":"6f1d","generation":"00000000deadbeef","tls":"1.3","#,
                r#""sni":"shop.test","user_agent":"curl/8","referer":"https://shop.test/"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_text_line_is_positions_and_then_pairs() {
        assert_eq!(
            text_of(&full()),
            concat!(
                r#"2024-02-29T12:34:56.000789Z 2001:db8::7 "GET /cart?item=1 HTTP/2" 200 "#,
                r#"peer=10.1.2.3:5000 scheme=https host="shop.test" bytes_in=120 bytes_out=4096 "#,
                r#"duration_us=1234 namespace="shop" ingress="front" route="/" "#,
                r#"service="shop/cart:80" upstream=10.0.0.9:8080 upstream_status=200 "#,
                r#"upstream_duration_us=1100 attempts=2 request_id="6f1d" "#,
                r#"generation=00000000deadbeef tls=1.3 sni="shop.test" user_agent="curl/8" "#,
                r#"referer="https://shop.test/""#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let record = AccessRecord::new(0, "127.0.0.1:5000".parse().unwrap());
        assert_eq!(
            text_of(&record),
            "1970-01-01T00:00:00.000000Z 127.0.0.1 \"  HTTP/1.1\" 0 scheme=http bytes_in=0 \
             bytes_out=0 duration_us=0\n"
        );
    }

    #[test]
    fn no_field_can_forge_a_line_or_a_field() {
        let evil: &[u8] = b"a\"b\\c\r\nd\x1b[31m\xff\0 status=200";
        let evil_str = "a\"b\\c\r\nd\x1b[31m\u{9b}\0 status=200";
        let record = AccessRecord {
            method: evil,
            host: evil,
            path: evil,
            query: Some(evil),
            reason: evil_str,
            detail: evil_str,
            namespace: evil_str,
            ingress: evil_str,
            route: evil_str,
            service: evil_str,
            request_id: evil,
            tls: Some(TlsRecord { version: "1.3", sni: evil_str }),
            user_agent: evil,
            referer: evil,
            ..full()
        };
        for line in [json_of(&record), text_of(&record)] {
            let (line, end) = line.split_at(line.len() - 1);
            assert_eq!(end, "\n");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&json_of(&record)).unwrap();
        assert_eq!(value["user_agent"], "a\"b\\c\r\nd\x1b[31m\u{fffd}\0 status=200");
        assert_eq!(value["status"], 200);
        assert_eq!(value.as_object().unwrap().len(), 30);
    }
}
