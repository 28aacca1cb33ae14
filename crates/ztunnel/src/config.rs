//! Configuration: environment, `PROXY_CONFIG` and the mesh's `defaultConfig`, read once at start.
//!
//! The reading is pure ([`Config::from_sources`]); only [`load`] touches the environment and a file. A key whose behaviour
//! is not built is refused, never accepted and ignored. Layer 8.
//!
//! Source of keys and defaults: istio/ztunnel `62d8265`.

pub mod duration;
pub mod mesh;
pub mod source;
pub mod workers;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use source::{Error, Sources};

/// Where the mesh configuration is mounted, if it is; from the process's working folder.
pub const MESH_CONFIG: &str = "./etc/istio/config/mesh";

const ROOT_CERT: &str = "./var/run/secrets/istio/root-cert.pem";
const TOKEN: &str = "./var/run/secrets/tokens/istio-token";
const IN_CLUSTER_ISTIOD: &str = "https://istiod.istio-system.svc:15012";
const LOCAL_ISTIOD: &str = "https://localhost:15012";
const MAX_WINDOW: u64 = (1 << 31) - 1;

/// A root of trust for istiod.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Root {
    /// A PEM file, watched.
    File(PathBuf),
    /// PEM text.
    Pem(String),
    /// The system's roots.
    System,
}

/// How we say who we are to istiod.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Token {
    /// A file, read for every use because it is rotated.
    File(PathBuf),
    /// The token itself; never shown.
    Literal(Secret),
    /// None.
    None,
}

/// Text that is never shown, neither by `Debug` nor in the config dump.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<hidden>")
    }
}

/// One of istiod's two services.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// URL with scheme `https` or `http`.
    pub address: String,
    /// What its certificate must be signed by.
    pub root: Root,
    /// Name to verify instead of the URL's host.
    pub alternative_name: Option<String>,
    /// Extra request metadata. Values may be secrets and are never shown.
    pub headers: Vec<(String, Secret)>,
}

/// Who and where this proxy is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// `POD_NAME`.
    pub pod_name: String,
    /// `POD_NAMESPACE`.
    pub pod_namespace: String,
    /// `SERVICE_ACCOUNT`.
    pub service_account: String,
    /// `TRUST_DOMAIN`.
    pub trust_domain: String,
    /// `INSTANCE_IP`.
    pub instance_ip: IpAddr,
    /// `NODE_NAME`.
    pub node: String,
    /// `NETWORK`: this node's network.
    pub network: String,
    /// `CLUSTER_ID`.
    pub cluster_id: String,
    /// `CLUSTER_DOMAIN`.
    pub cluster_domain: String,
    /// `ISTIO_META_*` and `ISTIO_METAJSON_*` for istiod, without their prefix.
    pub metadata: BTreeMap<String, String>,
}

/// Addresses of our own listeners, in our own network namespace.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// Admin; loopback only.
    pub admin: SocketAddr,
    /// Metrics.
    pub stats: SocketAddr,
    /// Readiness.
    pub readiness: SocketAddr,
}

/// TCP keepalive.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes before the connection is given up.
    pub retries: u32,
}

/// HTTP/2 in tunnels.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http2 {
    /// Window of a stream, bytes.
    pub stream_window: u32,
    /// Window of a connection, bytes.
    pub connection_window: u32,
    /// Largest frame, bytes.
    pub frame: u32,
    /// Streams per pooled connection.
    pub streams_per_connection: u16,
    /// Idle time after which a pooled connection is closed.
    pub idle_release: Duration,
}

/// Everything that can be set. Immutable once read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, named as its key"
)]
pub struct Config {
    /// Who and where this proxy is.
    pub place: Place,
    /// istiod's discovery service; `None` when disabled.
    pub xds: Option<Upstream>,
    /// istiod's certificate authority; `None` when disabled.
    pub ca: Option<Upstream>,
    /// How we authenticate to both.
    pub token: Token,
    /// Certificate life asked for.
    pub secret_ttl: Duration,
    /// Our own listeners.
    pub listeners: Listeners,
    /// The node agent's socket.
    pub agent_socket: PathBuf,
    /// Whether listeners in pods share their port with another proxy.
    pub port_reuse: bool,
    /// `SO_MARK` of every socket made in a pod.
    pub packet_mark: u32,
    /// Whether inbound connections keep the client's address; `None` is automatic (yes, where permitted).
    pub keep_source_address: Option<bool>,
    /// Whether IPv6 listeners are made.
    pub ipv6: bool,
    /// DNS capture: the address listened on in each pod; `None` when off.
    pub dns: Option<SocketAddr>,
    /// TCP keepalive; `None` when off.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`; `None` when off.
    pub user_timeout: Option<Duration>,
    /// HTTP/2 in tunnels.
    pub http2: Http2,
    /// Tie break between services that share an address or a name.
    pub preferred_service_namespace: Option<String>,
    /// Whether applications behind an application tunnel are reached on loopback.
    pub localhost_app_tunnel: bool,
    /// Whether CONNECT answers carry baggage.
    pub response_baggage: bool,
    /// Whether each authorisation decision is logged.
    pub log_authorizations: bool,
    /// How long live connections may go on after a stop signal.
    pub drain_deadline: Duration,
    /// Threads for pod traffic.
    pub workers: usize,
    /// Log lines as JSON instead of text.
    pub log_json: bool,
    /// Log filter.
    pub log_filter: String,
}

