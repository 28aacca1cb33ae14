//! Package `envoy.service.discovery.v3` (delta) and what it names: the parts an ambient proxy uses.

use std::collections::HashMap;

/// Full name of the streaming method.
pub const DELTA_AGGREGATED_RESOURCES: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A subscription, an acknowledgement or a refusal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks; only in the first request of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// The type it is about.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names to add; none in the first request means all.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names to take away.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client still has: name to version.
    #[prost(map = "string, string", tag = "5")]
    pub initial_resource_versions: HashMap<String, String>,
    /// The response this answers; empty for none.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why the response was refused.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// Changes of one type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// For debugging.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// New and changed resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// Their type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be sent back.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names of resources that are gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// One resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// Its version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The message.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<prost_types::Any>,
    /// Its key.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Other keys.
    #[prost(string, repeated, tag = "4")]
    pub aliases: Vec<String>,
}

/// Who asks (`envoy.config.core.v3.Node`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// `ztunnel~<ip>~<pod>.<ns>~<ns>.svc.<domain>`
    #[prost(string, tag = "1")]
    pub id: String,
    /// Facts istiod reads.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<prost_types::Struct>,
}

/// Why something was refused (`google.rpc.Status`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}
