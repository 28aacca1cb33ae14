//! Metric families, by upstream's names, labels and types.
//!
//! Owns every counter of the process and their text form; decides nothing. Layer 5. What a peer can grow (label sets) is
//! bounded: past the limit new label sets are counted under one set whose every label is `unknown`.
//!
//! Source of names and labels: istio/ztunnel `62d8265`.

pub mod connection;
pub mod dns;
pub mod labels;
pub mod process;
pub mod text;

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::xds::{self, Termination};
pub use connection::{Connections, Series, Totals};
pub use dns::Dns;
pub use labels::{Flag, Labels, Party, Reporter, Security, ServiceName};

/// The label `reason` of `istio_xds_connection_terminations_total`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reason(pub Termination);

impl EncodeLabelSet for Reason {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let reason = match self.0 {
            Termination::ConnectionError => "ConnectionError",
            Termination::Error => "Error",
            Termination::Reconnect => "Reconnect",
            Termination::Complete => "Complete",
        };
        labels::pair(encoder, "reason", reason)
    }
}

/// An xDS type; the label `url`. Only our own constants are ever used, so the set is bounded by construction.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TypeUrl(pub &'static str);

impl TypeUrl {
    /// The label of a type; types that were never asked for share one.
    fn known(url: &str) -> Self {
        const KNOWN: [&str; 2] = [
            "type.googleapis.com/istio.workload.Address",
            "type.googleapis.com/istio.security.Authorization",
        ];
        Self(
            KNOWN
                .into_iter()
                .find(|known| *known == url)
                .unwrap_or("other"),
        )
    }
}

impl xds::Observer for Xds {
    fn message(&self, type_url: &str, bytes: usize) {
        let url = TypeUrl::known(type_url);
        self.messages.get_or_create(&url).inc();
        self.message_bytes.get_or_create(&url).inc_by(bytes as u64);
    }

    fn terminated(&self, reason: xds::Termination) {
        self.terminations.get_or_create(&Reason(reason)).inc();
    }
}

impl EncodeLabelSet for TypeUrl {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        labels::pair(encoder, "url", self.0)
    }
}

/// Counters of the control channel.
#[derive(Clone, Debug, Default)]
pub struct Xds {
    /// `istio_xds_connection_terminations_total`.
    pub terminations: Family<Reason, Counter>,
    /// `istio_xds_message_total`.
    pub messages: Family<TypeUrl, Counter>,
    /// `istio_xds_message_bytes_total`.
    pub message_bytes: Family<TypeUrl, Counter>,
}

/// Every family of this process. Cheap to share by [`Arc`].
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections: opened, closed, failed, bytes, sockets.
    pub connections: Arc<Connections>,
    /// DNS capture.
    pub dns: Dns,
    /// The control channel.
    pub xds: Xds,
}

impl Metrics {
    /// All families, registered; `tag` is the version shown by `istio_build`.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        let mut registry = Registry::default();
        let connections = Arc::new(Connections::default());
        let dns = Dns::default();
        let xds = Xds::default();

        registry.register_collector(Box::new(connection::Exposition(Arc::clone(&connections))));
        registry.register_collector(Box::new(process::Descriptors));
        let istio = registry.sub_registry_with_prefix("istio");
        dns.register(istio);
        istio.register(
            "xds_connection_terminations",
            "The total number of completed connections to xds server",
            xds.terminations.clone(),
        );
        istio.register(
            "xds_message",
            "Total number of messages received",
            xds.messages.clone(),
        );
        istio.register(
            "xds_message_bytes",
            "Total number of bytes received",
            xds.message_bytes.clone(),
        );
        let build = Family::<labels::Build, Gauge>::default();
        build.get_or_create(&labels::Build(tag.into())).set(1);
        istio.register("build", "Istio component build info", build);
        Self {
            registry,
            connections,
            dns,
            xds,
        }
    }

    /// Adds a collector of a higher layer.
    pub fn watch(&mut self, collector: Box<dyn Collector>) {
        self.registry.register_collector(collector);
    }

    /// Adds the scheduler's figures of one runtime (`tokio_*`).
    pub fn watch_runtime(&mut self, name: &'static str, handle: &tokio::runtime::Handle) {
        self.registry
            .register_collector(Box::new(process::Runtime::new(name, handle)));
    }

    /// Every family as `OpenMetrics` text, ended by `# EOF`.
    ///
    /// # Errors
    /// Only when the writer of the text fails.
    pub fn open_metrics(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_carry_upstream_names() {
        let metrics = Metrics::new("1.2.3");
        metrics
            .xds
            .terminations
            .get_or_create(&Reason(Termination::Reconnect))
            .inc();
        metrics
            .xds
            .messages
            .get_or_create(&TypeUrl("type.googleapis.com/istio.workload.Address"))
            .inc();
        let text = metrics.open_metrics().unwrap();
        for line in [
            "istio_build{component=\"ztunnel\",tag=\"1.2.3\"} 1",
            "istio_xds_connection_terminations_total{reason=\"Reconnect\"} 1",
            "istio_xds_message_total{url=\"type.googleapis.com/istio.workload.Address\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_open_fds "));
    }
}
