//! One packet of the node agent: from bytes and descriptors to a request. Pure.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use prost::Message as _;
use thiserror::Error;

use crate::addr::shortened;
use crate::proto::zds::workload_request::Payload;
use crate::proto::zds::workload_response;
use crate::proto::zds::{Ack, Version, WorkloadRequest, WorkloadResponse, ZdsHello};
use crate::proxy::Info;

/// Longest packet, by the protocol.
pub(super) const MAX_PACKET: usize = 1024;
/// Longest pod uid: Kubernetes writes 36 characters, static pods may have others.
const MAX_UID: usize = 253;

/// A packet as it was received.
#[derive(Debug, Default)]
pub(super) struct Packet {
    /// The message.
    pub(super) bytes: Vec<u8>,
    /// Descriptors that came with it.
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether the kernel cut the message or the descriptors.
    pub(super) is_truncated: bool,
}

/// What the agent asks.
#[derive(Debug)]
pub(super) enum Request {
    /// Serve a pod.
    Add {
        uid: Arc<str>,
        info: Info,
        netns: OwnedFd,
    },
    /// Stop serving a pod at once.
    Delete { uid: Arc<str> },
    /// Keep a pod as it is.
    Keep { uid: Arc<str> },
    /// Everything that exists has been named.
    Snapshot,
}

/// Why a packet is not a request. The agent is told in these words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Error {
    #[error("the message is longer than {MAX_PACKET} bytes or carries too many descriptors")]
    Truncated,
    #[error("the message is not a WorkloadRequest")]
    Malformed,
    #[error("the request is of a kind this proxy does not know")]
    Unknown,
    #[error(
        "an add must carry exactly one descriptor, of the pod's network namespace; it carries {0}"
    )]
    AddDescriptors(usize),
    #[error("only an add may carry descriptors; this request carries {0}")]
    Descriptors(usize),
    #[error("pod uid {0:?} is empty or too long")]
    Uid(String),
    #[error("the add of pod {0} has no workload_info")]
    NoInfo(Arc<str>),
}

/// Reads a packet. Descriptors that are not used are closed.
pub(super) fn parse(packet: Packet) -> Result<Request, Error> {
    if packet.is_truncated || packet.bytes.len() > MAX_PACKET {
        return Err(Error::Truncated);
    }
    let request = WorkloadRequest::decode(packet.bytes.as_slice()).map_err(|_| Error::Malformed)?;
    let mut descriptors = packet.descriptors;
    let count = descriptors.len();
    let request = match request.payload.ok_or(Error::Unknown)? {
        Payload::Add(add) => {
            let uid = uid(&add.uid)?;
            let (Some(netns), 1) = (descriptors.pop(), count) else {
                return Err(Error::AddDescriptors(count));
            };
            let info = add
                .workload_info
                .ok_or_else(|| Error::NoInfo(Arc::clone(&uid)))?;
            let info = Info {
                name: info.name.into(),
                namespace: info.namespace.into(),
                service_account: info.service_account.into(),
            };
            return Ok(Request::Add { uid, info, netns });
        }
        Payload::Del(delete) => Request::Delete {
            uid: uid(&delete.uid)?,
        },
        Payload::Keep(keep) => Request::Keep {
            uid: uid(&keep.uid)?,
        },
        Payload::SnapshotSent(_) => Request::Snapshot,
    };
    if count == 0 {
        Ok(request)
    } else {
        Err(Error::Descriptors(count))
    }
}

fn uid(text: &str) -> Result<Arc<str>, Error> {
    if text.is_empty() || text.len() > MAX_UID {
        return Err(Error::Uid(shortened(text)));
    }
    Ok(text.into())
}

/// The proxy's first message.
pub(super) fn hello() -> Vec<u8> {
    ZdsHello {
        version: Version::V1.into(),
    }
    .encode_to_vec()
}

