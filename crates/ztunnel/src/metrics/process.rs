//! Figures of the process itself: open descriptors and the schedulers.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::runtime::{Handle, RuntimeMetrics};

/// `process_open_fds` and `process_max_fds`.
#[derive(Debug)]
pub(super) struct Descriptors;

impl Collector for Descriptors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let open = encoder.encode_descriptor(
                "process_open_fds",
                "Open descriptors",
                None,
                MetricType::Gauge,
            )?;
            // The folder itself is open while it is counted.
            gauge((entries.count() as u64).saturating_sub(1)).encode(open)?;
        }
        if let Ok((soft, _)) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        {
            let max = encoder.encode_descriptor(
                "process_max_fds",
                "Limit on open descriptors",
                None,
                MetricType::Gauge,
            )?;
            gauge(soft).encode(max)?;
        }
        Ok(())
    }
}

/// `tokio_*` of one runtime.
#[derive(Debug)]
pub(super) struct Runtime {
    name: &'static str,
    metrics: RuntimeMetrics,
}

impl Runtime {
    pub(super) fn new(name: &'static str, handle: &Handle) -> Self {
        Self {
            name,
            metrics: handle.metrics(),
        }
    }
}

impl Collector for Runtime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for (name, help, value) in [
            ("workers", "Worker threads", self.metrics.num_workers()),
            ("alive_tasks", "Tasks alive", self.metrics.num_alive_tasks()),
            (
                "global_queue_depth",
                "Tasks that wait in the shared queue",
                self.metrics.global_queue_depth(),
            ),
        ] {
            let name = format!("tokio_{}_{name}", self.name);
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}
