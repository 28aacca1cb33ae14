//! A CONNECT and its answer.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::{Authority, Error};

/// Longest value of a header that is taken from or sent to a peer.
const MAX_VALUE: usize = 8 * 1024;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const NETWORK: HeaderName = HeaderName::from_static("x-forwarded-network");

/// What a client asks for. Absent headers are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where the bytes shall go.
    pub authority: Authority,
    /// `baggage`: about the client's workload.
    pub baggage: Option<String>,
    /// `forwarded`: the client's own address and the service it asked for.
    pub forwarded: Option<String>,
    /// `traceparent`
    pub traceparent: Option<String>,
    /// `x-forwarded-network`: the client's network, when it is another one.
    pub network: Option<String>,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// `baggage`: about the server's workload.
    pub baggage: Option<String>,
}

impl Request {
    pub(super) fn encode(&self) -> Result<http::Request<()>, Error> {
        let refused = || Error::Request(self.authority.to_string());
        let uri = Uri::builder()
            .authority(self.authority.to_string())
            .build()
            .map_err(|_| refused())?;
        let mut request = http::Request::builder()
            .method(Method::CONNECT)
            .uri(uri)
            .version(http::Version::HTTP_2)
            .body(())
            .map_err(|_| refused())?;
        let headers = request.headers_mut();
        put(headers, BAGGAGE, self.baggage.as_deref());
        put(headers, FORWARDED, self.forwarded.as_deref());
        put(headers, TRACEPARENT, self.traceparent.as_deref());
        put(headers, NETWORK, self.network.as_deref());
        Ok(request)
    }

    /// Reads a request, or the status with which it is refused.
    pub(super) fn decode<B>(request: &http::Request<B>) -> Result<Self, u16> {
        const BAD: u16 = StatusCode::BAD_REQUEST.as_u16();
        if request.method() != Method::CONNECT
            || request.extensions().get::<h2::ext::Protocol>().is_some()
        {
            return Err(BAD);
        }
        let authority = request.uri().authority().ok_or(BAD)?.as_str();
        let headers = request.headers();
        Ok(Self {
            authority: authority.parse().map_err(|_| BAD)?,
            baggage: get(headers, &BAGGAGE),
            forwarded: get(headers, &FORWARDED),
            traceparent: get(headers, &TRACEPARENT),
            network: get(headers, &NETWORK),
        })
    }
}

impl Answer {
    pub(super) fn encode(&self) -> http::Response<()> {
        let mut response = status(StatusCode::OK);
        put(response.headers_mut(), BAGGAGE, self.baggage.as_deref());
        response
    }

    pub(super) fn decode<B>(response: &http::Response<B>) -> Result<Self, Error> {
        if !response.status().is_success() {
            return Err(Error::Refused(response.status().as_u16()));
        }
        Ok(Self {
            baggage: get(response.headers(), &BAGGAGE),
        })
    }
}

/// An answer without headers.
pub(super) fn status(status: StatusCode) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    response
}

/// Leaves out what HTTP does not allow: a header that only informs must not cost the connection.
fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    let value = value.filter(|value| !value.is_empty() && value.len() <= MAX_VALUE);
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}

fn get(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty() && value.len() <= MAX_VALUE).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            authority: "[fd00::1]:80".parse().unwrap(),
            baggage: Some("k8s.namespace.name=shop".into()),
            forwarded: Some("for=\"10.0.0.1:4000\"".into()),
            traceparent: None,
            network: Some("west".into()),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let wire = request().encode().unwrap();
        assert_eq!(wire.method(), Method::CONNECT);
        assert_eq!(wire.uri().to_string(), "[fd00::1]:80");
        assert_eq!(Request::decode(&wire), Ok(request()));
        let answer = Answer {
            baggage: Some("service.name=cart".into()),
        };
        assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
    }

    #[test]
    fn a_header_that_http_does_not_allow_is_left_out() {
        let odd = Request {
            baggage: Some("a=\n".into()),
            network: Some("x".repeat(MAX_VALUE + 1)),
            ..request()
        };
        let read = Request::decode(&odd.encode().unwrap()).unwrap();
        assert_eq!((read.baggage, read.network), (None, None));
    }

    #[test]
    fn only_a_connect_with_an_authority_is_taken() {
        let refused = |method: Method, uri: &str| {
            let wire = http::Request::builder()
                .method(method)
                .uri(uri)
                .body(())
                .unwrap();
            Request::decode(&wire).is_err()
        };
        assert!(refused(Method::GET, "http://10.0.0.1:80/"));
        assert!(refused(Method::POST, "10.0.0.1:80"));
        assert!(refused(Method::CONNECT, "10.0.0.1"));
        assert!(refused(Method::CONNECT, "user@10.0.0.1:80"));
        assert!(refused(Method::CONNECT, "/"));
        let refusal = Answer::decode(&status(StatusCode::UNAUTHORIZED)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "http status 401: the destination's authorization policies deny it"
        );
    }
}
