//! What the client knows of the server's state, and what it therefore says. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;

use crate::error::chain;
use crate::proto::authorization::Authorization;
use crate::proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource, Status,
};
use crate::proto::workload::Address;
use crate::proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE};
use crate::store::{Rejected, Update};

/// Most refusals that are spelt out in one answer.
const MAX_REASONS: usize = 16;
/// Longest list of known versions in bytes: istiod's gRPC server takes 4 MiB, upstream fails above about 40 000
/// workloads.
const MAX_VERSIONS: usize = 3 << 20;
/// gRPC code of a refusal.
const INVALID_ARGUMENT: i32 = 3;

/// The versions applied so far, per type. Lives as long as the store, across streams.
#[derive(Debug)]
pub struct Session {
    node: Node,
    /// In subscription order: workloads and services first, so that policies find them.
    types: [Type; 2],
}

#[derive(Debug)]
struct Type {
    url: &'static str,
    versions: HashMap<String, String>,
    is_answered: bool,
    /// The list of versions was too long to be sent: the first response is everything there is.
    expects_all: bool,
}

impl Session {
    /// Nothing applied yet.
    pub fn new(node: Node) -> Self {
        let kind = |url| Type {
            url,
            versions: HashMap::new(),
            is_answered: false,
            expects_all: false,
        };
        Self {
            node,
            types: [ADDRESS_TYPE, AUTHORIZATION_TYPE].map(kind),
        }
    }

    /// The first requests of a stream: everything, minus what is still known. A list of known versions that istiod
    /// would refuse for its size is left out; then everything comes again, and what does not is gone.
    pub fn subscriptions(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let node = &self.node;
        let subscribe = |kind: &mut Type| {
            let bytes: usize = kind
                .versions
                .iter()
                .map(|(name, version)| name.len() + version.len() + 12)
                .sum();
            kind.expects_all = bytes > MAX_VERSIONS;
            DeltaDiscoveryRequest {
                node: Some(node.clone()),
                type_url: kind.url.to_owned(),
                initial_resource_versions: if kind.expects_all {
                    HashMap::new()
                } else {
                    kind.versions.clone()
                },
                ..DeltaDiscoveryRequest::default()
            }
        };
        self.types.iter_mut().map(subscribe).collect()
    }

    /// Whether every type has been answered at least once.
    pub fn is_complete(&self) -> bool {
        self.types.iter().all(|kind| kind.is_answered)
    }

    /// Applies a response and says what to answer: ACK, or NACK that names what was refused; what was not refused is
    /// applied either way.
    pub fn receive(
        &mut self,
        response: DeltaDiscoveryResponse,
        apply: impl FnOnce(Vec<Update>) -> Vec<Rejected>,
    ) -> DeltaDiscoveryRequest {
        let mut refused = BTreeMap::new();
        match self
            .types
            .iter_mut()
            .find(|kind| kind.url == response.type_url)
        {
            Some(kind) => kind.receive(
                response.resources,
                response.removed_resources,
                apply,
                &mut refused,
            ),
            None => {
                refused.insert("*".to_owned(), "this type was not asked for".to_owned());
            }
        }
        DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail: error_detail(&refused),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

impl Type {
    fn receive(
        &mut self,
        resources: Vec<Resource>,
        removed: Vec<String>,
        apply: impl FnOnce(Vec<Update>) -> Vec<Rejected>,
        refused: &mut BTreeMap<String, String>,
    ) {
        let mut removed = removed;
        if std::mem::take(&mut self.expects_all) {
            let sent: HashSet<&str> = resources
                .iter()
                .map(|resource| resource.name.as_str())
                .collect();
            removed.extend(
                self.versions
                    .keys()
                    .filter(|name| !sent.contains(name.as_str()))
                    .cloned(),
            );
        }
        let mut updates = Vec::with_capacity(resources.len() + removed.len());
        let mut sources = Vec::with_capacity(resources.len());
        // Removals first: a key that is removed and added in one response stays.
        for name in removed {
            self.versions.remove(&name);
            updates.push(self.removal(name));
        }
        let first = updates.len();
        for resource in resources {
            match self.decode(&resource) {
                Ok(update) => {
                    updates.push(update);
                    sources.push((resource.name, resource.version));
                }
                Err(reason) => {
                    refused.insert(resource.name, reason);
                }
            }
        }
        let mut rejected = HashMap::new();
        for refusal in apply(updates) {
            rejected.insert(refusal.index, chain(&refusal.reason));
        }
        for (index, (name, version)) in (first..).zip(sources) {
            match rejected.remove(&index) {
                // Without a version the server sends it again after a reconnect.
                Some(reason) => {
                    self.versions.remove(&name);
                    refused.insert(name, reason);
                }
                None => {
                    self.versions.insert(name, version);
                }
            }
        }
        self.is_answered = true;
    }

    fn removal(&self, name: String) -> Update {
        if self.url == ADDRESS_TYPE {
            Update::RemoveAddress(name)
        } else {
            Update::RemoveAuthorization(name)
        }
    }

    fn decode(&self, resource: &Resource) -> Result<Update, String> {
        let any = resource.resource.as_ref().ok_or("the resource is empty")?;
        if any.type_url != self.url {
            return Err(format!(
                "the resource is of type {:?}",
                crate::addr::shortened(&any.type_url)
            ));
        }
        let unreadable =
            |error: prost::DecodeError| format!("the resource cannot be decoded: {error}");
        if self.url == ADDRESS_TYPE {
            Address::decode(any.value.as_slice())
                .map(Update::address)
                .map_err(unreadable)
        } else {
            Authorization::decode(any.value.as_slice())
                .map(Update::authorization)
                .map_err(unreadable)
        }
    }
}

fn error_detail(refused: &BTreeMap<String, String>) -> Option<Status> {
    if refused.is_empty() {
        return None;
    }
    let mut reasons: Vec<String> = refused
        .iter()
        .take(MAX_REASONS)
        .map(|(name, reason)| format!("{name}: {reason}"))
        .collect();
    if let Some(more) = refused
        .len()
        .checked_sub(MAX_REASONS)
        .filter(|more| *more > 0)
    {
        reasons.push(format!("and {more} more"));
    }
    Some(Status {
        code: INVALID_ARGUMENT,
        message: reasons.join("; "),
    })
}
