//! One request to a port of a pod, through the API server: the port may be on the pod's loopback, and no proxy is passed.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::command;

/// The longest an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 16 << 20;

/// What `GET path` on a port of a pod answers: status code and body.
///
/// # Errors
/// With the reason, when there is no answer within ten seconds or it is not HTTP.
pub async fn get(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
) -> Result<(u16, String), String> {
    let asked = async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let forwarded = pods.portforward(pod, &[port]).await;
        let mut forward = forwarded.map_err(|error| command::chain(&error))?;
        let mut stream = forward
            .take_stream(port)
            .ok_or_else(|| format!("port {port} was not forwarded"))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        (stream.write_all(request.as_bytes()).await).map_err(|error| error.to_string())?;
        let mut stream = stream.take(ANSWER_MAX);
        let mut answer = Vec::new();
        // The runtime keeps a forwarded connection for a second after its end: what is whole is not waited for.
        while !is_whole(&answer) {
            let read = stream.read_buf(&mut answer).await;
            if read.map_err(|error| error.to_string())? == 0 {
                break;
            }
        }
        forward.abort();
        parse(&String::from_utf8_lossy(&answer))
    };
    tokio::time::timeout(LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
        .map_err(|error| format!("{pod}:{port}{path}: {error}"))
}

/// Whether an answer has all that its head promises; one that promises nothing ends with its connection.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|at| at == b"\r\n\r\n") else {
        return false;
    };
    let length = String::from_utf8_lossy(&answer[..end])
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            value.trim().parse().ok().filter(|_: &usize| is_length)
        });
    length.is_some_and(|length| answer.len() - end - 4 >= length)
}

/// Status code and body of an answer that is not chunked.
fn parse(answer: &str) -> Result<(u16, String), String> {
    let unread = || format!("no HTTP answer: {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(unread)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(unread)?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_the_bytes_it_promised() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngone";
        assert!(is_whole(answer));
        for end in 0..answer.len() {
            assert!(!is_whole(&answer[..end]), "{end}");
        }
        assert!(!is_whole(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nmore"
        ));
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = "HTTP/1.1 502 Said\r\nContent-Length: 4\r\n\r\ngone";
        assert_eq!(parse(answer), Ok((502, "gone".to_owned())));
        assert!(parse("").is_err());
        assert!(parse("HTTP/1.1 nonsense\r\n\r\n").is_err());
    }
}
