//! Labels of a connection.

use std::sync::Arc;

use crate::baggage::Baggage;
use crate::identity::Identity;
use crate::metrics::{Labels, Party, Reporter, Security, ServiceName};
use crate::service::Service;
use crate::workload::Workload;

/// What is known about one end: the workload; without it what the peer's proxy said, if the peer proved who it is.
pub(super) fn party(
    workload: Option<&Workload>,
    identity: Option<&Identity>,
    baggage: Option<&str>,
) -> Party {
    let mut party = match (workload, identity, baggage) {
        (Some(workload), ..) => Party::from(workload),
        (None, Some(_), Some(baggage)) => told(Baggage::parse(baggage)),
        _ => Party::default(),
    };
    if let Some(identity) = identity {
        party.principal = Some(identity.as_str().into());
        if party.namespace.is_none() {
            party.namespace = Some(identity.namespace().into());
        }
    }
    party
}

fn told(baggage: Baggage) -> Party {
    Party {
        pod: None,
        workload: baggage.workload.map(|(_, name)| name),
        namespace: baggage.namespace,
        service: baggage.service,
        revision: baggage.revision,
        cluster: baggage.cluster,
        principal: None,
    }
}

/// The labels of a connection. Principals appear only where both ends have proved theirs.
pub(super) fn labels(
    reporter: Reporter,
    mut source: Party,
    mut destination: Party,
    service: Option<&Arc<Service>>,
    security: Security,
) -> Labels {
    if security != Security::MutualTls {
        source.principal = None;
        destination.principal = None;
    }
    Labels {
        reporter,
        source,
        destination,
        service: service.map(|service| ServiceName::from(&**service)),
        security,
    }
}
