//! One round: install, upgrade, a rollback, leave, from a cluster that has never seen a mesh.

use applink::names;

use super::Error;
use crate::cluster::{Cluster, Options};
use crate::images::broken::Broken;
use crate::progress::Progress;
use crate::releases::give_broken;
use crate::stage::Stage;
use crate::sweep::{Course, Standing, Sweep, inventory};

const MEMBER: &str = "local";
const NAMESPACE: &str = "chaos";
/// The release that is upgraded to.
const NEXT: &str = "1.7.0";
/// Releases that are tried from there and fail: at the agent or at the proxy of the first node.
const BROKEN: [(&str, Broken); 2] = [
    ("1.8.0", Broken::MuteProxy),
    ("1.8.1", Broken::CrashingAgent),
];

/// What stood after each phase of a round, and what did not hold in it.
pub(super) struct Round {
    installed: Standing,
    moved: Standing,
    returned: Standing,
    left: Standing,
    pub broken: Vec<String>,
}

impl Round {
    /// What was not as in another round, one line each.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let phases = [
            ("installed", &self.installed, &expected.installed),
            ("upgraded", &self.moved, &expected.moved),
            ("taken back", &self.returned, &expected.returned),
            ("left", &self.left, &expected.left),
        ];
        let lines = phases.iter().flat_map(|(phase, found, expected)| {
            let lines = found.differences(expected).into_iter();
            lines.map(move |line| format!("{phase}: {line}"))
        });
        lines.chain(self.broken.clone()).collect()
    }
}

/// Gives the nodes every image and the cluster every release.
pub(super) fn prepare(stage: &Stage, options: &Options, progress: Progress) -> Result<(), Error> {
    give_broken(&mut Cluster::open(options, progress)?, progress)?;
    stage.apply(&stage.tagged_release(NEXT, &[])?)?;
    for (version, broken) in BROKEN {
        stage.apply(&stage.broken_release(version, &[], broken)?)?;
    }
    Ok(())
}

/// One round; `number` chooses the release that fails.
pub(super) async fn once(
    stage: &Stage,
    options: &Options,
    sweep: &Sweep<'_>,
    number: usize,
    expected: Option<&Round>,
) -> Result<Round, Error> {
    forget(stage)?;
    let course = Course::new(stage, MEMBER, NAMESPACE).swift();
    let stands =
        |of: fn(&Round) -> &Standing| Standing::last(stage, &[NAMESPACE], expected.map(of));
    course.install(sweep).await?;
    course.harden(sweep).await?;
    let installed = stands(|round| &round.installed).await?;
    course.enrol().await?;
    course.upgrade(sweep, NEXT).await?;
    course.ask().await?;
    let moved = stands(|round| &round.moved).await?;
    let (version, _) = BROKEN[number % BROKEN.len()];
    course.rollback(sweep, version, NEXT).await?;
    course.ask().await?;
    let returned = stands(|round| &round.returned).await?;
    course.leave(sweep).await?;
    // A node that was started again runs under another process.
    let cluster = Cluster::open(options, Progress::silent())?;
    inventory::assert_nodes_clean(&cluster)?;
    course.ask().await?;
    let left = stands(|round| &round.left).await?;
    stage.cluster.kubectl(&["delete", "namespace", NAMESPACE])?;
    Ok(Round {
        installed,
        moved,
        returned,
        left,
        broken: course.broken(),
    })
}

/// Takes away what stays when a member leaves: definitions, the network and its root.
fn forget(stage: &Stage) -> Result<(), Error> {
    let defined = stage
        .cluster
        .kubectl(&["get", "customresourcedefinitions", "-o", "name"])?;
    let istio: Vec<&str> = defined
        .lines()
        .filter(|name| name.ends_with(".istio.io") || name.ends_with(".gateway.networking.k8s.io"))
        .collect();
    if !istio.is_empty() {
        stage.cluster.kubectl(&[&["delete"], &istio[..]].concat())?;
    }
    let root = format!("{}{}", names::ROOT_SECRET_PREFIX, names::DEFAULT_NETWORK);
    let network = ["delete", "--ignore-not-found", "applicationnetwork"];
    let secret = [
        "delete",
        "--ignore-not-found",
        "-n",
        names::OPERATOR_NAMESPACE,
        "secret",
    ];
    stage
        .cluster
        .kubectl(&[&network[..], &[names::DEFAULT_NETWORK]].concat())?;
    stage.cluster.kubectl(&[&secret[..], &[&root]].concat())?;
    Ok(())
}
