//! What running components say about themselves, asked through `pods/portforward`: nothing has to listen on a pod's
//! address for it, and it works for clusters that are reached through their API server only.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::certified::uncertified;
use super::signing::Mesh;
use super::{counts, project, room, serving};
use crate::facts::{Connections, Evidence, PodMeta};
use crate::names;
use crate::probe::Figures;

/// The longest a component may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: a config dump of a large mesh.
const LONGEST: usize = 64 * 1024 * 1024;
/// Port of istiod's readiness.
const ISTIOD_READY_PORT: u16 = 8080;

/// Asks components. One implementation reaches them through the API server; tests have others.
pub trait Signals: Send + Sync {
    /// istiod says that it is ready, takes TLS for xDS with a certificate of the mesh's root, and signs under it.
    fn control_plane<'a>(
        &'a self,
        pod: &'a str,
        mesh: &'a Mesh,
    ) -> BoxFuture<'a, Result<Evidence, String>>;
    /// Uids of the pods a proxy serves.
    fn served<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<BTreeSet<String>, String>>;
    /// Identities of a proxy's workloads that have no certificate of the mesh, each with why.
    fn uncertified<'a>(
        &'a self,
        pod: &'a str,
        mesh: &'a Mesh,
    ) -> BoxFuture<'a, Result<Vec<String>, String>>;
    /// Running pods with an own network namespace on a node: namespace, name and what matters of them.
    fn on_node<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Vec<Placed>, String>>;
    /// A proxy takes a new connection to the network agent. Upstream's cannot be told to.
    fn reconnect<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<(), String>>;
    /// A proxy keeps its connection to the network agent and never makes another.
    fn stand_down<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<Evidence, String>>;
    /// What a proxy has counted of its connections since it started; none where it does not count which of them fail.
    fn counted<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<Option<Connections>, String>>;
    /// Namespace and name of the pods of a node that wait for their sandbox.
    fn without_sandbox<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Vec<String>, String>>;
    /// A pod of the probe makes new connections to an address.
    fn connections<'a>(
        &'a self,
        pod: &'a str,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Figures, String>>;
    /// A node has room for one more pod with these requests.
    fn room<'a>(
        &'a self,
        node: &'a str,
        millicores: u64,
        bytes: u64,
    ) -> BoxFuture<'a, Result<Evidence, String>>;
}

/// A pod's namespace and name, and what matters of it.
pub type Placed = ((String, String), PodMeta);

/// Reaches components through the API server.
pub struct PortForward {
    client: Client,
}

