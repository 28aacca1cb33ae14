//! Traffic and an outside watch over a rollout whose test is about something else.

use std::collections::BTreeMap;

use e2e::load::{Amount, Load, Told};
use e2e::stage::Stage;
use e2e::trace::Trace;

use super::overlap::{NODES, assert_flowed, assert_whole};
use crate::fixture::remove_namespace;

/// As many kept connections as ever, and enough new ones to notice who is not served: others load this machine beside it.
pub const SOME: Amount = Amount {
    kept: 50,
    fresh: 10,
};

/// What goes on while nodes move.
pub struct Watched {
    stage: &'static Stage,
    namespace: &'static str,
    load: Load,
    trace: Trace,
    before: BTreeMap<String, Told>,
}

impl Watched {
    /// Begins, in a namespace of its own, between the first two nodes.
    pub async fn start(stage: &'static Stage, namespace: &'static str) -> Self {
        remove_namespace(stage, namespace).await;
        let load = Load::start(stage, namespace, &NODES, SOME).await.unwrap();
        let trace = Trace::start(&stage.client).await.unwrap();
        let before = load.told().await.unwrap();
        Self {
            stage,
            namespace,
            load,
            trace,
            before,
        }
    }

    /// The test disturbs this node by itself.
    pub fn excuse(&self, node: &str) {
        self.trace.excuse(node);
    }

    /// Nobody noticed anything; then the namespace goes.
    pub async fn end(self) {
        let figures = self.load.since(&self.before).await.unwrap();
        eprintln!("{figures}");
        assert_flowed(&figures, SOME);
        assert_whole(&figures, &self.trace.seen());
        remove_namespace(self.stage, self.namespace).await;
    }
}
