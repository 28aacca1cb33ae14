//! Counters of connections: one table entry per label set, four families and a gauge written from it.
//!
//! A connection looks its entry up once and then only adds to atomics.

use std::collections::HashMap;
use std::fmt::Error;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labels::{Flag, Flagged, Labels, Reporter, ReporterOnly};

/// Label sets kept before new ones share the overflow set: about 10 MB, and more than one node's pods can make in a day.
const LIMIT: usize = 20_000;

/// The counters of one label set.
#[derive(Debug, Default)]
pub struct Series {
    opened: AtomicU64,
    closed: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    failed: [AtomicU64; Flag::ALL.len()],
}

impl Series {
    /// Adds bytes that went from client to server (`istio_tcp_received_bytes_total`, by Istio's definition).
    pub fn add_request_bytes(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds bytes that went from server to client (`istio_tcp_sent_bytes_total`).
    pub fn add_response_bytes(&self, bytes: u64) {
        self.response_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a connection that failed.
    pub fn fail(&self, flag: Flag) {
        if let Some(counter) = self.failed.get(flag.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What was counted since the process started, whoever it was for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Connections opened: one that stays on the node is opened at both of its ends.
    pub opened: u64,
    failed: [u64; Flag::ALL.len()],
}

impl Totals {
    /// Connections that failed, by why; what has not happened is left out.
    pub fn failed(&self) -> impl Iterator<Item = (Flag, u64)> + '_ {
        let all = Flag::ALL.into_iter().zip(self.failed);
        all.filter(|(_, count)| *count > 0)
    }
}

/// All label sets of this process.
#[derive(Debug)]
pub struct Connections {
    series: RwLock<HashMap<Arc<Labels>, Arc<Series>>>,
    limit: usize,
    overflowed: AtomicU64,
    sockets: [AtomicI64; 2],
}

impl Default for Connections {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl Connections {
    /// A table of at most `limit` label sets (and two more for the overflow).
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            series: RwLock::default(),
            limit,
            overflowed: AtomicU64::new(0),
            sockets: [AtomicI64::new(0), AtomicI64::new(0)],
        }
    }

    /// The counters of a label set, made when missing.
    pub fn series(&self, labels: Labels) -> Arc<Series> {
        let mut labels = labels.without_pods();
        {
            let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = table.get(&labels) {
                return Arc::clone(series);
            }
        }
        let mut table = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= self.limit && !table.contains_key(&labels) {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            labels = Labels::overflow(labels.reporter);
        }
        Arc::clone(table.entry(Arc::new(labels)).or_default())
    }

    /// Counts an opened connection.
    pub fn open(&self, reporter: Reporter, series: &Series) {
        series.opened.fetch_add(1, Ordering::Relaxed);
        self.socket(reporter).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts its end.
    pub fn close(&self, reporter: Reporter, series: &Series) {
        series.closed.fetch_add(1, Ordering::Relaxed);
        self.socket(reporter).fetch_sub(1, Ordering::Relaxed);
    }

    /// Every label set together, but those with an end in the namespace `without`.
    #[must_use]
    pub fn totals(&self, without: Option<&str>) -> Totals {
        let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut totals = Totals::default();
        let is_left_out = |labels: &Labels| {
            let ends = [&labels.source, &labels.destination];
            let mut namespaces = ends.into_iter().filter_map(|end| end.namespace.as_deref());
            namespaces.any(|namespace| without == Some(namespace))
        };
        for (_, series) in table.iter().filter(|(labels, _)| !is_left_out(labels)) {
            totals.opened += series.opened.load(Ordering::Relaxed);
            for (sum, count) in totals.failed.iter_mut().zip(&series.failed) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        totals
    }

    fn socket(&self, reporter: Reporter) -> &AtomicI64 {
        match reporter {
            Reporter::Source => &self.sockets[0],
            Reporter::Destination => &self.sockets[1],
        }
    }
}

/// A family's name, help and value.
type Column = (&'static str, &'static str, fn(&Series) -> &AtomicU64);

const COLUMNS: [Column; 4] = [
    (
        "istio_tcp_connections_opened",
        "The total number of TCP connections opened",
        |s| &s.opened,
    ),
    (
        "istio_tcp_connections_closed",
        "The total number of TCP connections closed",
        |s| &s.closed,
    ),
    (
        "istio_tcp_received_bytes",
        "Bytes received in requests over TCP connections",
        |s| &s.request_bytes,
    ),
    (
        "istio_tcp_sent_bytes",
        "Bytes sent in responses over TCP connections",
        |s| &s.response_bytes,
    ),
];

/// Writes the table as families.
#[derive(Debug)]
pub(super) struct Exposition(pub Arc<Connections>);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        // A copy of pointers, so that writing the text never holds up a connection that needs a new entry.
        let rows: Vec<(Arc<Labels>, Arc<Series>)> = {
            let table = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
            table
                .iter()
                .map(|(labels, series)| (Arc::clone(labels), Arc::clone(series)))
                .collect()
        };
        for (name, help, value) in COLUMNS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, series) in &rows {
                let flagged = Flagged(labels, Flag::None);
                let metric = family.encode_family(&flagged)?;
                ConstCounter::new(value(series).load(Ordering::Relaxed)).encode(metric)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "istio_tcp_connections_failed",
            "The total number of TCP connections that failed (unstable)",
            None,
            MetricType::Counter,
        )?;
        for (labels, series) in &rows {
            for (flag, count) in Flag::ALL.into_iter().zip(&series.failed) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let flagged = Flagged(labels, flag);
                    ConstCounter::new(count).encode(family.encode_family(&flagged)?)?;
                }
            }
        }
        let mut family = encoder.encode_descriptor(
            "istio_tcp_sockets_open",
            "The number of connections open now (unstable)",
            None,
            MetricType::Gauge,
        )?;
        for reporter in [Reporter::Source, Reporter::Destination] {
            let open = self.0.socket(reporter).load(Ordering::Relaxed);
            let only = ReporterOnly(reporter);
            ConstGauge::new(open).encode(family.encode_family(&only)?)?;
        }
        let overflowed = encoder.encode_descriptor(
            "applink_metric_label_sets_overflowed",
            "Connections counted under unknown labels because too many label sets exist",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.0.overflowed.load(Ordering::Relaxed)).encode(overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::{Party, Security, ServiceName};
    use super::*;

    fn labels(workload: &str) -> Labels {
        Labels {
            reporter: Reporter::Source,
            source: Party {
                pod: Some("client-7d9-x".into()),
                workload: Some(workload.into()),
                namespace: Some("shop".into()),
                service: Some("cart".into()),
                revision: Some("v2".into()),
                cluster: Some("west".into()),
                principal: Some("spiffe://cluster.local/ns/shop/sa/cart".into()),
            },
            destination: Party::default(),
            service: Some(ServiceName {
                hostname: "web.shop.svc.cluster.local".into(),
                name: "web".into(),
                namespace: "shop".into(),
            }),
            security: Security::MutualTls,
        }
    }

    fn text(connections: &Arc<Connections>) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Exposition(Arc::clone(connections))));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry).unwrap();
        out
    }

    #[test]
    fn a_connection_is_written_with_all_labels_in_upstream_order() {
        let connections = Arc::new(Connections::default());
        let series = connections.series(labels("cart"));
        connections.open(Reporter::Source, &series);
        series.add_request_bytes(10);
        series.add_response_bytes(300);
        series.fail(Flag::Connect);
        let common = concat!(
            "reporter=\"source\",source_workload=\"cart\",source_canonical_service=\"cart\",source_canonical_revision=\"v2\",",
            "source_workload_namespace=\"shop\",source_principal=\"spiffe://cluster.local/ns/shop/sa/cart\",source_app=\"cart\",",
            "source_version=\"v2\",source_cluster=\"west\",destination_workload=\"unknown\",destination_canonical_service=\"unknown\",",
            "destination_canonical_revision=\"unknown\",destination_workload_namespace=\"unknown\",destination_principal=\"unknown\",",
            "destination_app=\"unknown\",destination_version=\"unknown\",destination_cluster=\"unknown\",",
            "destination_service=\"web.shop.svc.cluster.local\",destination_service_name=\"web\",",
            "destination_service_namespace=\"shop\",request_protocol=\"tcp\",response_flags=\"-\",",
            "connection_security_policy=\"mutual_tls\"",
        );
        let out = text(&connections);
        for line in [
            format!("istio_tcp_connections_opened_total{{{common}}} 1"),
            format!("istio_tcp_connections_closed_total{{{common}}} 0"),
            format!("istio_tcp_received_bytes_total{{{common}}} 10"),
            format!("istio_tcp_sent_bytes_total{{{common}}} 300"),
            format!(
                "istio_tcp_connections_failed_total{{{}}} 1",
                common.replace("\"-\"", "\"CONNECT\"")
            ),
            "istio_tcp_sockets_open{reporter=\"source\"} 1".into(),
            "istio_tcp_sockets_open{reporter=\"destination\"} 0".into(),
        ] {
            assert!(out.lines().any(|l| l == line), "{line}\nis not in\n{out}");
        }
    }

    #[test]
    fn all_label_sets_are_told_together() {
        let connections = Connections::default();
        for (workload, flag) in [("a", Flag::Connect), ("b", Flag::Deny), ("c", Flag::Deny)] {
            let series = connections.series(labels(workload));
            connections.open(Reporter::Source, &series);
            series.fail(flag);
        }
        let totals = connections.totals(None);
        assert_eq!(totals.opened, 3);
        assert_eq!(
            totals.failed().collect::<Vec<_>>(),
            [(Flag::Deny, 2), (Flag::Connect, 1)]
        );
    }

    #[test]
    fn who_has_an_end_in_a_namespace_that_is_left_out_is_not_in_the_totals() {
        let connections = Connections::default();
        let mut from = labels("a");
        from.source.namespace = Some("probe".into());
        let mut to = labels("b");
        to.destination.namespace = Some("probe".into());
        for one in [from, to, labels("c")] {
            let series = connections.series(one);
            connections.open(Reporter::Source, &series);
            series.fail(Flag::Connect);
        }
        let told = |without| {
            let totals = connections.totals(without);
            (totals.opened, totals.failed().collect::<Vec<_>>())
        };
        assert_eq!(told(Some("probe")), (1, vec![(Flag::Connect, 1)]));
        assert_eq!(told(Some("shop")), (1, vec![(Flag::Connect, 1)]));
        assert_eq!(told(Some("")), (3, vec![(Flag::Connect, 3)]));
    }

    #[test]
    fn pods_of_one_workload_share_a_label_set() {
        let connections = Connections::default();
        let one = connections.series(labels("cart"));
        let mut other = labels("cart");
        other.source.pod = Some("client-7d9-y".into());
        assert!(Arc::ptr_eq(&one, &connections.series(other)));
    }

    #[test]
    fn label_sets_past_the_limit_share_one_set() {
        let connections = Arc::new(Connections::with_limit(2));
        let kept = connections.series(labels("a"));
        connections.series(labels("b"));
        let over = connections.series(labels("c"));
        assert!(Arc::ptr_eq(&over, &connections.series(labels("d"))));
        assert!(
            Arc::ptr_eq(&kept, &connections.series(labels("a"))),
            "known sets still count"
        );
        assert!(text(&connections).contains("applink_metric_label_sets_overflowed_total 2"));
    }
}
