//! No bytes of a peer's certificate make reading its names panic.
#![no_main]

use applink_ztunnel::tls::peer_identity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|certificate: &[u8]| {
    let _ = peer_identity(&certificate.into());
});