/// The answer to a request.
pub(super) fn answer(outcome: &Result<(), String>) -> Vec<u8> {
    // The agent reads packets of the same size; a reason that does not fit is cut.
    let error = outcome
        .as_ref()
        .err()
        .map(|text| cut(text, MAX_PACKET - 64).to_owned())
        .unwrap_or_default();
    let ack = workload_response::Payload::Ack(Ack { error });
    WorkloadResponse { payload: Some(ack) }.encode_to_vec()
}

fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::zds::{AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo};

    fn packet(payload: Payload, descriptors: usize) -> Packet {
        let bytes = WorkloadRequest {
            payload: Some(payload),
        }
        .encode_to_vec();
        let open = || File::open("/dev/null").unwrap().into();
        Packet {
            bytes,
            descriptors: (0..descriptors).map(|_| open()).collect(),
            is_truncated: false,
        }
    }

    fn add(uid: &str, has_info: bool) -> Payload {
        let info = WorkloadInfo {
            name: "cart-1".into(),
            namespace: "shop".into(),
            service_account: "cart".into(),
        };
        Payload::Add(AddWorkload {
            uid: uid.into(),
            workload_info: has_info.then_some(info),
        })
    }

    #[test]
    fn the_wire_has_the_field_numbers_of_the_protocol() {
        let add = packet(add("u1", true), 1);
        let expected = b"\x0a\x1a\x0a\x02u1\x12\x14\x0a\x06cart-1\x12\x04shop\x1a\x04cart";
        assert_eq!(add.bytes, expected);
        let delete = packet(Payload::Del(DelWorkload { uid: "u1".into() }), 0);
        assert_eq!(delete.bytes, b"\x12\x04\x12\x02u1");
        assert_eq!(
            packet(Payload::SnapshotSent(SnapshotSent {}), 0).bytes,
            b"\x1a\x00"
        );
        let keep = packet(Payload::Keep(KeepWorkload { uid: "u1".into() }), 0);
        assert_eq!(keep.bytes, b"\x2a\x04\x0a\x02u1");
        assert_eq!(hello(), b"\x08\x01");
        assert_eq!(answer(&Ok(())), b"\x0a\x00");
        assert_eq!(answer(&Err("no".into())), b"\x0a\x04\x0a\x02no");
    }

    #[test]
    fn an_add_brings_the_pod_and_its_namespace() {
        let Ok(Request::Add { uid, info, .. }) = parse(packet(add("u1", true), 1)) else {
            panic!("not an add")
        };
        assert_eq!(&*uid, "u1");
        assert_eq!(
            info,
            Info {
                name: "cart-1".into(),
                namespace: "shop".into(),
                service_account: "cart".into()
            }
        );
    }

    #[test]
    fn what_breaks_the_rules_is_named() {
        let error = |packet| parse(packet).unwrap_err();
        let delete = || Payload::Del(DelWorkload { uid: "u1".into() });
        assert_eq!(error(packet(add("u1", true), 0)), Error::AddDescriptors(0));
        assert_eq!(error(packet(add("u1", true), 2)), Error::AddDescriptors(2));
        assert_eq!(
            error(packet(add("u1", false), 1)),
            Error::NoInfo("u1".into())
        );
        assert_eq!(error(packet(add("", true), 1)), Error::Uid(String::new()));
        assert_eq!(error(packet(delete(), 1)), Error::Descriptors(1));
        assert_eq!(
            error(Packet {
                is_truncated: true,
                ..packet(delete(), 0)
            }),
            Error::Truncated
        );
        assert_eq!(
            error(Packet {
                bytes: b"\xff\xff".to_vec(),
                ..Packet::default()
            }),
            Error::Malformed
        );
        assert_eq!(error(Packet::default()), Error::Unknown);
        // Field 9 of a version to come.
        assert_eq!(
            error(Packet {
                bytes: b"\x4a\x00".to_vec(),
                ..Packet::default()
            }),
            Error::Unknown
        );
    }

    #[test]
    fn a_long_reason_is_cut_to_fit_a_packet() {
        let bytes = answer(&Err("ü".repeat(5000)));
        assert!(bytes.len() <= MAX_PACKET);
        assert!(WorkloadResponse::decode(bytes.as_slice()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(Packet { bytes, ..Packet::default() });
        }
    }
}
