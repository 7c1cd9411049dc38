//! A certificate authority of the tests, and clients that trust nobody else. It must never be trusted by anything but a
//! test's own connections.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// # Errors
    /// No key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Ringfleet's tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate, for who is to trust it.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes a new certificate for this machine and its key; each has another serial number.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn issue(&self, certificate: &Path, key: &Path) -> Result<Vec<u8>> {
        self.issue_for(&["localhost", "127.0.0.1"], certificate, key)
    }

    /// As [`Authority::issue`], for other names.
    ///
    /// # Errors
    /// One is no name, or a file can't be written.
    pub fn issue_for(&self, names: &[&str], certificate: &Path, key: &Path) -> Result<Vec<u8>> {
        let own = KeyPair::generate()?;
        let params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        let issued = params.signed_by(&own, &self.issuer)?;
        // The pair is never seen half: a server that reads in between finds two that don't fit, and keeps what it has.
        replace(key, own.serialize_pem().as_bytes())?;
        replace(certificate, issued.pem().as_bytes())?;
        Ok(issued.der().to_vec())
    }

    /// Connects to `address` and does the handshake; the certificate that was shown.
    ///
    /// # Errors
    /// The certificate is not of this authority, or nobody answers.
    pub async fn connect(&self, address: &str) -> Result<(TlsStream<TcpStream>, Vec<u8>)> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuer.der().to_vec()))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?.to_vec();
        ensure!(!shown.is_empty(), "an empty certificate");
        Ok((stream, shown))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, bytes)?;
    Ok(std::fs::rename(&next, path)?)
}
