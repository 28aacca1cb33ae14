//! Address families of the pods of a cluster.

/// Which IP families pods have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpFamilies {
    /// IPv4 only.
    #[default]
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Dual,
}

impl IpFamilies {
    /// Families of a set of addresses or CIDRs, e.g. the `podCIDRs` of nodes or the `podIPs` of any pods.
    ///
    /// What does not look like an address is ignored; nothing recognised means IPv4.
    #[must_use]
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut v4, mut v6) = (false, false);
        for text in addresses {
            let address = text.split('/').next().unwrap_or(text);
            match address.parse() {
                Ok(std::net::IpAddr::V4(_)) => v4 = true,
                Ok(std::net::IpAddr::V6(_)) => v6 = true,
                Err(_) => {}
            }
        }
        match (v4, v6) {
            (true, true) => Self::Dual,
            (false, true) => Self::V6,
            _ => Self::V4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_come_from_addresses_and_cidrs() {
        for (addresses, families) in [
            (vec!["10.0.0.0/16"], IpFamilies::V4),
            (vec!["fd00::/64", "fd00::7"], IpFamilies::V6),
            (vec!["10.0.0.0/24", "fd00::/64"], IpFamilies::Dual),
            (vec![], IpFamilies::V4),
            (vec!["None", "", "/"], IpFamilies::V4),
        ] {
            assert_eq!(
                IpFamilies::of(addresses.iter().copied()),
                families,
                "{addresses:?}"
            );
        }
    }
}