/// Reads the process's environment and the mesh file.
///
/// # Errors
/// [`Error`] names the key, its value and the remedy.
pub fn load() -> Result<Config, Error> {
    let mesh = match std::fs::read_to_string(MESH_CONFIG) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => {
            return Err(Error::MeshFile {
                path: MESH_CONFIG,
                source,
            });
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Config::from_sources(&Sources {
        environment: environment(),
        mesh,
        cores,
        exists: &|path| path.exists(),
    })
}

/// The environment without what is not text; no key of ours can be meant by it.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Config {
    /// Reads and checks every key.
    ///
    /// # Errors
    /// [`Error`] names the key, its value and the remedy; the first bad key ends the reading.
    pub fn from_sources(sources: &Sources<'_>) -> Result<Self, Error> {
        let keys = sources.keys()?;
        refuse_what_is_not_built(&keys)?;

        let in_kubernetes = keys.get("KUBERNETES_SERVICE_HOST").is_some();
        let istiod = keys.proxy.discovery_address.as_deref().map_or_else(
            || {
                if in_kubernetes {
                    IN_CLUSTER_ISTIOD
                } else {
                    LOCAL_ISTIOD
                }
                .to_owned()
            },
            mesh::with_scheme,
        );
        let ipv6 = keys.boolean("IPV6_ENABLED", true)?;
        let any = if ipv6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        let loopback = Ipv4Addr::LOCALHOST.into();
        let keepalive = Keepalive {
            time: keys.duration("KEEPALIVE_TIME", Duration::from_mins(3))?,
            interval: keys.duration("KEEPALIVE_INTERVAL", Duration::from_mins(3))?,
            retries: keys.number("KEEPALIVE_RETRIES", 9, 1..=127)?,
        };
        let dns_on = keys.boolean("ISTIO_META_DNS_CAPTURE", true)?;
        Ok(Self {
            place: keys.place()?,
            xds: upstream(&keys, "XDS", &istiod)?,
            ca: upstream(&keys, "CA", &istiod)?,
            token: token(&keys, sources.exists),
            secret_ttl: keys.duration("SECRET_TTL", Duration::from_hours(24))?,
            listeners: Listeners {
                admin: SocketAddr::new(loopback, keys.proxy.proxy_admin_port.unwrap_or(15000)),
                stats: SocketAddr::new(any, keys.proxy.stats_port.unwrap_or(15020)),
                readiness: SocketAddr::new(any, 15021),
            },
            agent_socket: keys
                .text("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock")
                .into(),
            port_reuse: keys.boolean("INPOD_PORT_REUSE", true)?,
            packet_mark: keys.number("PACKET_MARK", 1337, 1..=u64::from(u32::MAX))?,
            keep_source_address: keys.optional_boolean("ENABLE_ORIG_SRC")?,
            ipv6,
            dns: if dns_on {
                Some(keys.socket("DNS_PROXY_ADDR", SocketAddr::new(loopback, 15053))?)
            } else {
                None
            },
            user_timeout: keys.boolean("USER_TIMEOUT_ENABLED", false)?.then(|| {
                keepalive
                    .time
                    .saturating_add(keepalive.interval.saturating_mul(keepalive.retries))
            }),
            keepalive: keys
                .boolean("KEEPALIVE_ENABLED", true)?
                .then_some(keepalive),
            http2: Http2 {
                stream_window: keys.number(
                    "HTTP2_STREAM_WINDOW_SIZE",
                    4 << 20,
                    65_535..=MAX_WINDOW,
                )?,
                connection_window: keys.number(
                    "HTTP2_CONNECTION_WINDOW_SIZE",
                    16 << 20,
                    65_535..=MAX_WINDOW,
                )?,
                frame: keys.number("HTTP2_FRAME_SIZE", 1 << 20, 16_384..=16_777_215)?,
                streams_per_connection: keys.number(
                    "POOL_MAX_STREAMS_PER_CONNECTION",
                    100,
                    1..=65_535,
                )?,
                idle_release: keys
                    .duration("POOL_UNUSED_RELEASE_TIMEOUT", Duration::from_mins(5))?,
            },
            preferred_service_namespace: keys.get("PREFERED_SERVICE_NAMESPACE").map(str::to_owned),
            localhost_app_tunnel: keys.boolean("LOCALHOST_APP_TUNNEL", true)?,
            response_baggage: keys.boolean("ENABLE_RESPONSE_BAGGAGE", true)?,
            log_authorizations: keys.boolean("AUTHZ_POLICY_INFO_LOGGING", false)?,
            drain_deadline: drain_deadline(&keys)?,
            workers: workers::count(&keys, sources.cores)?,
            log_json: keys.choice("LOG_FORMAT", &["plain", "json"])? == 1,
            log_filter: keys.text("RUST_LOG", "info"),
        })
    }
}

