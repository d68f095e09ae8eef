//! Certificates, and a client that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    CrlDistributionPoint, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use serde_json::json;

use super::client::take;
use super::{Answer, DEADLINE, Proxyd};

/// A chain and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub chain: String,
    pub key: String,
}

impl Pair {
    /// As the control API takes it.
    pub fn json(&self) -> String {
        json!({ "chain": self.chain, "key": self.key }).to_string()
    }
}

/// Somebody who vouches for others.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Default for Authority {
    fn default() -> Authority {
        Authority::new("test authority")
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for servers with these names.
    pub fn pair(&self, names: &[&str]) -> Pair {
        self.pair_until(names, 2099)
    }

    /// The same, valid until the first day of a year.
    pub fn pair_until(&self, names: &[&str], year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.signed(params, &names[0])
    }

    /// The same, valid until a second since 1970.
    pub fn pair_until_second(&self, names: &[&str], second: i64) -> Pair {
        let all: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(all).unwrap();
        params.not_after =
            date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(second.unsigned_abs());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.signed(params, names[0])
    }

    /// The same as public authorities make them: since yesterday, and for a season.
    pub fn pair_of_season(&self, names: &[&str]) -> Pair {
        let all: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(all).unwrap();
        let day = |days: i64| {
            date_time_ymd(1970, 1, 1) + std::time::Duration::from_hours(days.unsigned_abs() * 24)
        };
        let today =
            i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400).unwrap();
        (params.not_before, params.not_after) = (day(today - 1), day(today + 89));
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec!["http://ca.test/crl".to_owned()] }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.signed(params, names[0])
    }

    /// A certificate for whoever asks for it in DER, with this one behind it.
    pub fn sign_request(&self, request: &[u8]) -> String {
        let mut request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        request.params.use_authority_key_identifier_extension = true;
        request.signed_by(&self.0).unwrap().pem() + &self.pem()
    }

    /// A certificate for a client.
    pub fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.signed(params, name)
    }

    fn signed(&self, mut params: CertificateParams, name: &str) -> Pair {
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Pair { chain: leaf.pem() + &self.pem(), key: key.serialize_pem() }
    }

    /// Clients that believe it, and nobody else.
    pub fn trust(&self) -> Trust {
        Trust::new(self, None, &[&rustls::version::TLS13, &rustls::version::TLS12])
    }
}

/// What several connections of a client share: whom it believes, and the sessions that it resumes.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// With a certificate of its own, and certain versions.
    pub fn new(
        authority: &Authority,
        own: Option<&Pair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Trust(Arc::new(config))
    }

    pub fn of(config: ClientConfig) -> Trust {
        Trust(Arc::new(config))
    }

    /// For whoever connects by other means.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// That resumes nothing.
    #[must_use]
    pub fn forgetful(&self) -> Trust {
        self.with(|config| config.resumption = Resumption::disabled())
    }

    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut ClientConfig)) -> Trust {
        let mut config = ClientConfig::clone(&self.0);
        change(&mut config);
        Trust(Arc::new(config))
    }

    /// A connection whose handshake is done.
    pub fn connect(&self, address: SocketAddr, name: &str) -> io::Result<SecureClient> {
        self.over(TcpStream::connect(address)?, name)
    }

    pub fn over(&self, stream: TcpStream, name: &str) -> io::Result<SecureClient> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let name = name.to_owned().try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(SecureClient { stream, unread: Vec::new() })
    }
}

/// A connection over TLS.
pub struct SecureClient {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl SecureClient {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Sends a GET for a host, and reads its answer.
    pub fn get(&mut self, host: &str, target: &str) -> Answer {
        self.try_get(host, target).expect("an answer")
    }

    pub fn try_get(&mut self, host: &str, target: &str) -> io::Result<Answer> {
        self.try_send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
        self.try_answer()
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    pub fn try_answer(&mut self) -> io::Result<Answer> {
        let mut ended = false;
        let mut buffer = vec![0; 65536];
        loop {
            if let Some(answer) = take(&mut self.unread, false, ended) {
                return Ok(answer);
            }
            if ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match self.stream.read(&mut buffer)? {
                0 => ended = true,
                count => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// The names that the certificate which was shown is made out to are those of this pair.
    pub fn was_shown(&self, pair: &Pair) -> bool {
        let leaf = CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap();
        self.stream.conn.peer_certificates().is_some_and(|chain| chain[0] == leaf)
    }

    /// Whether the other side has closed it, as far as is known here.
    pub fn has_ended(&mut self) -> bool {
        let StreamOwned { conn, sock } = &mut self.stream;
        if sock.set_nonblocking(true).is_err() {
            return true;
        }
        // What has come before the end is still to be read.
        let mut ended = false;
        let is_over = |conn: &mut ClientConnection, count: usize| {
            let state = conn.process_new_packets();
            state.map_or(true, |state| {
                let closed = count == 0 || state.peer_has_closed();
                closed && state.plaintext_bytes_to_read() == 0
            })
        };
        loop {
            match conn.read_tls(sock) {
                Ok(count) => {
                    ended = is_over(conn, count);
                    if ended || count == 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        self.stream.sock.set_nonblocking(false).is_err() || ended
    }

    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the other side says that nothing more comes, and then is gone.
    pub fn is_ended_well(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

/// The alert by which a handshake was refused.
pub fn alert(refused: &io::Error) -> Option<rustls::AlertDescription> {
    match refused.get_ref()?.downcast_ref() {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

impl Proxyd {
    /// With a listener for TLS, and more arguments.
    pub fn start_secure(args: &[&str]) -> Proxyd {
        Proxyd::start_with(&[&["--listen-tls", "127.0.0.1:0"], args].concat())
    }

    /// Where it listens for TLS.
    pub fn secure_address(&self) -> SocketAddr {
        super::wait_for("the address for TLS", || {
            let text = self.stderr();
            let line = text.lines().find_map(|line| line.split_once("listening for TLS on "))?;
            line.1.parse().ok()
        })
    }

    pub fn put_certificate(&self, name: &str, pair: &Pair) {
        let answer = self.put(&format!("/certificates/{name}"), &pair.json());
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// How TLS connections are made, as JSON.
    pub fn put_tls(&self, tls: &str) {
        let answer = self.put("/tls", tls);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
