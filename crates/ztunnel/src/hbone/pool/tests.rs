//! What the pool does with tunnels to a server on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::super::tests::{certificate, echo, identity, request};
use super::super::{Settings, accept, connect};
use super::*;
use crate::tls;
use crate::tls::tests::Authority as Issuer;

/// No first words.
static NONE: bytes::Bytes = bytes::Bytes::new();

/// A server on loopback and a way to reach it that counts how often it is used.
struct Loopback {
    address: std::net::SocketAddr,
    authority: Issuer,
    made: Arc<AtomicUsize>,
}

impl Loopback {
    async fn start(settings: Settings) -> Self {
        let authority = Issuer::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = tls::server_config(&certificate(&authority, &identity("cart"))).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = config.clone();
                tokio::spawn(async move {
                    echo(accept(stream, config, settings).await.unwrap())
                        .await
                        .unwrap()
                });
            }
        });
        Self {
            address,
            authority,
            made: Arc::default(),
        }
    }

    fn key(&self) -> Key {
        Key {
            source: identity("web"),
            destinations: vec![identity("cart")],
            to: self.address,
            from: "127.0.0.1".parse().unwrap(),
        }
    }

    fn dial(
        &self,
        settings: Settings,
    ) -> impl Fn() -> futures::future::BoxFuture<'static, Result<Client, Error>> + use<> {
        let config = tls::client_config(
            &certificate(&self.authority, &identity("web")),
            &[identity("cart")],
        )
        .unwrap();
        let (address, made) = (self.address, Arc::clone(&self.made));
        move || {
            let (config, made) = (config.clone(), Arc::clone(&made));
            Box::pin(async move {
                made.fetch_add(1, Ordering::Relaxed);
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(|error| Error::Connect(Arc::new(error)))?;
                connect(stream, config, settings).await
            })
        }
    }
}

#[tokio::test]
async fn connections_that_start_together_share_one_tunnel() {
    let server = Loopback::start(Settings::default()).await;
    let (pool, key, dial) = (
        Pool::default(),
        server.key(),
        server.dial(Settings::default()),
    );
    let ask = request("10.0.0.1:80");
    let all = futures::future::join_all((0..50).map(|_| pool.open(&key, &ask, &NONE, &dial))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.made.load(Ordering::Relaxed), 1);
    assert_eq!(pool.len(), 1);
}

#[tokio::test]
async fn a_full_tunnel_leaves_the_pool_and_its_places_are_not_used_again() {
    let settings = Settings {
        streams_per_connection: 2,
        ..Settings::default()
    };
    let server = Loopback::start(settings).await;
    let (pool, key, dial) = (Pool::default(), server.key(), server.dial(settings));
    let ask = request("10.0.0.1:80");
    let first = pool.open(&key, &ask, &NONE, &dial).await.unwrap();
    let second = pool.open(&key, &ask, &NONE, &dial).await.unwrap();
    let third = pool.open(&key, &ask, &NONE, &dial).await.unwrap();
    assert_eq!(server.made.load(Ordering::Relaxed), 2);
    drop((first, second));
    let fourth = pool.open(&key, &ask, &NONE, &dial).await.unwrap();
    let fifth = pool.open(&key, &ask, &NONE, &dial).await.unwrap();
    assert_eq!(
        server.made.load(Ordering::Relaxed),
        3,
        "the first tunnel's places were free and stayed unused"
    );
    drop((third, fourth, fifth));
}

#[tokio::test]
async fn a_failure_is_told_to_all_that_waited_and_then_forgotten() {
    let server = Loopback::start(Settings::default()).await;
    let (pool, key, dial) = (
        Pool::default(),
        server.key(),
        server.dial(Settings::default()),
    );
    let ask = request("10.0.0.1:80");
    let attempts = AtomicUsize::new(0);
    let fail = || {
        attempts.fetch_add(1, Ordering::Relaxed);
        async {
            tokio::task::yield_now().await;
            Err::<Client, _>(Error::TimedOut)
        }
    };
    let all = futures::future::join_all((0..10).map(|_| pool.open(&key, &ask, &NONE, fail))).await;
    assert!(all.iter().all(|one| matches!(one, Err(Error::TimedOut))));
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    assert!(pool.is_empty());
    assert!(pool.open(&key, &ask, &NONE, &dial).await.is_ok());
}

#[tokio::test]
async fn an_attempt_that_dies_blocks_nobody() {
    let server = Loopback::start(Settings::default()).await;
    let (pool, key, dial) = (
        Pool::default(),
        server.key(),
        server.dial(Settings::default()),
    );
    let ask = request("10.0.0.1:80");
    let die = || async { panic!("a fault in the making of a tunnel") };
    assert!(matches!(
        pool.open(&key, &ask, &NONE, die).await,
        Err(Error::GivenUp)
    ));
    assert!(pool.open(&key, &ask, &NONE, &dial).await.is_ok());
}

#[tokio::test]
async fn a_client_that_gives_up_does_not_stop_the_tunnel_others_wait_for() {
    let server = Loopback::start(Settings::default()).await;
    let (pool, key, dial) = (
        Pool::default(),
        server.key(),
        server.dial(Settings::default()),
    );
    let ask = request("10.0.0.1:80");
    let mut impatient = Box::pin(pool.open(&key, &ask, &NONE, &dial));
    assert!(futures::poll!(&mut impatient).is_pending());
    let patient = pool.open(&key, &ask, &NONE, &dial);
    drop(impatient);
    patient.await.unwrap();
    assert_eq!(server.made.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_idle_tunnel_is_closed_and_forgotten() {
    let settings = Settings {
        idle_release: Duration::from_millis(8),
        ..Settings::default()
    };
    let server = Loopback::start(settings).await;
    let (pool, key, dial) = (Pool::default(), server.key(), server.dial(settings));
    let used = pool
        .open(&key, &request("10.0.0.1:80"), &NONE, &dial)
        .await
        .unwrap();
    drop(used);
    let empty = async {
        while !pool.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), empty)
        .await
        .unwrap();
    pool.open(&key, &request("10.0.0.1:80"), &NONE, &dial)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_peer_that_went_away_is_replaced_without_an_error() {
    let authority = Issuer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls::server_config(&certificate(&authority, &identity("cart"))).unwrap();
    // Serves one stream per tunnel, then drops the connection without a word.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut server = accept(stream, config.clone(), Settings::default())
                .await
                .unwrap();
            tokio::spawn(async move {
                let incoming = server.next().await.unwrap();
                let stream = incoming.accept(&Answer::default()).unwrap();
                let _ = tokio::time::timeout(Duration::from_millis(20), server.next()).await;
                drop(stream);
            });
        }
    });
    let server = Loopback {
        address,
        authority,
        made: Arc::default(),
    };
    let (pool, key, dial) = (
        Pool::default(),
        server.key(),
        server.dial(Settings::default()),
    );
    for _ in 0..3 {
        let (mut stream, ..) = pool
            .open(&key, &request("10.0.0.1:80"), &NONE, &dial)
            .await
            .unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert_eq!(server.made.load(Ordering::Relaxed), 3);
}
