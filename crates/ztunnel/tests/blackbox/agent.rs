//! A node agent (istio-cni's side of ZDS): a SEQPACKET socket on which namespaces are handed to the proxy.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use applink_ztunnel::proto::zds::{
    AddWorkload, DelWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest, WorkloadResponse,
    ZdsHello, workload_request::Payload, workload_response,
};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};
use prost::Message as _;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::netns::Netns;

/// Time for one answer; istio-cni's own.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pod as the agent knows it.
#[derive(Clone, Debug)]
pub struct PodEntry {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    pub netns: Netns,
}

#[derive(Default)]
struct State {
    pods: Vec<PodEntry>,
    /// Newest last.
    connections: Vec<Arc<Socket>>,
    /// Snapshots sent since the start.
    snapshots: usize,
    refuse: bool,
}

/// The agent of one node. New connections get the snapshot at once, on the agent's own thread.
#[derive(Clone)]
pub struct Agent {
    state: Arc<(Mutex<State>, Condvar)>,
    path: PathBuf,
}

impl Agent {
    /// An agent that listens in `folder`.
    pub fn start(folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.sock"));
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(5).unwrap();
        let agent = Self {
            state: Arc::default(),
            path,
        };
        let accepting = agent.clone();
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                if let Err(error) = accepting.greet(&Arc::new(connection)) {
                    eprintln!("agent: a proxy went away while it was greeted: {error}");
                }
            }
        });
        agent
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hello, every pod, end of the snapshot.
    fn greet(&self, connection: &Arc<Socket>) -> io::Result<()> {
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().unwrap();
        if state.refuse {
            return Ok(());
        }
        connection.set_read_timeout(Some(PATIENCE))?;
        let hello = ZdsHello::decode(&*receive(connection)?).map_err(io::Error::other)?;
        assert_eq!(
            hello.version, 1,
            "the first message is a hello of version 1"
        );
        for pod in &state.pods {
            ask(connection, add(pod), Some(pod.netns.fd()))?.map_err(io::Error::other)?;
        }
        ask(connection, Payload::SnapshotSent(SnapshotSent {}), None)?.map_err(io::Error::other)?;
        state.connections.push(Arc::clone(connection));
        state.snapshots += 1;
        changed.notify_all();
        Ok(())
    }

    /// Waits until so many snapshots have been taken.
    pub fn wait_for_snapshots(&self, count: usize) {
        let (lock, changed) = &*self.state;
        let state = lock.lock().unwrap();
        let deadline = Duration::from_secs(20);
        let (_state, waited) = changed
            .wait_timeout_while(state, deadline, |state| state.snapshots < count)
            .unwrap();
        assert!(
            !waited.timed_out(),
            "the proxy did not take snapshot {count} of {} in {deadline:?}",
            self.path.display()
        );
    }

    /// A pod starts: told to the newest connection, if there is one.
    pub fn add(&self, pod: PodEntry) {
        let mut state = self.state.0.lock().unwrap();
        if let Some(connection) = state.connections.last() {
            ask(connection, add(&pod), Some(pod.netns.fd()))
                .unwrap()
                .unwrap();
        }
        state.pods.push(pod);
    }

    /// A pod ends: told to every connection. Returns how long the answer took.
    pub fn remove(&self, uid: &str) -> Duration {
        let mut state = self.state.0.lock().unwrap();
        state.pods.retain(|pod| pod.uid != uid);
        let began = Instant::now();
        for connection in &state.connections {
            ask(
                connection,
                Payload::Del(DelWorkload { uid: uid.into() }),
                None,
            )
            .unwrap()
            .unwrap();
        }
        began.elapsed()
    }

    /// The agent forgets a pod without telling anybody, as one that restarts does.
    pub fn forget(&self, uid: &str) {
        self.state
            .0
            .lock()
            .unwrap()
            .pods
            .retain(|pod| pod.uid != uid);
    }

    /// Closes every connection and, while `away`, those that come.
    pub fn hang_up(&self, away: bool) {
        let mut state = self.state.0.lock().unwrap();
        state.refuse = away;
        state.connections.clear();
    }

    /// Snapshots sent so far.
    pub fn snapshots(&self) -> usize {
        self.state.0.lock().unwrap().snapshots
    }
}

fn add(pod: &PodEntry) -> Payload {
    Payload::Add(AddWorkload {
        uid: pod.uid.clone(),
        workload_info: Some(WorkloadInfo {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            service_account: pod.service_account.clone(),
        }),
    })
}

/// Sends one request and waits for its answer: `Err` inside is the proxy's refusal.
fn ask(
    connection: &Socket,
    payload: Payload,
    netns: Option<BorrowedFd<'_>>,
) -> io::Result<Result<(), String>> {
    let bytes = WorkloadRequest {
        payload: Some(payload),
    }
    .encode_to_vec();
    assert!(bytes.len() <= 1024);
    let descriptors: Vec<i32> = netns.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() {
        &rights[..0]
    } else {
        &rights[..]
    };
    sendmsg::<()>(
        connection.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    let answer = WorkloadResponse::decode(&*receive(connection)?).map_err(io::Error::other)?;
    match answer.payload {
        Some(workload_response::Payload::Ack(ack)) if ack.error.is_empty() => Ok(Ok(())),
        Some(workload_response::Payload::Ack(ack)) => Ok(Err(ack.error)),
        None => Err(io::Error::other("an answer without an ack")),
    }
}

fn receive(connection: &Socket) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 1024];
    let length = recv(connection.as_raw_fd(), &mut packet, MsgFlags::empty())?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    packet.truncate(length);
    Ok(packet)
}
