//! What tells the process to stop.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::info;

use super::Error;

/// The stop signals of this process.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    quit: Arc<Notify>,
}

impl Stop {
    /// Listens from now on; `quit` is the admin listener's call.
    pub(super) fn new(quit: Arc<Notify>) -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit,
        })
    }

    /// Resolves when the process should drain and end.
    pub(super) async fn told(&mut self) {
        let by = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = self.quit.notified() => "quitquitquit",
        };
        info!(by, "stopping");
    }

    /// Resolves when somebody at a terminal does not want to wait for the drain.
    pub(super) async fn told_again(&mut self) {
        self.interrupt.recv().await;
        info!("told again by SIGINT: not waiting for connections");
    }
}
