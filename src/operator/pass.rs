//! One pass over everything: observe, decide, act, report. Status is written at the end of every pass, also of a failed
//! one, and only when it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::error::Error;
use super::report::Reporter;
use super::signals::Signals;
use super::world::{Keys, World};
use super::{authority, execute, survey};
use crate::api::conditions::{ConditionType, Reason, Step};
use crate::api::v1alpha1::{
    ApplicationNetwork, ApplicationNetworkSpec, MeshMember, RootCertificate,
};
use crate::blueprint::Blueprint;
use crate::blueprint::resolve::{Surroundings, blueprint};
use crate::catalogue::{Catalogue, Component, Minor, Release, Resolution};
use crate::desired::crds;
use crate::facts::{Accepted, Answers, Facts, Membership, ObjectKey, Question, membership};
use crate::leave::{self, Leave, Terms};
use crate::metrics::{Gauges, Metrics};
use crate::names;
use crate::plan::{self, Bundle, Phase, Plan, Target};
use crate::platform;
use crate::preflight;
use crate::status::{self, Failure, NetworkOutcome, Outcome, Problem, Progress, Work};
use crate::trust::{Fingerprint, Found, Recorded};

/// After a failed pass over something else than a member.
const SOON: SignedDuration = SignedDuration::from_secs(5);

/// What is shared with tasks that ask components.
#[derive(Clone, Default)]
pub struct Asked {
    pub answers: Arc<Mutex<Answers>>,
    pub asking: Arc<Mutex<BTreeSet<Question>>>,
}

/// The operator at work.
pub struct Operator {
    pub client: Client,
    pub world: Arc<World>,
    pub signals: Arc<dyn Signals>,
    pub metrics: Metrics,
    pub crds: PathBuf,
    pub asked: Asked,
    pub accepted: BTreeMap<ObjectKey, Accepted>,
    pub bundle: Option<Bundle>,
    pub tasks: JoinSet<()>,
    pub reporter: Reporter,
    targets: BTreeMap<String, (Blueprint, Arc<Target>)>,
    leaving: BTreeMap<String, leave::Progress>,
    backoff: Backoff,
}

/// What a pass over one member found.
struct Seen<'a> {
    member: &'a MeshMember,
    name: String,
    facts: &'a Facts,
    membership: &'a Membership,
    catalogue: &'a Catalogue,
    members: &'a [MeshMember],
    now: Timestamp,
}

impl Operator {
    /// An operator that has done nothing yet.
    pub fn new(
        client: Client,
        world: World,
        signals: Arc<dyn Signals>,
        metrics: Metrics,
        crds: PathBuf,
        reporter: Reporter,
    ) -> Self {
        Self {
            client,
            world: Arc::new(world),
            signals,
            metrics,
            crds,
            asked: Asked::default(),
            accepted: BTreeMap::new(),
            bundle: None,
            tasks: JoinSet::new(),
            reporter,
            targets: BTreeMap::new(),
            leaving: BTreeMap::new(),
            backoff: Backoff::default(),
        }
    }

    /// One pass. Returns when to make the next although nothing changes.
    pub async fn pass(&mut self, now: Timestamp) -> Option<Timestamp> {
        while self.tasks.try_join_next().is_some() {}
        let mut facts = self.world.facts();
        let members: Vec<MeshMember> = self
            .world
            .members
            .all()
            .into_values()
            .filter_map(|own| own.0.as_ref().ok().cloned())
            .collect();
        let catalogue = self.catalogue();
        let mut next = self.releases(&catalogue, now).await;
        let found = membership(&facts, now);
        earlier(&mut next, found.next);
        earlier(&mut next, survey::next_look(&facts, now));
        let mut gauges = Gauges {
            members: i64::try_from(members.len()).unwrap_or(i64::MAX),
            pods: [count(found.enrolled), count(found.meshed)],
            ..Gauges::default()
        };
        self.backoff.retain(|name| {
            members
                .iter()
                .any(|member| member.metadata.name.as_deref() == Some(name))
        });
        for member in &members {
            let Some(name) = member.metadata.name.clone() else {
                continue;
            };
            facts.accepted.clone_from(&self.accepted);
            facts.answers = self.answers();
            let seen = Seen {
                member,
                name,
                facts: &facts,
                membership: &found,
                catalogue: &catalogue,
                members: &members,
                now,
            };
            let wake = self.member(&seen, &mut gauges).await;
            earlier(&mut next, wake);
        }
        self.forget(&facts);
        let wake = self.networks(&members, now).await;
        earlier(&mut next, wake);
        self.metrics.show(&gauges);
        next
    }

