//! `/config_dump`, written in pieces while it is read: the peak is one piece, whatever the size of the mesh.
//!
//! The keys are what `istioctl ztunnel-config` decodes. Source: istio/ztunnel `62d8265`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::server::{Body, with_type};
use super::{Admin, json};
use crate::store::Snapshot;

/// Bytes of one piece.
const PIECE: usize = 32 * 1024;

/// The whole dump.
pub(super) fn respond(admin: &Admin) -> Response<Body> {
    let pieces = Pieces {
        items: Box::new(items(admin)),
        done: false,
    };
    let frames = futures::stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
    with_type("application/json", StreamBody::new(frames).boxed())
}

/// The text in the order it is written, an item at a time.
fn items(admin: &Admin) -> impl Iterator<Item = String> + Send + Sync + 'static {
    let snapshot = admin.store.snapshot();
    let certificates = admin
        .certificates
        .as_ref()
        .map(crate::ca::Certificates::states)
        .unwrap_or_default();
    let pods = admin.pods.list();
    let trust_domain = admin.config.place.trust_domain.clone();
    let tail = json!({
        "stagedServices": staged(&snapshot),
        "staticConfig": {},
        "version": { "version": env!("CARGO_PKG_VERSION"), "name": "applink" },
        "config": &*admin.config,
    });

    let mut workloads: Vec<_> = snapshot.workloads().cloned().collect();
    workloads.sort_unstable_by(|one, other| one.uid.cmp(&other.uid));
    let mut services: Vec<_> = snapshot.services().cloned().collect();
    services.sort_unstable_by(|one, other| {
        (&one.namespace, &one.hostname).cmp(&(&other.namespace, &other.hostname))
    });
    let mut policies: Vec<_> = snapshot.policies().cloned().collect();
    policies.sort_unstable_by(|one, other| {
        (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
    });

    let members = Arc::clone(&snapshot);
    let head = std::iter::once("{".to_owned());
    let tail = tail.as_object().cloned().unwrap_or_default();
    head.chain(array(
        "workloads",
        workloads.into_iter().map(|w| json::workload(&w)),
    ))
    .chain(array(
        "services",
        services
            .into_iter()
            .map(move |s| json::service(&s, &members)),
    ))
    .chain(array(
        "policies",
        policies.into_iter().map(|p| json::policy(&p)),
    ))
    .chain(array(
        "certificates",
        certificates
            .into_iter()
            .map(|(identity, state)| json::certificate(&identity, &state)),
    ))
    .chain(object(
        "workloadState",
        pods.into_iter()
            .map(move |pod| (pod.uid.to_string(), json::pod(&pod, &trust_domain))),
    ))
    .chain(tail.into_iter().enumerate().map(|(at, (key, value))| {
        let comma = if at == 0 { "" } else { "," };
        format!("{comma}{}:{value}", Value::from(key))
    }))
    .chain(std::iter::once("}".to_owned()))
}

fn array(key: &'static str, values: impl Iterator<Item = Value>) -> impl Iterator<Item = String> {
    let separated = values.enumerate().map(|(at, value)| {
        if at == 0 {
            value.to_string()
        } else {
            format!(",{value}")
        }
    });
    std::iter::once(format!("\"{key}\":["))
        .chain(separated)
        .chain(std::iter::once("],".to_owned()))
}

fn object(
    key: &'static str,
    values: impl Iterator<Item = (String, Value)>,
) -> impl Iterator<Item = String> {
    let separated = values.enumerate().map(|(at, (name, value))| {
        let comma = if at == 0 { "" } else { "," };
        format!("{comma}{}:{value}", Value::from(name))
    });
    std::iter::once(format!("\"{key}\":{{"))
        .chain(separated)
        .chain(std::iter::once("},".to_owned()))
}

/// Members of services that are not known yet.
fn staged(snapshot: &Snapshot) -> Value {
    let staged = snapshot.staged_endpoints().map(|(service, endpoints)| {
        let members: serde_json::Map<String, Value> = endpoints
            .workloads()
            .map(|w| (w.uid.to_string(), json::endpoint(w, service)))
            .collect();
        (service.to_string(), Value::from(members))
    });
    Value::from(staged.collect::<serde_json::Map<_, _>>())
}

/// Joins items into pieces of a useful size.
struct Pieces {
    items: Box<dyn Iterator<Item = String> + Send + Sync>,
    done: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = String::with_capacity(if self.done { 0 } else { PIECE + PIECE / 4 });
        while !self.done && piece.len() < PIECE {
            match self.items.next() {
                Some(item) => piece.push_str(&item),
                None => self.done = true,
            }
        }
        (!piece.is_empty()).then(|| piece.into())
    }
}
