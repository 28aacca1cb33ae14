//! The xDS and certificate clients against an istiod in the same process, over real TLS on the loopback.

use super::*;
use crate::ca::{Issuer as _, Istiod, Settings};
use crate::identity::Identity;
use crate::proto::ADDRESS_TYPE;
use crate::proto::ca::{CREATE_CERTIFICATE, IstioCertificateRequest, IstioCertificateResponse};
use crate::proto::discovery::{
    DELTA_AGGREGATED_RESOURCES, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use crate::proto::workload::{Address, Workload};
use crate::store::Store;
use crate::xds;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rcgen::{CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::pin::Pin;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// A response, or how the stream ends.
type Scripted = Result<DeltaDiscoveryResponse, Status>;

type Signer = CertifiedIssuer<'static, KeyPair>;

/// The server: signs every request, and answers xDS with what the test sends.
#[derive(Clone)]
struct Fake {
    signer: Arc<Signer>,
    signed: Arc<Mutex<Vec<IstioCertificateRequest>>>,
    /// Requests the xDS client sent, with the headers of their stream.
    asked: mpsc::UnboundedSender<(MetadataMap, DeltaDiscoveryRequest)>,
    /// Responses for the next stream.
    answers: Arc<Mutex<Option<mpsc::UnboundedReceiver<Scripted>>>>,
}

struct Server {
    fake: Fake,
    address: String,
    asked: mpsc::UnboundedReceiver<(MetadataMap, DeltaDiscoveryRequest)>,
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
}

impl Server {
    async fn start() -> Self {
        let signer =
            CertifiedIssuer::self_signed(ca_params(), KeyPair::generate().unwrap()).unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        let fake = Fake {
            signer: Arc::new(signer),
            signed: Arc::default(),
            asked: sender,
            answers: Arc::default(),
        };
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["istiod.test".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &*fake.signer).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, acceptor, fake.clone()));
        Self {
            fake,
            address,
            asked,
        }
    }

    fn target(&self) -> Target {
        Target {
            address: self.address.clone(),
            root: Root::Pem(self.fake.signer.pem()),
            alt_hostname: Some("istiod.test".to_owned()),
            token: Some(Token::Literal("secret".to_owned())),
            cluster_id: "north".to_owned(),
            headers: Vec::new(),
        }
    }

    fn control(&self) -> Control {
        Control::new(self.target()).unwrap()
    }

    /// The sender of responses on the next stream; dropping it ends the stream.
    fn answers(&self) -> mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.fake.answers.lock().unwrap() = Some(receiver);
        sender
    }

    async fn next(&mut self) -> (MetadataMap, DeltaDiscoveryRequest) {
        timeout(Duration::from_secs(20), self.asked.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, fake: Fake) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, fake) = (acceptor.clone(), fake.clone());
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else {
                return;
            };
            let service = hyper::service::service_fn(move |request| fake.clone().route(request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(tls), service).await;
        });
    }
}

type Answer = Result<http::Response<Body>, std::convert::Infallible>;

impl Fake {
    async fn route(self, request: http::Request<hyper::body::Incoming>) -> Answer {
        let request = request.map(Body::new);
        Ok(match request.uri().path() {
            CREATE_CERTIFICATE => {
                tonic::server::Grpc::new(ProstCodec::default())
                    .unary(Sign(self), request)
                    .await
            }
            DELTA_AGGREGATED_RESOURCES => {
                tonic::server::Grpc::new(ProstCodec::default())
                    .streaming(Discover(self), request)
                    .await
            }
            other => panic!("nobody serves {other}"),
        })
    }
}

struct Sign(Fake);

impl tonic::server::UnaryService<IstioCertificateRequest> for Sign {
    type Response = IstioCertificateResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<IstioCertificateRequest>) -> Self::Future {
        let fake = self.0.clone();
        Box::pin(async move {
            let header = |name| request.metadata().get(name).cloned();
            if header("authorization").is_none_or(|token| token != "Bearer secret") {
                return Err(Status::unauthenticated("no token"));
            }
            assert_eq!(header("clusterid").unwrap(), "north");
            let request = request.into_inner();
            let params = CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
            let leaf = params.signed_by(&fake.signer).unwrap();
            fake.signed.lock().unwrap().push(request);
            Ok(Response::new(IstioCertificateResponse {
                cert_chain: vec![leaf.pem(), fake.signer.pem()],
            }))
        })
    }
}

