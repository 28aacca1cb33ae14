//! The process's own HTTP listeners: admin (loopback), metrics and readiness.
//!
//! Layer 8. Answers from what it is given; changes only the log filter and starts the shutdown.

pub mod dump;
mod json;
pub mod server;

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::Notify;

use crate::ca::Certificates;
use crate::config::Config;
use crate::inpod::{Control, Pods, State};
use crate::logging::Levels;
use crate::metrics::text::Form;
use crate::metrics::{Connections, Metrics};
use crate::readiness::Readiness;
use crate::store::Store;
use server::Body;

/// What the admin listener shows and changes.
#[derive(Clone)]
pub struct Admin {
    /// The configuration.
    pub config: Arc<Config>,
    /// The state of the mesh.
    pub store: Arc<Store>,
    /// The pods served.
    pub pods: Pods,
    /// Their certificates; `None` when the certificate authority is turned off.
    pub certificates: Option<Certificates>,
    /// Connections opened and failed.
    pub connections: Arc<Connections>,
    /// The log filter; `None` when the log belongs to somebody else.
    pub levels: Option<Levels>,
    /// The node agent's connection, for an upgrade of the proxy on a node.
    pub agent: Control,
    /// Told when `/quitquitquit` was called.
    pub quit: Arc<Notify>,
}

const INDEX: &str = "<html><head><title>applink ztunnel</title></head><body><h1>applink ztunnel</h1><ul>\
<li><a href=\"config_dump\">config_dump</a>: everything this proxy knows, as JSON</li>\
<li><a href=\"pods\">pods</a>: uids of the pods it serves, as JSON</li>\
<li><a href=\"certificates\">certificates</a>: identities and the state, end and root of their certificates, as JSON</li>\
<li><a href=\"connections\">connections</a>: how many were opened and failed since the start, as JSON; ?without=namespace leaves out those from or to it</li>\
<li>POST logging?level=...: the log filter; ?reset for the one of the start</li>\
<li>POST reconnect: take a new connection and a full list from the node agent</li>\
<li>POST stand-down: keep the connection to the node agent, never make another</li>\
<li>POST quitquitquit: drain and end</li></ul></body></html>";

impl Admin {
    /// The answer to one request.
    pub fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let post = *request.method() == Method::POST;
        match request.uri().path() {
            "/" => server::html(INDEX),
            "/config_dump" => dump::respond(self),
            "/pods" => self.served(),
            "/certificates" => self.certificates(),
            "/connections" => self.connections(request.uri().query().unwrap_or_default()),
            "/logging" if post => self.logging(request.uri().query().unwrap_or_default()),
            "/reconnect" if post => {
                self.agent.reconnect();
                server::text(StatusCode::OK, "connecting to the node agent anew\n")
            }
            "/stand-down" if post => {
                self.agent.stand_down();
                server::text(StatusCode::OK, "never connecting to the node agent again\n")
            }
            "/quitquitquit" if post => {
                self.quit.notify_one();
                server::text(StatusCode::OK, "shutdown now\n")
            }
            "/logging" | "/quitquitquit" | "/reconnect" | "/stand-down" => {
                server::text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n")
            }
            _ => server::text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// The uids of the pods that are served, sorted: what the operator compares with the pods that should be.
    fn served(&self) -> Response<Body> {
        let uids: Vec<String> = self
            .pods
            .list()
            .iter()
            .filter(|pod| pod.state == State::Up)
            .map(|pod| pod.uid.to_string())
            .collect();
        server::json(&uids)
    }

    /// Identities of the node's workloads, and whether their certificates are there, until when, and under which root: what
    /// the operator asks for before this proxy is left alone on its node.
    fn certificates(&self) -> Response<Body> {
        let states = self.certificates.as_ref().map(Certificates::states);
        let now = std::time::SystemTime::now();
        let all: Vec<serde_json::Value> = (states.unwrap_or_default().into_iter())
            .map(|(identity, state)| json::certified(&identity, &state, now))
            .collect();
        server::json(&all)
    }

    /// Connections opened and failed since the start, failed ones by why: what the operator holds against the proxy before.
    /// The metrics say the same by label sets, which may be many megabytes.
    fn connections(&self, query: &str) -> Response<Body> {
        let mut without = None;
        for (key, value) in parameters(query) {
            if key != "without" || without.is_some() {
                return server::text(StatusCode::BAD_REQUEST, "use ?without=namespace\n");
            }
            without = Some(value);
        }
        let totals = self.connections.totals(without.as_deref());
        let failed: std::collections::BTreeMap<&str, u64> = totals
            .failed()
            .map(|(flag, count)| (flag.as_str(), count))
            .collect();
        server::json(&serde_json::json!({"opened": totals.opened, "failed": failed}))
    }

    fn logging(&self, query: &str) -> Response<Body> {
        let Some(levels) = &self.levels else {
            return server::text(
                StatusCode::CONFLICT,
                "the log of this process is set elsewhere\n",
            );
        };
        let mut changed = Ok(());
        for (key, value) in parameters(query) {
            changed = match key.as_str() {
                "level" => levels.add(&value),
                "reset" => levels.reset(),
                _ => return server::text(StatusCode::BAD_REQUEST, "use ?level=... or ?reset\n"),
            };
            if changed.is_err() {
                break;
            }
        }
        match changed {
            Ok(()) => server::text(
                StatusCode::OK,
                format!("current log level is {}\n", levels.current()),
            ),
            Err(error) => server::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

/// The pairs of a query, percent-decoded.
fn parameters(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |b: u8| char::from(b).to_digit(16);
        if byte != b'%' {
            bytes.push(if byte == b'+' { b' ' } else { byte });
            continue;
        }
        let ahead = (rest.next().and_then(hex), rest.next().and_then(hex));
        let (Some(high), Some(low)) = ahead else {
            return String::new();
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// The answer of the readiness listener.
pub fn readiness(readiness: &Readiness, path: &str) -> Response<Body> {
    if path != "/healthz/ready" {
        return server::text(StatusCode::NOT_FOUND, "not found\n");
    }
    match readiness.report() {
        Ok(ready) => server::text(StatusCode::OK, ready),
        Err(pending) => server::text(StatusCode::INTERNAL_SERVER_ERROR, pending),
    }
}

/// The answer of the metrics listener: `OpenMetrics` or the older text by `Accept`, gzip by `Accept-Encoding`.
pub fn metrics(metrics: &Metrics, path: &str, headers: &HeaderMap) -> Response<Body> {
    if !matches!(path, "/metrics" | "/stats/prometheus") {
        return server::text(StatusCode::NOT_FOUND, "not found\n");
    }
    let said = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let form = Form::accepted_by(said(header::ACCEPT));
    let Ok(open) = metrics.open_metrics() else {
        return server::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written\n",
        );
    };
    let compressed = said(header::ACCEPT_ENCODING)
        .is_some_and(|all| all.split(',').any(|one| one.trim().starts_with("gzip")));
    server::typed(form.content_type(), form.write(open), compressed)
}

#[cfg(test)]
mod tests;
