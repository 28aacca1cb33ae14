//! The structured sources: `PROXY_CONFIG` and the mesh's `defaultConfig`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::source::Error;

/// The part of Istio's `ProxyConfig` that concerns a node proxy; other fields are allowed and mean nothing here.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProxyConfig {
    pub(super) discovery_address: Option<String>,
    pub(super) proxy_admin_port: Option<u16>,
    pub(super) stats_port: Option<u16>,
    pub(super) concurrency: Option<u16>,
    pub(super) proxy_metadata: BTreeMap<String, String>,
}

impl ProxyConfig {
    pub(super) fn overridden_by(mut self, other: Self) -> Self {
        self.proxy_metadata.extend(other.proxy_metadata);
        Self {
            discovery_address: other.discovery_address.or(self.discovery_address),
            proxy_admin_port: other.proxy_admin_port.or(self.proxy_admin_port),
            stats_port: other.stats_port.or(self.stats_port),
            concurrency: other.concurrency.or(self.concurrency),
            proxy_metadata: self.proxy_metadata,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MeshConfig {
    default_config: Option<ProxyConfig>,
}

/// Reads a `ProxyConfig`.
pub(super) fn proxy_config(name: &'static str, text: &str) -> Result<ProxyConfig, Error> {
    serde_saphyr::from_str(text).map_err(|e| yaml(name, &e))
}

/// Reads `defaultConfig` of a mesh configuration.
pub(super) fn mesh_default(text: &str) -> Result<ProxyConfig, Error> {
    if text.trim().is_empty() {
        return Ok(ProxyConfig::default());
    }
    let mesh: MeshConfig =
        serde_saphyr::from_str(text).map_err(|e| yaml("the mesh configuration", &e))?;
    Ok(mesh.default_config.unwrap_or_default())
}

fn yaml(name: &'static str, error: &impl ToString) -> Error {
    Error::Yaml {
        name,
        reason: error.to_string().chars().take(300).collect(),
    }
}

/// An address with its scheme, `https` when none is given.
pub(super) fn with_scheme(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("https://{address}")
    }
}

/// Whether the address is an http or https URL with a host.
pub(super) fn is_url(address: &str) -> bool {
    address.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}
