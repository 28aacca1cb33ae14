//! Package `istio.security`: policies. Field numbers of Istio 1.31.

/// One resource of type [`super::AUTHORIZATION_TYPE`]; its key is `namespace/name`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Authorization {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Namespace; the mesh-wide ones are in the root namespace, sent as empty.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// What it applies to.
    #[prost(enumeration = "Scope", tag = "3")]
    pub scope: i32,
    /// What a match means.
    #[prost(enumeration = "Action", tag = "4")]
    pub action: i32,
    /// Any rule that matches makes the policy match.
    #[prost(message, repeated, tag = "5")]
    pub rules: Vec<Rule>,
    /// Only log.
    #[prost(bool, tag = "6")]
    pub dry_run: bool,
}

/// All clauses must match.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rule {
    /// The clauses: from, to, when.
    #[prost(message, repeated, tag = "1")]
    pub clauses: Vec<Clause>,
}

/// Any match suffices.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Clause {
    /// The matches.
    #[prost(message, repeated, tag = "2")]
    pub matches: Vec<Match>,
}

/// All fields must match; inside a field any value suffices; `not_` fields are negated.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Match {
    /// Namespaces of the client's identity.
    #[prost(message, repeated, tag = "1")]
    pub namespaces: Vec<StringMatch>,
    /// Namespaces that are excluded.
    #[prost(message, repeated, tag = "2")]
    pub not_namespaces: Vec<StringMatch>,
    /// Client identities without `spiffe://`.
    #[prost(message, repeated, tag = "3")]
    pub principals: Vec<StringMatch>,
    /// Identities that are excluded.
    #[prost(message, repeated, tag = "4")]
    pub not_principals: Vec<StringMatch>,
    /// Client addresses.
    #[prost(message, repeated, tag = "5")]
    pub source_ips: Vec<Address>,
    /// Client addresses that are excluded.
    #[prost(message, repeated, tag = "6")]
    pub not_source_ips: Vec<Address>,
    /// Destination addresses.
    #[prost(message, repeated, tag = "7")]
    pub destination_ips: Vec<Address>,
    /// Destination addresses that are excluded.
    #[prost(message, repeated, tag = "8")]
    pub not_destination_ips: Vec<Address>,
    /// Destination ports.
    #[prost(uint32, repeated, tag = "9")]
    pub destination_ports: Vec<u32>,
    /// Destination ports that are excluded.
    #[prost(uint32, repeated, tag = "10")]
    pub not_destination_ports: Vec<u32>,
    /// Service accounts of the client's identity.
    #[prost(message, repeated, tag = "11")]
    pub service_accounts: Vec<ServiceAccountMatch>,
    /// Service accounts that are excluded.
    #[prost(message, repeated, tag = "12")]
    pub not_service_accounts: Vec<ServiceAccountMatch>,
}

/// A block of addresses.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub address: Vec<u8>,
    /// Prefix length.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// A service account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServiceAccountMatch {
    /// Its namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub service_account: String,
}

/// How a text is compared.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StringMatch {
    /// The comparison.
    #[prost(oneof = "string_match::MatchType", tags = "1, 2, 3, 4")]
    pub match_type: Option<string_match::MatchType>,
}

/// The variants of [`StringMatch`].
pub mod string_match {
    /// How a text is compared.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum MatchType {
        /// Equal.
        #[prost(string, tag = "1")]
        Exact(String),
        /// Starts with.
        #[prost(string, tag = "2")]
        Prefix(String),
        /// Ends with.
        #[prost(string, tag = "3")]
        Suffix(String),
        /// Is not empty.
        #[prost(message, tag = "4")]
        Presence(()),
    }
}

impl From<string_match::MatchType> for StringMatch {
    fn from(value: string_match::MatchType) -> Self {
        Self {
            match_type: Some(value),
        }
    }
}

/// What a policy applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Scope {
    /// Every workload.
    Global = 0,
    /// Workloads of its namespace.
    Namespace = 1,
    /// Workloads that name it.
    WorkloadSelector = 2,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Action {
    /// Let through.
    Allow = 0,
    /// Refuse.
    Deny = 1,
}
