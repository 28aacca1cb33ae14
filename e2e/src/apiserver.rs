//! The command lines of etcd and of the API server, for a whole cluster and for tests alone.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::certificates::{self, Authority};
use crate::files;

/// What is audited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audit {
    /// Who did what to which object, bodies left out.
    #[default]
    Everybody,
    /// The requests of one user only, and what was answered to its writes: of a thousand nodes everything would be
    /// gigabytes.
    Only(String),
}

impl Audit {
    /// The policy. A watch is written down when it begins as well: it ends with the cluster or after many minutes.
    fn policy(&self) -> Value {
        let rules = match self {
            Self::Everybody => json!([{"level": "Metadata"}]),
            Self::Only(user) => json!([
                {
                    "level": "RequestResponse",
                    "users": [user],
                    "verbs": ["create", "update", "patch", "delete", "deletecollection"],
                    "omitManagedFields": true,
                },
                {"level": "Metadata", "users": [user]},
                {"level": "None"},
            ]),
        };
        json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": rules,
        })
    }
}

/// Megabytes after which the log would be begun anew, and what was in it lost to whoever counts.
const AUDIT_SIZE: u32 = 4096;

/// Where an API server listens and keeps its files.
#[derive(Clone, Debug)]
pub struct Site {
    /// Folder of certificates, policy and logs.
    pub folder: PathBuf,
    /// Address it listens on and is known by.
    pub address: IpAddr,
    /// Port of HTTPS.
    pub port: u16,
    /// Port of etcd's client URL, on loopback.
    pub etcd_port: u16,
    /// Port between etcd members, on loopback.
    pub etcd_peer_port: u16,
    /// Range of service addresses, for example `10.96.0.0/16`.
    pub services: String,
    /// The first service address: that of `kubernetes.default`.
    pub service: IpAddr,
    /// What is audited.
    pub audit: Audit,
}

impl Site {
    /// The URL of the API server.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    /// The audit log, one JSON event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// The kubeconfig of a user in group `system:masters`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// Makes authority, certificates, audit policy and the administrator's kubeconfig.
    pub fn prepare(&self) -> Result<Authority, certificates::Error> {
        let authority = Authority::create(&self.certificates())?;
        let mut names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
        ]
        .map(str::to_owned)
        .to_vec();
        names.extend([self.address.to_string(), self.service.to_string()]);
        authority.server("apiserver", &names)?;
        authority.client(
            "apiserver-kubelet",
            "kube-apiserver",
            Some("system:masters"),
        )?;
        authority.client("apiserver-aggregator", "aggregator", None)?;
        certificates::service_account_key(&self.certificates())?;
        let admin = authority.client("admin", "kubernetes-admin", Some("system:masters"))?;
        let policy = self.audit.policy().to_string();
        files::write(&self.folder.join("audit-policy.json"), policy)?;
        files::write_secret(
            &self.kubeconfig(),
            authority.kubeconfig(&self.url(), &admin)?,
        )?;
        Ok(authority)
    }

    /// The authority made by [`Site::prepare`].
    pub fn authority(&self) -> Result<Authority, certificates::Error> {
        Authority::open(&self.certificates())
    }

    /// The arguments of etcd. Nothing here outlives a test, so it never waits for the disk.
    pub fn etcd_arguments(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        vec![
            "--name=one".to_owned(),
            format!("--data-dir={}", self.folder.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=one={peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]
    }

    /// The arguments of kube-apiserver.
    pub fn arguments(&self) -> Vec<String> {
        let file = |flag: &str, name: &str| {
            format!("--{flag}={}", self.certificates().join(name).display())
        };
        let mut arguments = vec![
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={}", self.port),
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--service-cluster-ip-range={}", self.services),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Names of nodes are in no DNS.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--profiling=false".to_owned(),
            format!("--audit-log-path={}", self.audit_log().display()),
            format!("--audit-log-maxsize={AUDIT_SIZE}"),
            format!(
                "--audit-policy-file={}",
                self.folder.join("audit-policy.json").display()
            ),
            "--requestheader-allowed-names=aggregator".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
        ];
        arguments.extend(
            [
                ("client-ca-file", "ca.crt"),
                ("tls-cert-file", "apiserver.crt"),
                ("tls-private-key-file", "apiserver.key"),
                ("kubelet-client-certificate", "apiserver-kubelet.crt"),
                ("kubelet-client-key", "apiserver-kubelet.key"),
                ("proxy-client-cert-file", "apiserver-aggregator.crt"),
                ("proxy-client-key-file", "apiserver-aggregator.key"),
                ("requestheader-client-ca-file", "ca.crt"),
                ("service-account-key-file", "service-account.pub"),
                ("service-account-signing-key-file", "service-account.key"),
            ]
            .map(|(flag, name)| file(flag, name)),
        );
        arguments
    }
}

/// A kubeconfig at `path` for another user than the administrator, so that the audit log tells
/// its requests apart.
pub fn write_kubeconfig(
    site: &Site,
    path: &Path,
    user: &str,
    group: Option<&str>,
) -> Result<(), certificates::Error> {
    let authority = site.authority()?;
    let file = user.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let client = authority.client(&format!("user-{file}"), user, group)?;
    Ok(files::write_secret(
        path,
        authority.kubeconfig(&site.url(), &client)?,
    )?)
}
