//! `ssl-redirect`: whether plain requests are sent to HTTPS where the host has a certificate.

use super::Reader;
use crate::class::Parameters;

/// On unless switched off, here or for the class; what is no boolean counts as absent.
pub(super) fn read(reader: &Reader<'_>, parameters: &Parameters) -> bool {
    reader.flag("ssl-redirect").or(parameters.ssl_redirect).unwrap_or(true)
}
