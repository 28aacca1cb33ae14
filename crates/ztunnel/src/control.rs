//! The channel to istiod, shared by xDS and the certificate authority.
//!
//! Layer 5. TLS against roots from a file and a bearer token from a file. Both are read anew for every connection and
//! call, so a rotated file needs no restart.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};

/// Largest root or token file that is read.
const MAX_FILE: u64 = 4 << 20;
/// Time to connect and shake hands, as upstream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 ping interval and timeout, as upstream.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keepalive: idle, interval, probes, as upstream.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(5), Duration::from_secs(75), 9);
/// Where Linux distributions keep the system's roots.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why istiod cannot be reached or called.
#[derive(Debug, Error)]
pub enum Error {
    /// The address is not a URL of this form.
    #[error("control plane address {0:?} is not of the form https://host:port")]
    Address(String),
    /// A file cannot be read.
    #[error("cannot read {what} {path}")]
    File {
        /// What is in the file.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// No certificate in the roots.
    #[error("{0} holds no certificate; control plane roots must be PEM")]
    NoRoots(String),
    /// A header name or value gRPC does not allow.
    #[error("header {0:?} cannot be sent: its name or value has characters HTTP does not allow")]
    Header(String),
    /// The TCP connection failed.
    #[error("cannot connect to the control plane at {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with the control plane at {address} failed")]
    Handshake {
        /// Host and port.
        address: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Connecting took too long.
    #[error("the control plane at {0} did not answer within 5 s")]
    Timeout(String),
    /// TLS cannot be set up.
    #[error("TLS to the control plane cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Roots to verify istiod against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A PEM file.
    File(PathBuf),
    /// PEM text.
    Pem(String),
    /// The system's roots.
    System,
}

/// Where the bearer token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A file.
    File(PathBuf),
    /// Text.
    Literal(String),
}

/// How to reach istiod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `https://host:port`; `http://` means without TLS.
    pub address: String,
    /// Roots.
    pub root: Root,
    /// Name to verify in place of the address's host.
    pub alt_hostname: Option<String>,
    /// Token.
    pub token: Option<Token>,
    /// Value of the `clusterid` header.
    pub cluster_id: String,
    /// More headers.
    pub headers: Vec<(String, String)>,
}

