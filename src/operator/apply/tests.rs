//! What is asked of the API server, with a fake one that records requests and answers from a closure.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;

use super::*;
use crate::desired::Manifest;

/// Method, path with query, and body of a request.
pub type Asked = (Method, String, Value);

/// A fake API server, and what it was asked.
pub fn server(
    answer: impl Fn(&Method, &str) -> (u16, Value) + Send + Sync + 'static,
) -> (Client, Arc<Mutex<Vec<Asked>>>) {
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let (record, answer) = (Arc::clone(&asked), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let path = parts.uri.to_string();
            let (code, reply) = answer(&parts.method, &path);
            record.lock().unwrap().push((parts.method, path, body));
            let response = Response::builder()
                .status(code)
                .body(Body::from(reply.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(response.unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

pub fn status(code: u16, message: &str) -> (u16, Value) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": ""});
    (code, body)
}

fn map(initial: Option<Value>) -> Object {
    Object::of(Manifest {
        resource: super::super::world::resource(("", "v1", "ConfigMap", "configmaps")),
        namespace: Some("applink-system".to_owned()),
        name: "m".to_owned(),
        body: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}}),
        initial,
    })
}

fn stored() -> (u16, Value) {
    (
        200,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "applink-system", "uid": "u", "resourceVersion": "7"}, "data": {"a": "b"}}),
    )
}

#[tokio::test]
async fn only_what_is_ours_is_forced() {
    for ours in [false, true] {
        let (client, asked) = server(|_, _| stored());
        let (live, accepted) = object(&client, &map(None), ours).await.unwrap();
        assert_eq!(
            (live.uid.as_str(), live.resource_version.as_str()),
            ("u", "7")
        );
        assert_eq!(accepted.digest, live.digest);
        let asked = asked.lock().unwrap();
        let [(method, path, body)] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(*method, Method::PATCH);
        assert!(
            path.contains("fieldManager=applink.dev%2Fmeshmember"),
            "{path}"
        );
        assert_eq!(path.contains("force=true"), ours, "{path}");
        assert_eq!(body["data"]["a"], "b");
    }
}

#[tokio::test]
async fn a_field_of_somebody_else_is_told_and_left_alone() {
    let (client, asked) = server(|_, _| status(409, "conflict with \"helm\": .data.a"));
    let error = object(&client, &map(None), false).await.unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }));
    let failure = error.failure();
    assert!(failure.is_terminal);
    assert!(
        failure.message.contains("ConfigMap applink-system/m") && failure.message.contains("helm"),
        "{}",
        failure.message
    );
    assert_eq!(asked.lock().unwrap().len(), 1, "no second try with force");
}

#[tokio::test]
async fn what_only_the_creation_gets_is_sent_once_under_another_manager() {
    let (client, asked) = server(|_, _| stored());
    let object_ = map(Some(json!({"data": {"first": "only"}})));
    object(&client, &object_, false).await.unwrap();
    object(&client, &object_, true).await.unwrap();
    let asked = asked.lock().unwrap();
    let methods: Vec<_> = asked.iter().map(|(method, ..)| method.clone()).collect();
    assert_eq!(methods, [Method::POST, Method::PATCH, Method::PATCH]);
    assert!(
        asked[0].1.contains("fieldManager=applink.dev%2Finitial"),
        "{}",
        asked[0].1
    );
    assert_eq!(asked[0].2["data"]["first"], "only");
    assert!(asked[1].2["data"].get("first").is_none());
    assert!(
        asked[1].1.contains("force=true"),
        "it was made a moment ago"
    );
}

#[tokio::test]
async fn an_object_that_was_there_before_is_not_forced_after_a_refused_creation() {
    let (client, asked) = server(|method, _| {
        if *method == Method::POST {
            status(409, "already exists")
        } else {
            stored()
        }
    });
    let object_ = map(Some(json!({"data": {"first": "only"}})));
    object(&client, &object_, false).await.unwrap();
    assert!(!asked.lock().unwrap()[1].1.contains("force=true"));
}

#[tokio::test]
async fn a_deletion_names_the_uid_and_not_being_there_is_success() {
    let key = ObjectKey::in_system("ConfigMap", "m");
    for code in [200, 404, 409] {
        let (client, asked) = server(move |_, _| match code {
            200 => stored(),
            code => status(code, "no"),
        });
        delete(&client, &key, "u-1").await.unwrap();
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0].0, Method::DELETE);
        assert_eq!(asked[0].2["preconditions"]["uid"], "u-1");
    }
    let (client, _) =
        server(|_, _| status(403, "User \"x\" cannot delete resource \"configmaps\""));
    let error = delete(&client, &key, "u-1").await.unwrap_err();
    assert_eq!(
        error.reason(),
        crate::api::conditions::Reason::MissingRights
    );
    assert!(error.failure().message.contains("cannot delete resource"));
}

#[tokio::test]
async fn a_patch_of_something_that_changed_meanwhile_is_dropped() {
    let (client, asked) = server(|_, _| status(409, "the object has been modified"));
    let key = ObjectKey::new("Node", None, "a");
    let body = label_patch(names::NODE_ZTUNNEL_LABEL, Some("1-6-0-abcdef"), "41");
    assert_eq!(merge(&client, &key, &body).await.unwrap(), None);
    assert_eq!(
        asked.lock().unwrap()[0].2["metadata"]["resourceVersion"],
        "41"
    );
}
