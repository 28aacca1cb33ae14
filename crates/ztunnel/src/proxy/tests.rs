//! One pod that calls a service it serves itself: out through 15001, through a tunnel, in through 15008, to the application.
//! Real sockets, real redirection, real certificates; state and authority are in memory.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::testbed::{member, pod, service, store};
use super::*;
use crate::ca;
use crate::drain::Drain;
use crate::identity::Identity;
use crate::proto::authorization as policy;
use crate::proxy::connections::{Connections, Protocol};
use crate::socket::{Netns, Options, Sockets, Source};
use crate::store::Update;
use crate::tls::WorkloadCertificate;
use crate::tls::tests::Authority;

struct TestIssuer(Authority);

impl ca::Issuer for TestIssuer {
    fn issue(
        &self,
        identity: Identity,
    ) -> BoxFuture<'static, Result<WorkloadCertificate, ca::Error>> {
        let certificate = self.0.certificate(&identity, Duration::from_hours(1));
        Box::pin(async move { Ok(certificate) })
    }
}

/// The application's port, the service's address, and a policy's name.
const APPLICATION: &str = "10.7.0.1:8080";
const SERVICE: &str = "10.9.0.4:80";

struct Scene {
    netns: Netns,
    shared: Arc<Shared>,
    process: Drain,
    drain: Drain,
    connections: Connections,
}

impl Scene {
    fn new() -> Self {
        let netns = crate::socket::tests::pod();
        let store = store(
            vec![member(pod("cart", "10.7.0.1"), &["cart"])],
            vec![service("cart", "10.9.0.4")],
        );
        let shared = Arc::new(Shared {
            store: Arc::new(store),
            certificates: Some(Certificates::new(Arc::new(TestIssuer(Authority::new())))),
            reports: Reports::default(),
            settings: Settings {
                network: "".into(),
                cluster_id: "Kubernetes".into(),
                sockets: Options::default(),
                hbone: hbone::Settings::default(),
                keeps_source: true,
                response_baggage: true,
                localhost_tunnel: true,
                logs_authorization: false,
            },
        });
        let sockets = Sockets::within(netns.clone(), Options::default());
        let listeners = Listeners::open(&sockets).unwrap();
        let info = Info {
            name: "cart".into(),
            namespace: "shop".into(),
            service_account: "cart".into(),
        };
        let process = Drain::new();
        let drain = process.child();
        let connections = serve(
            Arc::clone(&shared),
            info,
            sockets,
            listeners,
            process.clone(),
            drain.clone(),
        );
        Self {
            netns,
            shared,
            process,
            drain,
            connections,
        }
    }

    /// Sockets as the application makes them.
    fn application(&self) -> Sockets {
        Sockets::within(
            self.netns.clone(),
            Options {
                mark: None,
                reuse_port: false,
                ..Options::default()
            },
        )
    }

    fn listen(&self) -> TcpListener {
        self.application().listen_on(at(APPLICATION)).unwrap()
    }

    async fn call(&self) -> TcpStream {
        let from = Source::Ip("10.7.0.1".parse().unwrap());
        self.application().connect(at(SERVICE), from).await.unwrap()
    }

    fn put_policy(&self, action: policy::Action) {
        let policy = policy::Authorization {
            name: "gate".into(),
            namespace: "shop".into(),
            scope: policy::Scope::Namespace.into(),
            action: action.into(),
            rules: vec![policy::Rule {
                clauses: vec![policy::Clause::default()],
            }],
            ..policy::Authorization::default()
        };
        assert_eq!(
            self.shared.store.apply(vec![Update::authorization(policy)]),
            []
        );
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work)
        .await
        .expect("it happens soon")
}

