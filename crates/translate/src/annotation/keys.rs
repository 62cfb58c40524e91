//! The table of annotations of ingress-nginx: every name its last release reads, and its aliases.
//!
//! `restricting` marks what restricts access: unsupported, such a name closes its routes.

use super::suggest;

/// What becomes of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It is honoured.
    Supported,
    /// It is not, yet.
    NotYet,
    /// It is not, yet, and restricts access but with this value.
    Restricting { harmless: Option<&'static str> },
    /// It is accepted and has nothing to act on.
    NoEffect,
    /// It is raw configuration.
    Snippet,
    /// It is no annotation of ingress-nginx.
    Unknown,
}

struct Row {
    name: &'static str,
    status: Status,
}

const fn supported(name: &'static str) -> Row {
    Row { name, status: Status::Supported }
}

const fn not_yet(name: &'static str) -> Row {
    Row { name, status: Status::NotYet }
}

const fn restricting(name: &'static str) -> Row {
    Row { name, status: Status::Restricting { harmless: None } }
}

const fn restricting_unless(name: &'static str, harmless: &'static str) -> Row {
    Row { name, status: Status::Restricting { harmless: Some(harmless) } }
}

const fn no_effect(name: &'static str) -> Row {
    Row { name, status: Status::NoEffect }
}

const fn snippet(name: &'static str) -> Row {
    Row { name, status: Status::Snippet }
}

/// All addresses there are. cert-manager writes it on the Ingresses of its solvers.
const EVERYBODY: &str = "0.0.0.0/0,::/0";

/// Sorted by name.
const TABLE: &[Row] = &[
    not_yet("affinity"),
    not_yet("affinity-canary-behavior"),
    not_yet("affinity-mode"),
    restricting_unless("allowlist-source-range", EVERYBODY),
    not_yet("app-root"),
    restricting_unless("auth-always-set-cookie", "false"),
    restricting("auth-cache-duration"),
    restricting("auth-cache-key"),
    no_effect("auth-keepalive"),
    no_effect("auth-keepalive-requests"),
    no_effect("auth-keepalive-share-vars"),
    no_effect("auth-keepalive-timeout"),
    restricting("auth-method"),
    restricting("auth-proxy-set-headers"),
    restricting("auth-realm"),
    restricting("auth-request-redirect"),
    restricting("auth-response-headers"),
    restricting("auth-secret"),
    restricting("auth-secret-type"),
    restricting("auth-signin"),
    restricting("auth-signin-redirect-param"),
    snippet("auth-snippet"),
    restricting("auth-tls-error-page"),
    restricting("auth-tls-match-cn"),
    restricting_unless("auth-tls-pass-certificate-to-upstream", "false"),
    restricting("auth-tls-secret"),
    restricting_unless("auth-tls-verify-client", "off"),
    restricting("auth-tls-verify-depth"),
    restricting("auth-type"),
    restricting("auth-url"),
    supported("backend-protocol"),
    not_yet("canary"),
    not_yet("canary-by-cookie"),
    not_yet("canary-by-header"),
    not_yet("canary-by-header-pattern"),
    not_yet("canary-by-header-value"),
    not_yet("canary-weight"),
    not_yet("canary-weight-total"),
    not_yet("client-body-buffer-size"),
    snippet("configuration-snippet"),
    not_yet("connection-proxy-header"),
    not_yet("cors-allow-credentials"),
    not_yet("cors-allow-headers"),
    not_yet("cors-allow-methods"),
    not_yet("cors-allow-origin"),
    not_yet("cors-expose-headers"),
    not_yet("cors-max-age"),
    not_yet("custom-headers"),
    not_yet("custom-http-errors"),
    not_yet("default-backend"),
    restricting("denylist-source-range"),
    not_yet("disable-proxy-intercept-errors"),
    not_yet("enable-access-log"),
    not_yet("enable-cors"),
    restricting_unless("enable-global-auth", "false"),
    restricting_unless("enable-modsecurity", "false"),
    not_yet("enable-opentelemetry"),
    restricting_unless("enable-owasp-core-rules", "false"),
    not_yet("enable-rewrite-log"),
    not_yet("fastcgi-index"),
    not_yet("fastcgi-params-configmap"),
    supported("force-ssl-redirect"),
    not_yet("from-to-www-redirect"),
    no_effect("http2-push-preload"),
    restricting("limit-allowlist"),
    restricting("limit-burst-multiplier"),
    restricting_unless("limit-connections", "0"),
    restricting_unless("limit-rate", "0"),
    restricting_unless("limit-rate-after", "0"),
    restricting_unless("limit-rpm", "0"),
    restricting_unless("limit-rps", "0"),
    restricting("limit-whitelist"),
    not_yet("load-balance"),
    not_yet("mirror-host"),
    not_yet("mirror-request-body"),
    not_yet("mirror-target"),
    snippet("modsecurity-snippet"),
    not_yet("modsecurity-transaction-id"),
    not_yet("opentelemetry-operation-name"),
    not_yet("opentelemetry-trust-incoming-span"),
    not_yet("permanent-redirect"),
    not_yet("permanent-redirect-code"),
    not_yet("preserve-trailing-slash"),
    not_yet("proxy-body-size"),
    not_yet("proxy-buffer-size"),
    not_yet("proxy-buffering"),
    not_yet("proxy-buffers-number"),
    no_effect("proxy-busy-buffers-size"),
    not_yet("proxy-connect-timeout"),
    not_yet("proxy-cookie-domain"),
    not_yet("proxy-cookie-path"),
    not_yet("proxy-http-version"),
    not_yet("proxy-max-temp-file-size"),
    not_yet("proxy-next-upstream"),
    not_yet("proxy-next-upstream-timeout"),
    not_yet("proxy-next-upstream-tries"),
    not_yet("proxy-read-timeout"),
    not_yet("proxy-redirect-from"),
    not_yet("proxy-redirect-to"),
    not_yet("proxy-request-buffering"),
    not_yet("proxy-send-timeout"),
    not_yet("proxy-ssl-ciphers"),
    not_yet("proxy-ssl-name"),
    not_yet("proxy-ssl-protocols"),
    not_yet("proxy-ssl-secret"),
    not_yet("proxy-ssl-server-name"),
    not_yet("proxy-ssl-verify"),
    not_yet("proxy-ssl-verify-depth"),
    not_yet("relative-redirects"),
    supported("rewrite-target"),
    restricting_unless("satisfy", "all"),
    not_yet("server-alias"),
    snippet("server-snippet"),
    not_yet("service-upstream"),
    not_yet("session-cookie-change-on-failure"),
    not_yet("session-cookie-conditional-samesite-none"),
    not_yet("session-cookie-domain"),
    not_yet("session-cookie-expires"),
    not_yet("session-cookie-max-age"),
    not_yet("session-cookie-name"),
    not_yet("session-cookie-path"),
    not_yet("session-cookie-samesite"),
    not_yet("session-cookie-secure"),
    not_yet("ssl-ciphers"),
    not_yet("ssl-passthrough"),
    not_yet("ssl-prefer-server-ciphers"),
    supported("ssl-redirect"),
    snippet("stream-snippet"),
    not_yet("temporal-redirect"),
    not_yet("temporal-redirect-code"),
    not_yet("upstream-hash-by"),
    not_yet("upstream-hash-by-subset"),
    not_yet("upstream-hash-by-subset-size"),
    not_yet("upstream-vhost"),
    not_yet("use-port-in-redirects"),
    supported("use-regex"),
    restricting_unless("whitelist-source-range", EVERYBODY),
    not_yet("x-forwarded-prefix"),
];

