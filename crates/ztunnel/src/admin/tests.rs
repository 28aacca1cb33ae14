use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Sources;
use crate::drain::Drain;
use crate::metrics::{Flag, Labels, Reporter};

/// An admin port that knows nothing yet, and where it listens.
async fn listening() -> (Admin, SocketAddr) {
    let sources = Sources {
        environment: std::collections::BTreeMap::new(),
        mesh: None,
        cores: 1,
        exists: &|_| false,
    };
    let admin = Admin {
        config: Arc::new(Config::from_sources(&sources).unwrap()),
        store: Arc::default(),
        pods: Pods::default(),
        certificates: None,
        connections: Arc::default(),
        levels: None,
        agent: Control::default(),
        quit: Arc::default(),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = admin.clone();
    tokio::spawn(server::serve(listener, Drain::new(), move |request| {
        answers.answer(&request)
    }));
    (admin, address)
}

/// Code and body of the answer to a request.
async fn ask(address: SocketAddr, method: &str, target: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

#[tokio::test]
async fn stand_down_and_reconnect_are_orders_to_the_agent_s_connection_and_only_by_post() {
    let (admin, address) = listening().await;
    for (method, path, code, stands_down) in [
        ("GET", "/stand-down", 405, false),
        ("POST", "/stand-down", 200, true),
        ("GET", "/reconnect", 405, true),
        ("POST", "/reconnect", 200, false),
    ] {
        let (answered, body) = ask(address, method, path).await;
        assert_eq!(answered, code, "{method} {path}: {body}");
        assert_eq!(admin.agent.stands_down(), stands_down, "{method} {path}");
    }
}

#[tokio::test]
async fn connections_are_counted_without_a_namespace_and_other_questions_are_refused() {
    let (admin, address) = listening().await;
    let of = |namespace: &str| {
        let mut labels = Labels::overflow(Reporter::Source);
        labels.destination.namespace = Some(namespace.into());
        let series = admin.connections.series(labels);
        admin.connections.open(Reporter::Source, &series);
        series.fail(Flag::Connect);
    };
    ["shop", "shop", "applink-probe"].into_iter().for_each(of);
    for (query, opened) in [
        ("", 3),
        ("?without=applink-probe", 2),
        ("?without=applink%2Dprobe", 2),
        ("?without=elsewhere", 3),
    ] {
        let (code, body) = ask(address, "GET", &format!("/connections{query}")).await;
        assert_eq!(code, 200, "{query}: {body}");
        let counted: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!({"opened": opened, "failed": {"CONNECT": opened}});
        assert_eq!(counted, expected, "{query}");
    }
    for query in ["?with=shop", "?without=a&without=b"] {
        let (code, body) = ask(address, "GET", &format!("/connections{query}")).await;
        assert_eq!(
            (code, body.as_str()),
            (400, "use ?without=namespace\n"),
            "{query}"
        );
    }
}

#[test]
fn queries_are_decoded() {
    for (query, pairs) in [
        ("", &[][..]),
        ("level=debug", &[("level", "debug")]),
        (
            "level=access%3Adebug%2Cinfo&reset",
            &[("level", "access:debug,info"), ("reset", "")],
        ),
        ("level=%zz&level=%4", &[("level", ""), ("level", "")]),
    ] {
        let read: Vec<(String, String)> = parameters(query).collect();
        let read: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(read, pairs, "{query}");
    }
}

#[test]
fn readiness_answers_its_path_only() {
    let state = Readiness::default();
    assert_eq!(readiness(&state, "/healthz/ready").status(), StatusCode::OK);
    assert_eq!(readiness(&state, "/").status(), StatusCode::NOT_FOUND);
    let _blocked = state.block("proxy");
    assert_eq!(
        readiness(&state, "/healthz/ready").status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[test]
fn metrics_answer_by_accept_and_compress_when_asked() {
    let all = Metrics::new("1");
    let mut headers = HeaderMap::new();
    let answer = metrics(&all, "/metrics", &headers);
    assert_eq!(
        answer.headers()[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(!answer.headers().contains_key(header::CONTENT_ENCODING));
    headers.insert(
        header::ACCEPT,
        "application/openmetrics-text; version=1.0.0"
            .parse()
            .unwrap(),
    );
    headers.insert(
        header::ACCEPT_ENCODING,
        "deflate, gzip;q=0.5".parse().unwrap(),
    );
    let answer = metrics(&all, "/stats/prometheus", &headers);
    assert_eq!(
        answer.headers()[header::CONTENT_TYPE],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(metrics(&all, "/", &headers).status(), StatusCode::NOT_FOUND);
}
