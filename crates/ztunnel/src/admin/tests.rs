use super::*;

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
