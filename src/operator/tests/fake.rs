//! An API server in memory, for tests of the whole loop: it stores what is written, answers lists, tells watches, and
//! keeps a record of every request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path without the query.
    pub path: String,
    /// The query, decoded.
    pub query: String,
    /// Its body.
    pub body: Value,
}

/// What is said no to, and how: a code and a message.
pub type Refusal = fn(&Asked) -> Option<(u16, &'static str)>;

type Stream = mpsc::UnboundedSender<Bytes>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    watches: Vec<(String, String, Stream)>,
    asked: Vec<Asked>,
    /// How often each collection was listed.
    lists: BTreeMap<String, usize>,
    refuse: Option<Refusal>,
    /// What a review of somebody's own rights lists.
    rights: Option<Value>,
}

/// The server.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

/// A path taken apart: the collection in all namespaces, the namespace, the name, the subresource.
struct Place<'a> {
    kind: String,
    namespace: &'a str,
    name: Option<&'a str>,
    sub: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && rest[0] != "status" => {
                (*namespace, rest)
            }
            rest => ("", rest),
        };
        Some(Self {
            kind: format!("{group}/{}", rest.first()?),
            namespace,
            name: rest.get(1).copied(),
            sub: rest.get(2).copied(),
        })
    }

    fn key(&self) -> String {
        format!(
            "{}/{}/{}",
            self.kind,
            self.namespace,
            self.name.unwrap_or_default()
        )
    }

    fn prefix(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/", self.kind)
        } else {
            format!("{}/{}/", self.kind, self.namespace)
        }
    }
}

impl Fake {
    /// A client of it.
    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says no from now on, to whom this says so.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.state().refuse = refusal;
    }

    /// Lists these rules from now on when somebody asks for its own rights; every right without this.
    pub fn grant(&self, rules: Value) {
        self.state().rights = Some(rules);
    }

    /// How often a collection was listed.
    pub fn lists(&self, path: &str) -> usize {
        self.state().lists.get(path).copied().unwrap_or(0)
    }

    /// Every request since this was asked last, except lists and watches.
    pub fn asked(&self) -> Vec<Asked> {
        let mut all = std::mem::take(&mut self.state().asked);
        all.retain(|one| {
            let is_list = Place::of(&one.path).is_some_and(|place| place.name.is_none());
            one.method != Method::GET || !is_list
        });
        all
    }

    /// An object as it is stored.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(&Place::of(path)?.key()).cloned()
    }

    /// Names of the objects of a collection.
    pub fn names(&self, path: &str) -> Vec<String> {
        let prefix = Place::of(path).expect("a path of a collection").prefix();
        let state = self.state();
        state
            .objects
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .map(|name| name.trim_start_matches('/').to_owned())
            .collect()
    }

    /// Stores an object as somebody else; its metadata is completed.
    pub fn put(&self, path: &str, object: Value) {
        let place = Place::of(path).expect("a path of an object");
        let before = self.get(path);
        self.state().store(&place, before.as_ref(), object);
    }

    /// Deletes an object as somebody else.
    pub fn delete(&self, path: &str) {
        let place = Place::of(path).expect("a path of an object");
        let mut state = self.state();
        if let Some(object) = state.objects.remove(&place.key()) {
            state.tell("DELETED", &place, &object);
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let asked = Asked {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: decoded(parts.uri.query().unwrap_or_default()),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        let mut state = self.state();
        state.asked.push(asked.clone());
        if let Some((code, message)) = state.refuse.and_then(|refuse| refuse(&asked)) {
            return whole(code, &status(code, message));
        }
        if asked.path == "/version" {
            let version = json!({"gitVersion": "v1.33.4", "major": "1", "minor": "33", "buildDate": "", "compiler": "", "gitCommit": "", "gitTreeState": "", "goVersion": "", "platform": ""});
            return whole(200, &version);
        }
        if asked.path == "/apis" {
            let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []});
            return whole(200, &groups);
        }
        if asked.path.ends_with("/selfsubjectrulesreviews") {
            let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
            let mut review = asked.body;
            review["status"] = json!({
                "incomplete": false,
                "nonResourceRules": [],
                "resourceRules": state.rights.clone().unwrap_or(all),
            });
            return whole(201, &review);
        }
        let Some(place) = Place::of(&asked.path) else {
            return whole(404, &status(404, "no such path"));
        };
        if asked.method == Method::GET && place.name.is_none() {
            if !asked.query.contains("watch=true") {
                *state.lists.entry(asked.path.clone()).or_default() += 1;
                return whole(200, &state.list(&place, &asked.query));
            }
            let (sender, receiver) = mpsc::unbounded_channel();
            let watch = (place.prefix(), asked.query.clone(), sender);
            state.watches.push(watch);
            let frames = stream::unfold(receiver, |mut receiver| async {
                let bytes = receiver.recv().await?;
                Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
            });
            return Response::new(StreamBody::new(frames.boxed()).boxed_unsync());
        }
        let (code, reply) = state.one(&asked, &place);
        whole(code, &reply)
    }
}

