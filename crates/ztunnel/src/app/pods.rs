//! The metrics `workload_manager_*`: how many pods are served.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::inpod::Pods;

/// Writes the counters of the set of pods.
#[derive(Debug)]
pub(super) struct PodCounts(pub(super) Pods);

impl Collector for PodCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let counters = self.0.counters();
        for (name, help, value) in [
            (
                "active_proxy_count",
                "The number of pods served",
                counters.active,
            ),
            (
                "pending_proxy_count",
                "The number of pods that wait for their proxy",
                counters.pending,
            ),
        ] {
            let name = format!("workload_manager_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        for (name, help, value) in [
            (
                "proxies_started",
                "The number of per-pod proxies started",
                counters.started,
            ),
            (
                "proxies_stopped",
                "The number of per-pod proxies stopped",
                counters.stopped,
            ),
        ] {
            let name = format!("workload_manager_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_carry_upstream_names() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(PodCounts(Pods::default())));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry).unwrap();
        let samples: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "workload_manager_active_proxy_count 0",
                "workload_manager_pending_proxy_count 0",
                "workload_manager_proxies_started_total 0",
                "workload_manager_proxies_stopped_total 0",
            ]
        );
    }
}
