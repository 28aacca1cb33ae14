//! One event as one line, in upstream's two forms.
//!
//! Plain: time, level, scope and message separated by tabs, then fields as `key=value` separated by blanks. JSON: `level`,
//! `time`, `scope`, `message`, then the fields as keys. Source: istio/ztunnel `62d8265`.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::writer::Lines as Queue;

/// The crate's name in module paths; scopes are shown without it.
pub(super) const CRATE: &str = "applink_ztunnel";

/// Which form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// For people.
    Plain,
    /// For machines.
    Json,
}

/// The subscriber's layer that writes lines.
#[derive(Debug)]
pub struct Lines {
    form: Form,
    queue: Queue,
}

impl Lines {
    /// Lines of this form into this queue.
    pub(super) const fn new(form: Form, queue: Queue) -> Self {
        Self { form, queue }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue
            .send(line(self.form, event, jiff::Timestamp::now()));
    }
}

fn line(form: Form, event: &Event<'_>, now: jiff::Timestamp) -> String {
    let metadata = event.metadata();
    let mut fields = Fields {
        form,
        message: String::new(),
        rest: String::with_capacity(256),
    };
    event.record(&mut fields);
    let (level, scope) = (level(metadata), scope(metadata.target()));
    let mut out = String::with_capacity(fields.rest.len() + fields.message.len() + 80);
    let _ = match form {
        Form::Plain => {
            let gap = if fields.rest.is_empty() { "" } else { "\t" };
            let rest = fields.rest.trim_start();
            writeln!(
                out,
                "{now:.6}\t{level}\t{scope}\t{}{gap}{rest}",
                one_line(&fields.message)
            )
        }
        Form::Json => {
            let (scope, message) = (json(scope), json(&fields.message));
            writeln!(
                out,
                r#"{{"level":"{level}","time":"{now:.6}","scope":{scope},"message":{message}{}}}"#,
                fields.rest
            )
        }
    };
    out
}

