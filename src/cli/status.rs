//! `status`: members, their components and nodes, and what is being waited for, as a tree.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use super::failure::{MAKE_MEMBER, NO_MEMBER};
use super::snapshot::{self, NodeView, PodView, Snapshot};
use super::tree::Branch;
use super::{Failure, NOT_READY, block_on, connect, output, print};
use crate::api::v1alpha1::{ComponentStatus, MeshMember, MeshMemberStatus};

/// How often `--watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Most nodes that are listed one by one when all is well with them.
const QUIET_NODES: usize = 20;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this member
    member: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Tree)]
    output: Output,
    /// Print again whenever something changes, until every member is ready
    #[arg(short, long)]
    watch: bool,
    /// With --watch: give up after this many seconds
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    timeout: Option<u64>,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    Tree,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

/// Reads and prints; exit code 3 when a member is not ready, or none exists.
///
/// # Errors
/// The cluster cannot be read, or the member named does not exist.
pub fn run(args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let ready = block_on(async {
        let client = connect::client(cluster).await?;
        let started = Timestamp::now();
        let mut shown = String::new();
        loop {
            let snapshot = only(snapshot::read(&client).await?, args.member.as_deref())?;
            let now = Timestamp::now();
            let text = rendered(&snapshot, args.output, now)?;
            // Ages alone are no change worth printing.
            let key = rendered(&snapshot, args.output, started)?;
            if key != shown {
                print(&text)?;
                shown = key;
            }
            let ready = all_ready(&snapshot);
            let late = args.timeout.is_some_and(|seconds| {
                now.duration_since(started).as_secs().unsigned_abs() >= seconds
            });
            if !args.watch || ready || late {
                return Ok(ready);
            }
            tokio::time::sleep(WATCH_PERIOD).await;
        }
    })?;
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_READY)
    })
}

fn only(mut snapshot: Snapshot, member: Option<&str>) -> Result<Snapshot, Failure> {
    if let Some(name) = member {
        snapshot.members.retain(|member| member.name_any() == name);
        if snapshot.members.is_empty() {
            return Err(Failure::new(
                format!("cannot show meshmember {name}"),
                "it does not exist",
                "list them: kubectl get meshmembers",
            ));
        }
    }
    Ok(snapshot)
}

fn rendered(snapshot: &Snapshot, output: Output, now: Timestamp) -> Result<String, Failure> {
    const WHAT: &str = "the status";
    match output {
        Output::Tree => Ok(render(snapshot, now)),
        Output::Json => output::json(WHAT, snapshot),
        Output::Yaml => output::yaml(WHAT, snapshot),
    }
}

fn all_ready(snapshot: &Snapshot) -> bool {
    !snapshot.members.is_empty()
        && snapshot.members.iter().all(|member| {
            member.status.as_ref().is_some_and(|status| {
                let current = status.observed_generation >= member.metadata.generation;
                current
                    && status
                        .conditions
                        .iter()
                        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            })
        })
}

/// The whole picture as text. `now` is what ages are counted from.
pub fn render(snapshot: &Snapshot, now: Timestamp) -> String {
    if snapshot.members.is_empty() {
        return format!("{NO_MEMBER}; {MAKE_MEMBER}\n");
    }
    snapshot
        .members
        .iter()
        .map(|member| member_branch(member, &snapshot.nodes, now).render())
        .collect::<Vec<_>>()
        .join("\n")
}

fn member_branch(member: &MeshMember, nodes: &[NodeView], now: Timestamp) -> Branch {
    let empty = MeshMemberStatus::default();
    let status = member.status.as_ref().unwrap_or(&empty);
    let mut head = format!(
        "MeshMember {}  network {}",
        member.name_any(),
        member.spec.effective_network()
    );
    if let Some(upgrade) = &status.upgrade {
        let follows = upgrade
            .follows
            .clone()
            .or_else(|| upgrade.channel.clone())
            .or_else(|| upgrade.version.clone());
        head = [Some(head), upgrade.mode.clone(), follows]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("  ");
    }
    if let Some(created) = &member.metadata.creation_timestamp {
        head = format!("{head}  age {}", span(created.0, now));
    }
    if member.metadata.deletion_timestamp.is_some() {
        head.push_str("  leaving");
    }
    let mut parts = vec![
        Branch::new(version_line(status)),
        Branch::new(step_line(status, now)),
    ];
    if status.observed_generation < member.metadata.generation {
        parts.push(Branch::new("the operator has not seen the latest spec yet"));
    }
    parts.extend(
        Branch::new("conditions")
            .with(status.conditions.iter().map(condition_branch))
            .unless_bare(),
    );
    parts.extend(
        Branch::new("components")
            .with(status.components.iter().map(component_branch))
            .unless_bare(),
    );
    parts.push(nodes_branch(nodes));
    parts.push(membership_branch(status));
    parts.extend(
        Branch::new("certificates")
            .with(status.certificates.iter().map(|certificate| {
                Branch::row([
                    certificate.what.clone(),
                    until(certificate.not_after.as_ref(), now),
                    format!("sha256 {}", start_of(&certificate.fingerprint)),
                ])
            }))
            .unless_bare(),
    );
    if !status.available_upgrades.is_empty() {
        parts.push(
            Branch::new("available upgrades").with(status.available_upgrades.iter().map(
                |upgrade| {
                    let fixes = if upgrade.fixes == 0 {
                        String::new()
                    } else {
                        format!("{} fixes", upgrade.fixes)
                    };
                    Branch::row([
                        upgrade.version.clone(),
                        format!("Istio {}", upgrade.istio_version),
                        upgrade.channels.join(", "),
                        fixes,
                    ])
                },
            )),
        );
    }
    Branch::new(head).with(parts)
}

