//! Addresses with a role: networks, namespaced host names, CIDRs and newtypes for socket addresses.
//!
//! Layer 1. Owns parsing and printing only; knows nothing about workloads or services.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Longest DNS name in text form, RFC 1035 section 2.3.4.
const MAX_HOSTNAME: usize = 253;
/// Longest Kubernetes namespace name, RFC 1123 label.
const MAX_NAMESPACE: usize = 63;

/// Why an address could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The bytes are neither an IPv4 nor an IPv6 address.
    #[error("an address of {0} bytes is neither IPv4 (4) nor IPv6 (16)")]
    Length(usize),
    /// The prefix is longer than the address.
    #[error("prefix length {length} does not fit the address {address}")]
    Prefix {
        /// The address part.
        address: IpAddr,
        /// The prefix length that was asked for.
        length: u32,
    },
    /// Not `namespace/hostname`.
    #[error("{0:?} is not of the form namespace/hostname")]
    NamespacedHostname(String),
    /// Not `network/ip`.
    #[error("{0:?} is not of the form network/ip")]
    NetworkAddress(String),
    /// A port outside 0-65535.
    #[error("port {0} is above 65535")]
    Port(u32),
}

/// Reads an IP address from its 4 or 16 bytes in network order, as xDS carries it.
///
/// # Errors
/// [`Error::Length`] for any other length.
pub fn ip_from_bytes(bytes: &[u8]) -> Result<IpAddr, Error> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(bytes)
        .map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
        .map_err(|_| Error::Length(bytes.len()))
}

/// The 4 or 16 bytes of an address in network order.
pub fn ip_to_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Reads a port that xDS carries as 32 bits.
///
/// # Errors
/// [`Error::Port`] above 65535.
pub fn port(value: u32) -> Result<u16, Error> {
    u16::try_from(value).map_err(|_| Error::Port(value))
}

/// An IP address inside a named network; the same IP may exist in several networks. Prints `network/ip`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkAddress {
    /// Istio network name; empty is the default network.
    pub network: Arc<str>,
    /// The address.
    pub address: IpAddr,
}

impl NetworkAddress {
    /// An address in a network. IPv4-mapped IPv6 addresses become IPv4, so that both forms find the same entry.
    pub fn new(network: impl Into<Arc<str>>, address: IpAddr) -> Self {
        Self {
            network: network.into(),
            address: address.to_canonical(),
        }
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.address)
    }
}

impl FromStr for NetworkAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::NetworkAddress(shortened(text));
        let (network, address) = text.rsplit_once('/').ok_or_else(refused)?;
        Ok(Self::new(network, address.parse().map_err(|_| refused())?))
    }
}

/// A block of addresses. Host bits are cleared on construction, so equal blocks compare equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// A block from any address in it.
    ///
    /// # Errors
    /// [`Error::Prefix`] when `length` is above 32 (IPv4) or 128 (IPv6).
    pub fn new(address: IpAddr, length: u32) -> Result<Self, Error> {
        let refused = || Error::Prefix { address, length };
        let length = u8::try_from(length).map_err(|_| refused())?;
        if length > full_length(address) {
            return Err(refused());
        }
        Ok(Self {
            address: masked(address, length),
            length,
        })
    }

    /// The first address of the block.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the block holds exactly one address.
    pub fn is_single(&self) -> bool {
        self.length == full_length(self.address)
    }

    /// Whether `address` lies inside; never across families.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.length) == self.address
    }

    /// The block of this length that holds `address`; lengths above the family's are cut.
    pub(crate) fn around(address: IpAddr, length: u8) -> Self {
        let length = length.min(full_length(address));
        Self {
            address: masked(address, length),
            length,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn full_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(length.min(32)))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(length.min(128)))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// The key of a service: its namespace and host name. Prints `namespace/hostname`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespacedHostname {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Fully qualified host name, possibly with a leading `*.`.
    pub hostname: Arc<str>,
}

impl NamespacedHostname {
    /// A key from its parts; nothing is checked.
    pub fn new(namespace: impl Into<Arc<str>>, hostname: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            hostname: hostname.into(),
        }
    }
}

