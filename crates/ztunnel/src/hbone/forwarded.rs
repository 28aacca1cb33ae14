//! The `forwarded` header: whom a tunnel stream is made for.
//!
//! Only what ambient proxies write: `for="ip:port"` and, for service-addressed traffic, `;host=name` (RFC 7239). Foreign
//! input; whatever cannot be read is taken as absent.

use std::net::{IpAddr, SocketAddr};

/// Longest header that is read.
const MAX_LENGTH: usize = 1024;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// The client's own address.
    pub client: Option<SocketAddr>,
    /// The service host name it asked for.
    pub host: Option<String>,
}

impl Forwarded {
    /// Reads the first element of a header value. Never fails.
    pub fn parse(header: &str) -> Self {
        let mut forwarded = Self::default();
        if header.len() > MAX_LENGTH {
            return forwarded;
        }
        let first = header.split(',').next().unwrap_or_default();
        for pair in first.split(';') {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let value = unquoted(value.trim());
            if key.trim().eq_ignore_ascii_case("for") {
                forwarded.client = client(value);
            } else if key.trim().eq_ignore_ascii_case("host") && is_host(value) {
                forwarded.host = Some(value.to_owned());
            }
        }
        forwarded
    }

    /// The header value.
    pub fn encode(client: SocketAddr, host: Option<&str>) -> String {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        match host {
            Some(host) => format!("for=\"{client}\";host={host}"),
            None => format!("for=\"{client}\""),
        }
    }
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

/// An address with a port; one without gets port 0, which says that only the IP is known.
fn client(value: &str) -> Option<SocketAddr> {
    let found = value.parse::<SocketAddr>().ok().or_else(|| {
        let bare = value
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(value);
        Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 0))
    })?;
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}

fn is_host(value: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*' | b':');
    !value.is_empty() && value.len() <= 260 && value.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (client, host) in [
            ("10.0.0.7:4711", None),
            ("[fd00::7]:4711", Some("cart.shop.svc.cluster.local")),
        ] {
            let client: SocketAddr = client.parse().unwrap();
            let read = Forwarded::parse(&Forwarded::encode(client, host));
            assert_eq!(
                read,
                Forwarded {
                    client: Some(client),
                    host: host.map(Into::into)
                }
            );
        }
        assert_eq!(
            Forwarded::encode("10.0.0.7:4711".parse().unwrap(), Some("cart.shop")),
            "for=\"10.0.0.7:4711\";host=cart.shop"
        );
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let nothing = Forwarded::default();
        for bad in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=\"10.0.0.7:4711",
            "host=\"a b\"",
            "by=1.2.3.4",
            ";;;==",
            "\u{0}",
        ] {
            assert_eq!(Forwarded::parse(bad), nothing, "{bad}");
        }
        assert_eq!(
            Forwarded::parse(&format!("for=10.0.0.7;x={}", "y".repeat(2000))),
            nothing
        );
    }

    #[test]
    fn other_forms_of_the_standard_are_understood() {
        let at = |text: &str| {
            Forwarded::parse(text)
                .client
                .map(|client| client.to_string())
        };
        assert_eq!(at("For=10.0.0.7"), Some("10.0.0.7:0".into()));
        assert_eq!(at("for=\"[fd00::7]\""), Some("[fd00::7]:0".into()));
        assert_eq!(
            at("by=x; for=\"10.0.0.7:1\", for=\"10.0.0.8:2\""),
            Some("10.0.0.7:1".into())
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,120}") {
            let _ = Forwarded::parse(&text);
        }
    }
}
