use futures::FutureExt as _;
use futures::future::BoxFuture;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::*;
use crate::proto::workload as wire;
use crate::store::Update;

#[derive(Debug)]
struct Loopback;

impl Sockets for Loopback {
    fn datagram(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    fn stream(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        TcpStream::connect(to).boxed()
    }
}

/// A resolver that answers every query with NXDOMAIN, after a packet with another id.
async fn resolver() -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let refuse = |query: &[u8]| {
        let mut reply = Message::from_vec(query).unwrap();
        reply.metadata.message_type = MessageType::Response;
        reply.metadata.response_code = ResponseCode::NXDomain;
        reply.to_vec().unwrap()
    };
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut packet).await {
            let reply = refuse(&packet[..length]);
            let mut forged = reply.clone();
            forged[0] ^= 0xff;
            udp.send_to(&forged, from).await.unwrap();
            udp.send_to(&reply, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(Some(query)) = forward::read_message(&mut stream).await {
                forward::write_message(&mut stream, &refuse(&query))
                    .await
                    .unwrap();
            }
        }
    });
    address
}

struct Running {
    udp: SocketAddr,
    tcp: SocketAddr,
    drain: Drain,
    counters: metrics::Dns,
    task: tokio::task::JoinHandle<()>,
}

async fn running(resolver: SocketAddr) -> Running {
    beside(None, resolver).await
}

/// A server on a port of its own, or on that of another one.
async fn beside(taken_by: Option<&Running>, resolver: SocketAddr) -> Running {
    let store = Arc::new(Store::default());
    let service = wire::Service {
        name: "web".into(),
        namespace: "shop".into(),
        hostname: "web.shop.svc.cluster.local".into(),
        addresses: vec![wire::NetworkAddress {
            address: vec![10, 1, 0, 1],
            ..Default::default()
        }],
        ..Default::default()
    };
    store.apply(vec![Update::address(wire::Address {
        r#type: Some(wire::address::Type::Service(service)),
    })]);
    let counters = metrics::Dns::default();
    let shared = Arc::new(Shared {
        store,
        resolvers: Resolvers {
            servers: vec![resolver],
            timeout: Duration::from_millis(200),
            attempts: 1,
        },
        counters: counters.clone(),
        domain: "cluster.local".into(),
        network: String::new(),
        cluster_id: "Kubernetes".into(),
    });
    let here = crate::socket::Sockets::here(crate::socket::Options {
        mark: None,
        ..Default::default()
    });
    // The port is shared, as with another proxy on the node.
    let port = taken_by.map_or_else(
        || {
            std::net::UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
        },
        |other| other.udp,
    );
    let udp = here.udp(port).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let drain = Drain::new();
    let pod = ("shop".into(), "client".into());
    let task = tokio::spawn(serve(
        shared,
        pod,
        udp,
        tcp,
        Arc::new(Loopback),
        drain.clone(),
    ));
    Running {
        udp: udp_at,
        tcp: tcp_at,
        drain,
        counters,
        task,
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut message = Message::new(99, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

async fn by_datagram(to: SocketAddr, query: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(query, to).await.unwrap();
    let mut packet = [0; 2048];
    let length = timeout(Duration::from_secs(5), socket.recv(&mut packet))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&packet[..length]).unwrap()
}

#[tokio::test]
async fn own_names_are_answered_and_others_come_from_the_resolver_by_both_transports() {
    let server = running(resolver().await).await;
    let own = by_datagram(server.udp, &query("web.")).await;
    assert_eq!(own.answers[0].data.to_string(), "10.1.0.1");
    let other = by_datagram(server.udp, &query("example.com.")).await;
    assert_eq!(
        (other.metadata.id, other.metadata.response_code),
        (99, ResponseCode::NXDomain)
    );

    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    for (name, code) in [
        ("web.", ResponseCode::NoError),
        ("example.com.", ResponseCode::NXDomain),
    ] {
        forward::write_message(&mut stream, &query(name))
            .await
            .unwrap();
        let reply = timeout(Duration::from_secs(5), forward::read_message(&mut stream))
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(
            Message::from_vec(&reply).unwrap().metadata.response_code,
            code,
            "{name}"
        );
    }
    drop(server.counters);
}

#[tokio::test]
async fn a_silent_resolver_becomes_a_server_failure() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = running(silent.local_addr().unwrap()).await;
    let reply = by_datagram(server.udp, &query("example.com.")).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(reply.queries[0].name.to_ascii(), "example.com.");
}

#[tokio::test]
async fn closing_ends_the_listeners() {
    let server = running(resolver().await).await;
    by_datagram(server.udp, &query("web.")).await;
    server.drain.close();
    timeout(Duration::from_secs(5), server.drain.idle())
        .await
        .unwrap();
    assert!(TcpStream::connect(server.tcp).await.is_err());
    server.drain.cut_now();
    timeout(Duration::from_secs(5), server.task)
        .await
        .unwrap()
        .unwrap();
}

/// A resolver of libc asks again after five seconds: for whoever waits two, a query that is lost is a connection that failed.
#[tokio::test]
async fn what_the_kernel_had_taken_when_the_server_closed_is_answered() {
    let server = running(resolver().await).await;
    by_datagram(server.udp, &query("web.")).await;
    // This thread does not give way until all of them wait in the socket.
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for name in ["web.", "example.com."].iter().cycle().take(64) {
        client.send_to(&query(name), server.udp).unwrap();
    }
    let stream = std::net::TcpStream::connect(server.tcp).unwrap();
    server.drain.close();

    client.set_nonblocking(true).unwrap();
    let client = UdpSocket::from_std(client).unwrap();
    let mut packet = [0; 2048];
    for number in 0..64 {
        let answer = timeout(Duration::from_secs(5), client.recv(&mut packet)).await;
        assert!(matches!(answer, Ok(Ok(_))), "answer {number}: {answer:?}");
    }
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    forward::write_message(&mut stream, &query("web."))
        .await
        .unwrap();
    let answer = timeout(Duration::from_secs(5), forward::read_message(&mut stream)).await;
    assert!(matches!(answer, Ok(Ok(Some(_)))), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_closes_leaves_new_queries_to_the_other_one_on_its_port() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let leaver = running(silent.local_addr().unwrap()).await;
    let survivor = beside(Some(&leaver), resolver().await).await;
    leaver.drain.close();
    timeout(Duration::from_secs(5), leaver.drain.idle())
        .await
        .unwrap();
    // Each from a port of its own: the kernel chooses by it. The leaver has nobody to ask.
    for number in 0..64 {
        let reply = by_datagram(survivor.udp, &query("example.com.")).await;
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NXDomain,
            "query {number}"
        );
    }
}