/// A target that has been checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    target: Arc<Target>,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Control {
    /// Checks a target. Opens nothing.
    ///
    /// # Errors
    /// [`Error::Address`] and [`Error::Header`].
    pub fn new(target: Target) -> Result<Self, Error> {
        let refused = || Error::Address(target.address.clone());
        let uri: Uri = target.address.parse().map_err(|_| refused())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused()),
        };
        let host = uri
            .host()
            .ok_or_else(refused)?
            .trim_matches(['[', ']'])
            .to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        for (name, value) in &target.headers {
            header(name, value)?;
        }
        Ok(Self {
            target: Arc::new(target),
            host,
            port,
            is_tls,
        })
    }

    /// A channel that connects on first use and again after every loss, with roots as they are then.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn channel(&self) -> Result<Channel, Error> {
        // Our connector does TLS itself, so the library is given a plain address and the true one as origin.
        let refused = |_| Error::Address(self.target.address.clone());
        let plain = format!("http://{}", self.authority());
        let origin: Uri = self
            .target
            .address
            .parse()
            .map_err(|_| Error::Address(self.target.address.clone()))?;
        Ok(Endpoint::from_shared(plain)
            .map_err(refused)?
            .origin(origin)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(Connector(self.clone())))
    }

    /// The headers of one call; reads the token.
    ///
    /// # Errors
    /// [`Error::File`] when the token cannot be read, [`Error::Header`] when it cannot be sent.
    pub async fn metadata(&self) -> Result<MetadataMap, Error> {
        let mut map = MetadataMap::new();
        let token = match &self.target.token {
            None => None,
            Some(Token::Literal(token)) => Some(token.clone()),
            Some(Token::File(path)) => Some(read("the token", path).await?),
        };
        if let Some(token) = token {
            let (name, value) = header("authorization", &format!("Bearer {}", token.trim()))
                .map_err(|_| Error::Header("authorization".to_owned()))?;
            map.insert(name, value);
        }
        for (name, value) in &self.target.headers {
            let (name, value) = header(name, value)?;
            map.insert(name, value);
        }
        if !self.target.cluster_id.is_empty() {
            let (name, value) = header("clusterid", &self.target.cluster_id)?;
            map.insert(name, value);
        }
        Ok(map)
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn connect(self) -> Result<Stream, Error> {
        let address = self.authority();
        match timeout(CONNECT_TIMEOUT, self.connected()).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout(address)),
        }
    }

    async fn connected(&self) -> Result<Stream, Error> {
        let address = self.authority();
        let unreachable = |source| Error::Connect {
            address: address.clone(),
            source,
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let (idle, interval, probes) = KEEPALIVE;
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(interval)
            .with_retries(probes);
        SockRef::from(&tcp)
            .set_tcp_keepalive(&keepalive)
            .map_err(unreachable)?;
        if !self.is_tls {
            return Ok(Box::new(tcp));
        }
        let name = self.target.alt_hostname.as_ref().unwrap_or(&self.host);
        let name = ServerName::try_from(name.clone()).map_err(|_| Error::Address(name.clone()))?;
        let connector = TlsConnector::from(Arc::new(self.tls_config().await?));
        let failed = |source| Error::Handshake {
            address: address.clone(),
            source,
        };
        Ok(Box::new(
            connector.connect(name, tcp).await.map_err(failed)?,
        ))
    }

    async fn tls_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots().await?)
            .with_no_client_auth();
        config.alpn_protocols = vec![crate::tls::ALPN_H2.to_vec()];
        Ok(config)
    }

    async fn roots(&self) -> Result<RootCertStore, Error> {
        let (origin, pem) = match &self.target.root {
            Root::Pem(pem) => ("the configured text".to_owned(), pem.clone()),
            Root::File(path) => (
                path.display().to_string(),
                read("the control plane's roots", path).await?,
            ),
            Root::System => {
                let found = SYSTEM_ROOTS
                    .iter()
                    .map(PathBuf::from)
                    .find(|path| path.exists());
                let path = found.unwrap_or_else(|| SYSTEM_ROOTS[0].into());
                (
                    path.display().to_string(),
                    read("the system's roots", &path).await?,
                )
            }
        };
        let mut roots = RootCertStore::empty();
        // One unusable certificate must not cost the others; none at all is an error.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).flatten());
        if roots.is_empty() {
            Err(Error::NoRoots(origin))
        } else {
            Ok(roots)
        }
    }
}

/// A gRPC status as one line: its message and the causes under it, without the metadata its own text repeats.
pub fn status_text(status: &tonic::Status) -> String {
    let cause = std::error::Error::source(status).map(crate::error::chain);
    match cause {
        Some(cause) if !cause.contains(status.message()) => {
            format!("{}: {cause}", status.message())
        }
        Some(cause) => cause,
        None => status.message().to_owned(),
    }
}

/// Reads a bounded text file.
async fn read(what: &'static str, path: &PathBuf) -> Result<String, Error> {
    let failed = |source| Error::File {
        what,
        path: path.clone(),
        source,
    };
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(failed(io::Error::other("larger than 4 MiB")));
    }
    tokio::fs::read_to_string(path).await.map_err(failed)
}

fn header(name: &str, value: &str) -> Result<(AsciiMetadataKey, AsciiMetadataValue), Error> {
    let refused = || Error::Header(name.to_owned());
    let key = name.to_ascii_lowercase().parse().map_err(|_| refused())?;
    Ok((key, value.parse().map_err(|_| refused())?))
}

/// A connection, with TLS or without.
type Stream = Box<dyn Io>;

trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Io for T {}

/// Makes connections for the gRPC library.
#[derive(Clone)]
struct Connector(Control);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let control = self.0.clone();
        Box::pin(async move { control.connect().await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests;
