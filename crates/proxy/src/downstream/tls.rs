//! TLS towards clients: one configuration for all names, certificates by SNI, and tickets that all
//! workers read.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};

use crate::downstream::certificates::{Resolver, provider};
use crate::downstream::tickets::Tickets;
use crate::error::StartError;
use crate::publish::Published;

/// The server side of TLS, shared by all workers.
///
/// TLS 1.2 and 1.3. Session tickets are sealed with a key of the whole process that rotates every
/// six hours, so that a client resumes at any worker; or with keys that are given to `tickets`, so
/// that it resumes at any replica. No 0-RTT.
pub(crate) fn server_config(
    published: Arc<Published>,
) -> Result<(Arc<ServerConfig>, Arc<Tickets>), StartError> {
    let resolver = Resolver::new(published)
        .map_err(|error| StartError::Tls(format!("default certificate: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let own = rustls::crypto::aws_lc_rs::Ticketer::new()
        .map_err(|error| StartError::Tls(format!("ticket key: {error}")))?;
    let tickets = Arc::new(Tickets::new(own));
    config.ticketer = tickets.clone();
    // One ticket serves a client that resumes; two cost bytes and signing for nothing.
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok((Arc::new(config), tickets))
}