/// The deadline of live connections: the key itself, else from the pod's grace period `g` in seconds: `g - 5` above 10, else
/// `g - 1` but at least 1, else 5 s. Source: istio/ztunnel `62d8265`.
fn drain_deadline(keys: &source::Keys) -> Result<Duration, Error> {
    if keys.get("CONNECTION_TERMINATION_DEADLINE").is_some() {
        return keys.duration("CONNECTION_TERMINATION_DEADLINE", Duration::ZERO);
    }
    let grace = "TERMINATION_GRACE_PERIOD_SECONDS";
    if keys.get(grace).is_none() {
        return Ok(Duration::from_secs(5));
    }
    let seconds: u64 = keys.number(grace, 0, 0..=u64::from(u32::MAX))?;
    Ok(Duration::from_secs(if seconds > 10 {
        seconds - 5
    } else {
        seconds.saturating_sub(1).max(1)
    }))
}

fn upstream(keys: &source::Keys, prefix: &str, default: &str) -> Result<Option<Upstream>, Error> {
    let key = format!("{prefix}_ADDRESS");
    let address = match keys.raw(&key) {
        Some("") => return Ok(None),
        Some(address) => mesh::with_scheme(address),
        None => default.to_owned(),
    };
    if !mesh::is_url(&address) {
        return Err(Error::value(
            &key,
            &address,
            "not a URL",
            "use https://host:port, or an empty value to turn it off",
        ));
    }
    let root = keys.text(&format!("{prefix}_ROOT_CA"), ROOT_CERT);
    let root = match root.as_str() {
        "SYSTEM" => Root::System,
        pem if pem.contains("-----BEGIN") => Root::Pem(root),
        _ => Root::File(root.into()),
    };
    Ok(Some(Upstream {
        address,
        root,
        alternative_name: keys
            .get(&format!("ALT_{prefix}_HOSTNAME"))
            .map(str::to_owned),
        headers: keys.headers(&format!("{prefix}_HEADER_"))?,
    }))
}

fn token(keys: &source::Keys, exists: &dyn Fn(&std::path::Path) -> bool) -> Token {
    let given = keys.get("AUTH_TOKEN");
    let path = PathBuf::from(given.unwrap_or(TOKEN));
    match given {
        _ if exists(&path) => Token::File(path),
        // A path that does not exist yet is far more likely than a token that starts with a slash.
        Some(text) if text.starts_with(['/', '.']) => Token::File(path),
        Some(text) => Token::Literal(Secret(text.to_owned())),
        None => Token::None,
    }
}

fn refuse_what_is_not_built(keys: &source::Keys) -> Result<(), Error> {
    if keys.choice("PROXY_MODE", &["shared", "dedicated"])? == 1 {
        return Err(Error::value(
            "PROXY_MODE",
            "dedicated",
            "only one proxy per node is built",
            "set shared or leave it out",
        ));
    }
    if !keys.boolean("ENABLE_PROXY", true)? {
        return Err(Error::value(
            "ENABLE_PROXY",
            "false",
            "running without the proxy is not built",
            "leave it out",
        ));
    }
    for key in [
        "XDS_ON_DEMAND",
        "UNSTABLE_ENABLE_SOCKS5",
        "TLS12_ENABLED",
        "FAKE_CA",
    ] {
        if keys.boolean(key, false)? {
            return Err(Error::value(
                key,
                "true",
                "this function is not built",
                "set false or leave it out",
            ));
        }
    }
    for key in [
        "LOCAL_XDS_PATH",
        "LOCAL_XDS",
        "CRL_PATH",
        "COMPLIANCE_POLICY",
    ] {
        if let Some(value) = keys.get(key) {
            return Err(Error::value(
                key,
                value,
                "this function is not built",
                "leave it out",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
