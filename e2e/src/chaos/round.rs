//! One round: install, upgrade, a rollback, leave, from a cluster that has never seen a mesh.

use applink::names;

use super::Error;
use crate::cluster::{Cluster, Options};
use crate::images::broken::Broken;
use crate::progress::Progress;
use crate::releases::give_broken;
use crate::stage::Stage;
use crate::sweep::{Course, Phase, Standing, Sweep, inventory};

pub(super) const MEMBER: &str = "local";
pub(super) const NAMESPACE: &str = "chaos";
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
    moved: Option<Standing>,
    returned: Option<Standing>,
    left: Standing,
    pub broken: Vec<String>,
}

impl Round {
    /// What was not as in another round, one line each.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let moved = self.moved.as_ref().zip(expected.moved.as_ref());
        let returned = self.returned.as_ref().zip(expected.returned.as_ref());
        let phases = [
            ("installed", Some((&self.installed, &expected.installed))),
            ("upgraded", moved),
            ("taken back", returned),
            ("left", Some((&self.left, &expected.left))),
        ];
        let lines = phases.into_iter().flat_map(|(phase, both)| {
            let lines = both.map(|(found, expected)| found.differences(expected));
            let lines = lines.into_iter().flatten();
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

/// One round with these phases between an install and a leave; `number` chooses the release that fails.
pub(super) async fn once(
    stage: &Stage,
    options: &Options,
    sweep: &Sweep<'_>,
    phases: &[Phase],
    number: usize,
    expected: Option<&Round>,
) -> Result<Round, Error> {
    forget(stage)?;
    let course = Course::new(stage, MEMBER, NAMESPACE).swift();
    let stands = |of: fn(&Round) -> Option<&Standing>| {
        Standing::last(stage, &[NAMESPACE], expected.and_then(of))
    };
    course.install(sweep).await?;
    course.harden(sweep).await?;
    let installed = stands(|round| Some(&round.installed)).await?;
    course.enrol().await?;
    let (mut moved, mut returned) = (None, None);
    // What fails is tried from the newest release that works.
    if phases.contains(&Phase::Upgrade) || phases.contains(&Phase::Rollback) {
        course.upgrade(sweep, NEXT).await?;
        course.ask().await?;
        moved = Some(stands(|round| round.moved.as_ref()).await?);
    }
    if phases.contains(&Phase::Rollback) {
        let (version, _) = BROKEN[number % BROKEN.len()];
        course.rollback(sweep, version, NEXT).await?;
        course.ask().await?;
        returned = Some(stands(|round| round.returned.as_ref()).await?);
    }
    course.leave(sweep).await?;
    // A node that was started again runs under another process.
    let cluster = Cluster::open(options, Progress::silent())?;
    inventory::assert_nodes_clean(&cluster)?;
    course.ask().await?;
    let left = stands(|round| Some(&round.left)).await?;
    stage.cluster.kubectl(&["delete", "namespace", NAMESPACE])?;
    Ok(Round {
        installed,
        moved,
        returned,
        left,
        broken: course.broken(),
    })
}

/// Takes away what stays when a member leaves: definitions, the network and its root, and the release that is installed,
/// which has been told what became of it.
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
    let release = [
        "delete",
        "--ignore-not-found",
        "meshrelease",
        Course::RELEASE,
    ];
    stage.cluster.kubectl(&release)?;
    Ok(())
}
