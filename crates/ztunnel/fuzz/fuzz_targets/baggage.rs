//! No header makes the parser panic, and what it understood survives being sent on.
#![no_main]

use applink_ztunnel::baggage::Baggage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let baggage = Baggage::parse(header);
    let sent = baggage.encode();
    assert!(sent.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
    // Ten values of 512 bytes, each byte encoded as three, are longer than a header that is read.
    if sent.len() <= 8192 {
        assert_eq!(Baggage::parse(&sent), baggage);
    }
});
