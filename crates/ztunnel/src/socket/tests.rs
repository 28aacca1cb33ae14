//! Real sockets in fresh network namespaces. Need root; the namespaces go away with the last descriptor.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A namespace with loopback up, and what istio-cni puts into a pod so that answers to a foreign address come back.
pub(crate) fn pod() -> Netns {
    let netns = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("tests of the socket layer run as root");
        for line in [
            "ip link set lo up",
            "ip addr add 10.7.0.1/32 dev lo",
            "iptables -w -t nat -A OUTPUT -p tcp -d 10.9.0.0/16 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001",
            "ip -6 addr add fd00:7::1/128 dev lo nodad",
            "ip route add default dev lo",
            "ip -6 route add default dev lo",
            "ip rule add priority 100 fwmark 0x111/0xfff lookup 100",
            "ip route add local 0.0.0.0/0 dev lo table 100",
            "ip -6 rule add priority 100 fwmark 0x111/0xfff lookup 100",
            "ip -6 route add local ::/0 dev lo table 100",
            "iptables -w -t mangle -A PREROUTING -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff",
            "iptables -w -t mangle -A OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark",
            "iptables -w -t nat -A OUTPUT -p tcp --dport 7000 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001",
            "ip6tables -w -t mangle -A PREROUTING -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff",
            "ip6tables -w -t mangle -A OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark",
            "ip6tables -w -t nat -A OUTPUT -p tcp --dport 7000 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001",
        ] {
            let mut words = line.split(' ');
            let program = words.next().unwrap();
            let done = Command::new(program).args(words).output().unwrap();
            assert!(
                done.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    Netns::new(netns.join().unwrap().into()).unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn unmarked(netns: &Netns) -> Sockets {
    Sockets::within(
        netns.clone(),
        Options {
            mark: None,
            ..Options::default()
        },
    )
}

/// Bytes travel both ways over the pair.
async fn assert_talks(mut one: TcpStream, mut two: TcpStream) {
    one.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    two.read_exact(&mut got).await.unwrap();
    two.write_all(b"pong").await.unwrap();
    one.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"pong");
}

#[tokio::test]
async fn both_ends_of_a_connection_have_no_delay_and_keepalive() {
    let sockets = unmarked(&pod());
    let listener = sockets.listen(7100).unwrap();
    let made = sockets
        .connect(at("10.7.0.1:7100"), Source::Any)
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let wanted = Options::default().keepalive.unwrap();
    for stream in [&made, &accepted] {
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), wanted.time);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), wanted.interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), wanted.retries);
    }
}

#[tokio::test]
async fn a_redirected_connection_tells_where_it_wanted_to_go() {
    let netns = pod();
    let listener = Sockets::within(netns.clone(), Options::default())
        .listen(15001)
        .unwrap();
    let client = unmarked(&netns);
    for to in ["10.7.0.1:7000", "[fd00:7::1]:7000"] {
        let stream = client.connect(at(to), Source::Any).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(original_destination(&accepted).unwrap(), at(to));
        assert_talks(stream, accepted).await;
    }
    let direct = client
        .connect(at("10.7.0.1:15001"), Source::Any)
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    assert_eq!(
        original_destination(&accepted).unwrap(),
        at("10.7.0.1:15001")
    );
    drop(direct);
}

#[tokio::test]
async fn a_connection_can_come_from_the_clients_own_address_and_port() {
    let netns = pod();
    let server = unmarked(&netns).listen_on(at("10.7.0.1:8080")).unwrap();
    let sockets = Sockets::within(netns, Options::default());
    let from = at("192.0.2.7:41000");
    let stream = sockets
        .connect(at("10.7.0.1:8080"), Source::Exact(from))
        .await
        .unwrap();
    let (accepted, peer) = server.accept().await.unwrap();
    assert_eq!(peer, from);
    // The port is in use now: another one is taken, never an error.
    let second = sockets
        .connect(at("10.7.0.1:8080"), Source::Exact(from))
        .await
        .unwrap();
    let (other, peer) = server.accept().await.unwrap();
    assert_eq!(peer.ip(), from.ip());
    assert_ne!(peer.port(), from.port());
    assert_talks(stream, accepted).await;
    assert_talks(second, other).await;
    let third = sockets
        .connect(at("10.7.0.1:8080"), Source::Ip(from.ip()))
        .await
        .unwrap();
    let (accepted, peer) = server.accept().await.unwrap();
    assert_eq!(peer.ip(), from.ip());
    assert_talks(third, accepted).await;
}

#[tokio::test]
async fn a_foreign_source_works_in_ipv6_too() {
    let netns = pod();
    let server = unmarked(&netns).listen_on(at("[fd00:7::1]:8080")).unwrap();
    let sockets = Sockets::within(netns, Options::default());
    let from = at("[2001:db8::7]:41000");
    let stream = sockets
        .connect(at("[fd00:7::1]:8080"), Source::Exact(from))
        .await
        .unwrap();
    let (accepted, peer) = server.accept().await.unwrap();
    assert_eq!(peer, from);
    assert_talks(stream, accepted).await;
}

#[tokio::test]
async fn two_processes_can_share_a_pods_port() {
    let netns = pod();
    let sockets = Sockets::within(netns, Options::default());
    let _one = sockets.listen(15008).unwrap();
    let _two = sockets.listen(15008).unwrap();
}

/// A listener that closes resets what has arrived since it looked last. Here nobody looks at all.
#[tokio::test]
async fn what_arrives_at_a_listener_that_turns_away_finds_the_one_beside_it() {
    for address in ["10.7.0.1:15001", "[fd00:7::1]:15001"] {
        let sockets = unmarked(&pod());
        let leaver = sockets.listen(15001).unwrap();
        let before = sockets.connect(at(address), Source::Any);
        let before = before.await.unwrap();
        // What was made before is still there; the next one waits, and is not refused.
        let mut last = last_streams(&leaver);
        let (taken, _) = last.next().unwrap();
        assert_talks(before, taken).await;
        let mut after = Box::pin(sockets.connect(at(address), Source::Any));
        assert!(futures::poll!(&mut after).is_pending());
        let survivor = sockets.listen(15001).unwrap();
        assert!(last.next().is_none(), "{address}");
        drop(last);
        drop(leaver);
        let after = after.await.unwrap();
        let (accepted, _) = survivor.accept().await.unwrap();
        assert_talks(after, accepted).await;
    }
}

#[test]
fn a_thread_comes_home_after_every_step() {
    let netns = pod();
    let now = || {
        Netns::open(Path::new("/proc/thread-self/ns/net"))
            .unwrap()
            .id()
    };
    let home = now();
    assert_eq!(netns.enter(now).unwrap(), netns.id());
    assert_eq!(now(), home);
    assert_ne!(home, netns.id());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        netns.enter(|| panic!("inside"))
    }));
    assert!(panicked.is_err());
    assert_eq!(now(), home);
}