impl PortForward {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn stream(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<
        (
            kube::api::Portforwarder,
            impl AsyncRead + AsyncWrite + Unpin + Send + use<>,
        ),
        String,
    > {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut forward = api
            .portforward(pod, &[port])
            .await
            .map_err(|error| format!("port {port} cannot be reached: {}", super::chain(&error)))?;
        let stream = forward
            .take_stream(port)
            .ok_or_else(|| format!("port {port} was not forwarded"))?;
        Ok((forward, stream))
    }

    async fn get(&self, pod: &str, port: u16, path: &str) -> Result<(u16, Bytes), String> {
        let target = (names::SYSTEM_NAMESPACE, pod, port);
        self.call(target, hyper::Method::GET, path).await
    }

    /// Tells a proxy something.
    async fn post(&self, proxy: &str, path: &str) -> Result<u16, String> {
        let target = (names::SYSTEM_NAMESPACE, proxy, names::ZTUNNEL_ADMIN_PORT);
        let (status, _) = self.call(target, hyper::Method::POST, path).await?;
        Ok(status)
    }

    /// The answer of a proxy on a path of ours, read by `own`. Upstream's does not know it, nor may an older one of ours: its
    /// dump is read by `dump`.
    async fn own_or_dump<T>(
        &self,
        proxy: &str,
        path: &str,
        own: impl Fn(&[u8]) -> Result<T, String>,
        dump: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let port = names::ZTUNNEL_ADMIN_PORT;
        let (status, body) = self.get(proxy, port, path).await?;
        if status == 200 {
            return own(&body);
        }
        let (status, body) = self.get(proxy, port, "/config_dump").await?;
        if status == 200 {
            dump(&body)
        } else {
            Err(format!("/config_dump answers {status}"))
        }
    }

    async fn call(
        &self,
        (namespace, pod, port): (&str, &str, u16),
        method: hyper::Method,
        path: &str,
    ) -> Result<(u16, Bytes), String> {
        let (forward, stream) = self.stream(namespace, pod, port).await?;
        let answer = request(stream, method, path).await;
        forward.abort();
        answer
    }
}

/// One request over a fresh connection.
async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: hyper::Method,
    path: &str,
) -> Result<(u16, Bytes), String> {
    let failed = |error: hyper::Error| format!("{path}: {}", super::chain(&error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LONGEST)
        .collect()
        .await
        .map_err(|error| format!("{path}: {error}"))?
        .to_bytes();
    connection.abort();
    Ok((status, body))
}

async fn limited<T>(request: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(LIMIT, request)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

impl Signals for PortForward {
    fn control_plane<'a>(
        &'a self,
        pod: &'a str,
        mesh: &'a Mesh,
    ) -> BoxFuture<'a, Result<Evidence, String>> {
        Box::pin(limited(async move {
            let (status, _) = self.get(pod, ISTIOD_READY_PORT, "/ready").await?;
            if status != 200 {
                return Ok(Evidence {
                    good: false,
                    text: format!("/ready answers {status}"),
                    ..Evidence::default()
                });
            }
            let system = names::SYSTEM_NAMESPACE;
            let (forward, stream) = self.stream(system, pod, names::ISTIOD_XDS_PORT).await?;
            let signed = match mesh.connect(stream).await {
                Ok(stream) => mesh.sign(&self.client, stream).await,
                Err(error) => Err(error),
            };
            forward.abort();
            Ok(Evidence {
                good: true,
                text: format!("ready, and signed for {} under the mesh's root", signed?),
                ..Evidence::default()
            })
        }))
    }

    fn served<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<BTreeSet<String>, String>> {
        Box::pin(limited(self.own_or_dump(
            pod,
            "/pods",
            served,
            served_by_dump,
        )))
    }

    fn uncertified<'a>(
        &'a self,
        pod: &'a str,
        mesh: &'a Mesh,
    ) -> BoxFuture<'a, Result<Vec<String>, String>> {
        let read = |body: &[u8]| uncertified(body, mesh, jiff::Timestamp::now());
        Box::pin(limited(async move {
            self.own_or_dump(pod, "/certificates", read, read).await
        }))
    }

    fn reconnect<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(limited(async move {
            let path = "/reconnect";
            match self.post(pod, path).await? {
                // Upstream's proxy does not know that path.
                200 | 404 => Ok(()),
                other => Err(format!("{path} answers {other}")),
            }
        }))
    }

    fn stand_down<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<Evidence, String>> {
        Box::pin(limited(async move {
            let path = "/stand-down";
            let status = self.post(pod, path).await?;
            Ok(Evidence {
                good: status == 200,
                text: format!("{path} answers {status}"),
                ..Evidence::default()
            })
        }))
    }

    fn counted<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<Option<Connections>, String>> {
        Box::pin(limited(async move {
            let port = names::ZTUNNEL_ADMIN_PORT;
            // The probe has a gate of its own, and its failures are told by that.
            let path = format!("/connections?without={}", names::PROBE_NAMESPACE);
            let (status, body) = self.get(pod, port, &path).await?;
            if status == 200 {
                return counts::by_reason(&body).map(Some);
            }
            // Upstream's does not know that path, nor may an older one of ours.
            let port = names::ZTUNNEL_METRICS_PORT;
            let (status, body) = self.get(pod, port, "/metrics").await?;
            if status == 200 {
                Ok(counts::by_metrics(&body))
            } else {
                Err(format!("/metrics answers {status}"))
            }
        }))
    }

    fn connections<'a>(
        &'a self,
        pod: &'a str,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Figures, String>> {
        Box::pin(limited(async move {
            let target = (names::PROBE_NAMESPACE, pod, names::PROBE_ASK_PORT);
            let path = format!("/ask/{address}");
            let (status, body) = self.call(target, hyper::Method::GET, &path).await?;
            if status != 200 {
                return Err(format!("{pod} answers {status}"));
            }
            serde_json::from_slice(&body).map_err(|error| format!("{pod}: {error}"))
        }))
    }

    fn room<'a>(
        &'a self,
        node: &'a str,
        millicores: u64,
        bytes: u64,
    ) -> BoxFuture<'a, Result<Evidence, String>> {
        Box::pin(limited(async move {
            let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.client.clone());
            let found = nodes
                .get(node)
                .await
                .map_err(|error| super::chain(&error))?;
            let pods: Api<Pod> = Api::all(self.client.clone());
            let params = ListParams::default().fields(&format!(
                "spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
            ));
            let list = pods
                .list(&params)
                .await
                .map_err(|error| super::chain(&error))?;
            Ok(room::judge(&found, &list.items, millicores, bytes))
        }))
    }

    fn without_sandbox<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(limited(async move {
            let api: Api<Pod> = Api::all(self.client.clone());
            let params = ListParams::default().fields(&format!(
                "spec.nodeName={node},status.phase=Pending,spec.hostNetwork=false"
            ));
            let list = api
                .list(&params)
                .await
                .map_err(|error| super::chain(&error))?;
            Ok(list
                .iter()
                .filter(|pod| serving::waits(pod))
                .map(serving::name)
                .collect())
        }))
    }

    fn on_node<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Vec<Placed>, String>> {
        Box::pin(limited(async move {
            let api: Api<Pod> = Api::all(self.client.clone());
            let params = ListParams::default().fields(&format!(
                "spec.nodeName={node},status.phase=Running,spec.hostNetwork=false"
            ));
            let list = api
                .list_metadata(&params)
                .await
                .map_err(|error| super::chain(&error))?;
            Ok(list
                .items
                .into_iter()
                .map(project::workload::<Pod>)
                .collect())
        }))
    }
}

