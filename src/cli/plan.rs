//! `plan`: what each member would do next with its version: when, in which steps, touching which nodes. Changes nothing.

mod replicas;

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use k8s_openapi::api::core::v1::{Node as K8sNode, Toleration};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use super::failure::{MAKE_MEMBER, NO_MEMBER};
use super::status::Output;
use super::tree::Branch;
use super::{Failure, block_on, connect, output, print};
use crate::api::conditions::Step;
use crate::api::v1alpha1::{FailedRelease, MeshMember, MeshRelease};
use crate::blueprint::Strategy;
use crate::blueprint::resolve::every_taint;
use crate::catalogue::{Catalogue, Minor, Version, resolve};
use crate::decide::{self, Decision, Move, Rest, Situation, Sources, Stage, Template, Why};
use crate::facts::{Node, Replicas};
use crate::names;
use crate::operator::project;
use crate::plan::{self, NodeRules};
use crate::window::Calendar;

/// Said with every plan.
const NOT_SEEN: &str = "what a new operator changes of the per-node template at the same version is not looked at here";
/// Most nodes that are listed by name.
const LISTED: usize = 20;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this member
    member: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Tree)]
    output: Output,
}

/// What is read from the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// All members, by name.
    pub members: Vec<MeshMember>,
    /// All releases.
    pub releases: Vec<MeshRelease>,
    /// All nodes, by name.
    pub nodes: Vec<Node>,
    /// Enrolled pods of each node by their controller.
    pub replicas: BTreeMap<String, Replicas>,
    /// The API server's version, as it says it.
    pub kubernetes: String,
}

/// What one member would do next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// The member.
    pub member: String,
    /// The channel or pin it follows; empty when the spec means nothing.
    pub follows: String,
    /// What runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// What is done next and why, in one sentence.
    pub next: String,
    /// The release of the next rollout; absent when none is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Who would have started it: Spec, Channel or Operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<String>,
    /// Every release on the way, one rollout each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<String>,
    /// Listed vulnerabilities that the next rollout fixes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
    /// When it may start; absent when no clock tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// When the next maintenance window opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_window: Option<String>,
    /// The steps of the next rollout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The nodes it touches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The same in the waves in which they move, the canary first; absent when the canary's selector matches none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Vec<String>>,
    /// The nodes it leaves alone, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<String>,
    /// What somebody should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Reads, decides and prints.
