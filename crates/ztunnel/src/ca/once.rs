//! One certificate over a connection that somebody else has opened: a forwarded port, for example.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Endpoint;

use super::istiod::sign;
use super::{Error, Settings};
use crate::control;
use crate::identity::Identity;
use crate::tls::WorkloadCertificate;

/// Who asks.
#[derive(Clone)]
pub struct Caller {
    /// A service account's token for audience `istio-ca`.
    pub token: String,
    /// The cluster the account is of.
    pub cluster_id: String,
}

/// Asks istiod at the other end of `stream` to sign once. TLS is the caller's: the stream is inside it already. It is
/// closed at the end.
///
/// # Errors
/// As [`super::Issuer::issue`]; [`Error::Timeout`] when nothing comes within `patience`.
pub async fn issue_once<S>(
    stream: S,
    caller: &Caller,
    identity: &Identity,
    settings: Settings,
    patience: Duration,
) -> Result<WorkloadCertificate, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut metadata = MetadataMap::new();
    for (name, value) in [
        ("authorization", format!("Bearer {}", caller.token)),
        ("clusterid", caller.cluster_id.clone()),
    ] {
        let value: AsciiMetadataValue = value
            .parse()
            .map_err(|_| control::Error::Header(name.to_owned()))?;
        metadata.insert(name, value);
    }
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream
            .take()
            .map(TokioIo::new)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    // The name only fills the request's authority: the stream leads to one place.
    let channel = Endpoint::from_static("http://istiod").connect_with_connector_lazy(connector);
    match timeout(patience, sign(channel, metadata, identity, settings)).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout(identity.clone())),
    }
}
