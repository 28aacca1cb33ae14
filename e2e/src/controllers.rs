//! The command lines of controller manager and scheduler, for a whole cluster and for simulated nodes.

use std::path::PathBuf;
use std::time::Duration;

use crate::apiserver::{Site, write_kubeconfig};
use crate::certificates;

/// A program that brings the cluster to what its objects say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// `kube-controller-manager`.
    Manager,
    /// `kube-scheduler`.
    Scheduler,
}

/// What depends on how many nodes there are, and on how soon their death is to be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Requests a second that each may make; twice as many at once.
    pub requests: u32,
    /// How many `DaemonSets` are looked at at a time.
    pub daemon_sets: u8,
    /// How often nodes are looked at.
    pub look: Duration,
    /// How long a node may be silent.
    pub silence: Duration,
}

impl Default for Pace {
    /// A few nodes. A dead one is noticed in seconds, so that tests of it are short.
    fn default() -> Self {
        Self {
            requests: 500,
            daemon_sets: 2,
            look: Duration::from_secs(2),
            silence: Duration::from_secs(20),
        }
    }
}

impl Controller {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Manager, Self::Scheduler];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }

    /// Its arguments; its kubeconfig is made. There is one of each, so none is elected.
    ///
    /// # Errors
    /// When the certificate of its user cannot be made.
    pub fn arguments(self, site: &Site, pace: Pace) -> Result<Vec<String>, certificates::Error> {
        let name = self.name();
        let path = site.folder.join(format!("{name}.kubeconfig"));
        write_kubeconfig(site, &path, &format!("system:{name}"), None)?;
        let mut arguments = vec![
            format!("--kubeconfig={}", path.display()),
            format!("--authentication-kubeconfig={}", path.display()),
            format!("--authorization-kubeconfig={}", path.display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            format!("--kube-api-qps={}", pace.requests),
            format!("--kube-api-burst={}", 2 * pace.requests),
        ];
        if self == Self::Manager {
            let file = |name: &str| -> PathBuf { site.folder.join("certificates").join(name) };
            let (authority, key) = (file("ca.crt"), file("ca.key"));
            let accounts = file("service-account.key");
            arguments.extend([
                "--use-service-account-credentials=true".to_owned(),
                format!("--service-account-private-key-file={}", accounts.display()),
                format!("--root-ca-file={}", authority.display()),
                format!("--cluster-signing-cert-file={}", authority.display()),
                format!("--cluster-signing-key-file={}", key.display()),
                format!("--concurrent-daemonset-syncs={}", pace.daemon_sets),
                format!("--node-monitor-period={}s", pace.look.as_secs()),
                format!("--node-monitor-grace-period={}s", pace.silence.as_secs()),
            ]);
        }
        Ok(arguments)
    }
}
