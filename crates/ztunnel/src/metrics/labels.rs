//! The labels of a connection.
//!
//! Strings are shared (`Arc<str>`), so a label set costs pointers, not copies.

use std::fmt::{Error, Write as _};
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// What a missing label says.
pub const UNKNOWN: &str = "unknown";

/// Writes one label.
pub(crate) fn pair(encoder: &mut LabelSetEncoder<'_>, key: &str, value: &str) -> Result<(), Error> {
    let mut label = encoder.encode_label();
    let mut k = label.encode_label_key()?;
    k.write_str(key)?;
    let mut v = k.encode_label_value()?;
    v.write_str(value)?;
    v.finish()
}

/// Which end of the connection reports it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reporter {
    /// The client's proxy (outbound).
    Source,
    /// The server's proxy (inbound).
    Destination,
}

impl Reporter {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// The word for it in the access log.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        match self {
            Self::Source => "outbound",
            Self::Destination => "inbound",
        }
    }
}

/// How the bytes travelled between the two proxies.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Security {
    /// In a tunnel with both identities verified.
    MutualTls,
    /// Plain.
    #[default]
    Unknown,
}

impl Security {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// Why a connection failed; the label `response_flags`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Flag {
    /// It did not fail, or for a reason without a name.
    #[default]
    None,
    /// Refused by a policy.
    Deny,
    /// The next hop could not be reached.
    Connect,
    /// The TLS handshake failed.
    TlsFailure,
    /// HTTP/2 could not be set up in the tunnel.
    H2Handshake,
    /// A timeout on 15008: most likely a `NetworkPolicy` that blocks it.
    NetworkPolicy,
    /// No certificate for the identity of the pod.
    IdentityError,
    /// The peer's certificate is revoked.
    CertRevoked,
}

impl Flag {
    /// Every flag, in the order of [`Flag::index`].
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Deny,
        Self::Connect,
        Self::TlsFailure,
        Self::H2Handshake,
        Self::NetworkPolicy,
        Self::IdentityError,
        Self::CertRevoked,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2Handshake => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
            Self::CertRevoked => "CERT_REVOKED",
        }
    }

    /// Its place in [`Flag::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What is known about one end of a connection. Absent fields are `None`, never empty strings.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Party {
    /// The pod's own name; only in the access log.
    pub pod: Option<Arc<str>>,
    /// The workload's name (the Deployment's, for example).
    pub workload: Option<Arc<str>>,
    /// Its namespace.
    pub namespace: Option<Arc<str>>,
    /// Canonical service; also the label `app`.
    pub service: Option<Arc<str>>,
    /// Canonical revision; also the label `version`.
    pub revision: Option<Arc<str>>,
    /// The cluster it runs in.
    pub cluster: Option<Arc<str>>,
    /// Its SPIFFE id, verified or expected.
    pub principal: Option<Arc<str>>,
}

/// The service a connection was addressed to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServiceName {
    /// Its full host name.
    pub hostname: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

/// Everything by which connections are told apart, except the flag.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Labels {
    /// Who reports.
    pub reporter: Reporter,
    /// The client.
    pub source: Party,
    /// The server.
    pub destination: Party,
    /// The service addressed, if any.
    pub service: Option<ServiceName>,
    /// How it was carried.
    pub security: Security,
}

impl Labels {
    /// The set that stands for all sets past the limit.
    #[must_use]
    pub fn overflow(reporter: Reporter) -> Self {
        Self {
            reporter,
            source: Party::default(),
            destination: Party::default(),
            service: None,
            security: Security::Unknown,
        }
    }

    /// The same without what only the access log shows, so that pods of one workload share a set.
    #[must_use]
    pub fn without_pods(mut self) -> Self {
        self.source.pod = None;
        self.destination.pod = None;
        self
    }
}

/// A label set together with its flag.
#[derive(Clone, Copy, Debug)]
pub struct Flagged<'a>(pub &'a Labels, pub Flag);

impl EncodeLabelSet for Flagged<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        let Self(labels, flag) = self;
        pair(encoder, "reporter", labels.reporter.as_str())?;
        for (side, party) in [
            ("source", &labels.source),
            ("destination", &labels.destination),
        ] {
            for (key, value) in [
                ("workload", &party.workload),
                ("canonical_service", &party.service),
                ("canonical_revision", &party.revision),
                ("workload_namespace", &party.namespace),
                ("principal", &party.principal),
                ("app", &party.service),
                ("version", &party.revision),
                ("cluster", &party.cluster),
            ] {
                let mut label = encoder.encode_label();
                let mut k = label.encode_label_key()?;
                write!(k, "{side}_{key}")?;
                let mut v = k.encode_label_value()?;
                v.write_str(value.as_deref().unwrap_or(UNKNOWN))?;
                v.finish()?;
            }
        }
        let service = labels.service.as_ref();
        pair(
            encoder,
            "destination_service",
            service.map_or(UNKNOWN, |s| &s.hostname),
        )?;
        pair(
            encoder,
            "destination_service_name",
            service.map_or(UNKNOWN, |s| &s.name),
        )?;
        pair(
            encoder,
            "destination_service_namespace",
            service.map_or(UNKNOWN, |s| &s.namespace),
        )?;
        pair(encoder, "request_protocol", "tcp")?;
        pair(encoder, "response_flags", flag.as_str())?;
        pair(
            encoder,
            "connection_security_policy",
            labels.security.as_str(),
        )
    }
}

/// The label set that only says who reports.
#[derive(Clone, Copy, Debug)]
pub struct ReporterOnly(pub Reporter);

impl EncodeLabelSet for ReporterOnly {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        pair(encoder, "reporter", self.0.as_str())
    }
}

/// The label set of `istio_build`: the tag.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Build(pub Arc<str>);

impl EncodeLabelSet for Build {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        pair(encoder, "component", "ztunnel")?;
        pair(encoder, "tag", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_sits_at_its_index() {
        for (index, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag.index(), index, "{flag:?}");
        }
    }
}
