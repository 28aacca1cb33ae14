//! One fake istiod: delta ADS and the certificate service over TLS, on the `h2` crate, with a root of its own.
//!
//! Answers wildcard subscriptions, remembers acknowledgements, and signs for whoever is impersonated.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use applink_ztunnel::proto::authorization::Authorization;
use applink_ztunnel::proto::ca::{
    CREATE_CERTIFICATE, IstioCertificateRequest, IstioCertificateResponse,
};
use applink_ztunnel::proto::discovery::{
    DELTA_AGGREGATED_RESOURCES, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use applink_ztunnel::proto::workload::{Address, Service, Workload, address};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::authority::Root;
use crate::netns::Netns;

const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";

#[derive(Default)]
struct World {
    resources: BTreeMap<(&'static str, String), (u64, Vec<u8>)>,
    version: u64,
    nonce: u64,
    streams: HashMap<u64, Stream>,
    refusals: Vec<String>,
    signed: Vec<String>,
    nodes: Vec<String>,
}

struct Stream {
    subscribed: Vec<&'static str>,
    answers: UnboundedSender<DeltaDiscoveryResponse>,
    outstanding: Vec<String>,
}

/// The fake. Cheap to clone.
#[derive(Clone)]
pub struct Istiod {
    world: Arc<(Mutex<World>, Condvar)>,
    root: Root,
}

impl Istiod {
    /// Serves at `at` inside `netns` on `runtime`.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        netns: &Netns,
        at: SocketAddr,
        root: &Root,
    ) -> Self {
        let istiod = Self {
            world: Arc::default(),
            root: root.clone(),
        };
        let listener = netns.listen(at);
        listener.set_nonblocking(true).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(root.server_config(at.ip()));
        let serving = istiod.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, serving) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else {
                        return;
                    };
                    let Ok(mut connection) = h2::server::handshake(tls).await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serving.clone().answer(request, respond));
                    }
                });
            }
        });
        istiod
    }

    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let path = request.uri().path().to_owned();
        let headers = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let Ok(send) = respond.send_response(headers, false) else {
            return;
        };
        let body = Messages {
            stream: request.into_body(),
            buffer: BytesMut::new(),
        };
        match path.as_str() {
            DELTA_AGGREGATED_RESOURCES => self.discover(body, send).await,
            CREATE_CERTIFICATE => self.sign(body, send).await,
            other => panic!("istiod was asked for {other}"),
        }
    }

    async fn sign(self, mut body: Messages, mut send: SendStream<Bytes>) {
        let Some(request) = body.next::<IstioCertificateRequest>().await else {
            return;
        };
        let fields = request.metadata.map(|m| m.fields).unwrap_or_default();
        let impersonated = fields
            .get("ImpersonatedIdentity")
            .and_then(|value| match &value.kind {
                Some(prost_types::value::Kind::StringValue(text)) => Some(text.clone()),
                _ => None,
            });
        let identity = impersonated.expect("every request impersonates a pod");
        let cert_chain = self.root.sign(&request.csr, &identity);
        self.change(|world| world.signed.push(identity));
        let _ = send.send_data(framed(&IstioCertificateResponse { cert_chain }), false);
        let _ = send.send_trailers(HeaderMap::from_iter([(
            "grpc-status".parse().unwrap(),
            HeaderValue::from_static("0"),
        )]));
    }

    async fn discover(self, mut body: Messages, mut send: SendStream<Bytes>) {
        let (answers, mut queue) = unbounded_channel();
        let id = self.change(|world| {
            world.nonce += 1;
            let id = world.nonce;
            world.streams.insert(
                id,
                Stream {
                    subscribed: Vec::new(),
                    answers,
                    outstanding: Vec::new(),
                },
            );
            id
        });
        loop {
            tokio::select! {
                request = body.next::<DeltaDiscoveryRequest>() => match request {
                    Some(request) => self.request(id, request),
                    None => break,
                },
                Some(answer) = queue.recv() => {
                    if send_all(&mut send, framed(&answer)).await.is_none() {
                        break;
                    }
                }
            }
        }
        self.change(|world| world.streams.remove(&id));
    }

    fn request(&self, id: u64, request: DeltaDiscoveryRequest) {
        self.change(|world| {
            if let Some(node) = request.node {
                world.nodes.push(node.id);
            }
            if let Some(refusal) = request.error_detail {
                world.refusals.push(refusal.message);
            }
            let Some(type_url) = [ADDRESS, AUTHORIZATION]
                .into_iter()
                .find(|url| *url == request.type_url)
            else {
                panic!("an unknown type was asked for: {}", request.type_url)
            };
            let stream = world.streams.get_mut(&id).unwrap();
            stream
                .outstanding
                .retain(|nonce| *nonce != request.response_nonce);
            if !stream.subscribed.contains(&type_url) {
                stream.subscribed.push(type_url);
                let known = &request.initial_resource_versions;
                let unchanged =
                    |name: &String, version: u64| known.get(name) == Some(&version.to_string());
                let all = world
                    .resources
                    .iter()
                    .filter(|((url, name), (v, _))| *url == type_url && !unchanged(name, *v));
                let resources = all
                    .map(|((_, name), (v, bytes))| resource(type_url, name, *v, bytes))
                    .collect();
                let gone = known
                    .keys()
                    .filter(|name| !world.resources.contains_key(&(type_url, (*name).clone())));
                let removed = gone.cloned().collect();
                world.send(id, type_url, resources, removed);
            }
        });
    }

    /// Adds or changes a workload.
    pub fn workload(&self, workload: Workload) {
        let name = workload.uid.clone();
        self.put(
            ADDRESS,
            name,
            &Address {
                r#type: Some(address::Type::Workload(workload)),
            },
        );
    }

    /// Adds or changes a service.
    pub fn service(&self, service: Service) {
        let name = format!("{}/{}", service.namespace, service.hostname);
        self.put(
            ADDRESS,
            name,
            &Address {
                r#type: Some(address::Type::Service(service)),
            },
        );
    }

    /// Adds or changes a policy.
    pub fn policy(&self, policy: &Authorization) {
        self.put(
            AUTHORIZATION,
            format!("{}/{}", policy.namespace, policy.name),
            policy,
        );
    }

    /// Removes a workload or service by its resource name.
    pub fn remove_address(&self, name: &str) {
        self.remove(ADDRESS, name);
    }

    /// Removes a policy by its resource name.
    pub fn remove_policy(&self, name: &str) {
        self.remove(AUTHORIZATION, name);
    }

    fn put(&self, type_url: &'static str, name: String, message: &impl Message) {
        self.change(|world| {
            world.version += 1;
            let (version, bytes) = (world.version, message.encode_to_vec());
            let sent = resource(type_url, &name, version, &bytes);
            world.resources.insert((type_url, name), (version, bytes));
            world.send_all(type_url, &[sent], &[]);
        });
        self.settle();
    }

    fn remove(&self, type_url: &'static str, name: &str) {
        self.change(|world| {
            world
                .resources
                .remove(&(type_url, name.to_owned()))
                .expect("a known resource");
            world.send_all(type_url, &[], &[name.to_owned()]);
        });
        self.settle();
    }

    /// Waits until every proxy has acknowledged everything.
    pub fn settle(&self) {
        let (lock, changed) = &*self.world;
        let world = lock.lock().unwrap();
        let unsettled = |world: &mut World| {
            world
                .streams
                .values()
                .any(|stream| !stream.outstanding.is_empty())
        };
        let (world, waited) = changed
            .wait_timeout_while(world, Duration::from_secs(10), unsettled)
            .unwrap();
        assert!(!waited.timed_out(), "a proxy did not acknowledge in 10 s");
        assert_eq!(
            world.refusals,
            Vec::<String>::new(),
            "a proxy refused what istiod sent"
        );
    }

    /// Waits until so many proxies are connected and in step.
    pub fn wait_for_streams(&self, count: usize) {
        let (lock, changed) = &*self.world;
        let world = lock.lock().unwrap();
        let missing = |world: &mut World| {
            world
                .streams
                .values()
                .filter(|s| s.subscribed.len() == 2)
                .count()
                < count
        };
        let (world, waited) = changed
            .wait_timeout_while(world, Duration::from_secs(20), missing)
            .unwrap();
        assert!(
            !waited.timed_out(),
            "{count} proxies did not connect in 20 s"
        );
        drop(world);
        self.settle();
    }

    /// Identities signed for so far.
    pub fn signed(&self) -> Vec<String> {
        self.world.0.lock().unwrap().signed.clone()
    }

    /// Node ids seen so far.
    pub fn nodes(&self) -> Vec<String> {
        self.world.0.lock().unwrap().nodes.clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let (lock, changed) = &*self.world;
        let result = change(&mut lock.lock().unwrap());
        changed.notify_all();
        result
    }
}