fn level(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

fn scope(target: &str) -> &str {
    match target.strip_prefix(CRATE) {
        Some("") => "ztunnel",
        Some(rest) => rest.strip_prefix("::").unwrap_or(target),
        None => target,
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// Text of others cannot start a new line.
fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['\n', '\r']) {
        text.replace(['\n', '\r'], " ").into()
    } else {
        text.into()
    }
}

struct Fields {
    form: Form,
    message: String,
    rest: String,
}

impl Fields {
    fn raw(&mut self, field: &Field, value: &str) {
        let name = field.name();
        let _ = match self.form {
            Form::Plain => write!(self.rest, " {name}={value}"),
            Form::Json => write!(self.rest, ",{}:{value}", json(name)),
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else if self.form == Form::Json {
            self.raw(field, &json(&text));
        } else {
            self.raw(field, &one_line(&text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.raw(field, &json(value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, if value { "true" } else { "false" });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.record_str(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::writer::tests::Collected;
    use super::*;
    use crate::access_log::{self, Addresses, Carried};
    use crate::metrics::{Labels, Party, Reporter, Security, ServiceName};

    /// What `work` logs, without the time.
    fn logged(form: Form, work: impl FnOnce()) -> Vec<String> {
        let collected = Collected::default();
        let (queue, flush) = super::super::writer::start(collected.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(Lines::new(form, queue));
        tracing::subscriber::with_default(subscriber, work);
        flush.now(Duration::from_secs(5));
        collected.text().lines().map(without_time).collect()
    }

    fn without_time(line: &str) -> String {
        let at = line.find("20").unwrap();
        let end = line[at..].find('Z').unwrap() + at;
        assert_eq!(
            line[at..=end].len(),
            "2026-01-01T00:00:00.000000Z".len(),
            "{line}"
        );
        format!("{}<time>{}", &line[..at], &line[end + 1..])
    }

    fn facts() -> (Labels, Addresses) {
        let party = |name: &str| Party {
            pod: Some(format!("{name}-0").into()),
            workload: Some(name.into()),
            namespace: Some("shop".into()),
            principal: Some(format!("spiffe://cluster.local/ns/shop/sa/{name}").into()),
            cluster: Some("west".into()),
            ..Party::default()
        };
        let labels = Labels {
            reporter: Reporter::Source,
            source: party("cart"),
            destination: party("web"),
            service: Some(ServiceName {
                hostname: "web.shop.svc.cluster.local".into(),
                name: "web".into(),
                namespace: "shop".into(),
            }),
            security: Security::MutualTls,
        };
        let addresses = Addresses {
            source: "10.0.0.1:4000".parse().unwrap(),
            destination: "10.0.0.2:15008".parse().unwrap(),
            hbone: Some(Arc::from("10.0.0.2:80")),
        };
        (labels, addresses)
    }

    const CARRIED: Carried = Carried {
        request: 84,
        response: 175,
        duration: Duration::from_millis(12),
    };

    #[test]
    fn a_complete_connection_is_written_as_upstream_writes_it() {
        let (labels, addresses) = facts();
        let lines = logged(Form::Plain, || {
            access_log::complete(&labels, &addresses, CARRIED, None);
        });
        assert_eq!(
            lines,
            [concat!(
                "<time>\tinfo\taccess\tconnection complete\t",
                "src.addr=10.0.0.1:4000 src.workload=\"cart-0\" src.namespace=\"shop\" ",
                "src.identity=\"spiffe://cluster.local/ns/shop/sa/cart\" src.cluster=\"west\" ",
                "dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:80 dst.service=\"web.shop.svc.cluster.local\" ",
                "dst.workload=\"web-0\" dst.namespace=\"shop\" dst.identity=\"spiffe://cluster.local/ns/shop/sa/web\" ",
                "dst.cluster=\"west\" direction=\"outbound\" bytes_sent=84 bytes_recv=175 duration=\"12ms\"",
            )]
        );
    }

    #[test]
    fn json_has_the_same_fields_as_keys() {
        let (mut labels, addresses) = facts();
        labels.reporter = Reporter::Destination;
        labels.service = None;
        labels.source = Party::default();
        let lines = logged(Form::Json, || {
            access_log::complete(
                &labels,
                &addresses,
                CARRIED,
                Some(&"connection denied by policy: a \"b\""),
            );
        });
        assert_eq!(
            lines,
            [concat!(
                r#"{"level":"error","time":"<time>","scope":"access","message":"connection complete","src.addr":"10.0.0.1:4000","#,
                r#""dst.addr":"10.0.0.2:15008","dst.hbone_addr":"10.0.0.2:80","dst.workload":"web-0","dst.namespace":"shop","#,
                r#""dst.identity":"spiffe://cluster.local/ns/shop/sa/web","dst.cluster":"west","direction":"inbound","#,
                r#""bytes_sent":175,"bytes_recv":84,"duration":"12ms","error":"connection denied by policy: a \"b\""}"#,
            )]
        );
        serde_json::from_str::<serde_json::Value>(&lines[0]).unwrap();
    }

    #[test]
    fn refusals_and_openings_have_their_level() {
        let (labels, addresses) = facts();
        let lines = logged(Form::Plain, || {
            access_log::failed(&labels, &addresses, &"no");
            access_log::opened(&labels, &addresses);
        });
        assert!(
            lines[0].starts_with("<time>\twarn\taccess\tconnection failed\tsrc.addr="),
            "{lines:?}"
        );
        assert!(
            lines[0].ends_with(" direction=\"outbound\" error=\"no\""),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("<time>\tdebug\taccess\tconnection opened\t"),
            "{lines:?}"
        );
    }

    #[test]
    fn foreign_text_cannot_start_a_new_line() {
        for form in [Form::Plain, Form::Json] {
            let text = "a\nfake\tline";
            let lines = logged(form, || tracing::info!(%text, other = text, "bad {text}"));
            assert_eq!(lines.len(), 1, "{lines:?}");
        }
    }

    #[test]
    fn scopes_are_shown_without_the_crate_s_name() {
        for (target, shown) in [
            ("applink_ztunnel", "ztunnel"),
            ("applink_ztunnel::proxy::inbound", "proxy::inbound"),
            ("access", "access"),
            ("h2::proto", "h2::proto"),
        ] {
            assert_eq!(scope(target), shown);
        }
    }
}
