//! No header of a tunnel request makes its parser panic, and what it understood survives being sent on.
#![no_main]

use applink_ztunnel::hbone::Authority;
use applink_ztunnel::hbone::forwarded::Forwarded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    if let Ok(authority) = header.parse::<Authority>() {
        assert_eq!(authority.to_string().parse().as_ref(), Ok(&authority));
        assert_ne!(authority.port(), 0);
    }
    let forwarded = Forwarded::parse(header);
    if let Some(client) = forwarded.client {
        let sent = Forwarded::encode(client, forwarded.host.as_deref());
        assert_eq!(Forwarded::parse(&sent), forwarded);
    }
});
