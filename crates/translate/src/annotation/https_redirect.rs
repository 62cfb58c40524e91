//! `ssl-redirect`: whether plain requests are sent to HTTPS where the host has a certificate.

use super::Reader;

/// On unless switched off; what is no boolean counts as absent.
pub(super) fn read(reader: &Reader<'_>) -> bool {
    reader.flag("ssl-redirect").unwrap_or(true)
}
