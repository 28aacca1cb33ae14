//! What to do with a DNS packet: answer it, pass it on, or drop it. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::names::{Reading, readings, wildcards};
use crate::service::Service;
use crate::store::Snapshot;

/// Seconds an answer may be kept. Source: istio/ztunnel `62d8265`.
const TTL: u32 = 30;
/// Largest datagram without EDNS, RFC 1035.
const PLAIN_DATAGRAM: u16 = 512;
/// Largest datagram we send whatever the client allows: above this, fragments are lost.
const LARGEST_DATAGRAM: u16 = 1232;
/// Addresses in one answer; 16 bytes each (28 for IPv6), so that an answer always fits a TCP message.
const MOST_ADDRESSES: usize = 1024;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its network.
    pub network: &'a str,
    /// The cluster's domain.
    pub domain: &'a str,
}

/// How the packet came.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// In a datagram: the answer is cut to what the client can take.
    Udp,
    /// In a stream.
    Tcp,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Send this.
    Answer(Vec<u8>),
    /// Ask the node's resolvers.
    Forward,
    /// Not a query: say nothing.
    Drop,
}

/// A verdict with what metrics need.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// The record type asked for, from a closed list; `other` for all else.
    pub query_type: &'static str,
}

/// Decides about a packet. `seed` (any number) decides the order of addresses.
#[must_use]
pub fn decide(
    packet: &[u8],
    transport: Transport,
    store: &Snapshot,
    client: &Client<'_>,
    seed: u64,
) -> Decision {
    let refuse = |metadata: &Metadata, code: ResponseCode| {
        let mut reply = Message::error_msg(metadata.id, metadata.op_code, code);
        reply.metadata.recursion_desired = metadata.recursion_desired;
        reply.to_vec().map_or(Verdict::Drop, Verdict::Answer)
    };
    let other = |verdict| Decision {
        verdict,
        query_type: "other",
    };
    let Ok(message) = Message::from_vec(packet) else {
        return other(unreadable(packet));
    };
    if message.metadata.message_type != MessageType::Query {
        return other(Verdict::Drop);
    }
    if message.metadata.op_code != OpCode::Query {
        return other(refuse(&message.metadata, ResponseCode::NotImp));
    }
    let [query] = &message.queries[..] else {
        return other(refuse(&message.metadata, ResponseCode::FormErr));
    };
    let query_type = type_name(query.query_type);
    let Some((service, stripped)) = find(query, store, client) else {
        return Decision {
            verdict: Verdict::Forward,
            query_type,
        };
    };
    let addresses = addresses(&service, query.query_type, store, client);
    let reply = reply(
        &message,
        query,
        stripped.as_deref(),
        shuffled(addresses, seed),
    );
    Decision {
        verdict: reply
            .and_then(|reply| fitted(&reply, transport, &message))
            .unwrap_or(Verdict::Forward),
        query_type,
    }
}

/// A packet that cannot be read: answered with its own id when it is at least a query's header, else dropped.
fn unreadable(packet: &[u8]) -> Verdict {
    let Some((id, flags)) = packet
        .get(..12)
        .and_then(|h| Some((u16::from_be_bytes([h[0], h[1]]), *h.get(2)?)))
    else {
        return Verdict::Drop;
    };
    if flags & 0x80 != 0 {
        return Verdict::Drop;
    }
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
        .to_vec()
        .map_or(Verdict::Drop, Verdict::Answer)
}

/// The service a query is about, and the name after a CNAME. `None` = not ours.
fn find(
    query: &Query,
    store: &Snapshot,
    client: &Client<'_>,
) -> Option<(Arc<Service>, Option<String>)> {
    let ours = query.query_class == DNSClass::IN
        && matches!(query.query_type, RecordType::A | RecordType::AAAA);
    if !ours {
        return None;
    }
    let name = query.name.to_ascii().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.is_empty() {
        return None;
    }
    let all: Vec<Reading> = readings(name, client.namespace, client.domain);
    // Exact names of all readings before any wildcard, so that `*.com` never hides a real service.
    for reading in &all {
        if let Some(service) = pick(&reading.hostname, store, client) {
            return Some((service, reading.stripped.clone()));
        }
    }
    all.iter().find_map(|reading| {
        let service =
            wildcards(&reading.hostname).find_map(|wildcard| pick(&wildcard, store, client))?;
        Some((service, reading.stripped.clone()))
    })
}

/// The best service by this host name that we can answer for: one without a virtual address outside the cluster's domain
/// is somebody else's name.
fn pick(hostname: &str, store: &Snapshot, client: &Client<'_>) -> Option<Arc<Service>> {
    let inside = hostname
        .strip_suffix(client.domain)
        .is_some_and(|rest| rest.ends_with('.'));
    let mut services = store
        .services_by_hostname(hostname, client.namespace)
        .into_iter();
    services.find(|service| inside || !service.vips.is_empty())
}