/// The row of a name.
pub(super) fn status(name: &str) -> Status {
    if let Ok(index) = TABLE.binary_search_by(|row| row.name.cmp(name)) {
        return TABLE[index].status;
    }
    // Removed long ago, and a firewall while it was there.
    if name.starts_with("lua-resty-waf") {
        return Status::Restricting { harmless: None };
    }
    if name.ends_with("-snippet") { Status::Snippet } else { Status::Unknown }
}

/// The refused names that need not restrict access, though they may.
const IGNORABLE: &[&str] = &["configuration-snippet", "server-snippet", "stream-snippet"];

/// Whether a refused annotation may be ignored by the operator's wish; if not, why, as half a
/// sentence that follows the name.
///
/// # Errors
/// When the name is no refused annotation, or speaks of restricting access: such a one is never
/// ignored.
pub fn may_ignore(name: &str) -> Result<(), String> {
    match status(name) {
        Status::Snippet if IGNORABLE.contains(&name) => Ok(()),
        Status::Snippet | Status::Restricting { .. } => {
            Err("restricts access, and is never ignored: take it off the objects that may be open"
                .to_owned())
        }
        Status::Supported | Status::NotYet | Status::NoEffect => {
            Err("is not refused, so that there is nothing to ignore".to_owned())
        }
        Status::Unknown => {
            let known = suggest::for_unknown(name).map(|known| format!("; {known}"));
            Err(format!("is no annotation that is refused{}", known.unwrap_or_default()))
        }
    }
}

/// What becomes of an annotation, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationStatus {
    /// It is honoured.
    Supported,
    /// It is not supported yet.
    NotYet,
    /// It is accepted and has nothing to act on.
    NoEffect,
    /// It is refused: raw configuration.
    Refused,
}

/// A row of the table of annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnotationInfo {
    /// The name without its prefix.
    pub name: &'static str,
    /// What becomes of it.
    pub status: AnnotationStatus,
    /// Whether it restricts access; unsupported, it closes its routes.
    pub restricts_access: bool,
}

/// The table of annotations, by name.
pub fn annotations() -> impl Iterator<Item = AnnotationInfo> {
    TABLE.iter().map(|row| {
        let (status, restricts_access) = match row.status {
            Status::Supported => (AnnotationStatus::Supported, false),
            Status::NotYet | Status::Unknown => (AnnotationStatus::NotYet, false),
            Status::Restricting { .. } => (AnnotationStatus::NotYet, true),
            Status::NoEffect => (AnnotationStatus::NoEffect, false),
            Status::Snippet => (AnnotationStatus::Refused, true),
        };
        AnnotationInfo { name: row.name, status, restricts_access }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(TABLE.len(), 136 + 2);
    }

    #[test]
    fn every_snippet_is_refused_whatever_its_name() {
        assert_eq!(status("server-snippet"), Status::Snippet);
        assert_eq!(status("my-own-snippet"), Status::Snippet);
    }

    #[test]
    fn what_restricts_access_is_never_ignored() {
        for name in ["configuration-snippet", "server-snippet", "stream-snippet"] {
            assert_eq!(may_ignore(name), Ok(()), "{name}");
        }
        for name in ["auth-snippet", "modsecurity-snippet", "auth-url", "limit-rps", "satisfy"] {
            assert!(may_ignore(name).unwrap_err().starts_with("restricts access"), "{name}");
        }
        assert!(may_ignore("enable-cors").unwrap_err().contains("not refused"));
        assert!(may_ignore("rewrite-tagret").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn access_control_is_marked() {
        for name in ["auth-url", "auth-tls-secret", "whitelist-source-range", "limit-rps"] {
            assert!(matches!(status(name), Status::Restricting { .. }), "{name}");
        }
        assert_eq!(status("proxy-body-size"), Status::NotYet);
        assert_eq!(status("auth-keepalive"), Status::NoEffect);
    }
}
