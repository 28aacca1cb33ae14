//! Accepts connections on one port of one pod.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::pod::Pod;
use crate::socket::{self, canonical};

/// Pause after an accept that failed: the process is out of descriptors or memory, and asking again at once helps nobody.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands every connection to `work` in a task of its own until the pod closes. Connections that the kernel had taken by
/// then are still served: closing the listener would reset them.
pub(super) async fn accept<F>(
    pod: Arc<Pod>,
    listener: TcpListener,
    work: fn(Arc<Pod>, TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    // Until the last of them has begun, the pod is not idle.
    let hold = pod.drain.hold();
    loop {
        let accepted = tokio::select! {
            biased;
            () = pod.drain.closing() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => start(&pod, stream, peer, work),
            Err(error) => {
                tracing::debug!(%error, pod = %pod.info.name, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let mut last = socket::last_streams(&listener);
    while !pod.drain.is_cut()
        && let Some((stream, peer)) = last.next()
    {
        start(&pod, stream, peer, work);
    }
    drop(last);
    drop(listener);
    drop(hold);
}

fn start<F>(
    pod: &Arc<Pod>,
    stream: TcpStream,
    peer: SocketAddr,
    work: fn(Arc<Pod>, TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let hold = pod.drain.hold();
    let work = work(Arc::clone(pod), stream, canonical(peer));
    tokio::spawn(async move {
        work.await;
        drop(hold);
    });
}
