//! Pairs of client and server, with certificates of a test authority.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::identity::Identity;
use crate::tls::tests::Authority as Issuer;
use crate::tls::{self, WorkloadCertificate};

pub(crate) fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account).unwrap()
}

pub(crate) fn certificate(issuer: &Issuer, identity: &Identity) -> WorkloadCertificate {
    issuer.certificate(identity, Duration::from_hours(1))
}

pub(super) fn request(authority: &str) -> Request {
    Request {
        authority: authority.parse().unwrap(),
        baggage: Some("service.name=web".into()),
        forwarded: None,
        traceparent: None,
        network: None,
    }
}

/// A tunnel over an in-memory pipe: web to cart.
async fn pair(settings: Settings) -> (Client, Server<DuplexStream>) {
    let authority = Issuer::new();
    let (near, far) = duplex(256 * 1024);
    let to = tls::client_config(
        &certificate(&authority, &identity("web")),
        &[identity("cart")],
    )
    .unwrap();
    let at = tls::server_config(&certificate(&authority, &identity("cart"))).unwrap();
    let (client, server) = tokio::join!(connect(near, to, settings), accept(far, at, settings));
    (client.unwrap(), server.unwrap())
}

/// Answers every stream by what it sends, backwards in time: the echo starts at once and ends with the client's end.
pub(super) fn echo<T>(mut server: Server<T>) -> tokio::task::JoinHandle<usize>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(incoming) = server.next().await {
            count += 1;
            tokio::spawn(async move {
                let mut stream = incoming
                    .accept(&Answer {
                        baggage: Some("service.name=cart".into()),
                    })
                    .unwrap();
                let (mut reader, mut writer) = tokio::io::split(&mut stream);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        }
        count
    })
}

#[tokio::test]
async fn both_ends_know_each_other_and_bytes_go_both_ways() {
    let (client, server) = pair(Settings::default()).await;
    assert_eq!(client.peer(), &identity("cart"));
    assert_eq!(server.peer(), &identity("web"));
    let serving = echo(server);
    let (mut stream, answer) = client.open(&request("10.0.0.1:80")).await.unwrap();
    assert_eq!(answer.baggage.as_deref(), Some("service.name=cart"));
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    drop((stream, client));
    assert_eq!(
        serving.await.unwrap(),
        1,
        "the tunnel closes when nobody uses it"
    );
}

#[tokio::test]
async fn many_bytes_arrive_whole_on_many_streams() {
    let (client, server) = pair(Settings::default()).await;
    let _serving = echo(server);
    let one = |seed: usize| {
        let client = client.clone();
        async move {
            let (mut stream, _) = client.open(&request("10.0.0.1:80")).await.unwrap();
            let sent: Vec<u8> = (0..1 << 20)
                .map(|at: usize| u8::try_from((at * 7 + seed) % 251).unwrap())
                .collect();
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let write = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let ((), read) = tokio::join!(write, reader.read_to_end(&mut got));
            read.unwrap();
            assert!(got == sent);
        }
    };
    futures::future::join_all((0..8).map(one)).await;
}

#[tokio::test]
async fn the_server_sees_the_request_and_its_refusal_has_a_reason() {
    let (client, mut server) = pair(Settings::default()).await;
    let asked = Request {
        forwarded: Some("for=\"10.0.0.9:41000\"".into()),
        ..request("10.0.0.1:80")
    };
    let sent = asked.clone();
    let call = tokio::spawn(async move { client.open(&sent).await.map(|_| ()) });
    let incoming = server.next().await.unwrap();
    assert_eq!(incoming.request(), &asked);
    incoming.refuse(401);
    assert!(server.next().await.is_none());
    let refusal = call.await.unwrap().unwrap_err();
    assert!(matches!(refusal, Error::Refused(401)), "{refusal}");
}

#[tokio::test]
async fn first_words_travel_with_the_request_and_come_before_all_others() {
    let (client, server) = pair(Settings::default()).await;
    let _serving = echo(server);
    let early = bytes::Bytes::from(vec![b'e'; 16 * 1024]);
    let (mut stream, _) = client
        .open_with(&request("10.0.0.1:80"), &early)
        .await
        .unwrap();
    stream.write_all(b"later").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert!(got == [&early[..], b"later"].concat());
}

#[tokio::test]
async fn first_words_are_there_before_the_server_answers_and_do_not_spoil_a_refusal() {
    let (client, mut server) = pair(Settings::default()).await;
    let call = tokio::spawn(async move {
        let early = bytes::Bytes::from_static(b"let me in");
        let refused = client.open_with(&request("10.0.0.1:80"), &early).await;
        let (mut stream, _) = client
            .open_with(&request("10.0.0.1:80"), &early)
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        refused.map(|_| ())
    });
    server.next().await.unwrap().refuse(401);
    let mut stream = server
        .next()
        .await
        .unwrap()
        .accept(&Answer::default())
        .unwrap();
    let work = tokio::spawn(async move {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stream.shutdown().await.unwrap();
        text
    });
    while server.next().await.is_some() {}
    assert_eq!(work.await.unwrap(), "let me in");
    let refusal = call.await.unwrap().unwrap_err();
    assert!(matches!(refusal, Error::Refused(401)), "{refusal}");
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_own_peer_only() {
    let settings = Settings {
        stream_window: 64 * 1024,
        ..Settings::default()
    };
    let (client, mut server) = pair(settings).await;
    let (hand_over, handed_over) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(async move {
        let first = server.next().await.unwrap();
        let idle = first.accept(&Answer::default()).unwrap();
        hand_over.send(idle).ok();
        echo(server).await.unwrap();
    });
    let (mut stuck, _) = client.open(&request("10.0.0.1:80")).await.unwrap();
    let idle = handed_over.await.unwrap();
    let write = tokio::spawn(async move {
        let written = stuck.write_all(&vec![1; 16 << 20]).await;
        (written, stuck)
    });
    let (mut other, _) = client.open(&request("10.0.0.1:80")).await.unwrap();
    let sent = vec![7; 1 << 20];
    let (mut reader, mut writer) = tokio::io::split(&mut other);
    let mut got = vec![0; sent.len()];
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got));
    written.unwrap();
    read.unwrap();
    assert!(got == sent);
    assert!(!write.is_finished(), "nobody reads these bytes");
    drop(idle);
    assert!(write.await.unwrap().0.is_err(), "its reader has gone");
    drop((other, client));
    serving.await.unwrap();
}