///
/// # Errors
/// The cluster cannot be read, or the member named does not exist.
pub fn run(args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let mut seen = block_on(async {
        let client = connect::client(cluster).await?;
        read(&client).await
    })?;
    if let Some(name) = &args.member {
        seen.members.retain(|member| member.name_any() == *name);
        if seen.members.is_empty() {
            return Err(Failure::new(
                format!("cannot plan for meshmember {name}"),
                "it does not exist",
                "list them: kubectl get meshmembers",
            ));
        }
    }
    let now = Timestamp::now();
    // Nobody reads fractions of a second.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let outlooks = outlooks(&seen, jiff::tz::db(), now)?;
    let text = match args.output {
        Output::Tree => render(&outlooks),
        Output::Json => output::json("the plan", &outlooks)?,
        Output::Yaml => output::yaml("the plan", &outlooks)?,
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn read(client: &Client) -> Result<Seen, Failure> {
    let params = ListParams::default();
    let mut members = Api::<MeshMember>::all(client.clone())
        .list(&params)
        .await
        .map_err(|error| Failure::of_kube("list meshmembers.applink.dev", &error))?
        .items;
    members.sort_by_key(ResourceExt::name_any);
    let releases = Api::<MeshRelease>::all(client.clone())
        .list(&params)
        .await
        .map_err(|error| Failure::of_kube("list meshreleases.applink.dev", &error))?
        .items;
    let nodes = Api::<K8sNode>::all(client.clone())
        .list(&params)
        .await
        .map_err(|error| Failure::of_kube("list nodes", &error))?
        .items;
    let mut nodes: Vec<Node> = nodes
        .into_iter()
        .filter_map(project::node)
        .map(|(_, node)| node)
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let kubernetes = client
        .apiserver_version()
        .await
        .map_err(|error| Failure::of_kube("ask the API server for its version", &error))?
        .git_version;
    Ok(Seen {
        members,
        releases,
        nodes,
        // They only refine the waves: whoever may not list pods is told the waves without them.
        replicas: replicas::read(client).await.unwrap_or_default(),
        kubernetes,
    })
}

/// What every member would do next.
///
/// # Errors
/// The API server's version cannot be read.
pub fn outlooks(
    seen: &Seen,
    zones: &TimeZoneDatabase,
    now: Timestamp,
) -> Result<Vec<Outlook>, Failure> {
    let kubernetes = Minor::of_kubernetes(&seen.kubernetes).ok_or_else(|| {
        Failure::new(
            "cannot plan",
            format!("{:?} is no Kubernetes version", seen.kubernetes),
            "look at what `kubectl version` says of the server",
        )
    })?;
    let catalogue = Catalogue::overlaid(&seen.releases);
    let outlook = |member| outlook(member, seen, &catalogue, kubernetes, zones, now);
    Ok(seen.members.iter().map(outlook).collect())
}

fn outlook(
    member: &MeshMember,
    seen: &Seen,
    catalogue: &Catalogue,
    kubernetes: Minor,
    zones: &TimeZoneDatabase,
    now: Timestamp,
) -> Outlook {
    let upgrade = member.spec.upgrade.as_ref();
    let running: Option<Version> = member.running_version().and_then(|text| text.parse().ok());
    let status = member.status.clone().unwrap_or_default();
    let calendar = Calendar::read(upgrade, zones);
    let versions = status.version.as_ref();
    let withdrawals = catalogue.withdrawals(&status.withdrawals);
    let catalogue = &catalogue.remembering(&withdrawals);
    let follows = resolve(upgrade, running, catalogue, kubernetes, now)
        .map(|resolution| decide::follows(&resolution))
        .unwrap_or_default();
    let failed: Vec<FailedRelease> = status
        .failed_releases
        .iter()
        .filter(|failed| follows.is_empty() || decide::still_counts(failed, &follows))
        .cloned()
        .collect();
    let situation = Situation {
        upgrade,
        calendar: calendar.as_ref(),
        running,
        reached_by: versions.and_then(|known| known.reached_by.as_deref()),
        history: &status.history,
        failed: &failed,
        paused_by_annotation: member.annotations().contains_key(names::PAUSED_ANNOTATION),
        template: template(member, running, catalogue, &failed),
        catalogue,
        kubernetes,
        stage: Stage::Open,
        now,
    };
    let decision = decide::decide(&situation);
    let report = decide::report(&situation, &decision);
    let mut outlook = Outlook {
        member: member.name_any(),
        follows,
        running: running.map(|running| running.to_string()),
        next: sentence(&decision),
        next_window: report.next_window.map(|opening| opening.to_string()),
        notes: notes(member, &decision),
        ..Outlook::default()
    };
    if let Some(next) = decision.due() {
        let starts = match &decision {
            Decision::Wait(wait) => wait.until,
            _ => Some(now),
        };
        outlook.starts = starts.map(|starts| starts.to_string());
        fill(&mut outlook, next, member, seen);
    }
    outlook
}

/// Whether what the per-node template is made from has changed at the version that runs. Its hash is not known here: what
/// failed at this version is taken for it.
fn template<'a>(
    member: &MeshMember,
    running: Option<Version>,
    catalogue: &Catalogue,
    failed: &'a [FailedRelease],
) -> Template<'a> {
    let status = member.status.as_ref();
    let known = status.and_then(|status| status.version.as_ref());
    // Without a record, or what runs, nothing can be compared.
    let recorded = known.filter(|known| known.settings.is_some());
    let (Some(running), Some(recorded)) = (running, recorded) else {
        return Template::Same;
    };
    let settings = decide::settings(&member.spec).unwrap_or_default();
    let images = catalogue.get(running).map(decide::images);
    let images = images
        .and_then(Result::ok)
        .or_else(|| recorded.images.clone())
        .unwrap_or_default();
    let sources = Sources {
        settings: &settings,
        images: &images,
    };
    let Some(by) = decide::author(Some(recorded), sources) else {
        return Template::Same;
    };
    let version = running.to_string();
    let tried = failed.iter().find(|failed| failed.version == version);
    Template::Changed {
        hash: tried.map_or("", |failed| failed.hash.as_str()),
        by,
    }
}

