//! Counters of DNS capture.

use std::collections::HashSet;
use std::fmt::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Party, UNKNOWN, pair};

/// Bounds in seconds. Source: istio/ztunnel `62d8265`.
const BUCKETS: [f64; 6] = [0.0005, 0.001, 0.01, 0.1, 1.0, 5.0];
/// Label sets kept before new ones are counted without their source.
const LIMIT: usize = 10_000;

/// The transport of a query.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// The labels of one query. `query_type` comes from a closed list (`A`, `AAAA`, ..., `other`), so a client cannot grow the set.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DnsLabels {
    /// Record type asked for.
    pub query_type: &'static str,
    /// Transport.
    pub protocol: Protocol,
    /// Canonical service of the pod that asked.
    pub service: Option<Arc<str>>,
    /// Its canonical revision.
    pub revision: Option<Arc<str>>,
}

impl DnsLabels {
    /// The labels of a query by `source`.
    #[must_use]
    pub fn new(query_type: &'static str, protocol: Protocol, source: &Party) -> Self {
        Self {
            query_type,
            protocol,
            service: source.service.clone(),
            revision: source.revision.clone(),
        }
    }
}

impl EncodeLabelSet for DnsLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        pair(encoder, "request_query_type", self.query_type)?;
        pair(encoder, "request_protocol", protocol)?;
        pair(
            encoder,
            "source_canonical_service",
            self.service.as_deref().unwrap_or(UNKNOWN),
        )?;
        pair(
            encoder,
            "source_canonical_revision",
            self.revision.as_deref().unwrap_or(UNKNOWN),
        )
    }
}

/// The families of DNS capture.
#[derive(Clone, Debug)]
pub struct Dns {
    known: Arc<RwLock<HashSet<DnsLabels>>>,
    requests: Family<DnsLabels, Counter>,
    upstream_requests: Family<DnsLabels, Counter>,
    upstream_failures: Family<DnsLabels, Counter>,
    upstream_duration: Family<DnsLabels, Histogram, fn() -> Histogram>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            requests: Family::default(),
            upstream_requests: Family::default(),
            upstream_failures: Family::default(),
            upstream_duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl Dns {
    /// Counts a query and returns its labels as they are kept: without the source when too many sets exist.
    pub fn request(&self, mut labels: DnsLabels) -> DnsLabels {
        if !self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&labels)
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= LIMIT {
                labels.service = None;
                labels.revision = None;
            }
            known.insert(labels.clone());
        }
        self.requests.get_or_create(&labels).inc();
        labels
    }

    /// Counts a query that was forwarded, with the outcome and the time it took.
    pub fn forwarded(&self, labels: &DnsLabels, answered: bool, took: Duration) {
        self.upstream_requests.get_or_create(labels).inc();
        if answered {
            self.upstream_duration
                .get_or_create(labels)
                .observe(took.as_secs_f64());
        } else {
            self.upstream_failures.get_or_create(labels).inc();
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "dns_requests",
            "Total number of DNS requests",
            self.requests.clone(),
        );
        registry.register(
            "dns_upstream_requests",
            "Total number of DNS requests forwarded to upstream",
            self.upstream_requests.clone(),
        );
        registry.register(
            "dns_upstream_failures",
            "Total number of DNS requests for which upstream failed",
            self.upstream_failures.clone(),
        );
        registry.register_with_unit(
            "dns_upstream_request_duration",
            "Time upstream takes to answer",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_query_is_counted_and_timed() {
        let dns = Dns::default();
        let labels = dns.request(DnsLabels::new("aaaa", Protocol::Udp, &Party::default()));
        dns.forwarded(&labels, true, Duration::from_millis(2));
        dns.forwarded(&labels, false, Duration::from_secs(2));
        let mut registry = Registry::default();
        dns.register(registry.sub_registry_with_prefix("istio"));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry).unwrap();
        let common = "request_query_type=\"aaaa\",request_protocol=\"udp\",source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\"";
        for line in [
            format!("istio_dns_requests_total{{{common}}} 1"),
            format!("istio_dns_upstream_requests_total{{{common}}} 2"),
            format!("istio_dns_upstream_failures_total{{{common}}} 1"),
            format!("istio_dns_upstream_request_duration_seconds_bucket{{le=\"0.01\",{common}}} 1"),
        ] {
            assert!(out.lines().any(|l| l == line), "{line}\nis not in\n{out}");
        }
    }
}