impl World {
    fn send_all(&mut self, type_url: &'static str, resources: &[Resource], removed: &[String]) {
        let ids: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, s)| s.subscribed.contains(&type_url))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.send(id, type_url, resources.to_vec(), removed.to_vec());
        }
    }

    fn send(&mut self, id: u64, type_url: &str, resources: Vec<Resource>, removed: Vec<String>) {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.outstanding.push(nonce.clone());
        let _ = stream.answers.send(DeltaDiscoveryResponse {
            system_version_info: self.version.to_string(),
            resources,
            type_url: type_url.to_owned(),
            nonce,
            removed_resources: removed,
        });
    }
}

fn resource(type_url: &str, name: &str, version: u64, bytes: &[u8]) -> Resource {
    Resource {
        version: version.to_string(),
        resource: Some(prost_types::Any {
            type_url: type_url.to_owned(),
            value: bytes.to_vec(),
        }),
        name: name.to_owned(),
        aliases: Vec::new(),
    }
}

/// A gRPC message with its five bytes in front.
fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut all = vec![0];
    all.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    all.extend_from_slice(&body);
    all.into()
}

async fn send_all(send: &mut SendStream<Bytes>, mut bytes: Bytes) -> Option<()> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| send.poll_capacity(context))
            .await?
            .ok()?;
        send.send_data(bytes.split_to(room.min(bytes.len())), false)
            .ok()?;
    }
    Some(())
}

/// The gRPC messages of a request.
struct Messages {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    assert_eq!(self.buffer[0], 0, "messages are not compressed");
                    self.buffer.advance(5);
                    return Some(M::decode(self.buffer.split_to(length)).unwrap());
                }
            }
            let piece = self.stream.data().await?.ok()?;
            let _ = self.stream.flow_control().release_capacity(piece.len());
            self.buffer.extend_from_slice(&piece);
        }
    }
}
