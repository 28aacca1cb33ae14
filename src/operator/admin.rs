//! HTTP for the kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// How many requests are answered at a time.
const MOST: usize = 16;
/// The longest a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// A pass that takes longer than this is stuck.
const STUCK: Duration = Duration::from_mins(10);

/// What the kubelet is told.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    ready: AtomicBool,
    /// Seconds after the start at which a pass began; 0 while none runs.
    busy_since: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            ready: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// The process does its work, as leader or in waiting.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// A pass begins.
    pub fn busy(&self) {
        let now = self.started.elapsed().as_secs().max(1);
        self.busy_since.store(now, Ordering::Release);
    }

    /// A pass ended.
    pub fn idle(&self) {
        self.busy_since.store(0, Ordering::Release);
    }

    fn is_alive(&self) -> bool {
        let since = self.busy_since.load(Ordering::Acquire);
        since == 0 || self.started.elapsed().as_secs().saturating_sub(since) < STUCK.as_secs()
    }
}

/// Binds the address.
///
/// # Errors
/// When it cannot be bound.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        // A node without IPv6.
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, metrics: Metrics, health: Arc<Health>) {
    let free = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, health) = (metrics.clone(), Arc::clone(&health));
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(request.uri().path(), &metrics, &health);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // What goes wrong on the way to the client is the client's business.
            let _ = tokio::time::timeout(PATIENCE * 2, connection).await;
            drop(permit);
        });
    }
}

fn answer(path: &str, metrics: &Metrics, health: &Health) -> Response<Full<Bytes>> {
    let (status, kind, text) = match path {
        "/livez" if health.is_alive() => (StatusCode::OK, "text/plain", "ok".to_owned()),
        "/livez" => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            "a pass is stuck".to_owned(),
        ),
        "/readyz" if health.ready.load(Ordering::Acquire) => {
            (StatusCode::OK, "text/plain", "ok".to_owned())
        }
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain",
            "starting".to_owned(),
        ),
        "/metrics" => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics.text(),
        ),
        _ => (StatusCode::NOT_FOUND, "text/plain", "not found".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(kind),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_start_and_liveness_the_passes() {
        let (metrics, health) = (Metrics::default(), Health::default());
        let status = |path| answer(path, &metrics, &health).status();
        assert_eq!(status("/readyz"), 503);
        health.ready();
        assert_eq!(status("/readyz"), 200);
        assert_eq!(status("/livez"), 200);
        health.busy();
        assert_eq!(status("/livez"), 200);
        assert_eq!(status("/metrics"), 200);
        assert_eq!(status("/other"), 404);
    }
}
