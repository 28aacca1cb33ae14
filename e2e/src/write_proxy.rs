//! A counting proxy between a client and the API server, outside of both.
//!
//! It lets a test stop the world at one exact API write: before the server sees it, or after the
//! server did it and before the client learns so. Those two instants are all that a crash can
//! look like from the API's side, so a client that survives every one of them is resumable.
//!
//! The proxy speaks plain HTTP/1.1 on loopback and forwards with the credentials of its own
//! [`kube::Client`]; watches are streamed, upgrades (port-forward) are bridged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The largest request body that is forwarded, in bytes; the API server's own limit is 3 MiB.
const MAX_BODY: usize = 4 << 20;

/// When a write is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The server has not seen the write.
    Before,
    /// The server has answered; the client has not heard it.
    After,
}

/// One API write as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Counts from 1 over the life of the proxy; both moments of a write carry the same number.
    pub number: u64,
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// What was sent.
    pub body: Bytes,
    /// Whether the server did it; unknown before it was asked.
    pub done: Option<bool>,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it, or hand the answer back.
    Pass,
    /// Cut the client's connection without an answer.
    Cut,
}

/// Decides about each write, twice. It may kill the client before it returns.
pub type Hook = Arc<dyn Fn(Moment, &Write) -> Verdict + Send + Sync>;

/// A running proxy; dropped, it stops listening.
#[derive(Debug)]
pub struct WriteProxy {
    address: SocketAddr,
    writes: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
    listener: JoinHandle<()>,
}

impl Drop for WriteProxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

struct Link {
    upstream: kube::Client,
    hook: Hook,
    writes: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl WriteProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to the server of `upstream`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: kube::Client, hook: Hook) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (writes, requests) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let link = Arc::new(Link {
            upstream,
            hook,
            writes: writes.clone(),
            requests: requests.clone(),
        });
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(link.clone(), stream));
            }
        });
        Ok(Self {
            address,
            writes,
            requests,
            listener,
        })
    }

    /// The URL that the client under test is given as its server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that names this proxy as the only cluster, without credentials.
    pub fn kubeconfig(&self) -> String {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url()}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        })
        .to_string()
    }

    /// Writes seen until now.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Requests of any kind seen until now.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(link: Arc<Link>, stream: TcpStream) {
    let service = service_fn(move |request| forward(link.clone(), request));
    // A cut connection ends here as an error; that is what the hook asked for.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Whether a request changes an object a crash could leave half done.
///
/// Leases beat by the clock (to delete one is another matter) and Events, token and access reviews leave nothing to resume, so
/// counting them would make the numbers differ from run to run.
fn is_write(method: &Method, path: &str) -> bool {
    let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    let transient = ["/events", "/token", "reviews", "/portforward"];
    let beats = path.contains("/leases") && *method != Method::DELETE;
    changes && !beats && !transient.iter().any(|part| path.contains(part))
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the connection was cut on purpose at write {0}")]
    Cut(u64),
    #[error("the request body could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the request could not be rebuilt: {0}")]
    Request(#[from] hyper::http::Error),
}

async fn forward(
    link: Arc<Link>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    link.requests.fetch_add(1, Ordering::SeqCst);
    let upgrade = request
        .headers()
        .contains_key("upgrade")
        .then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(Refusal::Body)?
        .to_bytes();
    let mut write = is_write(&head.method, head.uri.path()).then(|| Write {
        number: link.writes.fetch_add(1, Ordering::SeqCst) + 1,
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        body: body.clone(),
        done: None,
    });
    judge(&link, Moment::Before, write.as_ref())?;
    let answer = relay(&link, &head, body, upgrade).await?;
    if let Some(write) = &mut write {
        write.done = Some(answer.status().is_success());
    }
    judge(&link, Moment::After, write.as_ref())?;
    Ok(answer)
}

fn judge(link: &Link, moment: Moment, write: Option<&Write>) -> Result<(), Refusal> {
    match write {
        Some(write) if (link.hook)(moment, write) == Verdict::Cut => {
            Err(Refusal::Cut(write.number))
        }
        _ => Ok(()),
    }
}

async fn relay(
    link: &Link,
    head: &hyper::http::request::Parts,
    body: Bytes,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Response<Body>, Refusal> {
    let mut onward = Request::builder().method(head.method.clone()).uri(
        head.uri
            .path_and_query()
            .map_or("/", hyper::http::uri::PathAndQuery::as_str),
    );
    for (name, value) in &head.headers {
        if !["host", "authorization", "content-length"].contains(&name.as_str()) {
            onward = onward.header(name, value);
        }
    }
    let onward = onward.body(Body::from(body))?;
    let mut answer = match link.upstream.send(onward).await {
        Ok(answer) => answer,
        Err(error) => {
            let mut answer = Response::new(Body::from(error.to_string().into_bytes()));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            return Ok(answer);
        }
    };
    if let Some(client) = upgrade
        && answer.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        let server = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                // Either end may go first; the bridge has nobody to tell.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_changes_count_as_writes() {
        let rows = [
            (Method::GET, "/api/v1/namespaces", false),
            (Method::PATCH, "/api/v1/namespaces/applink-system", true),
            (Method::POST, "/apis/applink.dev/v1alpha1/meshmembers", true),
            (Method::DELETE, "/api/v1/namespaces/a/pods/b", true),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
                false,
            ),
            (
                Method::DELETE,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
                true,
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/serviceaccounts/b/token",
                false,
            ),
            (
                Method::POST,
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                false,
            ),
            (
                Method::POST,
                "/apis/events.k8s.io/v1/namespaces/a/events",
                false,
            ),
        ];
        for (method, path, expected) in rows {
            assert_eq!(is_write(&method, path), expected, "{method} {path}");
        }
    }
}