    fn answers(&self) -> Answers {
        self.asked
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers of pods that are gone, and records of objects that are gone.
    fn forget(&mut self, facts: &Facts) {
        let is_there = |question: &Question| {
            let pod = facts.pods.get(super::signals::pod_of(question));
            match question {
                Question::ControlPlane { uid, .. } | Question::Proxy { uid, .. } => {
                    pod.is_some_and(|pod| pod.uid == *uid)
                }
            }
        };
        self.asked
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|question, _| is_there(question));
    }

    fn catalogue(&self) -> Catalogue {
        let releases = self.world.releases.all();
        Catalogue::overlaid(releases.values().filter_map(|own| own.0.as_ref().ok()))
    }

    async fn releases(&mut self, catalogue: &Catalogue, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        for (name, own) in self.world.releases.all() {
            let Ok(release) = &own.0 else { continue };
            let generation = release.metadata.generation;
            let status = status::next_release(
                release.status.as_ref(),
                generation,
                catalogue.refused().get(&name),
                now,
            );
            if let Err(error) = self.reporter.release(&self.client, release, &status).await {
                warn!(release = name, error = %super::chain(&error), "cannot report");
                earlier(&mut next, now.checked_add(SOON).ok());
            }
        }
        next
    }

    async fn networks(&mut self, members: &[MeshMember], now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        for (name, own) in self.world.networks.all() {
            let Ok(network) = &own.0 else { continue };
            let counted: Vec<MeshMember> = members
                .iter()
                .map(|member| self.reporter.newest(member))
                .collect();
            let root = authority::root(&self.world, &name);
            let recorded = network
                .status
                .as_ref()
                .and_then(|status| status.root_certificate.as_ref());
            let (root, failure) = match root {
                Found::Good(found)
                    if recorded.is_none_or(|recorded| {
                        Fingerprint::recorded(&recorded.fingerprint) == found.fingerprint
                    }) =>
                {
                    let root = RootCertificate {
                        fingerprint: found.fingerprint.as_str().to_owned(),
                        not_after: survey::certificate("root", &found).not_after,
                    };
                    (Some(root), None)
                }
                found => (
                    None,
                    recorded.map(|_| lost_root(&self.world, &name, recorded, &found)),
                ),
            };
            let outcome = NetworkOutcome {
                generation: network.metadata.generation,
                members: status::count(&name, &counted),
                root,
                failure: failure.flatten(),
            };
            let status = status::next_network(network.status.as_ref(), &outcome, now);
            if let Err(error) = self.reporter.network(&self.client, network, &status).await {
                warn!(network = name, error = %super::chain(&error), "cannot report");
                earlier(&mut next, now.checked_add(SOON).ok());
            }
        }
        next
    }

