//! The least of an HTTP client: one GET, one connection, an answer that ends with the connection.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long to wait for a connection, and for each read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 64 * 1024;

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// The body as text.
    pub body: String,
}

/// Asks `http://host[:port][/path]`.
///
/// # Errors
/// The URL is not of that form, nobody answers within five seconds, or the answer is not HTTP.
pub fn get(url: &str) -> Result<Answer> {
    let (authority, path) = parts(url).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{url} is not http://host:port/path"),
        )
    })?;
    let address = authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{authority} has no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nX-Marker: {}\r\nConnection: close\r\n\r\n",
        crate::MARKER
    )?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    answer(&text).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidData,
            "the connection ended without an answer",
        )
    })
}

/// Host with port, and path.
fn parts(url: &str) -> Option<(String, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| !port.is_empty() && !port.contains(']') && !name.is_empty());
    let authority = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    (!host.is_empty()).then_some((authority, path))
}

fn answer(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer {
        code,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_with_defaults() {
        let cases = [
            ("http://cart:8080/take", Some(("cart:8080", "/take"))),
            ("http://cart", Some(("cart:80", "/"))),
            ("http://[fd00::1]:8080", Some(("[fd00::1]:8080", "/"))),
            ("http://[fd00::1]/x", Some(("[fd00::1]:80", "/x"))),
            ("https://cart", None),
            ("http://", None),
        ];
        for (url, expected) in cases {
            assert_eq!(
                parts(url),
                expected.map(|(authority, path)| (authority.to_owned(), path)),
                "{url}"
            );
        }
    }

    #[test]
    fn an_answer_is_read_and_nonsense_is_not() {
        assert_eq!(
            answer("HTTP/1.1 200 OK\r\nA: b\r\n\r\nyes\n"),
            Some(Answer {
                code: 200,
                body: "yes\n".to_owned()
            })
        );
        for nonsense in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 \r\n\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 é00\r\n\r\n",
        ] {
            assert_eq!(answer(nonsense), None, "{nonsense}");
        }
    }
}