fn version_line(status: &MeshMemberStatus) -> String {
    let version = status.version.clone().unwrap_or_default();
    let istio = status
        .istio_version
        .as_ref()
        .map(|istio| format!(" (Istio {istio})"))
        .unwrap_or_default();
    match (version.current, version.target) {
        (Some(current), Some(target)) if current == target => format!("version {current}{istio}"),
        (Some(current), Some(target)) => format!("version {current}{istio}, moving to {target}"),
        (Some(current), None) => format!("version {current}{istio}"),
        (None, Some(target)) => format!("version {target} is being installed"),
        (None, None) => "no version chosen yet".to_owned(),
    }
}

/// What is being waited for, from the most to the least telling source.
fn step_line(status: &MeshMemberStatus, now: Timestamp) -> String {
    if let Some(stalled) = condition(status, "Stalled") {
        return format!("waits for you: {} ({})", stalled.message, stalled.reason);
    }
    if let Some(blocked) = condition(status, "LeaveBlocked") {
        return format!("leave is blocked: {} ({})", blocked.message, blocked.reason);
    }
    if let Some(rollout) = &status.rollout {
        let nodes = rollout
            .nodes
            .as_ref()
            .map(|nodes| format!(", {} of {} nodes", nodes.updated, nodes.total))
            .unwrap_or_default();
        let since = rollout
            .started_at
            .as_ref()
            .map(|at| format!(", for {}", span(at.0, now)))
            .unwrap_or_default();
        let message = rollout
            .message
            .as_ref()
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        return format!("step {}{nodes}{since}{message}", rollout.step);
    }
    if let Some(reconciling) = condition(status, "Reconciling") {
        return format!("works on {}: {}", reconciling.reason, reconciling.message);
    }
    match status
        .upgrade
        .as_ref()
        .and_then(|upgrade| upgrade.waiting_for.as_ref())
    {
        Some(waiting) => format!("waits for {waiting}"),
        None if status.conditions.is_empty() => {
            "waits for the operator; is it running? kubectl -n applink-operator get pods".to_owned()
        }
        None => "waits for nothing".to_owned(),
    }
}

fn condition<'a>(status: &'a MeshMemberStatus, kind: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

fn condition_branch(condition: &Condition) -> Branch {
    Branch::row([
        condition.type_.clone(),
        condition.status.clone(),
        condition.reason.clone(),
        condition.message.clone(),
    ])
}

fn component_branch(component: &ComponentStatus) -> Branch {
    let mut state = format!("{}/{} ready", component.ready, component.desired);
    if component.updated < component.desired {
        state = format!("{state}, {} updated", component.updated);
    }
    Branch::row([
        component.name.clone(),
        component.version.clone().unwrap_or_default(),
        state,
        component.message.clone().unwrap_or_default(),
    ])
}

fn nodes_branch(nodes: &[NodeView]) -> Branch {
    let (quiet, loud): (Vec<&NodeView>, Vec<&NodeView>) =
        nodes.iter().partition(|node| is_quiet(node));
    let title = Branch::new(format!("nodes  {} of {} serve", quiet.len(), nodes.len()));
    if nodes.len() <= QUIET_NODES {
        return title.with(nodes.iter().map(node_branch));
    }
    // On a large cluster only what needs eyes is listed.
    title.with(loud.into_iter().take(QUIET_NODES).map(node_branch))
}

