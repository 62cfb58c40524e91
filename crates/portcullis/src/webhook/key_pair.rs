//! The certificate that the webhook shows, which may be replaced while it is shown.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use controller::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often files are looked at: the kubelet, too, takes its time to bring a Secret to them.
const LOOK: Duration = Duration::from_secs(10);

/// What is shown now: nothing at first.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    key: ArcSwapOption<CertifiedKey>,
}

impl Shown {
    /// Shows this one from the next handshake on.
    ///
    /// # Errors
    /// When it cannot be used; then the former one is shown.
    pub(crate) fn replace(&self, pair: &KeyPair) -> Result<(), String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(&pair.key)
            .map_err(|error| format!("the key cannot be read: {error}"))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| format!("certificate and key cannot be used: {error}"))?;
        self.key.store(Some(Arc::new(key)));
        Ok(())
    }

    /// TLS with what is shown. The API server speaks HTTP/1.1 where it is offered nothing else.
    pub(super) fn config(self: Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth();
        let mut config = builder.with_cert_resolver(self);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }
}

/// Shows what these files hold, and what they hold later.
pub(crate) async fn follow_files(certificate: String, key: String, shown: Arc<Shown>) {
    let mut last = None;
    loop {
        let read = (std::fs::read(&certificate), std::fs::read(&key));
        let told = match read {
            (Ok(certificate), Ok(key)) => Ok(KeyPair { certificate, key }),
            (Err(error), _) => Err(format!("{certificate}: {error}")),
            (_, Err(error)) => Err(format!("{key}: {error}")),
        };
        if last.as_ref() != Some(&told) {
            match told.clone().and_then(|pair| shown.replace(&pair)) {
                Ok(()) => tracing::info!(certificate, "webhook shows a certificate"),
                Err(problem) => tracing::error!(problem, "webhook: no new certificate"),
            }
            last = Some(told);
        }
        tokio::time::sleep(LOOK).await;
    }
}
