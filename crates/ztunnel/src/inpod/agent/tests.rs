//! A scripted agent on the other end of a socket pair.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use prost::Message as _;
use tokio::io::unix::AsyncFd;

use super::super::Pods;
use super::*;
use crate::proto::zds::workload_request::Payload;
use crate::proto::zds::workload_response;
use crate::proto::zds::{
    AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest,
    WorkloadResponse,
};
use crate::proxy::Info;
use crate::proxy::connections::Connections;
use crate::readiness::Readiness;

#[derive(Clone, Default)]
struct Fake {
    fails: Rc<Cell<bool>>,
    drains: Rc<RefCell<Vec<Drain>>>,
}

impl Start for Fake {
    fn start(&self, _: &Info, _: &Netns) -> io::Result<(Drain, Connections)> {
        if self.fails.get() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let drain = Drain::new();
        self.drains.borrow_mut().push(drain.clone());
        Ok((drain, Connections::default()))
    }
}

/// The agent's end.
struct Script(Link);

impl Script {
    fn tell(&self, payload: Payload, descriptors: &[File]) {
        self.raw(
            &WorkloadRequest {
                payload: Some(payload),
            }
            .encode_to_vec(),
            descriptors,
        );
    }

    fn raw(&self, bytes: &[u8], descriptors: &[File]) {
        let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        sendmsg::<()>(
            self.0.descriptor(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
    }

    /// The answer's error; empty for an ack.
    async fn answer(&self) -> String {
        let packet = self.0.receive().await.unwrap().expect("an answer");
        match WorkloadResponse::decode(packet.bytes.as_slice())
            .unwrap()
            .payload
        {
            Some(workload_response::Payload::Ack(ack)) => ack.error,
            None => panic!("an answer without an ack"),
        }
    }

    async fn ask(&self, payload: Payload, descriptors: &[File]) -> String {
        self.tell(payload, descriptors);
        self.answer().await
    }
}

fn add(uid: &str) -> Payload {
    let info = WorkloadInfo {
        name: uid.into(),
        namespace: "shop".into(),
        service_account: "cart".into(),
    };
    Payload::Add(AddWorkload {
        uid: uid.into(),
        workload_info: Some(info),
    })
}

fn delete(uid: &str) -> Payload {
    Payload::Del(DelWorkload { uid: uid.into() })
}

fn keep(uid: &str) -> Payload {
    Payload::Keep(KeepWorkload { uid: uid.into() })
}

fn snapshot() -> Payload {
    Payload::SnapshotSent(SnapshotSent {})
}

fn netns() -> [File; 1] {
    [File::open("/dev/null").unwrap()]
}

struct Stage {
    agent: Agent<Fake>,
    fake: Fake,
    pods: Pods,
    readiness: Readiness,
}

impl Stage {
    fn new() -> Self {
        let (fake, pods, readiness) = (Fake::default(), Pods::default(), Readiness::default());
        let agent = Agent {
            socket: PathBuf::new(),
            keeper: Keeper::new(fake.clone(), pods.clone()),
            control: Control::default(),
            blocker: readiness.block("workload proxy manager"),
            drain: Drain::new(),
        };
        Self {
            agent,
            fake,
            pods,
            readiness,
        }
    }

    /// One connection that ends when the script does.
    async fn play<F: Future<Output = ()>>(&mut self, script: impl FnOnce(Script) -> F) -> Lost {
        let (near, far) = pair();
        let mut had_snapshot = false;
        let script = async {
            let agent = Script(Link::new(far).unwrap());
            let hello = agent.0.receive().await.unwrap().unwrap();
            assert_eq!(hello.bytes, packet::hello());
            script(agent).await;
        };
        let link = Link::new(near).unwrap();
        let agent = &mut self.agent;
        let converse = async {
            // The link closes with the conversation, as it does when the agent is followed.
            let link = link;
            agent.converse(&link, &mut had_snapshot).await
        };
        let played = async { tokio::join!(converse, script).0 };
        timeout(Duration::from_secs(10), played)
            .await
            .expect("the script ends")
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

#[tokio::test]
async fn requests_are_answered_in_order_and_the_snapshot_makes_ready() {
    let mut stage = Stage::new();
    let (readiness, pods) = (stage.readiness.clone(), stage.pods.clone());
    let lost = stage
        .play(|agent| async move {
            agent.tell(add("u1"), &netns());
            agent.tell(add("u2"), &netns());
            agent.tell(delete("u1"), &[]);
            assert_eq!(
                [
                    agent.answer().await,
                    agent.answer().await,
                    agent.answer().await
                ],
                ["", "", ""]
            );
            assert!(readiness.report().is_err(), "not before the snapshot");
            assert_eq!(agent.ask(snapshot(), &[]).await, "");
            assert!(readiness.report().is_ok());
            assert_eq!(pods.list().len(), 1);
            assert_eq!(agent.ask(add("u3"), &netns()).await, "");
            assert_eq!(pods.list().len(), 2);
        })
        .await;
    assert!(matches!(lost, Lost::Closed), "{lost}");
}

#[tokio::test]
async fn the_set_outlives_the_connection_and_the_next_snapshot_reconciles_it() {
    let mut stage = Stage::new();
    stage
        .play(|agent| async move {
            for uid in ["u1", "u2", "u3"] {
                assert_eq!(agent.ask(add(uid), &netns()).await, "");
            }
            assert_eq!(agent.ask(snapshot(), &[]).await, "");
        })
        .await;
    assert_eq!(stage.pods.list().len(), 3);
    stage
        .play(|agent| async move {
            assert_eq!(agent.ask(add("u1"), &netns()).await, "");
            assert_eq!(agent.ask(keep("u2"), &[]).await, "");
            assert_eq!(agent.ask(snapshot(), &[]).await, "");
        })
        .await;
    let cuts: Vec<bool> = stage
        .fake
        .drains
        .borrow()
        .iter()
        .map(Drain::is_cut)
        .collect();
    assert_eq!(cuts, [false, false, true], "named pods went on untouched");
}

#[tokio::test]
async fn a_pod_that_cannot_start_is_refused_in_words_and_keeps_the_node_unready() {
    let mut stage = Stage::new();
    stage.fake.fails.set(true);
    let (fake, readiness) = (stage.fake.clone(), stage.readiness.clone());
    stage
        .play(|agent| async move {
            assert!(
                agent
                    .ask(add("u1"), &netns())
                    .await
                    .contains("cannot serve pod shop/u1")
            );
            assert_eq!(agent.ask(snapshot(), &[]).await, "");
            assert!(readiness.report().is_err());
            fake.fails.set(false);
            assert_eq!(agent.ask(add("u1"), &netns()).await, "");
            assert!(readiness.report().is_ok());
        })
        .await;
}

#[tokio::test]
async fn bad_requests_are_refused_and_the_conversation_goes_on() {
    let mut stage = Stage::new();
    stage
        .play(|agent| async move {
            assert!(
                agent
                    .ask(add("u1"), &[])
                    .await
                    .contains("exactly one descriptor")
            );
            let two = [
                File::open("/dev/null").unwrap(),
                File::open("/dev/null").unwrap(),
            ];
            assert!(agent.ask(add("u1"), &two).await.contains("it carries 2"));
            assert!(
                agent
                    .ask(delete("u1"), &netns())
                    .await
                    .contains("only an add")
            );
            let nobody = Payload::Add(AddWorkload {
                uid: "u1".into(),
                workload_info: None,
            });
            assert!(
                agent
                    .ask(nobody, &netns())
                    .await
                    .contains("no workload_info")
            );
            agent.raw(b"\xff\xff\xff", &[]);
            assert!(agent.answer().await.contains("not a WorkloadRequest"));
            agent.raw(&[0; 2000], &[]);
            assert!(agent.answer().await.contains("longer than 1024"));
            let many: Vec<File> = (0..20).map(|_| File::open("/dev/null").unwrap()).collect();
            assert!(
                agent
                    .ask(add("u1"), &many)
                    .await
                    .contains("too many descriptors")
            );
            assert_eq!(agent.ask(add("u1"), &netns()).await, "");
        })
        .await;
}

#[tokio::test]
async fn a_keep_after_the_snapshot_or_a_second_snapshot_ends_the_connection() {
    for bad in [keep("u1"), snapshot()] {
        let mut stage = Stage::new();
        let lost = stage
            .play(|agent| async move {
                assert_eq!(agent.ask(snapshot(), &[]).await, "");
                assert_ne!(agent.ask(bad, &[]).await, "");
                assert!(
                    agent.0.receive().await.unwrap().is_none(),
                    "the proxy hangs up"
                );
            })
            .await;
        assert!(matches!(lost, Lost::Protocol(_)), "{lost}");
    }
}

#[tokio::test]
async fn a_draining_proxy_takes_no_pods_and_still_lets_go_of_them() {
    let mut stage = Stage::new();
    let drain = stage.agent.drain.clone();
    stage
        .play(|agent| async move {
            assert_eq!(agent.ask(add("u1"), &netns()).await, "");
            drain.close();
            assert!(agent.ask(add("u2"), &netns()).await.contains("draining"));
            assert_eq!(agent.ask(delete("u1"), &[]).await, "");
        })
        .await;
    assert!(stage.fake.drains.borrow()[0].is_cut());
}

#[tokio::test]
async fn a_reconnect_ends_the_connection_and_takes_a_stand_down_back() {
    let mut stage = Stage::new();
    let control = stage.agent.control.clone();
    let lost = stage
        .play(|agent| async move {
            assert_eq!(agent.ask(snapshot(), &[]).await, "");
            control.reconnect();
            assert!(agent.0.receive().await.unwrap().is_none());
        })
        .await;
    assert!(matches!(lost, Lost::Asked), "{lost}");
    let control = Control::default();
    control.stand_down();
    assert!(control.stands_down());
    control.reconnect();
    assert!(!control.stands_down());
}

/// Plays a script at a socket of its own while the proxy follows it.
async fn follows<F: Future<Output = ()>>(name: &str, script: impl FnOnce(PathBuf, Control) -> F) {
    let mut stage = Stage::new();
    let name = format!("applink-{name}-{}.sock", std::process::id());
    stage.agent.socket = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&stage.agent.socket);
    let script = script(stage.agent.socket.clone(), stage.agent.control.clone());
    timeout(Duration::from_secs(10), async {
        tokio::select! {
            () = stage.agent.run() => panic!("it follows the agent as long as it lives"),
            () = script => {}
        }
    })
    .await
    .expect("the script ends");
}

async fn assert_nobody_connects(listener: &AsyncFd<OwnedFd>) {
    let next = timeout(Duration::from_millis(300), accept(listener)).await;
    assert!(next.is_err(), "somebody connects");
}

#[tokio::test]
async fn who_stood_down_connects_again_only_when_told_to() {
    follows("stood-down", |socket, control| async move {
        let listener = listen(&socket);
        let first = accept(&listener).await;
        assert_eq!(first.ask(snapshot(), &[]).await, "");
        control.stand_down();
        drop(first);
        assert_nobody_connects(&listener).await;
        control.reconnect();
        let second = accept(&listener).await;
        assert_eq!(second.ask(snapshot(), &[]).await, "");
    })
    .await;
}

#[tokio::test]
async fn who_stands_down_before_there_is_an_agent_does_not_connect_when_it_comes() {
    follows("stands-down", |socket, control| async move {
        // The first attempt fails, and another one is waited for.
        tokio::task::yield_now().await;
        control.stand_down();
        let listener = listen(&socket);
        assert_nobody_connects(&listener).await;
        control.reconnect();
        let first = accept(&listener).await;
        assert_eq!(first.ask(snapshot(), &[]).await, "");
    })
    .await;
}

fn listen(path: &std::path::Path) -> AsyncFd<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
    let socket = socket.unwrap();
    let address = nix::sys::socket::UnixAddr::new(path).unwrap();
    nix::sys::socket::bind(socket.as_raw_fd(), &address).unwrap();
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(4).unwrap()).unwrap();
    // SAFETY: the descriptor is owned, and nothing closes it before the registration ends with it.
    #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
    let registered = unsafe { AsyncFd::register(socket) };
    registered.unwrap()
}

/// The next proxy that connects, after its hello.
async fn accept(listener: &AsyncFd<OwnedFd>) -> Script {
    use std::os::fd::FromRawFd;
    let accepted = loop {
        let mut ready = listener.readable().await.unwrap();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        match nix::sys::socket::accept4(listener.as_raw_fd(), flags) {
            Ok(accepted) => break accepted,
            Err(_) => ready.clear_ready(),
        }
    };
    // SAFETY: accept has just made it, and nobody else knows it.
    #[expect(unsafe_code, reason = "nix hands out a number")]
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    let agent = Script(Link::new(accepted).unwrap());
    let hello = agent.0.receive().await.unwrap().unwrap();
    assert_eq!(hello.bytes, packet::hello());
    agent
}
