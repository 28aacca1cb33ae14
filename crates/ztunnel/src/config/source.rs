//! Where values come from, and typed reading of one key with an error that names key, value and remedy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::{Place, Secret, duration, mesh};

/// Longest value shown in an error.
const SHOWN: usize = 80;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key has a value that cannot be used.
    #[error("{key} is {value:?}: {reason}; {remedy}")]
    Value {
        /// The key.
        key: String,
        /// Its value, cut.
        value: String,
        /// Why not.
        reason: &'static str,
        /// What to do.
        remedy: String,
    },
    /// A YAML source cannot be read.
    #[error("{name} is not a proxy configuration: {reason}; correct the YAML or leave it out")]
    Yaml {
        /// `PROXY_CONFIG` or the mesh file.
        name: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// The mesh file is there and cannot be read.
    #[error("the mesh configuration {path} cannot be read; correct its rights or remove it")]
    MeshFile {
        /// Its path.
        path: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(super) fn value(
        key: &str,
        value: &str,
        reason: &'static str,
        remedy: impl Into<String>,
    ) -> Self {
        let value = value.chars().take(SHOWN).collect();
        Self::Value {
            key: key.to_owned(),
            value,
            reason,
            remedy: remedy.into(),
        }
    }
}

/// Everything the configuration is read from.
pub struct Sources<'a> {
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Text of the mesh configuration, if there is one.
    pub mesh: Option<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Whether a path exists (tells a token's path from a token).
    pub exists: &'a dyn Fn(&Path) -> bool,
}

impl Sources<'_> {
    /// The keys after merging: the environment wins over `PROXY_CONFIG`'s metadata, which wins over the mesh's.
    pub(super) fn keys(&self) -> Result<Keys, Error> {
        let mut proxy = self
            .mesh
            .as_deref()
            .map(mesh::mesh_default)
            .transpose()?
            .unwrap_or_default();
        if let Some(text) = self
            .environment
            .get("PROXY_CONFIG")
            .filter(|text| !text.trim().is_empty())
        {
            proxy = proxy.overridden_by(mesh::proxy_config("PROXY_CONFIG", text)?);
        }
        let mut values = proxy.proxy_metadata.clone();
        values.extend(self.environment.clone());
        Ok(Keys { values, proxy })
    }
}

/// Merged keys.
pub(super) struct Keys {
    values: BTreeMap<String, String>,
    /// The structured part.
    pub(super) proxy: mesh::ProxyConfig,
}

impl Keys {
    /// A value as it stands, empty ones included.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A value; empty counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.raw(key).filter(|value| !value.is_empty())
    }

    pub(super) fn text(&self, key: &str, default: &str) -> String {
        self.get(key).unwrap_or(default).to_owned()
    }

    pub(super) fn boolean(&self, key: &str, default: bool) -> Result<bool, Error> {
        Ok(self.optional_boolean(key)?.unwrap_or(default))
    }

    pub(super) fn optional_boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(Some(true)),
            "false" | "0" | "no" => Ok(Some(false)),
            _ => Err(Error::value(
                key,
                value,
                "not a yes or no",
                "use true or false",
            )),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(
        &self,
        key: &str,
        default: T,
        range: RangeInclusive<u64>,
    ) -> Result<T, Error> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .parse::<u64>()
            .ok()
            .filter(|n| range.contains(n))
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| {
                let remedy = format!("use {} to {}", range.start(), range.end());
                Error::value(key, value, "not a number in range", remedy)
            })
    }

    pub(super) fn duration(&self, key: &str, default: Duration) -> Result<Duration, Error> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        duration::parse(value).ok_or_else(|| {
            Error::value(
                key,
                value,
                "not a duration",
                "use a form like 500ms, 30s, 5m or 1h30m",
            )
        })
    }

    pub(super) fn choice(&self, key: &str, names: &[&str]) -> Result<usize, Error> {
        let Some(value) = self.get(key) else {
            return Ok(0);
        };
        let at = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(value));
        at.ok_or_else(|| {
            Error::value(
                key,
                value,
                "not a known choice",
                format!("use one of {}", names.join(", ")),
            )
        })
    }

    pub(super) fn socket(&self, key: &str, default: SocketAddr) -> Result<SocketAddr, Error> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let numeric = value
            .strip_prefix("localhost:")
            .map_or_else(|| value.to_owned(), |port| format!("127.0.0.1:{port}"));
        numeric.parse().map_err(|_| {
            Error::value(
                key,
                value,
                "not an address with a port",
                "use a form like 127.0.0.1:15053",
            )
        })
    }

    /// Request metadata from keys with a prefix; names in lower case.
    pub(super) fn headers(&self, prefix: &str) -> Result<Vec<(String, Secret)>, Error> {
        let mut headers = Vec::new();
        for (key, value) in &self.values {
            let Some(name) = key.strip_prefix(prefix) else {
                continue;
            };
            let name = name.to_ascii_lowercase();
            let usable = http::HeaderName::try_from(&name).is_ok()
                && http::HeaderValue::try_from(value).is_ok();
            if !usable {
                return Err(Error::value(
                    key,
                    "<hidden>",
                    "not a request header",
                    "use visible ASCII in name and value",
                ));
            }
            headers.push((name, Secret(value.clone())));
        }
        Ok(headers)
    }

    pub(super) fn place(&self) -> Result<Place, Error> {
        let cluster = self
            .get("CLUSTER_ID")
            .or_else(|| self.get("ISTIO_META_CLUSTER_ID"))
            .unwrap_or("Kubernetes");
        let ip = self.get("INSTANCE_IP");
        let instance_ip = match ip {
            None => IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
            Some(value) => value.parse().map_err(|_| {
                Error::value(
                    "INSTANCE_IP",
                    value,
                    "not an IP address",
                    "set it to the pod's status.podIP",
                )
            })?,
        };
        let metadata = self.values.iter().filter_map(|(key, value)| {
            let name = key
                .strip_prefix("ISTIO_META_")
                .or_else(|| key.strip_prefix("ISTIO_METAJSON_"))?;
            Some((name.to_owned(), value.clone()))
        });
        Ok(Place {
            pod_name: self.text("POD_NAME", ""),
            pod_namespace: self.text("POD_NAMESPACE", ""),
            service_account: self.text("SERVICE_ACCOUNT", ""),
            trust_domain: self.text("TRUST_DOMAIN", "cluster.local"),
            instance_ip,
            node: self.text("NODE_NAME", ""),
            network: self.text("NETWORK", ""),
            cluster_id: cluster.to_owned(),
            cluster_domain: self.text("CLUSTER_DOMAIN", "cluster.local"),
            metadata: metadata.collect(),
        })
    }
}
