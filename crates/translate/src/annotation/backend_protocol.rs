//! `backend-protocol`: what the endpoints speak.
//!
//! A value that is not understood closes the routes: HTTP in place of what was asked for could be
//! cleartext in place of TLS.

use model::{ClosedReason, Code, UpstreamProtocol};

use super::Reader;

pub(super) fn read(reader: &Reader<'_>) -> (Option<UpstreamProtocol>, Option<ClosedReason>) {
    let Some(found) = reader.value("backend-protocol") else { return (None, None) };
    let protocol = match found.text.to_ascii_uppercase().as_str() {
        "HTTP" => UpstreamProtocol::Http,
        "HTTPS" => UpstreamProtocol::Https,
        "GRPC" => UpstreamProtocol::Grpc,
        "GRPCS" => UpstreamProtocol::Grpcs,
        known => {
            let message = match known {
                "AUTO_HTTP" | "FCGI" => format!("`{}` is not supported yet", found.text),
                _ => format!("`{}` is no protocol: HTTP, HTTPS, GRPC or GRPCS", found.text),
            };
            return (None, Some(reader.refuse(&found, Code::InvalidAnnotationValue, message)));
        }
    };
    (Some(protocol), None)
}
