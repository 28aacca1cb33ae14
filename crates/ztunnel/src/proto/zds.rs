//! Package `istio.workload.zds`: what istio-cni and the node proxy say to each other.

/// First message of the proxy.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ZdsHello {
    /// Protocol version.
    #[prost(enumeration = "Version", tag = "1")]
    pub version: i32,
}

/// Protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Version {
    /// Not set.
    NotUsed = 0,
    /// The only one.
    V1 = 1,
}

/// A message of the agent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkloadRequest {
    /// What it asks.
    #[prost(oneof = "workload_request::Payload", tags = "1, 2, 3, 5")]
    pub payload: Option<workload_request::Payload>,
}

/// The variants of [`WorkloadRequest`].
pub mod workload_request {
    /// What the agent asks.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Payload {
        /// Serve a pod; its network namespace comes along as a descriptor.
        #[prost(message, tag = "1")]
        Add(super::AddWorkload),
        /// Stop serving a pod at once.
        #[prost(message, tag = "2")]
        Del(super::DelWorkload),
        /// Everything that exists has been named.
        #[prost(message, tag = "3")]
        SnapshotSent(super::SnapshotSent),
        /// The pod exists but its namespace is not known: keep what is there.
        #[prost(message, tag = "5")]
        Keep(super::KeepWorkload),
    }
}

/// Serve a pod.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AddWorkload {
    /// Pod uid.
    #[prost(string, tag = "1")]
    pub uid: String,
    /// Who the pod is.
    #[prost(message, optional, tag = "2")]
    pub workload_info: Option<WorkloadInfo>,
}

/// Who a pod is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkloadInfo {
    /// Pod name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Service account.
    #[prost(string, tag = "3")]
    pub service_account: String,
}

/// Stop serving a pod.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DelWorkload {
    /// Pod uid.
    #[prost(string, tag = "2")]
    pub uid: String,
}

/// Keep serving a pod.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeepWorkload {
    /// Pod uid.
    #[prost(string, tag = "1")]
    pub uid: String,
}

/// Everything that exists has been named.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SnapshotSent {}

/// The answer to one request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkloadResponse {
    /// What it answers.
    #[prost(oneof = "workload_response::Payload", tags = "1")]
    pub payload: Option<workload_response::Payload>,
}

/// The variants of [`WorkloadResponse`].
pub mod workload_response {
    /// What the proxy answers.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Payload {
        /// Done, or the reason why not.
        #[prost(message, tag = "1")]
        Ack(super::Ack),
    }
}

/// Done, or the reason why not.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ack {
    /// Empty when done.
    #[prost(string, tag = "1")]
    pub error: String,
}
