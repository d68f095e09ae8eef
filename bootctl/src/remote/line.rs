//! A line to the gate of another machine: TLS 1.3, and the certificate that was expected or none.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use crate::fingerprint::Fingerprint;

/// How long it may take until both have spoken.
const PATIENCE: Duration = Duration::from_secs(15);

/// A gate, known by its certificate, and what is shown to it.
#[derive(Debug)]
pub(crate) struct Remote {
    address: Address,
    known_by: Fingerprint,
    authorization: HeaderValue,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("{address} cannot be reached: {source}")]
    Connect { address: Address, source: io::Error },
    #[error("{address} does not answer within {PATIENCE:?}")]
    TooSlow { address: Address },
    #[error("{address} does not speak TLS as bootctl does: {source}; is it the port of [admin]?")]
    Tls { address: Address, source: io::Error },
    #[error(
        "{address} shows another certificate than the one that is known: {seen}, not {expected}. Either it got a \
         new one, or somebody is in between; nothing was sent. If it is right, tell it anew: --fingerprint, or \
         `bootctl context add`"
    )]
    Stranger { address: Address, expected: Fingerprint, seen: Fingerprint },
    #[error("TLS cannot be set up: {0}")]
    Config(#[from] rustls::Error),
}

impl Remote {
    pub(crate) fn new(address: Address, known_by: Fingerprint, authorization: HeaderValue) -> Self {
        Self { address, known_by, authorization }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// What `Authorization` is to be.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>, LineError> {
        let address = &self.address;
        let (connected, seen) = handshake(address, Some(self.known_by)).await?;
        connected.map_err(|source| match seen {
            Some(seen) if seen != self.known_by => {
                let expected = self.known_by;
                LineError::Stranger { address: address.clone(), expected, seen }
            }
            Some(_) | None => LineError::Tls { address: address.clone(), source },
        })
    }
}

/// What the gate at an address is known by. Nothing is sent to it.
pub(crate) async fn who_is(address: &Address) -> Result<Fingerprint, LineError> {
    match handshake(address, None).await? {
        (_, Some(seen)) => Ok(seen),
        (Err(source), None) => Err(LineError::Tls { address: address.clone(), source }),
        (Ok(_), None) => {
            let source = io::Error::other("it shows no certificate");
            Err(LineError::Tls { address: address.clone(), source })
        }
    }
}

type Handshake = (io::Result<TlsStream<TcpStream>>, Option<Fingerprint>);

async fn handshake(
    address: &Address,
    expected: Option<Fingerprint>,
) -> Result<Handshake, LineError> {
    let provider = Arc::new(default_provider());
    let verifier =
        Arc::new(Verifier { expected, seen: OnceLock::new(), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let work = async {
        let failed = |source| LineError::Connect { address: address.clone(), source };
        let stream = TcpStream::connect((address.host(), address.port())).await.map_err(failed)?;
        // Keys are sent as they are typed.
        drop(stream.set_nodelay(true));
        let unnamed = || failed(io::Error::other("its name cannot be used"));
        let name = address.name().ok_or_else(unnamed)?;
        Ok::<_, LineError>(TlsConnector::from(Arc::new(config)).connect(name, stream).await)
    };
    let too_slow = |_| LineError::TooSlow { address: address.clone() };
    let connected = timeout(PATIENCE, work).await.map_err(too_slow)??;
    Ok((connected, verifier.seen.get().copied()))
}

/// Takes the certificate that is expected, and notes which one came. Who shows it must have its key.
#[derive(Debug)]
struct Verifier {
    expected: Option<Fingerprint>,
    seen: OnceLock<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of(end_entity);
        // A handshake has one.
        let _ = self.seen.set(seen);
        if self.expected == Some(seen) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // It is not spoken.
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
