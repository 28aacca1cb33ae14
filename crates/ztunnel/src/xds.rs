//! The delta xDS client: keeps the store in step with istiod.
//!
//! Layer 5. [`session`] decides what to send (pure); this file holds the stream and the reconnects.

mod session;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use http::uri::PathAndQuery;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::control::{self, Control, status_text};
use crate::error::chain;
use crate::proto::discovery::{
    DELTA_AGGREGATED_RESOURCES, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node,
};
use crate::store::Store;
pub use session::Session;

/// Largest response, as upstream.
const MAX_RESPONSE: usize = 200 << 20;
/// Waits between attempts, as upstream.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A stream that lived this long was good: the next wait starts small again.
const GOOD_STREAM: Duration = Duration::from_secs(30);
/// Requests waiting to be sent: two subscriptions and one answer per response in flight.
const REQUESTS: usize = 16;

/// Why a stream ended.
#[derive(Debug, Error)]
pub enum Error {
    /// istiod cannot be reached or called.
    #[error("the xDS server cannot be called")]
    Control(#[from] control::Error),
    /// The connection could not be made.
    #[error("cannot connect to the xDS server: {0}")]
    Connect(String),
    /// istiod ended the stream with an error.
    #[error("the xDS stream failed: {message} ({code})")]
    Stream {
        /// gRPC code.
        code: tonic::Code,
        /// istiod's words.
        message: String,
    },
    /// istiod ended the stream without an error.
    #[error("the xDS server closed the stream")]
    Closed,
}

/// Why a stream ended, as the metric `istio_xds_connection_terminations_total` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Termination {
    /// Never connected.
    ConnectionError,
    /// Ended with an error.
    Error,
    /// Ended by a proxy or server that is shutting down or refreshing.
    Reconnect,
    /// Ended by the server without an error.
    Complete,
}

impl Error {
    /// What the metric counts.
    pub fn termination(&self) -> Termination {
        match self {
            Self::Control(_) | Self::Connect(_) => Termination::ConnectionError,
            Self::Stream { code, message } if is_refresh(*code, message) => Termination::Reconnect,
            Self::Stream { .. } => Termination::Error,
            Self::Closed => Termination::Complete,
        }
    }
}

/// istiod ends streams about every half hour, and load balancers reset idle ones: no fault of anybody.
fn is_refresh(code: tonic::Code, message: &str) -> bool {
    match code {
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => true,
        _ => message.contains("h2 protocol error") || message.contains("connection reset"),
    }
}

/// Told what happens on the stream; metrics implement it.
pub trait Observer: Send + Sync {
    /// A response with resources of a type arrived; `bytes` counts the resources as encoded.
    fn message(&self, type_url: &str, bytes: usize);
    /// A stream ended.
    fn terminated(&self, reason: Termination);
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// Own address; upstream uses 1.1.1.1 when it is not set.
    pub ip: String,
    /// Own pod.
    pub pod: String,
    /// Own namespace.
    pub namespace: String,
    /// Cluster domain.
    pub domain: String,
    /// Node.
    pub node: String,
    /// More metadata: `ISTIO_META_*` without the prefix.
    pub metadata: Vec<(String, String)>,
}

impl NodeFacts {
    /// The node as istiod reads it: `ztunnel~<ip>~<pod>.<ns>~<ns>.svc.<domain>`.
    pub fn node(&self) -> Node {
        let Self {
            ip,
            pod,
            namespace,
            domain,
            node,
            metadata,
        } = self;
        let own = [
            ("NAME", pod),
            ("NAMESPACE", namespace),
            ("INSTANCE_IPS", ip),
            ("NODE_NAME", node),
        ];
        let extra = metadata.iter().map(|(key, value)| (key.as_str(), value));
        let text = |(key, value): (&str, &String)| {
            (
                key.to_owned(),
                Value {
                    kind: Some(Kind::StringValue(value.clone())),
                },
            )
        };
        Node {
            id: format!("ztunnel~{ip}~{pod}.{namespace}~{namespace}.svc.{domain}"),
            // What the process knows about itself wins over its environment.
            metadata: Some(Struct {
                fields: extra.chain(own).map(text).collect(),
            }),
        }
    }
}