struct Discover(Fake);

impl tonic::server::StreamingService<DeltaDiscoveryRequest> for Discover {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let fake = self.0.clone();
        Box::pin(async move {
            let metadata = request.metadata().clone();
            let mut requests: Pin<Box<dyn Stream<Item = _> + Send>> =
                Box::pin(request.into_inner());
            let asked = fake.asked.clone();
            tokio::spawn(async move {
                while let Some(Ok(request)) = requests.next().await {
                    if asked.send((metadata.clone(), request)).is_err() {
                        return;
                    }
                }
            });
            let answers = fake
                .answers
                .lock()
                .unwrap()
                .take()
                .ok_or_else(|| Status::unavailable("no answers yet"))?;
            let stream = futures::stream::unfold(answers, |mut answers| async {
                answers.recv().await.map(|answer| (answer, answers))
            });
            Ok(Response::new(stream.boxed()))
        })
    }
}

fn cart() -> Identity {
    Identity::new("cluster.local", "shop", "cart").unwrap()
}

fn settings() -> Settings {
    Settings {
        life: Duration::from_hours(24),
        impersonate: true,
    }
}

#[tokio::test]
async fn a_certificate_is_signed_over_tls_with_the_token() {
    let server = Server::start().await;
    let issuer = Istiod::new(server.control(), settings()).unwrap();
    let certificate = issuer.issue(cart()).await.unwrap();
    assert_eq!(certificate.identity(), &cart());
    assert_eq!(
        crate::tls::uri_names(&certificate.chain()[0]).unwrap(),
        [cart().as_str()]
    );
    let signed = server.fake.signed.lock().unwrap();
    assert_eq!((signed.len(), signed[0].validity_duration), (1, 86_400));
}

#[tokio::test]
async fn one_certificate_is_signed_over_a_connection_that_is_already_open() {
    let server = Server::start().await;
    let control = server.control();
    let caller = |token: &str| crate::ca::Caller {
        token: token.to_owned(),
        cluster_id: "north".to_owned(),
    };
    for token in ["secret", "another"] {
        let stream = control.clone().connect().await.unwrap();
        let caller = caller(token);
        let answer =
            crate::ca::issue_once(stream, &caller, &cart(), settings(), CONNECT_TIMEOUT).await;
        assert_eq!(answer.is_ok(), token == "secret", "{answer:?}");
    }
    assert_eq!(server.fake.signed.lock().unwrap().len(), 1);
    // Who never answers is not waited for.
    let (stream, _silent) = tokio::io::duplex(64);
    let patience = Duration::from_millis(10);
    let error = crate::ca::issue_once(stream, &caller("secret"), &cart(), settings(), patience)
        .await
        .unwrap_err();
    assert!(matches!(error, crate::ca::Error::Timeout(_)), "{error}");
}

