//! How a command reaches the cluster: the kubeconfig and context of kubectl.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Failure;

/// Flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Kubeconfig file [default: as kubectl finds it]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
}

/// A client for the cluster these flags name; nothing is asked of the cluster yet.
///
/// # Errors
/// No usable kubeconfig; the message names the file or the context.
pub async fn client(flags: &Flags) -> Result<Client, Failure> {
    let mut config = config(flags).await?;
    // A person waits in front of this: fail while they still remember what they typed.
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(30));
    Client::try_from(config).map_err(|error| Failure::of_kube("connect to the cluster", &error))
}

async fn config(flags: &Flags) -> Result<Config, Failure> {
    const WHAT: &str = "cannot find the cluster";
    const REMEDY: &str = "set KUBECONFIG, or pass --kubeconfig and --context";
    let options = KubeConfigOptions {
        context: flags.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &flags.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path)
            .map_err(|error| Failure::new(WHAT, error.to_string(), REMEDY))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| Failure::new(WHAT, error.to_string(), REMEDY));
    }
    if flags.context.is_some() {
        return Config::from_kubeconfig(&options)
            .await
            .map_err(|error| Failure::new(WHAT, error.to_string(), REMEDY));
    }
    Config::infer()
        .await
        .map_err(|error| Failure::new(WHAT, error.to_string(), REMEDY))
}
