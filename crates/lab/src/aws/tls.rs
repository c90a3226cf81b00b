//! STS by TLS: a certificate for 127.0.0.1 that lives as long as the process, for clients that are told to trust it.

use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What one side of TLS needs, and the other.
pub struct Tls {
    /// For the one who answers.
    pub(super) acceptor: TlsAcceptor,
    /// For those who ask: what `SSL_CERT_FILE` names.
    pub certificate: String,
}

impl Tls {
    /// Makes a key and its certificate.
    pub fn new() -> io::Result<Self> {
        let CertifiedKey { cert, signing_key } = identity().map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate: cert.pem(),
        })
    }
}

fn identity() -> Result<CertifiedKey<KeyPair>, rcgen::Error> {
    let signing_key = KeyPair::generate()?;
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let cert = CertificateParams::new(names)?.self_signed(&signing_key)?;
    Ok(CertifiedKey { cert, signing_key })
}