fn sentence(decision: &Decision) -> String {
    match decision {
        Decision::Stay {
            rest: rest @ Rest::Refused(_),
            ..
        } => format!("nothing, the spec is not accepted: {rest}"),
        Decision::Stay { rest, .. } => format!("nothing: {rest}"),
        Decision::Wait(_) | Decision::Move(_) => decision.to_string(),
    }
}

/// What the next rollout is made of.
fn fill(outlook: &mut Outlook, next: &Move, member: &MeshMember, seen: &Seen) {
    let texts = |versions: &[Version]| versions.iter().map(ToString::to_string).collect();
    outlook.to = Some(next.to.version.to_string());
    outlook.initiated_by = Some(next.by.as_str().to_owned());
    outlook.hops = texts(&next.hops);
    outlook.fixes.clone_from(&next.fixes);
    outlook.steps = steps(next, member)
        .into_iter()
        .map(|step| step.as_str().to_owned())
        .collect();
    let rules = rules(member);
    if next.why != Why::Install {
        let moved: Vec<&Node> = seen
            .nodes
            .iter()
            .filter(|node| rules.supports(node) && NodeRules::set_aside(node).is_none())
            .collect();
        let strategy = Strategy::of(member.spec.upgrade.as_ref());
        outlook.waves = plan::waves(&moved, &seen.replicas, &strategy);
        if outlook.waves.is_empty() && !moved.is_empty() {
            let note =
                "nothing would begin: upgrade.strategy.canary.selector matches no node of the mesh";
            outlook.notes.insert(0, note.to_owned());
        }
    }
    for node in &seen.nodes {
        let why = if NodeRules::can_carry(node) {
            let aside = NodeRules::set_aside(node).map(str::to_owned);
            aside.or_else(|| rules.lack(node))
        } else {
            Some("not supported".to_owned())
        };
        match why {
            None => outlook.nodes.push(node.name.clone()),
            Some(why) => outlook.left_alone.push(format!("{} ({why})", node.name)),
        }
    }
}

fn steps(next: &Move, member: &MeshMember) -> Vec<Step> {
    use Step::{
        ControlPlane, Crds, EastWest, Finish, Nodes, Preflight, Prepull, Retire, Verify, Waypoints,
    };
    if next.why == Why::Install {
        return vec![Preflight, Crds, ControlPlane, Nodes, Verify];
    }
    if let Why::Template(_) = next.why {
        // The release stays, and with it all that is not on nodes.
        return vec![Preflight, Prepull, Nodes, Verify, Finish, Retire];
    }
    let mut steps = vec![Preflight, Prepull, Crds, ControlPlane, Nodes];
    if member.spec.east_west_gateway.is_some() {
        steps.push(EastWest);
    }
    // Waypoints follow the default, which moves at the point of no return.
    steps.extend([Verify, Finish, Waypoints, Retire]);
    steps
}

fn rules(member: &MeshMember) -> NodeRules {
    let data_plane = member.spec.data_plane.clone().unwrap_or_default();
    NodeRules {
        selector: data_plane.node_selector.into_iter().collect(),
        tolerations: data_plane.tolerations.map_or_else(every_taint, |listed| {
            listed.iter().map(Toleration::from).collect()
        }),
    }
}

