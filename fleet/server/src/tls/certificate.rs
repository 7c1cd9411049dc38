//! The certificate of the WebSocket port: read from PEM files, and read again when they change.
//! It must never give up a certificate that works for files that don't.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::TlsFiles;

/// Why a certificate can't be used; says which file and what would be right.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{setting} {path} can't be read: {cause}")]
    Unreadable { setting: &'static str, path: PathBuf, cause: io::Error },
    #[error("fleet.tls_certificate {0}: no certificate in it; write PEM, the server's own certificate first")]
    NoCertificate(PathBuf),
    #[error("fleet.tls_key {0}: no private key in it; write PEM (PKCS#8, PKCS#1 or SEC1) without a password")]
    NoKey(PathBuf),
    #[error("fleet.tls_key {key} does not fit fleet.tls_certificate {certificate}: {cause}")]
    Misfit { certificate: PathBuf, key: PathBuf, cause: rustls::Error },
    #[error("TLS can't be had: {0}")]
    Provider(rustls::Error),
}

/// What a look at the files found.
#[derive(Debug)]
pub(super) enum Look {
    Same,
    Renewed,
    /// They have changed and can't be used; told once for each change.
    Refused(TlsError),
}

/// The certificate in use, and the files it comes from.
#[derive(Debug)]
pub(super) struct Certificate {
    files: TlsFiles,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    /// The files as they were looked at last, used or not.
    seen: Seen,
}

/// A digest of both files; none while one can't be read.
type Seen = Option<[u8; 32]>;

/// What handshakes are done with from now on.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads the files; for the start, where a broken one is a reason not to start.
    ///
    /// # Errors
    /// Names the file that can't be used.
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let (certificate, key) = (read(CERTIFICATE, &files.certificate), read(KEY, &files.key));
        let (certificate, key) = (certificate?, key?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(pair(&files, &certificate, &key, &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        // An upgrade is HTTP/1.1's.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { files, current, config: Arc::new(config), seen: Some(digest(&certificate, &key)) })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// Uses what is in the files, if it has changed and fits together.
    pub(super) async fn look(&mut self) -> Look {
        let read = (
            tokio::fs::read(&self.files.certificate).await.map_err(unreadable(CERTIFICATE, &self.files.certificate)),
            tokio::fs::read(&self.files.key).await.map_err(unreadable(KEY, &self.files.key)),
        );
        let (found, seen) = match read {
            (Ok(certificate), Ok(key)) => {
                let seen = Some(digest(&certificate, &key));
                (Ok((certificate, key)), seen)
            }
            (Err(error), _) | (_, Err(error)) => (Err(error), None),
        };
        if seen == self.seen {
            return Look::Same;
        }
        self.seen = seen;
        let fit =
            found.and_then(|(certificate, key)| pair(&self.files, &certificate, &key, self.config.crypto_provider()));
        match fit {
            Ok(fit) => {
                self.current.0.store(Arc::new(fit));
                Look::Renewed
            }
            Err(error) => Look::Refused(error),
        }
    }
}

const CERTIFICATE: &str = "fleet.tls_certificate";
const KEY: &str = "fleet.tls_key";

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(unreadable(setting, path))
}

fn unreadable(setting: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |cause| TlsError::Unreadable { setting, path, cause }
}

fn digest(certificate: &[u8], key: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Its length first, so that no byte may move from one file to the other unseen.
    hash.update((certificate.len() as u64).to_be_bytes());
    hash.update(certificate);
    hash.update(key);
    hash.finalize().into()
}

/// Reads both as PEM and holds them against each other.
fn pair(files: &TlsFiles, certificate: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let no_certificate = || TlsError::NoCertificate(files.certificate.clone());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|_| no_certificate())?;
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey(files.key.clone()))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|cause| TlsError::Misfit {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        cause,
    })
}
