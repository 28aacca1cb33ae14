//! The report of one connection: metrics and access log from the same facts.
//!
//! A proxy opens a [`Live`] report when it has decided where a connection goes, adds bytes while copying, and finishes it.
//! A report that is dropped unfinished counts as cut. Layer 5.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::access_log::{self, Addresses, Carried};
use crate::copy::Meter;
use crate::metrics::{Connections, Flag, Labels, Party, Series, ServiceName};
use crate::service::Service;
use crate::workload::Workload;

impl From<&Workload> for Party {
    fn from(workload: &Workload) -> Self {
        let known = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
        Self {
            pod: known(&workload.name),
            workload: known(&workload.workload_name),
            namespace: known(&workload.namespace),
            service: known(&workload.canonical_name),
            revision: known(&workload.canonical_revision),
            cluster: known(&workload.cluster_id),
            principal: Some(workload.identity.as_str().into()),
        }
    }
}

impl From<&Service> for ServiceName {
    fn from(service: &Service) -> Self {
        Self {
            hostname: Arc::clone(&service.hostname),
            name: Arc::clone(&service.name),
            namespace: Arc::clone(&service.namespace),
        }
    }
}

/// Makes reports. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    connections: Arc<Connections>,
}

impl Reports {
    /// Reports that count into `connections`.
    #[must_use]
    pub const fn new(connections: Arc<Connections>) -> Self {
        Self { connections }
    }

    /// The connection is on its way. `accepted` is when the client was accepted.
    #[must_use]
    pub fn open(&self, labels: Labels, addresses: Addresses, accepted: Instant) -> Live {
        let series = self.connections.series(labels.clone());
        self.connections.open(labels.reporter, &series);
        access_log::opened(&labels, &addresses);
        Live {
            connections: Arc::clone(&self.connections),
            series,
            labels,
            addresses,
            accepted,
            request: AtomicU64::new(0),
            response: AtomicU64::new(0),
            finished: false,
        }
    }

    /// The connection was refused before it could be reported as open.
    pub fn refuse(&self, labels: Labels, addresses: &Addresses, flag: Flag, error: &dyn Display) {
        access_log::failed(&labels, addresses, error);
        self.connections.series(labels).fail(flag);
    }
}

/// The report of a connection that is open.
#[derive(Debug)]
pub struct Live {
    connections: Arc<Connections>,
    series: Arc<Series>,
    labels: Labels,
    addresses: Addresses,
    accepted: Instant,
    request: AtomicU64,
    response: AtomicU64,
    finished: bool,
}

impl Live {
    /// Bytes that went from client to server.
    pub fn add_request_bytes(&self, bytes: u64) {
        self.request.fetch_add(bytes, Ordering::Relaxed);
        self.series.add_request_bytes(bytes);
    }

    /// Bytes that went from server to client.
    pub fn add_response_bytes(&self, bytes: u64) {
        self.response.fetch_add(bytes, Ordering::Relaxed);
        self.series.add_response_bytes(bytes);
    }

    /// The connection ended in order.
    pub fn complete(mut self) {
        self.end(None);
    }

    /// The connection failed.
    pub fn fail(mut self, flag: Flag, error: &dyn Display) {
        self.end(Some((flag, error)));
    }

    fn end(&mut self, failure: Option<(Flag, &dyn Display)>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.connections.close(self.labels.reporter, &self.series);
        if let Some((flag, _)) = failure {
            self.series.fail(flag);
        }
        let carried = Carried {
            request: self.request.load(Ordering::Relaxed),
            response: self.response.load(Ordering::Relaxed),
            duration: self.accepted.elapsed(),
        };
        access_log::complete(
            &self.labels,
            &self.addresses,
            carried,
            failure.map(|(_, error)| error),
        );
    }
}

impl Meter for Live {
    fn forward(&self, bytes: u64) {
        self.add_request_bytes(bytes);
    }

    fn back(&self, bytes: u64) {
        self.add_response_bytes(bytes);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end(Some((Flag::None, &"the proxy ended the connection")));
    }
}
