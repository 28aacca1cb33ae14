//! Traffic and an outside watch over a rollout whose test is about something else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use e2e::churn::Churn;
use e2e::load::{Amount, Load, Noticed, Told};
use e2e::stage::Stage;
use e2e::trace::{Seen, Trace};
use jiff::Timestamp;

use super::overlap::{NODES, assert_flowed, assert_in_time, assert_whole, came};
use crate::fixture::remove_namespace;

/// Beside tests that take all of the machine that they get.
const SOME: Amount = Amount { kept: 10, fresh: 5 };

/// How long after its beginning a new connection is given up, so how long after a break it is told of.
const NOTICED: Duration = Duration::from_secs(3);

/// What a test bears that runs beside others: the whole load where it has the machine to itself (`APPLINK_E2E_LOAD=full`, in
/// `make chaos-load` and `make chaos-away`).
pub fn bearable() -> Amount {
    match std::env::var("APPLINK_E2E_LOAD").as_deref() {
        Ok("full") => Amount::FULL,
        _ => SOME,
    }
}

/// What goes on while nodes move.
pub struct Watched {
    stage: &'static Stage,
    namespace: &'static str,
    amount: Amount,
    load: Arc<Load>,
    churn: Option<(Churn, &'static [&'static str])>,
    trace: Trace,
    before: BTreeMap<String, Told>,
    pods: Vec<(String, String, i32)>,
    breaks: Vec<(Timestamp, Timestamp)>,
}

impl Watched {
    /// Begins with all that an upgrade must bear, in a namespace of its own, between the first two nodes; pods come and go on `nodes`.
    pub async fn full(
        stage: &'static Stage,
        namespace: &'static str,
        nodes: &'static [&'static str],
    ) -> Self {
        Self::start(stage, namespace, Amount::FULL, nodes).await
    }

    /// As much traffic as is [`bearable`], and no pods that come and go.
    pub async fn some(stage: &'static Stage, namespace: &'static str) -> Self {
        Self::start(stage, namespace, bearable(), &[]).await
    }

    async fn start(
        stage: &'static Stage,
        namespace: &'static str,
        amount: Amount,
        nodes: &'static [&'static str],
    ) -> Self {
        remove_namespace(stage, namespace).await;
        let load = Load::start(stage, namespace, &NODES, amount).await;
        let load = Arc::new(load.unwrap());
        let trace = Trace::start(&stage.client).await.unwrap();
        let pods = load.pods().await.unwrap();
        let before = load.told().await.unwrap();
        let churn = (!nodes.is_empty())
            .then(|| (Churn::start(&stage.client, &load, namespace, nodes), nodes));
        Self {
            stage,
            namespace,
            amount,
            load,
            churn,
            trace,
            before,
            pods,
            breaks: Vec::new(),
        }
    }

    /// The test disturbs this node by itself.
    pub fn excuse(&self, node: &str) {
        self.trace.excuse(node);
    }

    /// The test broke traffic by itself, from then until now.
    pub fn broke_since(&mut self, then: Timestamp) {
        self.breaks.push((then, Timestamp::now() + NOTICED));
    }

    fn is_broken(&self, noticed: &Noticed) -> bool {
        let mut breaks = self.breaks.iter();
        breaks.any(|(from, until)| (from..=until).contains(&&noticed.at))
    }

    /// Nobody noticed anything but what the test broke, and nobody was put out; then the namespace goes. What was seen of the data
    /// plane.
    pub async fn end(self) -> Seen {
        let mut figures = self.load.since(&self.before).await.unwrap();
        eprintln!("{figures}");
        let all = figures.failures.len() as u64;
        figures.failures.retain(|one| !self.is_broken(one));
        figures.failed -= all - figures.failures.len() as u64;
        figures.cuts.retain(|one| !self.is_broken(one));
        if let Some((churn, nodes)) = self.churn {
            let arrivals = churn.end().await.unwrap();
            eprintln!("{}", came(&arrivals));
            assert_in_time(self.stage, self.namespace, nodes, &arrivals);
        }
        let seen = self.trace.seen();
        assert_flowed(&figures, self.amount);
        assert_whole(&figures, &seen);
        assert_eq!(
            self.pods,
            self.load.pods().await.unwrap(),
            "nobody was put out"
        );
        remove_namespace(self.stage, self.namespace).await;
        seen
    }
}
