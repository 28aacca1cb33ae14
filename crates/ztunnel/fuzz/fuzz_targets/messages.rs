//! No bytes of the node agent, of the signer or of the discovery service make decoding panic; what is decoded is sent
//! back the same.
#![no_main]

use applink_ztunnel::proto::ca::IstioCertificateResponse;
use applink_ztunnel::proto::discovery::DeltaDiscoveryResponse;
use applink_ztunnel::proto::zds::{WorkloadRequest, WorkloadResponse};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    survives::<WorkloadRequest>(bytes);
    survives::<WorkloadResponse>(bytes);
    survives::<IstioCertificateResponse>(bytes);
    survives::<DeltaDiscoveryResponse>(bytes);
});

fn survives<M: Message + Default + PartialEq>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        assert!(M::decode(message.encode_to_vec().as_slice()).is_ok_and(|again| again == message));
    }
}
