//! TLS towards endpoints: verified against the system's roots, or encrypted only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use model::UpstreamTls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::downstream::certificates::provider;

/// The client configurations of the process: one per (verified, SNI sent, protocol), so at most
/// eight. Looked up when a connection is made, never per request.
#[derive(Debug, Default)]
pub(crate) struct ClientConfigs {
    known: Mutex<HashMap<(bool, bool, bool), Arc<ClientConfig>>>,
}

impl ClientConfigs {
    /// The configuration for one way of doing TLS.
    pub(crate) fn get(
        &self,
        tls: &UpstreamTls,
        http2: bool,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = (tls.verify, tls.server_name.is_some(), http2);
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(config) = known.get(&key) {
            return Ok(config.clone());
        }
        let config = Arc::new(client_config(key)?);
        known.insert(key, config.clone());
        Ok(config)
    }
}

fn client_config((verify, sni, http2): (bool, bool, bool)) -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut config = if verify {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(native.certs);
        if added == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth()
    };
    config.enable_sni = sni;
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

/// The name TLS is told: the configured one, or the address where none is.
pub(crate) fn server_name(tls: &UpstreamTls, address: std::net::SocketAddr) -> ServerName<'static> {
    tls.server_name
        .as_deref()
        .and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::IpAddress(address.ip().into()))
}

/// Accepts any certificate, and still demands that the peer holds its key. Used where an object
/// asked for TLS without saying whom to trust; translate warns of it.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
