//! What is checked before anything is opened, and calls to an istiod in the same process.

mod istiod;

use super::*;

fn target(address: &str) -> Target {
    Target {
        address: address.to_owned(),
        root: Root::System,
        alt_hostname: None,
        token: None,
        cluster_id: "north".to_owned(),
        headers: Vec::new(),
    }
}

#[test]
fn only_urls_with_a_scheme_and_a_host_are_accepted() {
    for (address, authority) in [
        (
            "https://istiod.istio-system.svc:15012",
            "istiod.istio-system.svc:15012",
        ),
        ("http://127.0.0.1:15010", "127.0.0.1:15010"),
        ("https://[fd00::1]:15012", "[fd00::1]:15012"),
        ("https://istiod", "istiod:443"),
    ] {
        assert_eq!(
            Control::new(target(address)).unwrap().authority(),
            authority
        );
    }
    for bad in [
        "",
        "istiod:15012",
        "ftp://istiod:1",
        "https://",
        "https://a b:1",
        "/x",
    ] {
        assert!(Control::new(target(bad)).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn every_call_carries_the_token_the_cluster_and_the_extra_headers() {
    let control = Control::new(Target {
        token: Some(Token::Literal("secret\n".to_owned())),
        headers: vec![("X-Extra".to_owned(), "1".to_owned())],
        ..target("https://istiod:15012")
    })
    .unwrap();
    let metadata = control.metadata().await.unwrap();
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer secret");
    assert_eq!(metadata.get("clusterid").unwrap(), "north");
    assert_eq!(metadata.get("x-extra").unwrap(), "1");
}

#[tokio::test]
async fn a_missing_token_file_is_named() {
    let token = Some(Token::File("/nonexistent/token".into()));
    let control = Control::new(Target {
        token,
        ..target("https://istiod:15012")
    })
    .unwrap();
    let error = control.metadata().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the token /nonexistent/token"
    );
}

#[test]
fn a_header_that_cannot_be_sent_is_refused_early() {
    let headers = vec![("bad name".to_owned(), "x".to_owned())];
    let error = Control::new(Target {
        headers,
        ..target("https://istiod:1")
    })
    .unwrap_err();
    assert!(error.to_string().contains("bad name"));
}
