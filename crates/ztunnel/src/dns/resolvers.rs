//! The node's resolvers, from a `resolv.conf`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Resolvers looked at, as the C library does.
const MOST: usize = 3;
const PORT: u16 = 53;
const DEFAULT_TIMEOUT: u64 = 5;
const DEFAULT_ATTEMPTS: u64 = 2;

/// Whom to ask, and how patiently.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolvers {
    /// In the order to try; never empty.
    pub servers: Vec<SocketAddr>,
    /// Time one server gets.
    pub timeout: Duration,
    /// Rounds over all servers.
    pub attempts: u32,
}

impl Resolvers {
    /// Reads the text of a `resolv.conf`. Lines that cannot be read are skipped, as the C library does; without any server
    /// the local one is asked.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut servers = Vec::new();
        let (mut timeout, mut attempts) = (DEFAULT_TIMEOUT, DEFAULT_ATTEMPTS);
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => servers.extend(words.next().and_then(server)),
                Some("options") => {
                    for option in words {
                        match option.split_once(':') {
                            Some(("timeout", value)) => {
                                timeout = value.parse().unwrap_or(timeout).clamp(1, 30);
                            }
                            Some(("attempts", value)) => {
                                attempts = value.parse().unwrap_or(attempts).clamp(1, 5);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        servers.truncate(MOST);
        if servers.is_empty() {
            servers.push(SocketAddr::from(([127, 0, 0, 1], PORT)));
        }
        Self {
            servers,
            timeout: Duration::from_secs(timeout),
            attempts: u32::try_from(attempts).unwrap_or(2),
        }
    }
}

fn server(word: &str) -> Option<SocketAddr> {
    if let Ok(ip) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, PORT));
    }
    // A link-local server names its interface, which only the kernel can turn into a number.
    let (ip, zone) = word.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    let scope = zone
        .parse()
        .ok()
        .or_else(|| nix::net::if_::if_nametoindex(zone).ok())?;
    Some(SocketAddr::V6(SocketAddrV6::new(ip, PORT, 0, scope)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_options_are_read_in_order() {
        let text = "# made by somebody\nsearch a b\nnameserver 10.96.0.10\nnameserver fd00::a ; second\nnameserver nonsense\noptions ndots:5 timeout:2 attempts:3\n";
        assert_eq!(
            Resolvers::parse(text),
            Resolvers {
                servers: vec![
                    "10.96.0.10:53".parse().unwrap(),
                    "[fd00::a]:53".parse().unwrap()
                ],
                timeout: Duration::from_secs(2),
                attempts: 3,
            }
        );
    }

    #[test]
    fn without_a_server_the_local_one_is_asked() {
        assert_eq!(
            Resolvers::parse("").servers,
            ["127.0.0.1:53".parse().unwrap()]
        );
    }

    #[test]
    fn only_three_servers_are_asked() {
        let text = "nameserver 10.0.0.1\n".repeat(9);
        assert_eq!(Resolvers::parse(&text).servers.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,200}", lines in proptest::collection::vec("(nameserver|options) \\PC{0,30}", 0..6)) {
            let _ = Resolvers::parse(&text);
            proptest::prop_assert!(!Resolvers::parse(&lines.join("\n")).servers.is_empty());
        }
    }
}