/// Uids in the answer of our proxy: a list of them, or an object with a list `pods`.
fn served(body: &[u8]) -> Result<BTreeSet<String>, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("/pods is no JSON: {error}"))?;
    let list = value
        .as_array()
        .or_else(|| value.get("pods").and_then(Value::as_array))
        .ok_or("/pods holds no list")?;
    Ok(list
        .iter()
        .filter_map(|entry| {
            entry
                .as_str()
                .or_else(|| entry.get("uid").and_then(Value::as_str))
        })
        .map(str::to_owned)
        .collect())
}

/// Uids in upstream's config dump: `workloadState`, by uid or with the uid inside.
fn served_by_dump(body: &[u8]) -> Result<BTreeSet<String>, String> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("/config_dump is no JSON: {error}"))?;
    match value.get("workloadState") {
        Some(Value::Object(map)) => Ok(map.keys().cloned().collect()),
        Some(Value::Array(list)) => Ok(list
            .iter()
            .filter_map(|entry| entry.get("uid").and_then(Value::as_str))
            .map(str::to_owned)
            .collect()),
        _ => Err("/config_dump holds no workloadState".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_read_from_both_kinds_of_proxies() {
        let expected = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(served(br#"["a", "b"]"#).unwrap(), expected);
        assert_eq!(
            served(br#"{"pods": [{"uid": "a"}, {"uid": "b"}]}"#).unwrap(),
            expected
        );
        assert_eq!(
            served_by_dump(br#"{"workloadState": {"a": {}, "b": {}}}"#).unwrap(),
            expected
        );
        assert!(served(b"{}").is_err());
        assert!(served(b"<html>").is_err());
        assert!(served_by_dump(b"{}").is_err());
    }
}