/// Virtual addresses in the client's network, or the members' addresses of a service without any; of the family asked for.
fn addresses(
    service: &Service,
    asked: RecordType,
    store: &Snapshot,
    client: &Client<'_>,
) -> Vec<IpAddr> {
    let right = |ip: &IpAddr| ip.is_ipv4() == (asked == RecordType::A);
    if !service.vips.is_empty() {
        let here = service
            .vips
            .iter()
            .filter(|vip| &*vip.network == client.network);
        return here.map(|vip| vip.address).filter(right).collect();
    }
    let members = store.usable_endpoints(service);
    let mut all: Vec<IpAddr> = members
        .iter()
        .filter(|w| &*w.network == client.network)
        .flat_map(|w| w.addresses.iter().copied())
        .filter(right)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A Fisher-Yates shuffle, cut to the most that are answered.
fn shuffled(mut addresses: Vec<IpAddr>, seed: u64) -> Vec<IpAddr> {
    let mut state = seed;
    for last in (1..addresses.len()).rev() {
        // SplitMix64: even enough to spread clients, and reproducible.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let other = usize::try_from(mixed % (last as u64 + 1)).unwrap_or(0);
        addresses.swap(last, other);
    }
    addresses.truncate(MOST_ADDRESSES);
    addresses
}

fn reply(
    message: &Message,
    query: &Query,
    stripped: Option<&str>,
    addresses: Vec<IpAddr>,
) -> Option<Message> {
    let mut reply = Message::response(message.metadata.id, OpCode::Query);
    reply.metadata = Metadata::response_from_request(&message.metadata);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    let mut owner = query.name.clone();
    if let Some(stripped) = stripped {
        let mut target = Name::from_ascii(stripped).ok()?;
        target.set_fqdn(true);
        reply.add_answer(Record::from_rdata(
            owner,
            TTL,
            RData::CNAME(CNAME(target.clone())),
        ));
        owner = target;
    }
    for address in addresses {
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        reply.add_answer(Record::from_rdata(owner.clone(), TTL, data));
    }
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_DATAGRAM);
        reply.set_edns(edns);
    }
    Some(reply)
}

/// The reply's bytes; too long for a datagram, they become an empty reply with the truncation bit.
fn fitted(reply: &Message, transport: Transport, message: &Message) -> Option<Verdict> {
    let bytes = reply.to_vec().ok()?;
    let room = match (transport, &message.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_DATAGRAM,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM),
    };
    if bytes.len() <= usize::from(room) {
        return Some(Verdict::Answer(bytes));
    }
    let mut cut = reply.clone();
    cut.answers.clear();
    cut.metadata.truncation = true;
    cut.to_vec().ok().map(Verdict::Answer)
}

/// The name of a type for metrics; a closed list, so that a client cannot grow the set of labels.
fn type_name(asked: RecordType) -> &'static str {
    match asked {
        RecordType::A => "a",
        RecordType::AAAA => "aaaa",
        RecordType::CNAME => "cname",
        RecordType::HTTPS => "https",
        RecordType::MX => "mx",
        RecordType::NS => "ns",
        RecordType::PTR => "ptr",
        RecordType::SOA => "soa",
        RecordType::SRV => "srv",
        RecordType::SVCB => "svcb",
        RecordType::TXT => "txt",
        _ => "other",
    }
}

/// The reply that says the resolvers failed; `None` when the query cannot be read.
#[must_use]
pub fn server_failure(packet: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_vec(packet).ok()?;
    let mut reply = Message::error_msg(
        message.metadata.id,
        message.metadata.op_code,
        ResponseCode::ServFail,
    );
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(message.queries);
    reply.to_vec().ok()
}

/// Whether `reply` answers `query`: a reply with the same id and question.
#[must_use]
pub fn is_reply_to(reply: &[u8], query: &[u8]) -> bool {
    if reply.len() < 12 || query.len() < 12 || reply[..2] != query[..2] || reply[2] & 0x80 == 0 {
        return false;
    }
    // A server that fails may leave the question out.
    if reply[4..6] == [0, 0] {
        return true;
    }
    match (question(reply), question(query)) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

/// The bytes of the first question: an uncompressed name, type and class.
fn question(packet: &[u8]) -> Option<&[u8]> {
    let mut at = 12;
    loop {
        let length = usize::from(*packet.get(at)?);
        if length > 63 {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            return packet.get(12..at + 4);
        }
    }
}

#[cfg(test)]
mod tests;