/// The client of one store.
pub struct Client {
    control: Control,
    store: Arc<Store>,
    session: Session,
    observer: Option<Arc<dyn Observer>>,
    ready: watch::Sender<bool>,
}

impl Client {
    /// A client; nothing is connected before [`Client::run`].
    pub fn new(control: Control, store: Arc<Store>, facts: &NodeFacts) -> Self {
        Self {
            control,
            store,
            session: Session::new(facts.node()),
            observer: None,
            ready: watch::Sender::new(false),
        }
    }

    /// Reports to this observer.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Becomes true after the first answer of every type has been applied, and stays so.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Keeps the store in step, for ever. Stop it by dropping the future.
    pub async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let start = Instant::now();
            let Err(error) = self.stream().await;
            let termination = error.termination();
            if let Some(observer) = &self.observer {
                observer.terminated(termination);
            }
            let is_good = start.elapsed() >= GOOD_STREAM;
            wait = next_wait(wait, is_good);
            match termination {
                Termination::Reconnect | Termination::Complete if is_good => {
                    tracing::debug!(%error, retry_in = ?wait, "xDS stream ended");
                }
                _ => tracing::warn!(error = %chain(&error), retry_in = ?wait, "xDS stream ended"),
            }
            sleep(wait).await;
        }
    }

    /// One stream, until it fails.
    async fn stream(&mut self) -> Result<std::convert::Infallible, Error> {
        // A fresh channel per stream: roots and address are read anew.
        let mut client = Grpc::new(self.control.channel()?).max_decoding_message_size(MAX_RESPONSE);
        let metadata = self.control.metadata().await?;
        client
            .ready()
            .await
            .map_err(|error| Error::Connect(chain(&error)))?;
        let (requests, queue) = mpsc::channel(REQUESTS);
        for request in self.session.subscriptions() {
            requests.try_send(request).map_err(|_| Error::Closed)?;
        }
        let outgoing = futures::stream::unfold(queue, |mut queue| async {
            queue.recv().await.map(|request| (request, queue))
        });
        let mut call = tonic::Request::new(outgoing);
        *call.metadata_mut() = metadata;
        let path = PathAndQuery::from_static(DELTA_AGGREGATED_RESOURCES);
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let failed = |status: tonic::Status| Error::Stream {
            code: status.code(),
            message: status_text(&status),
        };
        let answers = client
            .streaming(call, path, codec)
            .await
            .map_err(failed)?
            .into_inner();
        let mut answers = pin!(answers);
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(failed)?;
            self.report(&answer);
            let acknowledgement = self
                .session
                .receive(answer, |updates| self.store.apply(updates));
            if self.session.is_complete() {
                self.ready
                    .send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            requests
                .send(acknowledgement)
                .await
                .map_err(|_| Error::Closed)?;
        }
        Err(Error::Closed)
    }

    fn report(&self, answer: &DeltaDiscoveryResponse) {
        let bytes = answer
            .resources
            .iter()
            .filter_map(|r| r.resource.as_ref())
            .map(|any| any.value.len())
            .sum();
        let (type_url, resources, removed) = (
            &answer.type_url,
            answer.resources.len(),
            answer.removed_resources.len(),
        );
        tracing::debug!(type_url, resources, removed, bytes, "xDS response");
        if let Some(observer) = &self.observer {
            observer.message(type_url, bytes);
        }
    }
}

/// The wait after a stream: small after a good one, else twice the last up to the longest.
fn next_wait(last: Duration, is_good: bool) -> Duration {
    if is_good {
        FIRST_WAIT
    } else {
        (last * 2).min(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests;