impl fmt::Display for NamespacedHostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

impl FromStr for NamespacedHostname {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (namespace, hostname) = text
            .split_once('/')
            .ok_or_else(|| Error::NamespacedHostname(shortened(text)))?;
        let fits = !namespace.is_empty()
            && !hostname.is_empty()
            && namespace.len() <= MAX_NAMESPACE
            && hostname.len() <= MAX_HOSTNAME
            && !hostname.contains('/');
        if !fits {
            return Err(Error::NamespacedHostname(shortened(text)));
        }
        Ok(Self::new(namespace, hostname))
    }
}

/// Foreign text cut for an error message, so that a peer cannot fill the log.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub SocketAddr);

        impl $name {
            /// The IP part; IPv4-mapped IPv6 comes out as IPv4.
            pub fn ip(self) -> IpAddr {
                self.0.ip().to_canonical()
            }

            /// The port part.
            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl From<SocketAddr> for $name {
            fn from(address: SocketAddr) -> Self {
                Self(address)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

role!(
    /// Where a captured client wanted to go, as the kernel remembers it.
    OrigDst
);
role!(
    /// The other end of an accepted connection.
    Peer
);
role!(
    /// Where a connection is really made to.
    ActualDst
);
role!(
    /// Where a tunnel is made to: a pod, waypoint or gateway on its HBONE port.
    HboneAddr
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_clears_host_bits_and_contains_only_its_own_family() {
        let block = Cidr::new("10.1.2.3".parse().unwrap(), 16).unwrap();
        assert_eq!(block.to_string(), "10.1.0.0/16");
        assert!(block.contains("10.1.255.255".parse().unwrap()));
        assert!(!block.contains("10.2.0.0".parse().unwrap()));
        assert!(!block.contains("::ffff:10.1.0.1".parse().unwrap()));
        let all = Cidr::new("9.9.9.9".parse().unwrap(), 0).unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()));
        assert!(!all.contains("::".parse().unwrap()));
        let v6 = Cidr::new("fd00::1".parse().unwrap(), 128).unwrap();
        assert!(v6.is_single() && v6.contains("fd00::1".parse().unwrap()));
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        assert!(Cidr::new("10.0.0.0".parse().unwrap(), 33).is_err());
        assert!(Cidr::new("::".parse().unwrap(), 129).is_err());
        assert!(Cidr::new("::".parse().unwrap(), 300).is_err());
    }

    #[test]
    fn bytes_of_the_wrong_length_are_refused() {
        for length in [0, 1, 3, 5, 15, 17] {
            assert_eq!(ip_from_bytes(&vec![0; length]), Err(Error::Length(length)));
        }
        let v6: IpAddr = "fd00::7".parse().unwrap();
        assert_eq!(ip_from_bytes(&ip_to_bytes(v6)), Ok(v6));
    }

    #[test]
    fn names_are_read_back_as_printed() {
        let host: NamespacedHostname = "shop/cart.shop.svc.cluster.local".parse().unwrap();
        assert_eq!(host.to_string(), "shop/cart.shop.svc.cluster.local");
        let address: NetworkAddress = "north/fd00::7".parse().unwrap();
        assert_eq!(address.to_string(), "north/fd00::7");
        let default: NetworkAddress = "/10.0.0.1".parse().unwrap();
        assert_eq!(&*default.network, "");
    }

    #[test]
    fn malformed_names_are_refused_and_cut_in_the_message() {
        for bad in ["", "x", "/x", "x/", "a/b/c"] {
            assert!(bad.parse::<NamespacedHostname>().is_err(), "{bad}");
        }
        let long = "y".repeat(5000);
        let error = long.parse::<NamespacedHostname>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn a_mapped_address_equals_its_ipv4_form() {
        let mapped = NetworkAddress::new("", "::ffff:10.0.0.1".parse().unwrap());
        assert_eq!(mapped, NetworkAddress::new("", "10.0.0.1".parse().unwrap()));
    }
}