    async fn member(&mut self, seen: &Seen<'_>, gauges: &mut Gauges) -> Option<Timestamp> {
        let generation = seen.member.metadata.generation;
        let is_deleted = seen.member.metadata.deletion_timestamp.is_some();
        if let Some(until) = self
            .backoff
            .waits_until(&seen.name, generation, seen.now)
            .filter(|_| !is_deleted)
        {
            return Some(until);
        }
        let started = Instant::now();
        let mut outcome = Outcome {
            generation,
            cluster_uid: Some(seen.facts.cluster_uid.clone()),
            kubernetes_version: Some(seen.facts.server_version.clone()),
            upgrade: seen.member.spec.upgrade.clone(),
            membership: Some(survey::membership(seen.membership)),
            ..Outcome::default()
        };
        let mut next = None;
        let result = if is_deleted {
            self.leave(seen, &mut outcome, &mut next).await
        } else {
            self.converge(seen, &mut outcome, &mut next)
                .await
                .map(|()| false)
        };
        let mut failed = None;
        match result {
            Ok(true) => {
                self.metrics.pass(started.elapsed().as_secs_f64(), None);
                return None;
            }
            Ok(false) => self.backoff.succeeded(&seen.name),
            Err(error) => {
                failed = Some(error.reason());
                let until = self.backoff.failed(&seen.name, generation, seen.now);
                warn!(member = seen.name, error = %super::chain(&error), reason = %error.reason(), "pass failed");
                outcome.failure = Some(error.failure());
                earlier(&mut next, Some(until));
            }
        }
        self.metrics.pass(started.elapsed().as_secs_f64(), failed);
        Self::show(&outcome, gauges);
        match self
            .reporter
            .member(&self.client, seen.member, &outcome, seen.now)
            .await
        {
            Ok(later) => earlier(&mut next, later),
            Err(error) => {
                warn!(member = seen.name, error = %super::chain(&error), "cannot report");
                earlier(&mut next, seen.now.checked_add(SOON).ok());
            }
        }
        let reported = self.reporter.newest(seen.member);
        gauges.ready += i64::from(
            reported
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .any(|condition| {
                    condition.type_ == ConditionType::Ready.as_str() && condition.status == "True"
                }),
        );
        next
    }

    fn show(outcome: &Outcome, gauges: &mut Gauges) {
        if let Progress::Working(work) = &outcome.progress {
            gauges
                .steps
                .push((work.step, work.wait.as_ref().map(|wait| wait.reason)));
            if let Some(nodes) = &work.nodes {
                gauges.nodes = [
                    nodes.total,
                    nodes.updated,
                    nodes.set_aside,
                    nodes.unsupported,
                ]
                .map(i64::from);
            }
        }
        if matches!(outcome.progress, Progress::Settled { .. }) {
            let proxies = outcome
                .components
                .iter()
                .flatten()
                .find(|component| component.status.name == names::ZTUNNEL);
            if let Some(proxies) = proxies {
                gauges.nodes[0] = proxies.status.desired.into();
                gauges.nodes[1] = proxies.status.updated.into();
            }
        }
        for certificate in outcome.certificates.iter().flatten() {
            let what = match certificate.what.as_str() {
                "root" => "root",
                _ => "intermediate",
            };
            if let Some(end) = &certificate.not_after {
                gauges.certificates.push((what, end.0.as_second()));
            }
        }
    }

    /// Resolves the spec and looks at the cluster. What can be told without acting is told in the outcome.
    fn resolve(
        &mut self,
        seen: &Seen<'_>,
        network: &ApplicationNetworkSpec,
        outcome: &mut Outcome,
    ) -> Result<Option<Arc<Target>>, Error> {
        let Some(kubernetes) = Minor::of_kubernetes(&seen.facts.server_version) else {
            outcome.findings = preflight::check(
                &survey::cluster(seen.facts, seen.membership, Vec::new()),
                seen.member,
                None,
            );
            return Ok(None);
        };
        let running = seen
            .member
            .running_version()
            .and_then(|text| text.parse().ok());
        let resolution = crate::catalogue::resolve(
            seen.member.spec.upgrade.as_ref(),
            running,
            seen.catalogue,
            kubernetes,
            seen.now,
        );
        let detection = platform::detect(
            &survey::evidence(seen.facts),
            seen.member
                .spec
                .data_plane
                .as_ref()
                .and_then(|plane| plane.platform),
        );
        outcome.platform = Some(crate::api::v1alpha1::PlatformStatus {
            name: detection.platform.to_string(),
            evidence: detection.evidence.clone(),
        });
        // What runs stays until it can be moved; only the first install follows what the spec resolves to.
        let release: Option<Release> = running
            .and_then(|running| seen.catalogue.get(running).cloned())
            .or_else(|| {
                resolution
                    .as_ref()
                    .ok()
                    .map(|resolution: &Resolution| resolution.release.clone())
            });
        if let Some(running) = running {
            outcome.available_upgrades = Some(
                seen.catalogue
                    .available_upgrades(running, kubernetes, seen.now),
            );
        }
        outcome.resolution = Some(resolution);
        outcome.findings = preflight::check(
            &survey::cluster(
                seen.facts,
                seen.membership,
                survey::rivals(seen.member, seen.members.iter()),
            ),
            seen.member,
            release.as_ref(),
        );
        let Some(release) = release else {
            return Ok(None);
        };
        let surroundings = Surroundings {
            platform: detection.platform,
            families: survey::families(seen.facts),
            ..Surroundings::default()
        };
        let made = match blueprint(seen.member, network, &release, &surroundings) {
            Ok(made) => made,
            Err(error) => {
                outcome.invalid = Some(Problem {
                    reason: Reason::InvalidSpec,
                    message: error.to_string(),
                });
                return Ok(None);
            }
        };
        if let Some((known, target)) = self.targets.get(&seen.name)
            && *known == made
        {
            return Ok(Some(Arc::clone(target)));
        }
        let target = Arc::new(Target::of(&made)?);
        info!(member = seen.name, revision = %target.revision, "rendered");
        self.targets
            .insert(seen.name.clone(), (made, Arc::clone(&target)));
        Ok(Some(target))
    }

