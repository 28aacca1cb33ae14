//! The program in the pods of the operator's own probe: it answers small frames, and asks another pod for new connections
//! when the operator tells it to.
//!
//! It keeps nothing: each question is answered by connections that are made then, so an answer never mixes what was before
//! a proxy went with what is now. Who tells it comes through `pods/portforward`: that port listens on the loopback only.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::names;

/// How many new connections answer one question.
pub const ROUND: u32 = 10;
/// How long after each other they begin.
const BEAT: Duration = Duration::from_millis(50);
/// The longest one may take, answer included: whoever asks has to hear of all of them within 5 s.
const LIMIT: Duration = Duration::from_millis(2_500);
/// How many connections are served at a time.
const MOST: usize = 64;
/// Bytes of a frame.
const FRAME: usize = 16;

/// What a round of connections came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How many were tried.
    pub asked: u32,
    /// How many of them failed.
    pub failed: u32,
    /// Why the last one that failed did.
    pub last: Option<String>,
}

/// Answers and asks until it is told to stop.
///
/// # Errors
/// When the runtime cannot be made or a port is taken.
pub fn run() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut told = signal(SignalKind::terminate())?;
            let answers = bind(names::PROBE_PORT).await?;
            let asks = TcpListener::bind((Ipv4Addr::LOCALHOST, names::PROBE_ASK_PORT)).await?;
            tokio::select! {
                () = answer(answers) => {}
                () = take(asks, names::PROBE_PORT) => {}
                _ = told.recv() => {}
            }
            Ok(())
        })
}

/// On both families where the pod has both.
async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        bound => bound,
    }
}

/// The next connection, as soon as there is room for it; none when there never will be.
async fn next(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.ok()?;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return Some((stream, permit));
        }
        // Out of descriptors, most likely: others must end first.
        sleep(BEAT).await;
    }
}

/// Sends each frame back.
async fn answer(listener: TcpListener) {
    let free = Arc::new(Semaphore::new(MOST));
    while let Some((mut stream, permit)) = next(&listener, &free).await {
        tokio::spawn(async move {
            let echo = async {
                let mut frame = [0; FRAME];
                stream.read_exact(&mut frame).await?;
                stream.write_all(&frame).await?;
                stream.shutdown().await
            };
            // Whoever asks counts what goes wrong.
            let _ = timeout(LIMIT, echo).await;
            drop(permit);
        });
    }
}

/// Takes questions: `GET /ask/<address>`.
async fn take(listener: TcpListener, port: u16) {
    let free = Arc::new(Semaphore::new(MOST));
    while let Some((stream, permit)) = next(&listener, &free).await {
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| async move {
                Ok::<_, Infallible>(told(request.uri().path(), port).await)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LIMIT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(LIMIT * 4, connection).await;
            drop(permit);
        });
    }
}

async fn told(path: &str, port: u16) -> Response<Full<Bytes>> {
    let address = path.strip_prefix("/ask/").map(str::parse::<IpAddr>);
    let figures = match address {
        Some(Ok(address)) => serde_json::to_vec(&ask(SocketAddr::new(address, port)).await).ok(),
        _ => None,
    };
    let mut response = Response::new(Full::new(Bytes::from(figures.clone().unwrap_or_default())));
    if figures.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// A round of new connections to an address.
async fn ask(address: SocketAddr) -> Figures {
    let mut tries = JoinSet::new();
    for number in 0..ROUND {
        tries.spawn(async move {
            sleep(BEAT * number).await;
            once(address, number).await
        });
    }
    let mut figures = Figures::default();
    while let Some(tried) = tries.join_next().await {
        figures.asked += 1;
        let failed = match tried {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        figures.failed += 1;
        figures.last = Some(failed);
    }
    figures
}

/// One new connection: a frame there and back.
async fn once(address: SocketAddr, number: u32) -> io::Result<()> {
    let frame = (u128::from(number) << 64 | 0xa99_1132).to_be_bytes();
    let mut back = [0; FRAME];
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&frame).await?;
        stream.read_exact(&mut back).await
    };
    let Ok(exchanged) = timeout(LIMIT, exchange).await else {
        let text = format!("no answer within {} ms", LIMIT.as_millis());
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    exchanged?;
    if back == frame {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "another frame came back",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn frames_come_back_and_a_peer_that_refuses_or_hangs_up_is_counted() {
        let (answers, address) = listener().await;
        let server = tokio::spawn(answer(answers));
        let well = ask(address).await;
        assert_eq!((well.asked, well.failed, well.last), (ROUND, 0, None));
        server.abort();
        let _ = server.await;
        let refused = ask(address).await;
        assert_eq!((refused.asked, refused.failed), (ROUND, ROUND));
        assert!(refused.last.unwrap().contains("refused"));

        let (hangs_up, address) = listener().await;
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = hangs_up.accept().await {
                drop(stream);
            }
        });
        assert_eq!(ask(address).await.failed, ROUND);
        server.abort();
    }

    #[tokio::test]
    async fn only_addresses_are_asked() {
        let (answers, address) = listener().await;
        tokio::spawn(answer(answers));
        for path in ["/", "/ask/", "/ask/example.org", "/ask/127.0.0.1/x"] {
            assert_eq!(told(path, address.port()).await.status(), 404, "{path}");
        }
        let response = told("/ask/127.0.0.1", address.port()).await;
        assert_eq!(response.status(), 200);
    }
}
