//! Whom the handler `http` may talk to.
//!
//! A flow may take its URL from data that strangers wrote, and this process may reach what strangers must not: a database
//! without a password, the metadata of the cloud machine, the router. So only addresses of the public internet are allowed
//! unless the engine is told otherwise. What counts is the address that is connected to: names are resolved once, checked,
//! and the connection is made to what was checked.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Whom the handler `http` may talk to. Defaults to [`public`](Self::public).
///
/// ```
/// use mainspring_engine::HttpAccess;
/// let access = HttpAccess::public().host("billing.internal").host("10.0.0.7");
/// # let _ = access;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAccess {
    everyone: bool,
    hosts: Vec<String>,
}

impl HttpAccess {
    /// Public addresses only: nothing on this machine, in private or link-local networks, or in ranges kept for other uses.
    pub fn public() -> Self {
        Self::default()
    }

    /// Every address, private networks and this machine included. For flows whose URLs nobody outside can choose.
    pub fn everyone() -> Self {
        Self { everyone: true, hosts: Vec::new() }
    }

    /// Also this host, a name or an address without a port, whatever it resolves to.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(plain(&host.into()));
        self
    }

    /// Whether `host` is allowed without a look at its addresses.
    pub(crate) fn trusts(&self, host: &str) -> bool {
        self.everyone || self.hosts.contains(&plain(host))
    }

    /// Checks the addresses of `host`, all of them: one that is refused spoils the name.
    pub(crate) fn check(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refused> {
        if self.trusts(host) {
            return Ok(());
        }
        let found = addresses.iter().find_map(|address| Some((*address, rule(*address)?)));
        found.map_or(Ok(()), |(address, rule)| Err(Refused { host: host.to_owned(), address, rule }))
    }
}

/// Lower case, without the brackets of an IPv6 address and the dot at the end of a full name.
pub(crate) fn plain(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

/// A host that may not be talked to, and why.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    host: String,
    address: IpAddr,
    rule: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, rule } = self;
        write!(f, "host `{host}` is refused: {address} is {rule}; the engine's `http_access` can allow it")
    }
}

impl std::error::Error for Refused {}

/// What keeps an address from being public; `None` when nothing does.
fn rule(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => rule_v4(address),
        IpAddr::V6(address) => rule_v6(address),
    }
}

fn rule_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |network: [u8; 4], bits: u32| {
        let mask = u32::MAX << (32 - bits);
        address.to_bits() & mask == u32::from_be_bytes(network) & mask
    };
    Some(match () {
        () if within([127, 0, 0, 0], 8) => "loopback",
        () if within([0, 0, 0, 0], 8) => "this machine",
        () if within([169, 254, 0, 0], 16) => "link-local, where clouds keep their metadata",
        () if within([10, 0, 0, 0], 8) || within([172, 16, 0, 0], 12) || within([192, 168, 0, 0], 16) => {
            "private"
        }
        () if within([100, 64, 0, 0], 10) => "shared by a provider's network",
        () if within([224, 0, 0, 0], 4) => "multicast",
        () if within([240, 0, 0, 0], 4)
            || within([192, 0, 0, 0], 24)
            || within([192, 0, 2, 0], 24)
            || within([192, 88, 99, 0], 24)
            || within([198, 18, 0, 0], 15)
            || within([198, 51, 100, 0], 24)
            || within([203, 0, 113, 0], 24) =>
        {
            "reserved"
        }
        () => return None,
    })
}

fn rule_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        _ if address.is_loopback() => Some("loopback"),
        _ if address.is_unspecified() => Some("this machine"),
        // IPv4 in other clothes: mapped, compatible, translated (NAT64), 6to4.
        (0, 0) if [c, d, e] == [0; 3] && (f == 0 || f == u16::MAX) => rule_v4(v4(g, h)),
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => rule_v4(v4(g, h)),
        (0x2002, _) => rule_v4(v4(b, c)),
        (0x64, 0xff9b) => Some("reserved"),
        _ if a & 0xffc0 == 0xfe80 => Some("link-local"),
        _ if a & 0xfe00 == 0xfc00 => Some("unique-local"),
        _ if a & 0xff00 == 0xff00 => Some("multicast"),
        // Only 2000::/3 is in use; Teredo, ORCHID and the examples of documents within it are not for this.
        (0x2001, 0) | (0x2001, 0x10..=0x2f) | (0x2001, 0xdb8) => Some("reserved"),
        _ if a & 0xfff0 == 0x3ff0 || a & 0xe000 != 0x2000 => Some("reserved"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str, address: &str) -> Option<String> {
        let access = HttpAccess::public().host("Trusted.internal.").host("[fd00::7]");
        access.check(host, &[address.parse().unwrap()]).err().map(|refused| refused.to_string())
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        for (address, rule) in [
            ("127.0.0.1", "loopback"),
            ("127.255.0.3", "loopback"),
            ("0.0.0.0", "this machine"),
            ("169.254.169.254", "link-local"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.100.100.200", "shared"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("198.19.0.1", "reserved"),
            ("192.0.0.192", "reserved"),
            ("::1", "loopback"),
            ("::", "this machine"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::10.0.0.1", "private"),
            ("64:ff9b::a00:1", "private"),
            ("64:ff9b:1::1", "reserved"),
            ("2002:7f00:1::", "loopback"),
            ("2001::1", "reserved"),
            ("2001:db8::1", "reserved"),
            ("fe80::1", "link-local"),
            ("fec0::1", "reserved"),
            ("fd00:ec2::254", "unique-local"),
            ("ff02::1", "multicast"),
            ("4000::1", "reserved"),
        ] {
            let text = refused("example.org", address).unwrap_or_else(|| panic!("{address} is allowed"));
            assert!(
                text.contains(rule) && text.contains("`example.org`") && text.contains("http_access"),
                "{text}"
            );
        }
        for address in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2002:101:101::",
        ] {
            assert_eq!(refused("example.org", address), None);
        }
    }

    #[test]
    fn a_host_is_allowed_by_name_and_one_bad_address_spoils_another() {
        assert_eq!(refused("trusted.INTERNAL", "10.0.0.1"), None);
        assert_eq!(refused("fd00::7", "fd00::7"), None);
        assert!(refused("x.trusted.internal", "10.0.0.1").is_some());
        let (good, bad) = ("1.1.1.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert!(HttpAccess::public().check("both.example", &[good, bad]).is_err());
        assert!(HttpAccess::everyone().check("both.example", &[good, bad]).is_ok());
    }
}
