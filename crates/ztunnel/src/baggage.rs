//! The `baggage` header: what one proxy tells the other about a workload.
//!
//! Layer 1. Codec only. Keys as istio's ambient proxies use them; unknown keys are skipped, empty values left out.

use std::fmt::Write as _;
use std::sync::Arc;

/// Longest header that is read; longer ones are ignored whole.
const MAX_HEADER: usize = 8192;
/// Longest single value that is kept.
const MAX_VALUE: usize = 512;
/// Most list members that are looked at, W3C Baggage section 3.3.2.
const MAX_MEMBERS: usize = 64;

/// The kind of owner that `k8s.<kind>.name` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum WorkloadKind {
    /// `k8s.deployment.name`
    #[default]
    Deployment,
    /// `k8s.cronjob.name`
    CronJob,
    /// `k8s.pod.name`
    Pod,
    /// `k8s.job.name`
    Job,
}

impl WorkloadKind {
    /// The name inside the key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

/// What the header says; anything may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage {
    /// `k8s.cluster.name`
    pub cluster: Option<Arc<str>>,
    /// `k8s.namespace.name`
    pub namespace: Option<Arc<str>>,
    /// `k8s.<kind>.name`
    pub workload: Option<(WorkloadKind, Arc<str>)>,
    /// `service.name`: the canonical service.
    pub service: Option<Arc<str>>,
    /// `service.version`: the canonical revision.
    pub revision: Option<Arc<str>>,
    /// `cloud.region`
    pub region: Option<Arc<str>>,
    /// `cloud.availability_zone`
    pub zone: Option<Arc<str>>,
}

impl Baggage {
    /// Reads a header value. Never fails: members that cannot be read are skipped.
    pub fn parse(header: &str) -> Self {
        let mut baggage = Self::default();
        if header.len() > MAX_HEADER {
            return baggage;
        }
        for member in header.split(',').take(MAX_MEMBERS) {
            // Properties after a semicolon carry nothing for us.
            let pair = member.split(';').next().unwrap_or_default();
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let value = decoded(value.trim());
            if value.is_empty() || value.len() > MAX_VALUE {
                continue;
            }
            let value: Arc<str> = value.into();
            match key.trim() {
                "k8s.cluster.name" => baggage.cluster = Some(value),
                "k8s.namespace.name" => baggage.namespace = Some(value),
                "k8s.deployment.name" => baggage.workload = Some((WorkloadKind::Deployment, value)),
                "k8s.cronjob.name" => baggage.workload = Some((WorkloadKind::CronJob, value)),
                "k8s.pod.name" => baggage.workload = Some((WorkloadKind::Pod, value)),
                "k8s.job.name" => baggage.workload = Some((WorkloadKind::Job, value)),
                "service.name" => baggage.service = Some(value),
                "service.version" => baggage.revision = Some(value),
                "cloud.region" => baggage.region = Some(value),
                "cloud.availability_zone" => baggage.zone = Some(value),
                _ => {}
            }
        }
        baggage
    }

    /// The header value; empty when nothing is known.
    pub fn encode(&self) -> String {
        let mut header = String::with_capacity(256);
        let mut member = |key: &str, value: Option<&Arc<str>>| {
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                return;
            };
            if !header.is_empty() {
                header.push(',');
            }
            header.push_str(key);
            header.push('=');
            encode_into(&mut header, value);
        };
        member("k8s.cluster.name", self.cluster.as_ref());
        member("k8s.namespace.name", self.namespace.as_ref());
        if let Some((kind, name)) = &self.workload {
            let key = match kind {
                WorkloadKind::Deployment => "k8s.deployment.name",
                WorkloadKind::CronJob => "k8s.cronjob.name",
                WorkloadKind::Pod => "k8s.pod.name",
                WorkloadKind::Job => "k8s.job.name",
            };
            member(key, Some(name));
        }
        member("service.name", self.service.as_ref());
        member("service.version", self.revision.as_ref());
        member("cloud.region", self.region.as_ref());
        member("cloud.availability_zone", self.zone.as_ref());
        header
    }
}

/// Percent-encodes what the W3C grammar does not allow in a value, and `%` itself.
fn encode_into(header: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'"' | b',' | b';' | b'\\' | b'%' | 0..=b' ' | 0x7f.. => {
                // Writing to a string cannot fail.
                let _ = write!(header, "%{byte:02X}");
            }
            _ => header.push(char::from(byte)),
        }
    }
}

/// Undoes percent-encoding; a malformed escape stays as it is, bytes that are not UTF-8 are replaced.
fn decoded(value: &str) -> String {
    if !value.contains('%') {
        return value.to_owned();
    }
    let bytes = value.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let digit = |index: usize| escape.and_then(|e| char::from(e[index]).to_digit(16));
        if let (Some(high), Some(low)) = (digit(0), digit(1)) {
            plain.push(u8::try_from(high * 16 + low).unwrap_or_default());
            at += 3;
        } else {
            plain.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Baggage {
        Baggage {
            cluster: Some("Kubernetes".into()),
            namespace: Some("shop".into()),
            workload: Some((WorkloadKind::Deployment, "cart".into())),
            service: Some("cart-service".into()),
            revision: Some("v1".into()),
            region: Some("north".into()),
            zone: Some("north-a".into()),
        }
    }

    #[test]
    fn the_header_names_every_known_part_in_order() {
        assert_eq!(
            full().encode(),
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,\
             service.name=cart-service,service.version=v1,cloud.region=north,cloud.availability_zone=north-a"
        );
        assert_eq!(Baggage::parse(&full().encode()), full());
    }

    #[test]
    fn every_kind_of_workload_survives() {
        for kind in [
            WorkloadKind::Deployment,
            WorkloadKind::CronJob,
            WorkloadKind::Pod,
            WorkloadKind::Job,
        ] {
            let baggage = Baggage {
                workload: Some((kind, "x".into())),
                ..Baggage::default()
            };
            let header = baggage.encode();
            assert_eq!(header, format!("k8s.{}.name=x", kind.as_str()));
            assert_eq!(Baggage::parse(&header), baggage);
        }
    }

    #[test]
    fn empty_unknown_and_malformed_members_are_skipped() {
        let baggage = Baggage::parse(
            " service.name = a ;p=1, service.version=,nonsense,other=1,=,,cloud.region=%zz%4",
        );
        let expected = Baggage {
            service: Some("a".into()),
            region: Some("%zz%4".into()),
            ..Baggage::default()
        };
        assert_eq!(baggage, expected);
    }

    #[test]
    fn a_value_cannot_break_out_of_its_member() {
        let baggage = Baggage {
            service: Some("a,k8s.namespace.name=admin;x\r\n".into()),
            ..Baggage::default()
        };
        let header = baggage.encode();
        assert!(header.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
        assert_eq!(Baggage::parse(&header), baggage);
    }

    #[test]
    fn an_endless_header_is_ignored() {
        assert_eq!(
            Baggage::parse(&format!("service.name={}", "a".repeat(10_000))),
            Baggage::default()
        );
        assert_eq!(
            Baggage::parse(&format!("service.name={}", "a".repeat(513))),
            Baggage::default()
        );
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in any::<String>()) {
            let _ = Baggage::parse(&header).encode();
        }

        #[test]
        fn any_value_survives_a_round_trip(value in "\\PC{1,60}") {
            let baggage = Baggage { service: Some(value.as_str().into()), ..Baggage::default() };
            prop_assert_eq!(Baggage::parse(&baggage.encode()), baggage);
        }
    }
}