/// Both ends of an established connection, used once.
async fn established(scene: &Scene, listener: &TcpListener) -> (TcpStream, TcpStream, SocketAddr) {
    let mut client = scene.call().await;
    client.write_all(b"ping").await.unwrap();
    let (mut server, peer) = soon(listener.accept()).await.unwrap();
    let mut got = [0; 4];
    soon(server.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"ping");
    (client, server, peer)
}

#[tokio::test]
async fn a_call_to_a_service_goes_through_a_tunnel_and_keeps_its_source() {
    let scene = Scene::new();
    let listener = scene.listen();
    let (mut client, mut server, peer) = established(&scene, &listener).await;
    assert_eq!(peer.ip(), at(APPLICATION).ip());
    let listed = scene.connections.list();
    assert!(
        listed.iter().all(|live| live.protocol == Protocol::Hbone),
        "{listed:?}"
    );
    let ways: Vec<(SocketAddr, SocketAddr)> = listed
        .iter()
        .map(|live| (live.original_dst, live.actual_dst))
        .collect();
    assert_eq!(
        ways,
        [
            (at(SERVICE), at("10.7.0.1:15008")),
            (at(APPLICATION), at(APPLICATION))
        ]
    );
    server.write_all(b"pong").await.unwrap();
    server.shutdown().await.unwrap();
    let mut text = String::new();
    soon(client.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "pong");
    client.shutdown().await.unwrap();
    soon(server.read_to_string(&mut text)).await.unwrap();
    soon(async {
        while !scene.connections.list().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_second_call_shares_the_tunnel_and_has_its_own_source_port() {
    let scene = Scene::new();
    let listener = scene.listen();
    let (_client, _server, first) = established(&scene, &listener).await;
    let (_other, _more, second) = established(&scene, &listener).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_service_nobody_listens_for_ends_the_call() {
    let scene = Scene::new();
    let mut client = scene.call().await;
    let mut text = String::new();
    // The tunnel answers 503, which the client sees as the end of its connection.
    let _ = soon(client.read_to_string(&mut text)).await;
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_denied_call_never_reaches_the_application() {
    let scene = Scene::new();
    let listener = scene.listen();
    scene.put_policy(policy::Action::Deny);
    let mut client = scene.call().await;
    let mut text = String::new();
    let _ = soon(client.read_to_string(&mut text)).await;
    assert!(futures::FutureExt::now_or_never(listener.accept()).is_none());
}

#[tokio::test]
async fn a_policy_that_comes_later_ends_a_live_connection_that_it_denies() {
    let scene = Scene::new();
    let listener = scene.listen();
    let (mut client, _server, _) = established(&scene, &listener).await;
    scene.put_policy(policy::Action::Allow);
    let (_allowed, _still, _) = established(&scene, &listener).await;
    scene.put_policy(policy::Action::Deny);
    let mut text = String::new();
    let _ = soon(client.read_to_string(&mut text)).await;
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_deleted_pod_is_cut_at_once() {
    let scene = Scene::new();
    let listener = scene.listen();
    let (mut client, _server, _) = established(&scene, &listener).await;
    scene.drain.cut_now();
    let mut text = String::new();
    let _ = soon(client.read_to_string(&mut text)).await;
    soon(scene.drain.idle()).await;
    assert!(scene.connections.list().is_empty());
}

#[tokio::test]
async fn a_stopping_process_takes_no_more_and_lets_live_connections_end() {
    let scene = Scene::new();
    let listener = scene.listen();
    let (mut client, mut server, _) = established(&scene, &listener).await;
    let process = scene.process.clone();
    let end = tokio::spawn(async move { process.end(Duration::from_mins(1)).await });
    soon(scene.drain.closing()).await;
    server.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    soon(client.read_exact(&mut got)).await.unwrap();
    let refused = async {
        loop {
            match scene.application().connect(at(SERVICE), Source::Any).await {
                Err(error) => return error,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    assert_eq!(
        soon(refused).await.kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    drop((client, server));
    assert_eq!(soon(end).await.unwrap(), 0, "nothing had to be cut");
}