    fn network(&self, seen: &Seen<'_>) -> Option<ApplicationNetwork> {
        let name = seen.member.spec.effective_network();
        let all = self.world.networks.all();
        all.get(name).and_then(|own| own.0.as_ref().ok().cloned())
    }

    async fn converge(
        &mut self,
        seen: &Seen<'_>,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<(), Error> {
        let network_name = seen.member.spec.effective_network().to_owned();
        let network = self.network(seen);
        let is_default = network_name == names::DEFAULT_NETWORK;
        if network.is_none() && !is_default {
            outcome.invalid = Some(Problem {
                reason: Reason::ReferenceNotResolved,
                message: format!(
                    "ApplicationNetwork {network_name} does not exist: create it, or leave spec.applicationNetwork out for the default one"
                ),
            });
        }
        let spec = network
            .as_ref()
            .map(|network| network.spec.clone())
            .unwrap_or_default();
        let target = self.resolve(seen, &spec, outcome)?;
        let installed = seen.member.running_version().is_some();
        let phase = if installed {
            Phase::Installed
        } else {
            Phase::Installing
        };
        if let Some(target) = &target {
            outcome.components = Some(survey::components(seen.facts, target, seen.now));
        }
        let blocks = preflight::blocks(&outcome.findings) && !installed;
        let rival = outcome
            .findings
            .iter()
            .any(|finding| finding.code == preflight::Code::ClusterAlreadyMember);
        let (Some(target), false, None, false) = (target, blocks, &outcome.invalid, rival) else {
            outcome.progress = Progress::Working(Work {
                step: Step::Preflight,
                wait: None,
                to: outcome
                    .resolution
                    .as_ref()
                    .and_then(|resolution| resolution.as_ref().ok())
                    .map(|resolution| resolution.release.version),
                revision: None,
                nodes: None,
            });
            return Ok(());
        };
        // From here on something of ours may be in the cluster.
        execute::add_finalizer(&self.client, seen.member).await?;
        if network.is_none() {
            execute::make_network(&self.client, &network_name).await?;
        }
        let stalled = self
            .trust(seen, &network_name, network.as_ref(), outcome)
            .await?;
        if stalled && !installed {
            outcome.progress = working(&Plan::new(Step::ControlPlane), &target);
            return Ok(());
        }
        self.definitions().await?;
        let bundle = self.bundle.clone().unwrap_or_default();
        let plan = plan::plan(seen.facts, &target, &bundle, phase, seen.now);
        self.carry_out(seen, &target, plan, outcome, next).await
    }

