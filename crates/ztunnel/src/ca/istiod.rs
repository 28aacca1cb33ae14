//! istiod's certificate service.

use std::time::Duration;

use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use super::{Error, Issuer, request};
use crate::control::{self, Control, status_text};
use crate::error::chain;
use crate::identity::Identity;
use crate::proto::ca::{CREATE_CERTIFICATE, IstioCertificateRequest, IstioCertificateResponse};
use crate::tls::WorkloadCertificate;

/// Longest wait for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer; a chain with its roots has a few kB.
const MAX_ANSWER: usize = 4 << 20;

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Wanted life of a certificate, 24 h upstream.
    pub life: Duration,
    /// Whether to ask on behalf of the pods of this node (shared mode).
    pub impersonate: bool,
}

/// Signs through istiod.
#[derive(Debug, Clone)]
pub struct Istiod {
    control: Control,
    channel: Channel,
    settings: Settings,
}

impl Istiod {
    /// A client. Connects on first use; must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`control::Error::Address`].
    pub fn new(control: Control, settings: Settings) -> Result<Self, control::Error> {
        let channel = control.channel()?;
        Ok(Self {
            control,
            channel,
            settings,
        })
    }

    async fn call(&self, identity: &Identity) -> Result<WorkloadCertificate, Error> {
        let metadata = self.control.metadata().await?;
        sign(self.channel.clone(), metadata, identity, self.settings).await
    }
}

/// One call of the signing service.
pub(super) async fn sign(
    channel: Channel,
    metadata: MetadataMap,
    identity: &Identity,
    settings: Settings,
) -> Result<WorkloadCertificate, Error> {
    let request = request(identity)?;
    let mut call = tonic::Request::new(message(identity, request.pem, settings));
    *call.metadata_mut() = metadata;
    let refused = |message: &str, code| Error::Refused {
        identity: identity.clone(),
        code,
        message: message.to_owned(),
    };
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    client
        .ready()
        .await
        .map_err(|error| refused(&chain(&error), tonic::Code::Unavailable))?;
    let path = PathAndQuery::from_static(CREATE_CERTIFICATE);
    let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
    let answer = client
        .unary(call, path, codec)
        .await
        .map_err(|status| refused(&status_text(&status), status.code()))?;
    Ok(WorkloadCertificate::from_pem(
        identity,
        &answer.into_inner().cert_chain,
        request.key,
    )?)
}

impl Issuer for Istiod {
    fn issue(&self, identity: Identity) -> BoxFuture<'static, Result<WorkloadCertificate, Error>> {
        let client = self.clone();
        Box::pin(async move {
            match timeout(CALL_TIMEOUT, client.call(&identity)).await {
                Ok(result) => result,
                Err(_) => Err(Error::Timeout(identity)),
            }
        })
    }
}

fn message(identity: &Identity, csr: String, settings: Settings) -> IstioCertificateRequest {
    let on_behalf = || Struct {
        fields: [(
            "ImpersonatedIdentity".to_owned(),
            Value {
                kind: Some(Kind::StringValue(identity.to_string())),
            },
        )]
        .into(),
    };
    IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(settings.life.as_secs()).unwrap_or(i64::MAX),
        metadata: settings.impersonate.then(on_behalf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_asks_in_seconds_and_names_the_impersonated_identity_only_in_shared_mode() {
        let identity = Identity::new("cluster.local", "shop", "cart").unwrap();
        let settings = Settings {
            life: Duration::from_hours(24),
            impersonate: true,
        };
        let shared = message(&identity, "csr".to_owned(), settings);
        assert_eq!(shared.validity_duration, 86_400);
        let metadata = shared.metadata.unwrap();
        let value = metadata.fields["ImpersonatedIdentity"].kind.clone();
        assert_eq!(
            value,
            Some(Kind::StringValue(
                "spiffe://cluster.local/ns/shop/sa/cart".to_owned()
            ))
        );
        let own = message(
            &identity,
            "csr".to_owned(),
            Settings {
                impersonate: false,
                ..settings
            },
        );
        assert_eq!(own.metadata, None);
    }
}
