//! What a CONNECT names: an address or a host, always with a port.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::addr::shortened;

/// Longest authority: the longest DNS name, a colon and a port.
const MAX_LENGTH: usize = 253 + 1 + 5;

/// Why a text is not an authority.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("authority {0:?} is neither ip:port, [ipv6]:port nor hostname:port")]
pub struct AuthorityError(String);

/// The target of a tunnel stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Authority {
    /// `ip:port` or `[ipv6]:port`
    Address(SocketAddr),
    /// `hostname:port`
    Host(Arc<str>, u16),
}

impl Authority {
    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Host(_, port) => *port,
        }
    }
}

impl From<SocketAddr> for Authority {
    fn from(address: SocketAddr) -> Self {
        Self::Address(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        let refused = || AuthorityError(shortened(text));
        if text.len() > MAX_LENGTH {
            return Err(refused());
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        // `parse` of a number would also take "+80" and "080".
        if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.starts_with('0') {
            return Err(refused());
        }
        let port: u16 = port.parse().map_err(|_| refused())?;
        if let Ok(address) = text.parse::<SocketAddr>() {
            let has_scope = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
            return if has_scope {
                Err(refused())
            } else {
                Ok(address.into())
            };
        }
        if is_hostname(host) {
            Ok(Self::Host(host.to_ascii_lowercase().into(), port))
        } else {
            Err(refused())
        }
    }
}

fn is_hostname(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label =
        |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed);
    // A name whose last label is a number is an address written wrongly (WHATWG URL, "ends in a number").
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_hosts_are_read_back_as_printed() {
        for text in [
            "10.0.0.1:8080",
            "[fd00::1]:80",
            "cart.shop.svc.cluster.local:8080",
            "a:1",
            "x_y-z.w:65535",
        ] {
            assert_eq!(text.parse::<Authority>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn one_address_has_one_form() {
        let mapped: Authority = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(mapped, Authority::Address("10.0.0.1:80".parse().unwrap()));
        let shouted: Authority = "Cart.Shop:80".parse().unwrap();
        assert_eq!(shouted, Authority::Host("cart.shop".into(), 80));
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            ":",
            ":80",
            "10.0.0.1",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:+80",
            "10.0.0.1:080",
            "10.0.0.1:80 ",
            " 10.0.0.1:80",
            "fd00::1",
            "fd00::1:80",
            "[fd00::1]",
            "[fd00::1%1]:80",
            "256.0.0.1:80",
            "10.0.1:80",
            "host",
            "host:",
            "host:http",
            "ho st:80",
            "host..x:80",
            ".host:80",
            "host.:80",
            "user@host:80",
            "http://host:80",
            "host:80/",
            "ho\u{0}st:80",
            "hóst:80",
            "[host]:80",
            "*.shop:80",
        ] {
            assert!(bad.parse::<Authority>().is_err(), "{bad}");
        }
        let long = format!("{}:80", "a.".repeat(200));
        assert!(long.parse::<Authority>().unwrap_err().to_string().len() < 250);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = text.parse::<Authority>();
        }

        #[test]
        fn what_parses_prints_something_that_parses_to_the_same(text in "[a-z0-9.:\\[\\]]{1,24}:[0-9]{1,5}") {
            if let Ok(authority) = text.parse::<Authority>() {
                prop_assert_eq!(authority.to_string().parse::<Authority>().unwrap(), authority);
            }
        }
    }
}
