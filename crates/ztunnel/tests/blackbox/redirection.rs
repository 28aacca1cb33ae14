//! What istio-cni puts into a pod: marks, redirections, and the way back for the proxy's packets.

use crate::netns::Netns;

/// The proxy's own packets.
const OWN: &str = "-m mark --mark 0x539/0xfff";
/// All others.
const NOT_OWN: &str = "-m mark ! --mark 0x539/0xfff";

/// What differs between the families.
struct Family {
    program: &'static str,
    /// Where the kubelet's probes come from.
    probe: &'static str,
    loopback: &'static str,
    /// Routes answers to the proxy's packets back to it.
    way_back: [&'static str; 2],
}

const FAMILIES: [Family; 2] = [
    Family {
        program: "iptables-restore",
        probe: "169.254.7.127/32",
        loopback: "127.0.0.1/32",
        way_back: [
            "rule add fwmark 0x111/0xfff pref 32764 lookup 100",
            "route add local 0.0.0.0/0 dev lo table 100",
        ],
    },
    Family {
        program: "ip6tables-restore",
        probe: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128",
        loopback: "::1/128",
        way_back: [
            "-6 rule add fwmark 0x111/0xfff pref 32764 lookup 100",
            "-6 route add local ::/0 dev lo table 100",
        ],
    },
];

/// Puts it into a pod, for both families.
pub fn redirect(pod: &Netns) {
    for family in &FAMILIES {
        pod.ip(&family.way_back);
        pod.feed(family.program, &[], &rules(family.probe, family.loopback));
    }
}

fn rules(probe: &str, loopback: &str) -> String {
    [
        "*mangle".to_owned(),
        format!("-A PREROUTING {OWN} -j CONNMARK --set-xmark 0x111/0xfff"),
        "-A OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark".to_owned(),
        "COMMIT".to_owned(),
        "*nat".to_owned(),
        format!("-A PREROUTING -s {probe} -p tcp -j ACCEPT"),
        format!(
            "-A PREROUTING ! -d {loopback} -p tcp ! --dport 15008 {NOT_OWN} -j REDIRECT --to-ports 15006"
        ),
        format!("-A OUTPUT -d {probe} -p tcp -j ACCEPT"),
        format!("-A OUTPUT ! -o lo -p udp {NOT_OWN} --dport 53 -j REDIRECT --to-ports 15053"),
        format!(
            "-A OUTPUT ! -d {loopback} -p tcp --dport 53 {NOT_OWN} -j REDIRECT --to-ports 15053"
        ),
        "-A OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT".to_owned(),
        format!("-A OUTPUT ! -d {loopback} -o lo -j ACCEPT"),
        format!("-A OUTPUT ! -d {loopback} -p tcp {NOT_OWN} -j REDIRECT --to-ports 15001"),
        "COMMIT".to_owned(),
        "*raw".to_owned(),
        format!("-A OUTPUT -p udp {OWN} --dport 53 -j CT --zone 1"),
        "-A PREROUTING -p udp --sport 53 -j CT --zone 1".to_owned(),
        "COMMIT\n".to_owned(),
    ]
    .join("\n")
}