    async fn carry_out(
        &mut self,
        seen: &Seen<'_>,
        target: &Arc<Target>,
        plan: Plan,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<(), Error> {
        let installed = seen.member.running_version().is_some();
        earlier(next, plan.again_at);
        outcome.progress = if plan.done && plan.acts.is_empty() || installed && !plan.is_rolling {
            Progress::Settled {
                version: target.version,
                istio: target.istio,
            }
        } else {
            working(&plan, target)
        };
        if let Some(wait) = plan
            .wait
            .as_ref()
            .filter(|wait| wait.reason == Reason::ImageUnavailable)
        {
            outcome.failure = Some(Failure {
                reason: Reason::ImageUnavailable,
                message: format!(
                    "{}: {}; check spec.images, the registry and its pull secrets",
                    wait.object, wait.message
                ),
                is_terminal: true,
            });
        }
        if !target.policy.is_empty()
            && seen
                .facts
                .definitions
                .get("peerauthentications.security.istio.io")
                .is_some_and(|definition| definition.established)
        {
            self.world.watch_policy(&self.client, &mut self.tasks);
        }
        for act in &plan.acts {
            self.act(act, seen.facts, target).await?;
        }
        Ok(())
    }

    /// Makes or finds the authorities. True when trust stands still.
    async fn trust(
        &mut self,
        seen: &Seen<'_>,
        network_name: &str,
        network: Option<&ApplicationNetwork>,
        outcome: &mut Outcome,
    ) -> Result<bool, Error> {
        let newest = self.reporter.newest(seen.member);
        let of_member = |what: &str| {
            newest
                .status
                .iter()
                .flat_map(|status| &status.certificates)
                .find(|certificate| certificate.what == what)
                .map(|certificate| Fingerprint::recorded(&certificate.fingerprint))
        };
        let of_network = network
            .and_then(|network| network.status.as_ref())
            .and_then(|status| status.root_certificate.as_ref())
            .map(|root| Fingerprint::recorded(&root.fingerprint));
        let recorded = Recorded {
            root: of_network.or_else(|| of_member("root")),
            intermediate: of_member("intermediate"),
        };
        let made = authority::ensure(
            &self.client,
            &self.world,
            network_name,
            &seen.name,
            &recorded,
            seen.now,
        )
        .await?;
        match made {
            Ok(authorities) => {
                outcome.certificates = Some(vec![
                    survey::certificate("root", &authorities.root),
                    survey::certificate("intermediate", &authorities.intermediate),
                ]);
                Ok(false)
            }
            Err(failure) => {
                outcome.failure = Some(failure);
                Ok(true)
            }
        }
    }

    /// Reads the folder of definitions once, without their schemas.
    async fn definitions(&mut self) -> Result<(), Error> {
        if self.bundle.is_some() {
            return Ok(());
        }
        let folder = self.crds.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bundle = Bundle::default();
            for one in crds::bundled(&folder)? {
                bundle.push(one?);
            }
            Ok::<_, crds::Error>(bundle)
        })
        .await;
        match read {
            Ok(bundle) => {
                self.bundle = Some(bundle?);
                Ok(())
            }
            Err(_) => Err(Error::Timeout {
                what: "reading",
                object: "the definitions".to_owned(),
                seconds: 0,
            }),
        }
    }

    /// True when the member has left.
    async fn leave(
        &mut self,
        seen: &Seen<'_>,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<bool, Error> {
        if !execute::has_finalizer(seen.member) {
            return Ok(true);
        }
        let network = self
            .network(seen)
            .map(|network| network.spec)
            .unwrap_or_default();
        let target = self.resolve(seen, &network, outcome)?;
        let rival = outcome
            .findings
            .iter()
            .any(|finding| finding.code == preflight::Code::ClusterAlreadyMember);
        let owns = seen.facts.objects.values().any(|live| {
            live.body
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(names::MEMBER_LABEL))
                .and_then(serde_json::Value::as_str)
                == Some(seen.name.as_str())
        });
        if rival || (!owns && !self.leaving.contains_key(&seen.name)) {
            // Another member stands for this cluster, or nothing was ever installed.
            execute::remove_finalizer(&self.client, seen.member).await?;
            return Ok(true);
        }
        let terms = Terms {
            policy: seen.member.spec.effective_leave_policy(),
            check: self.check(seen, outcome),
        };
        let mut progress = self.leaving.remove(&seen.name).unwrap_or_default();
        let decided = leave::plan(seen.facts, &terms, seen.membership, &mut progress, seen.now);
        let left = progress.left.clone();
        self.leaving.insert(seen.name.clone(), progress);
        outcome.findings.clear();
        match decided {
            Leave::Blocked(problem) => {
                outcome.leave_blocked = Some(problem);
                if let Some(target) = target {
                    outcome.components = Some(survey::components(seen.facts, &target, seen.now));
                    let phase = if seen.member.running_version().is_some() {
                        Phase::Installed
                    } else {
                        Phase::Installing
                    };
                    self.definitions().await?;
                    let bundle = self.bundle.clone().unwrap_or_default();
                    let plan = plan::plan(seen.facts, &target, &bundle, phase, seen.now);
                    self.carry_out(seen, &target, plan, outcome, next).await?;
                }
                Ok(false)
            }
            Leave::Going(plan) => {
                earlier(next, plan.again_at);
                outcome.progress = Progress::Working(Work {
                    step: Step::Leave,
                    wait: plan.wait.clone(),
                    to: None,
                    revision: None,
                    nodes: None,
                });
                if !left.is_empty() {
                    outcome.leave_blocked = Some(Problem {
                        reason: Reason::Leftovers,
                        message: format!("went on without waiting longer: {}", left.join("; ")),
                    });
                }
                for act in &plan.acts {
                    self.act_of_leave(act).await?;
                }
                Ok(false)
            }
            Leave::Sweep => {
                outcome.progress = Progress::Working(Work {
                    step: Step::Leave,
                    wait: None,
                    to: None,
                    revision: None,
                    nodes: None,
                });
                execute::sweep(&self.client, seen.facts).await?;
                if let Some(progress) = self.leaving.get_mut(&seen.name) {
                    progress.swept = true;
                }
                self.world.wake.notify_one();
                Ok(false)
            }
            Leave::Done => {
                info!(member = seen.name, left = left.join("; "), "left");
                if !left.is_empty() {
                    self.reporter.leftovers(seen.member, &left).await;
                }
                execute::remove_finalizer(&self.client, seen.member).await?;
                self.leaving.remove(&seen.name);
                self.targets.remove(&seen.name);
                Ok(true)
            }
        }
    }

    /// The pods that look at nodes on the way out.
    fn check(&self, seen: &Seen<'_>, outcome: &Outcome) -> Option<plan::Object> {
        let running = seen
            .member
            .running_version()
            .and_then(|text| text.parse().ok());
        let release = running
            .and_then(|running| seen.catalogue.get(running))
            .or_else(|| {
                outcome
                    .resolution
                    .as_ref()
                    .and_then(|resolution| resolution.as_ref().ok())
                    .map(|resolution| &resolution.release)
            })?;
        let registry = seen
            .member
            .spec
            .images
            .as_ref()
            .and_then(|images| images.registry.as_deref());
        let image = release.image(Component::Applink, registry);
        let platform = self
            .targets
            .get(&seen.name)
            .map(|(blueprint, _)| blueprint.platform)
            .unwrap_or_default();
        Some(super::check::object(&seen.name, &image, platform))
    }

    /// Roots that istiod's certificate must be under.
    pub fn roots(&self) -> Vec<rustls::pki_types::CertificateDer<'static>> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        match self
            .world
            .cacerts
            .all()
            .get(names::CACERTS_SECRET)
            .map(AsRef::as_ref)
        {
            Some(Keys::Pair(Ok((_, _, pem)))) => CertificateDer::pem_slice_iter(pem)
                .filter_map(Result::ok)
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn working(plan: &Plan, target: &Target) -> Progress {
    debug!(step = %plan.step, acts = plan.acts.len(), "planned");
    Progress::Working(Work {
        step: plan.step,
        wait: plan.wait.clone(),
        to: Some(target.version),
        revision: Some(target.revision.to_string()),
        nodes: plan.nodes.clone(),
    })
}

/// Why a network's recorded root is not the one found.
fn lost_root(
    world: &World,
    network: &str,
    recorded: Option<&RootCertificate>,
    _found: &Found<crate::trust::Certificate>,
) -> Option<Failure> {
    let recorded = Recorded {
        root: recorded.map(|root| Fingerprint::recorded(&root.fingerprint)),
        intermediate: None,
    };
    match authority::decided(world, network, &recorded) {
        crate::trust::Decision::Stalled(problem) => Some(Failure {
            reason: Reason::RootMissing,
            message: problem.to_string(),
            is_terminal: true,
        }),
        _ => None,
    }
}

fn earlier(next: &mut Option<Timestamp>, other: Option<Timestamp>) {
    if let Some(other) = other {
        *next = Some(next.map_or(other, |known| known.min(other)));
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