#[tokio::test]
async fn the_servers_end_leaves_the_clients_direction_open() {
    let (client, mut server) = pair(Settings::default()).await;
    let serving = tokio::spawn(async move {
        let mut stream = server
            .next()
            .await
            .unwrap()
            .accept(&Answer::default())
            .unwrap();
        let work = tokio::spawn(async move {
            stream.write_all(b"bye").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        });
        while server.next().await.is_some() {}
        work.await.unwrap()
    });
    let (mut stream, _) = client.open(&request("10.0.0.1:80")).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "bye");
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    drop((stream, client));
    assert_eq!(serving.await.unwrap(), "still here");
}

#[tokio::test]
async fn a_dropped_stream_is_a_reset_which_counts_as_an_end() {
    let (client, mut server) = pair(Settings::default()).await;
    let serving = tokio::spawn(async move {
        let mut stream = server
            .next()
            .await
            .unwrap()
            .accept(&Answer::default())
            .unwrap();
        let work = tokio::spawn(async move {
            let mut buffer = [0; 8];
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => panic!("a reset must not look like the end of the data"),
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        });
        while server.next().await.is_some() {}
        work.await.unwrap()
    });
    let (mut stream, _) = client.open(&request("10.0.0.1:80")).await.unwrap();
    stream.write_all(b"half a mess").await.unwrap();
    drop((stream, client));
    assert!(crate::copy::is_reset(&serving.await.unwrap()));
}

#[tokio::test]
async fn after_a_goodbye_streams_go_on_and_no_new_one_opens() {
    let (client, mut server) = pair(Settings::default()).await;
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let incoming = server.next().await.unwrap();
        let mut stream = incoming.accept(&Answer::default()).unwrap();
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        tokio::select! {
            next = server.next() => assert!(next.is_none()),
            _ = closing => server.close(),
        }
        while server.next().await.is_some() {}
    });
    let (mut stream, _) = client.open(&request("10.0.0.1:80")).await.unwrap();
    close.send(()).unwrap();
    let refused = async {
        // The goodbye needs a moment to arrive.
        loop {
            match client.open(&request("10.0.0.1:80")).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .unwrap();
    assert!(refused.is_stale_tunnel(), "{refused}");
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "late");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let settings = Settings {
        ping_interval: Duration::from_millis(5),
        ping_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let authority = Issuer::new();
    let (near, far) = duplex(256 * 1024);
    let to = tls::client_config(
        &certificate(&authority, &identity("web")),
        &[identity("cart")],
    )
    .unwrap();
    let at = tls::server_config(&certificate(&authority, &identity("cart"))).unwrap();
    let patient = Settings::default();
    let (client, server) = tokio::join!(connect(near, to, settings), accept(far, at, patient));
    let (client, mut server) = (client.unwrap(), server.unwrap());
    let ask = request("10.0.0.1:80");
    let (stream, kept) = tokio::join!(client.open(&ask), async {
        let stream = server
            .next()
            .await
            .unwrap()
            .accept(&Answer::default())
            .unwrap();
        // One more turn sends the answer; after that nobody moves the server's bytes.
        let _ = tokio::time::timeout(Duration::from_millis(2), server.next()).await;
        stream
    });
    let (mut stream, _) = stream.unwrap();
    client.ended().await;
    let mut buffer = [0; 1];
    let error = stream.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    drop((kept, server));
}

#[tokio::test]
async fn an_unexpected_identity_is_refused_by_the_client() {
    let authority = Issuer::new();
    let (near, far) = duplex(64 * 1024);
    let to = tls::client_config(
        &certificate(&authority, &identity("web")),
        &[identity("somebody-else")],
    )
    .unwrap();
    let at = tls::server_config(&certificate(&authority, &identity("cart"))).unwrap();
    let settings = Settings::default();
    let (client, server) = tokio::join!(connect(near, to, settings), accept(far, at, settings));
    assert!(matches!(client.unwrap_err(), Error::Tls(_)));
    assert!(server.is_err());
}

#[tokio::test]
async fn a_foreign_trust_domain_ends_in_the_handshake() {
    let authority = Issuer::new();
    let stranger = Identity::new("other.mesh", "shop", "web").unwrap();
    let (near, far) = duplex(64 * 1024);
    let to = tls::client_config(&certificate(&authority, &stranger), &[identity("cart")]).unwrap();
    let at = tls::server_config(&certificate(&authority, &identity("cart"))).unwrap();
    let settings = Settings::default();
    let (client, server) = tokio::join!(connect(near, to, settings), accept(far, at, settings));
    assert!(matches!(server.unwrap_err(), Error::Tls(_)));
    if let Ok(client) = client {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        assert!(client.open(&request("10.0.0.1:80")).await.is_err());
    }
}