#[tokio::test]
async fn a_refusal_carries_istiods_words() {
    let server = Server::start().await;
    let control = Control::new(Target {
        token: None,
        ..server.target()
    })
    .unwrap();
    let error = Istiod::new(control, settings())
        .unwrap()
        .issue(cart())
        .await
        .unwrap_err();
    let expected = "istiod refused to sign for spiffe://cluster.local/ns/shop/sa/cart: no token \
                    (The request does not have valid authentication credentials)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn an_istiod_with_another_root_or_name_is_not_talked_to() {
    let server = Server::start().await;
    let other = CertifiedIssuer::self_signed(ca_params(), KeyPair::generate().unwrap()).unwrap();
    for target in [
        Target {
            root: Root::Pem(other.pem()),
            ..server.target()
        },
        Target {
            alt_hostname: Some("other.test".to_owned()),
            ..server.target()
        },
        Target {
            alt_hostname: None,
            ..server.target()
        },
        Target {
            root: Root::Pem("nothing".to_owned()),
            ..server.target()
        },
    ] {
        let issuer = Istiod::new(Control::new(target.clone()).unwrap(), settings()).unwrap();
        issuer.issue(cart()).await.unwrap_err();
    }
    assert!(server.fake.signed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_root_file_that_appears_later_is_picked_up_without_a_restart() {
    let server = Server::start().await;
    let path = std::env::temp_dir().join(format!(
        "applink-root-{}-{}.pem",
        std::process::id(),
        line!()
    ));
    let control = Control::new(Target {
        root: Root::File(path.clone()),
        ..server.target()
    })
    .unwrap();
    let issuer = Istiod::new(control, settings()).unwrap();
    let missing = issuer.issue(cart()).await.unwrap_err().to_string();
    assert!(
        missing.contains("cannot read the control plane's roots"),
        "{missing}"
    );
    std::fs::write(&path, server.fake.signer.pem()).unwrap();
    let signed = issuer.issue(cart()).await;
    std::fs::remove_file(&path).unwrap();
    signed.unwrap();
}

fn response(nonce: &str, uids: &[&str]) -> DeltaDiscoveryResponse {
    let resource = |uid: &&str| {
        let workload = Workload {
            uid: (*uid).to_owned(),
            namespace: "shop".to_owned(),
            ..Workload::default()
        };
        Resource {
            name: (*uid).to_owned(),
            version: "1".to_owned(),
            resource: Some(prost_types::Any {
                type_url: ADDRESS_TYPE.to_owned(),
                value: Address::from(workload).encode_to_vec(),
            }),
            aliases: Vec::new(),
        }
    };
    DeltaDiscoveryResponse {
        type_url: ADDRESS_TYPE.to_owned(),
        nonce: nonce.to_owned(),
        resources: uids.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[tokio::test]
async fn a_stream_fills_the_store_and_a_lost_one_goes_on_where_it_was() {
    let mut server = Server::start().await;
    let store = Arc::new(Store::default());
    let client = xds::Client::new(
        server.control(),
        Arc::clone(&store),
        &xds::NodeFacts::default(),
    );
    let mut ready = client.ready();
    let answers = server.answers();
    let running = tokio::spawn(client.run());
    let (metadata, first) = server.next().await;
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer secret");
    assert_eq!(
        (first.type_url.as_str(), first.node.is_some()),
        (ADDRESS_TYPE, true)
    );
    let (_, second) = server.next().await;
    assert_eq!(second.type_url, crate::proto::AUTHORIZATION_TYPE);
    answers.send(Ok(response("n1", &["a", "b"]))).unwrap();
    let (_, ack) = server.next().await;
    assert_eq!(
        (ack.response_nonce.as_str(), ack.error_detail),
        ("n1", None)
    );
    assert_eq!(store.snapshot().workloads().count(), 2);
    assert!(!*ready.borrow());
    let policies = DeltaDiscoveryResponse {
        type_url: crate::proto::AUTHORIZATION_TYPE.to_owned(),
        nonce: "n2".to_owned(),
        ..DeltaDiscoveryResponse::default()
    };
    answers.send(Ok(policies)).unwrap();
    timeout(Duration::from_secs(20), ready.wait_for(|ready| *ready))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(server.next().await.1.response_nonce, "n2");
    // The stream ends; the next one says what is still known. Attempts in between find no answers and fail.
    let next = server.answers();
    drop(answers);
    let (_, again) = server.next().await;
    let mut known: Vec<_> = again.initial_resource_versions.into_keys().collect();
    known.sort();
    assert_eq!(known, ["a", "b"]);
    assert_eq!(
        store.snapshot().workloads().count(),
        2,
        "a lost stream takes nothing away"
    );
    server.next().await;
    next.send(Ok(DeltaDiscoveryResponse {
        removed_resources: vec!["a".to_owned()],
        ..response("n3", &[])
    }))
    .unwrap();
    assert_eq!(server.next().await.1.response_nonce, "n3");
    assert_eq!(store.snapshot().workloads().count(), 1);
    running.abort();
}
