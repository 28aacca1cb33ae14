//! Effective defaults: what an absent field means. Functions, so that an old object follows a better default.

use super::v1alpha1::{
    ApplicationNetworkSpec, CertificateAuthorityType, ClusterType, ControlPlane, ControlPlaneType,
    DataPlane, LeavePolicy, LogLevel, MeshMember, MeshMemberSpec, Mtls, ReleaseChannel, Upgrade,
    UpgradeMode, Waypoints, ZtunnelImplementation,
};
use crate::names::{DEFAULT_NETWORK, DEFAULT_TRUST_DOMAIN};

/// How many istiod pods run when nobody says.
const CONTROL_PLANE_REPLICAS: i32 = 2;

/// How many pods a waypoint has when nobody says.
const WAYPOINT_REPLICAS: i32 = 2;

impl MeshMemberSpec {
    /// The network this member belongs to.
    pub fn effective_network(&self) -> &str {
        self.application_network
            .as_deref()
            .unwrap_or(DEFAULT_NETWORK)
    }

    /// How the cluster is reached.
    pub fn effective_cluster_type(&self) -> ClusterType {
        self.cluster
            .as_ref()
            .map(|cluster| cluster.kind)
            .unwrap_or_default()
    }

    /// What deleting does while namespaces are enrolled.
    pub fn effective_leave_policy(&self) -> LeavePolicy {
        self.leave_policy.unwrap_or_default()
    }

    /// Who chooses the version.
    pub fn effective_mode(&self) -> UpgradeMode {
        self.upgrade
            .as_ref()
            .map(Upgrade::effective_mode)
            .unwrap_or_default()
    }

    /// Who runs istiod.
    pub fn effective_control_plane_type(&self) -> ControlPlaneType {
        self.control_plane
            .as_ref()
            .and_then(|plane| plane.kind)
            .unwrap_or_default()
    }

    /// How many istiod pods run.
    pub fn effective_control_plane_replicas(&self) -> i32 {
        self.control_plane
            .as_ref()
            .and_then(|plane: &ControlPlane| plane.replicas)
            .unwrap_or(CONTROL_PLANE_REPLICAS)
    }

    /// How many pods each waypoint has.
    pub fn effective_waypoint_replicas(&self) -> i32 {
        self.waypoints
            .as_ref()
            .and_then(|waypoints: &Waypoints| waypoints.replicas)
            .unwrap_or(WAYPOINT_REPLICAS)
    }

    /// Whose node proxy runs.
    pub fn effective_implementation(&self) -> ZtunnelImplementation {
        self.ztunnel()
            .and_then(|ztunnel| ztunnel.implementation)
            .unwrap_or_default()
    }

    /// How much the node proxy logs.
    pub fn effective_ztunnel_log_level(&self) -> LogLevel {
        self.ztunnel()
            .and_then(|ztunnel| ztunnel.log_level)
            .unwrap_or_default()
    }

    /// How much the network agent logs.
    pub fn effective_cni_log_level(&self) -> LogLevel {
        self.cni().and_then(|cni| cni.log_level).unwrap_or_default()
    }

    /// Whether new nodes carry a taint until the agent is ready.
    pub fn effective_startup_taint(&self) -> bool {
        self.cni()
            .and_then(|cni| cni.startup_taint)
            .unwrap_or(false)
    }

    fn ztunnel(&self) -> Option<&super::v1alpha1::Ztunnel> {
        self.data_plane
            .as_ref()
            .and_then(|plane: &DataPlane| plane.ztunnel.as_ref())
    }

    fn cni(&self) -> Option<&super::v1alpha1::Cni> {
        self.data_plane
            .as_ref()
            .and_then(|plane: &DataPlane| plane.cni.as_ref())
    }
}

impl MeshMember {
    /// The Istio network of the cluster's pods: the spec's, else the member's name.
    pub fn effective_istio_network(&self) -> &str {
        self.spec
            .network
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }

    /// The version that runs, as status records it; `None` until the first install has finished.
    pub fn running_version(&self) -> Option<&str> {
        let version = self.status.as_ref()?.version.as_ref()?;
        version
            .current
            .as_deref()
            .filter(|current| !current.is_empty())
    }
}

impl Upgrade {
    /// Who chooses the version.
    pub fn effective_mode(&self) -> UpgradeMode {
        self.mode.unwrap_or_default()
    }

    /// The channel that is followed; `None` for a `SelfManaged` member.
    pub fn effective_channel(&self) -> Option<ReleaseChannel> {
        (self.effective_mode() == UpgradeMode::FullyManaged)
            .then(|| self.release_channel.unwrap_or_default())
    }
}

impl ApplicationNetworkSpec {
    /// The first part of every identity.
    pub fn effective_trust_domain(&self) -> &str {
        self.trust_domain.as_deref().unwrap_or(DEFAULT_TRUST_DOMAIN)
    }

    /// Where certificates come from.
    pub fn effective_certificate_authority(&self) -> CertificateAuthorityType {
        self.certificate_authority
            .as_ref()
            .map(|authority| authority.kind)
            .unwrap_or_default()
    }

    /// Whether plain text is accepted.
    pub fn effective_mtls(&self) -> Mtls {
        self.mtls.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_spec_means_the_documented_defaults() {
        let spec = MeshMemberSpec::default();
        assert_eq!(spec.effective_network(), "default");
        assert_eq!(spec.effective_cluster_type(), ClusterType::Local);
        assert_eq!(
            spec.effective_leave_policy(),
            LeavePolicy::RefuseWhileEnrolled
        );
        assert_eq!(spec.effective_mode(), UpgradeMode::SelfManaged);
        assert_eq!(
            spec.effective_control_plane_type(),
            ControlPlaneType::Managed
        );
        assert_eq!(spec.effective_control_plane_replicas(), 2);
        assert_eq!(spec.effective_waypoint_replicas(), 2);
        assert_eq!(
            spec.effective_implementation(),
            ZtunnelImplementation::Applink
        );
        assert_eq!(spec.effective_ztunnel_log_level(), LogLevel::Info);
        assert_eq!(spec.effective_cni_log_level(), LogLevel::Info);
        assert!(!spec.effective_startup_taint());
        let network = ApplicationNetworkSpec::default();
        assert_eq!(network.effective_trust_domain(), "cluster.local");
        assert_eq!(
            network.effective_certificate_authority(),
            CertificateAuthorityType::Managed
        );
        assert_eq!(network.effective_mtls(), Mtls::Permissive);
    }

    #[test]
    fn a_channel_is_in_effect_only_when_fully_managed() {
        let mut upgrade = Upgrade::default();
        assert_eq!(upgrade.effective_channel(), None);
        upgrade.mode = Some(UpgradeMode::FullyManaged);
        assert_eq!(upgrade.effective_channel(), Some(ReleaseChannel::Stable));
        upgrade.release_channel = Some(ReleaseChannel::Rapid);
        assert_eq!(upgrade.effective_channel(), Some(ReleaseChannel::Rapid));
    }

    #[test]
    fn the_istio_network_is_the_members_name_unless_the_spec_says_otherwise() {
        let mut member = MeshMember::new("edge-1", MeshMemberSpec::default());
        assert_eq!(member.effective_istio_network(), "edge-1");
        member.spec.network = Some("campus".into());
        assert_eq!(member.effective_istio_network(), "campus");
    }
}
