//! The PROXY protocol header, version 2: who a tunnelled connection comes from, for applications that ask for it.
//!
//! Source: haproxy `proxy-protocol.txt`, section 2.2; TLV 0xD0 is ambient's own.

use std::net::{IpAddr, SocketAddr};

use crate::identity::Identity;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// The peer's SPIFFE id.
const TLV_IDENTITY: u8 = 0xD0;

/// The header. Addresses of two families are both written as IPv6.
pub fn encode(from: SocketAddr, to: SocketAddr, peer: Option<&Identity>) -> Vec<u8> {
    let mut rest = Vec::with_capacity(128);
    let family = match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            rest.extend(from.octets());
            rest.extend(to.octets());
            TCP_OVER_IPV4
        }
        (from, to) => {
            rest.extend(v6(from));
            rest.extend(v6(to));
            TCP_OVER_IPV6
        }
    };
    rest.extend(from.port().to_be_bytes());
    rest.extend(to.port().to_be_bytes());
    if let Some(peer) = peer {
        let value = peer.as_str().as_bytes();
        rest.push(TLV_IDENTITY);
        rest.extend(length(value).to_be_bytes());
        rest.extend(value);
    }
    let mut header = Vec::with_capacity(16 + rest.len());
    header.extend(SIGNATURE);
    header.extend([VERSION_COMMAND, family]);
    header.extend(length(&rest).to_be_bytes());
    header.extend(rest);
    header
}

/// Identities are at most 2048 bytes long, so nothing is ever cut.
fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_with_an_identity_is_laid_out_as_the_specification_says() {
        let peer = Identity::new("td", "ns", "sa").unwrap();
        let header = encode(
            "10.0.0.1:258".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
            Some(&peer),
        );
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
        expected.extend([
            0,
            12 + 3 + 24,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
            1,
            2,
            0,
            80,
            0xD0,
            0,
            24,
        ]);
        expected.extend(b"spiffe://td/ns/ns/sa/sa\n".strip_suffix(b"\n").unwrap());
        let identity = peer.as_str().len();
        expected[15] = u8::try_from(12 + 3 + identity).unwrap();
        expected[30] = u8::try_from(identity).unwrap();
        assert_eq!(header, expected);
    }

    #[test]
    fn families_that_differ_are_written_as_ipv6() {
        let header = encode(
            "[fd00::1]:1".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
            None,
        );
        assert_eq!((header[13], header[15], header.len()), (0x21, 36, 16 + 36));
        assert_eq!(header[42..48], [0xff, 0xff, 10, 0, 0, 2]);
    }
}