fn is_quiet(node: &NodeView) -> bool {
    node.ready
        && matches!(node.agents.as_slice(), [agent] if agent.ready)
        && matches!(node.proxies.as_slice(), [proxy] if proxy.ready)
}

fn node_branch(node: &NodeView) -> Branch {
    let mut state = if node.ready { "ready" } else { "not ready" }.to_owned();
    if node.cordoned {
        state.push_str(", cordoned");
    }
    if !node.os.is_empty() && node.os != "linux" {
        state = format!("{state}, {}: not supported", node.os);
    }
    Branch::row([
        node.name.clone(),
        state,
        pods_cell("agent", &node.agents),
        pods_cell("proxy", &node.proxies),
    ])
}

fn pods_cell(what: &str, pods: &[PodView]) -> String {
    if pods.is_empty() {
        return format!("no {what}");
    }
    let each = pods.iter().map(|pod| {
        let state = match (&pod.problem, pod.ready) {
            (_, true) => "ready".to_owned(),
            (Some(problem), false) => problem.clone(),
            (None, false) => "not ready".to_owned(),
        };
        let restarts = if pod.restarts == 0 {
            String::new()
        } else {
            format!(", {} restarts", pod.restarts)
        };
        let revision = pod
            .revision
            .as_ref()
            .map(|revision| format!(" {revision}"))
            .unwrap_or_default();
        format!("{what}{revision} {state}{restarts}")
    });
    each.collect::<Vec<_>>().join("; ")
}

fn membership_branch(status: &MeshMemberStatus) -> Branch {
    let Some(membership) = &status.membership else {
        return Branch::new("membership  not read yet");
    };
    if membership.namespaces == 0 {
        return Branch::new(
            "membership  no namespace is enrolled; enrol one: kubectl label namespace NAME istio.io/dataplane-mode=ambient",
        );
    }
    let names = membership.enrolled_names.join(", ");
    let more = usize::try_from(membership.namespaces)
        .unwrap_or(0)
        .saturating_sub(membership.enrolled_names.len());
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    let plural = if membership.namespaces == 1 {
        "namespace"
    } else {
        "namespaces"
    };
    Branch::new(format!(
        "membership  {} {plural} ({names}{more}), {} of {} pods in the mesh",
        membership.namespaces, membership.meshed, membership.enrolled
    ))
    .with(
        membership
            .broken
            .iter()
            .map(|pod| Branch::new(format!("{pod} is not served"))),
    )
}

fn until(end: Option<&Time>, now: Timestamp) -> String {
    match end {
        Some(end) if end.0 <= now => format!("ended {}", end.0.strftime("%Y-%m-%d")),
        Some(end) => format!(
            "until {} (in {})",
            end.0.strftime("%Y-%m-%d"),
            span(now, end.0)
        ),
        None => String::new(),
    }
}

fn start_of(fingerprint: &str) -> String {
    fingerprint.chars().take(16).collect()
}

/// The time between two moments in its largest unit, as kubectl prints ages.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        172_800..94_608_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn spans_are_short_and_never_negative() {
        let start = at("2026-11-21T00:00:00Z");
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_800, "2d"),
            (315_360_000, "10y"),
            (-9, "0s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(
                span(start, start + jiff::SignedDuration::from_secs(seconds)),
                expected
            );
        }
    }

    #[test]
    fn a_certificate_says_when_it_ends_or_ended() {
        let end = Time(at("2036-11-18T00:00:00Z"));
        assert_eq!(
            until(Some(&end), at("2026-11-21T00:00:00Z")),
            "until 2036-11-18 (in 10y)"
        );
        assert_eq!(
            until(Some(&end), at("2037-01-01T00:00:00Z")),
            "ended 2036-11-18"
        );
        assert_eq!(until(None, at("2037-01-01T00:00:00Z")), "");
    }

    #[test]
    fn a_member_is_ready_only_when_the_operator_saw_the_latest_spec() {
        let member = |generation, observed, ready: &str| -> MeshMember {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "metadata": {"name": "east", "generation": generation}, "spec": {},
                "status": {"observedGeneration": observed, "conditions": [{"type": "Ready", "status": ready, "reason": "Serving", "message": "",
                    "lastTransitionTime": "2026-11-21T09:00:00Z"}]},
            }))
            .unwrap()
        };
        let snapshot = |member| Snapshot {
            members: vec![member],
            ..Snapshot::default()
        };
        assert!(all_ready(&snapshot(member(2, 2, "True"))));
        assert!(!all_ready(&snapshot(member(2, 1, "True"))));
        assert!(!all_ready(&snapshot(member(2, 2, "Unknown"))));
        assert!(!all_ready(&Snapshot::default()));
    }
}
