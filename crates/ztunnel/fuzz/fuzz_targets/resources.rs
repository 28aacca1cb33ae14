//! No bytes of an xDS resource make decoding, conversion or the store panic; what is removed leaves nothing behind.
#![no_main]

use applink_ztunnel::proto::authorization::Authorization;
use applink_ztunnel::proto::workload::Address;
use applink_ztunnel::store::{Store, Update};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|resources: (Vec<Vec<u8>>, Vec<Vec<u8>>)| {
    let (addresses, policies) = resources;
    let addresses = addresses
        .iter()
        .filter_map(|bytes| Address::decode(bytes.as_slice()).ok());
    let policies = policies
        .iter()
        .filter_map(|bytes| Authorization::decode(bytes.as_slice()).ok());
    let store = Store::default();
    store.apply(
        addresses
            .map(Update::address)
            .chain(policies.map(Update::authorization))
            .collect(),
    );
    let full = store.snapshot();
    for workload in full.workloads() {
        full.policies_for(workload);
    }
    let uids = full.workloads().map(|workload| workload.uid.to_string());
    let keys = full.services().map(|service| service.key().to_string());
    let names = full.policies().map(|policy| policy.key().to_string());
    store.apply(uids.chain(keys).map(Update::RemoveAddress).collect());
    store.apply(names.map(Update::RemoveAuthorization).collect());
    let left = store.snapshot();
    assert_eq!((left.workloads().count(), left.policies().count()), (0, 0));
});