impl State {
    fn list(&self, place: &Place<'_>, query: &str) -> Value {
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(key, object)| key.starts_with(&place.prefix()) && matches(object, query))
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    fn one(&mut self, asked: &Asked, place: &Place<'_>) -> (u16, Value) {
        let created = asked.body.pointer("/metadata/name").and_then(Value::as_str);
        let place = Place {
            kind: place.kind.clone(),
            name: place.name.or(created),
            ..*place
        };
        let known = self.objects.get(&place.key()).cloned();
        let is_apply = asked.query.contains("fieldManager") && asked.body.get("kind").is_some();
        match (&asked.method, known) {
            (&Method::GET, Some(object)) => (200, object),
            (&Method::DELETE, Some(object)) => {
                self.objects.remove(&place.key());
                self.tell("DELETED", &place, &object);
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                )
            }
            (&Method::POST, Some(_)) => (409, status(409, "already exists")),
            (&Method::POST, None) => (201, self.store(&place, None, asked.body.clone())),
            (&Method::PATCH, known) if known.is_some() || is_apply => {
                let mut body = asked.body.clone();
                let code = if known.is_some() { 200 } else { 201 };
                if let Some(map) = body.as_object_mut() {
                    if place.sub == Some("status") {
                        map.retain(|key, _| key == "status");
                    } else {
                        map.remove("status");
                    }
                }
                let mut object = known.clone().unwrap_or_else(|| json!({}));
                if place.sub == Some("status") {
                    object["status"] = Value::Null;
                }
                merge(&mut object, body);
                (code, self.store(&place, known.as_ref(), object))
            }
            _ => (404, status(404, "not found")),
        }
    }

    fn store(&mut self, place: &Place<'_>, before: Option<&Value>, mut object: Value) -> Value {
        self.version += 1;
        let name = place.name.unwrap_or_default();
        let meta = |object: &Value, key: &str| {
            object
                .pointer(&format!("/metadata/{key}"))
                .cloned()
                .filter(|value| !value.is_null())
        };
        let generation = before.map_or(1, |before| {
            let generation = meta(before, "generation").and_then(|number| number.as_i64());
            generation.unwrap_or(1) + i64::from(before.get("spec") != object.get("spec"))
        });
        let created = before
            .and_then(|before| meta(before, "creationTimestamp"))
            .or_else(|| meta(&object, "creationTimestamp"))
            .unwrap_or_else(|| json!("2026-11-21T09:00:00Z"));
        let uid = meta(&object, "uid").unwrap_or_else(|| json!(format!("uid-{name}")));
        merge(
            &mut object,
            json!({"metadata": {
                "name": name,
                "uid": uid,
                "generation": generation,
                "creationTimestamp": created,
                "resourceVersion": self.version.to_string(),
            }}),
        );
        if !place.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(place.namespace);
        }
        let what = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.objects.insert(place.key(), object.clone());
        self.tell(what, place, &object);
        object
    }

    fn tell(&mut self, what: &str, place: &Place<'_>, object: &Value) {
        let mut line = json!({"type": what, "object": object}).to_string();
        line.push('\n');
        let key = place.key();
        self.watches.retain(|(prefix, query, stream)| {
            !(key.starts_with(prefix) && matches(object, query))
                || stream.send(Bytes::from(line.clone())).is_ok()
        });
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    if let Value::Object(map) = into {
        for (key, value) in patch {
            if value.is_null() {
                map.remove(&key);
            } else {
                merge(map.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}

/// Whether an object is one of those that a query selects by fields and labels.
fn matches(object: &Value, query: &str) -> bool {
    let selector = |name: &str| {
        query
            .split('&')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .split(',')
            .filter(|one| !one.is_empty())
            .collect::<Vec<_>>()
    };
    let by_field = selector("fieldSelector").into_iter().all(|one| {
        let (field, wanted) = one.split_once('=').unwrap_or((one, ""));
        let found = object.pointer(&format!("/{}", field.replace('.', "/")));
        match found {
            Some(Value::String(text)) => text == wanted,
            Some(other) => {
                let text = other.to_string();
                text == wanted
            }
            None => wanted == "false",
        }
    });
    let labels = &object["metadata"]["labels"];
    by_field
        && selector("labelSelector").into_iter().all(|one| {
            let (key, wanted) = one
                .split_once('=')
                .map_or((one, None), |(k, v)| (k, Some(v)));
            labels
                .get(key)
                .and_then(Value::as_str)
                .is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
        })
}

fn decoded(query: &str) -> String {
    ["%3D=", "%2F/", "%2C,", "%3A:"]
        .iter()
        .fold(query.to_owned(), |text, rule| {
            text.replace(&rule[..3], &rule[3..])
        })
}

fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "",
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": reason})
}

fn whole(code: u16, body: &Value) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a code");
    response
}
