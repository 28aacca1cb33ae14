//! A small HTTP/1 server: bounded connections, deadlines, and answers that may be streamed.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::drain::Drain;

/// An answer's body.
pub type Body = BoxBody<Bytes, Infallible>;

/// Connections at once; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;
/// Time a client has for its request's head.
const HEAD: Duration = Duration::from_secs(5);
/// Life of a connection: longer than any scrape, so that a stuck reader does not hold a place for ever.
const LIFE: Duration = Duration::from_mins(5);
/// Pause after a failed accept, so that a lasting fault does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `drain` is cut.
pub async fn serve<F>(listener: TcpListener, drain: Drain, answer: F)
where
    F: Fn(Request<Incoming>) -> Response<Body> + Clone + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let accepted = tokio::select! {
            () = drain.cut() => return,
            accepted = accepted => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "cannot accept a connection to an own listener");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(LIFE, connection).await {
                debug!(%error, "a connection to an own listener broke");
            }
        });
    }
}

/// Plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = whole("text/plain; charset=utf-8", text.into());
    *response.status_mut() = status;
    response
}

/// A page.
pub fn html(page: &'static str) -> Response<Body> {
    whole(
        "text/html; charset=utf-8",
        Bytes::from_static(page.as_bytes()),
    )
}

/// A value as JSON.
pub fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => whole("application/json", bytes.into()),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written\n",
        ),
    }
}

/// Text of a type, compressed when asked for.
pub fn typed(content_type: &'static str, content: String, compressed: bool) -> Response<Body> {
    if !compressed {
        return whole(content_type, content.into());
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    match encoder
        .write_all(content.as_bytes())
        .and_then(|()| encoder.finish())
    {
        Ok(bytes) => {
            let mut response = whole(content_type, bytes.into());
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Err(_) => whole(content_type, content.into()),
    }
}

fn whole(content_type: &'static str, bytes: Bytes) -> Response<Body> {
    with_type(content_type, Full::new(bytes).boxed())
}

/// A body of a type.
pub(super) fn with_type(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
