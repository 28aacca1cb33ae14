//! What the operator is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags and environment of `applink operator`.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Address of /livez, /readyz and /metrics
    #[arg(
        long,
        env = "APPLINK_ADMIN",
        default_value = "[::]:8080",
        value_name = "ADDRESS"
    )]
    pub admin: SocketAddr,
    /// Folder with the definitions of Istio and of the Gateway API
    #[arg(
        long,
        env = "APPLINK_CRDS",
        default_value = "/usr/share/applink/crds",
        value_name = "FOLDER"
    )]
    pub crds: PathBuf,
    /// Name of this process in the Lease; unique among replicas
    #[arg(
        long,
        env = "POD_NAME",
        default_value = "applink-operator",
        value_name = "NAME"
    )]
    pub identity: String,
    /// Form of the log: json or text
    #[arg(
        long,
        env = "APPLINK_LOG_FORMAT",
        default_value = "json",
        value_name = "FORM"
    )]
    pub log_format: crate::telemetry::Format,
    /// What is logged: a level, or levels by module
    #[arg(
        long,
        env = "APPLINK_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
}