fn notes(member: &MeshMember, decision: &Decision) -> Vec<String> {
    let mut notes = Vec::new();
    if member.metadata.deletion_timestamp.is_some() {
        notes.push("the member is leaving: nothing of this happens".to_owned());
    }
    if let Decision::Stay {
        notices,
        rest: Rest::Current { .. },
    } = decision
    {
        notes.extend(
            notices
                .iter()
                .map(|notice| format!("of what runs: {notice}")),
        );
    }
    let status = member.status.as_ref();
    if let Some(rollout) = status.and_then(|status| status.rollout.as_ref()) {
        notes.push(match &rollout.halted {
            Some(halted) => format!(
                "the rollout stands still: {halted}; `applink retry` goes on, `applink abort` takes it back"
            ),
            None => format!(
                "step {} is being worked on: see `applink status`",
                rollout.step
            ),
        });
    }
    if status.and_then(|status| status.observed_generation) < member.metadata.generation {
        notes.push("the operator has not seen the latest spec yet".to_owned());
    }
    notes.push(NOT_SEEN.to_owned());
    notes
}

/// The outlooks as text.
pub fn render(outlooks: &[Outlook]) -> String {
    if outlooks.is_empty() {
        return format!("{NO_MEMBER}; {MAKE_MEMBER}\n");
    }
    let trees: Vec<String> = outlooks.iter().map(|one| branch(one).render()).collect();
    trees.join("\n")
}

fn branch(outlook: &Outlook) -> Branch {
    let row = |key: &str, text: String| Branch::row([key.to_owned(), text]);
    let mut parts = vec![
        row(
            "runs",
            outlook
                .running
                .clone()
                .unwrap_or_else(|| "nothing yet".to_owned()),
        ),
        row("next", outlook.next.clone()),
    ];
    let starts = (outlook.to.is_some()).then(|| {
        outlook
            .starts
            .clone()
            .unwrap_or_else(|| "no clock tells".to_owned())
    });
    parts.extend(starts.map(|starts| row("when", starts)));
    let window = outlook.next_window.clone();
    parts.extend(window.map(|opening| row("next window", opening)));
    let lists = [
        ("hops", outlook.hops.join(", ")),
        ("fixes", outlook.fixes.join(", ")),
        ("steps", outlook.steps.join(", ")),
        ("nodes touched", some_of(&outlook.nodes)),
        ("waves", waves(&outlook.waves)),
        ("nodes left alone", some_of(&outlook.left_alone)),
    ];
    parts.extend(
        lists
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| row(key, text)),
    );
    parts.extend(outlook.notes.iter().map(|note| row("note", note.clone())));
    let follows = if outlook.follows.is_empty() {
        String::new()
    } else {
        format!("  follows {}", outlook.follows)
    };
    Branch::new(format!("MeshMember {}{follows}", outlook.member)).with(parts)
}

/// The waves in order, each with the names of its nodes, as many as a person reads.
fn waves(waves: &[Vec<String>]) -> String {
    let mut named = 0;
    let shown: Vec<String> = waves
        .iter()
        .take_while(|wave| {
            named += wave.len();
            named <= LISTED
        })
        .enumerate()
        .map(|(at, wave)| format!("{} {}", at + 1, wave.join(", ")))
        .collect();
    let text = shown.join("; ");
    match (waves.len(), shown.len()) {
        (all, told) if all == told => text,
        (all, 0) => format!("{all} waves"),
        (all, _) => format!("{text}; {all} waves in all"),
    }
}

/// The count, and as many names as a person reads.
fn some_of(names: &[String]) -> String {
    match names.len() {
        0 => String::new(),
        count if count <= LISTED => format!("{count}: {}", names.join(", ")),
        count => format!("{count}: {} and more", names[..LISTED].join(", ")),
    }
}

#[cfg(test)]
mod tests;
