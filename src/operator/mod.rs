//! The shell: watches, reads, applies, leads.
//!
//! `world` holds what the watches saw, `pass` turns it into acts through the pure core and reports, `run` below makes one
//! pass after another: woken by a changed fact, by an answer of a component, or by the clock.

mod admin;
mod apply;
mod asked;
mod authorities;
mod authority;
mod backoff;
mod bundle;
mod certified;
mod check;
mod convergence;
mod counts;
mod definition;
mod error;
mod events;
mod execute;
mod gauge;
mod ground;
mod heading;
mod leader;
mod leaving;
mod mark;
mod memory;
mod mirror;
mod network;
mod pass;
mod pin;
mod probe;
pub(crate) mod project;
mod pull;
mod release;
mod rendered;
mod report;
mod rights;
mod room;
mod serving;
mod settings;
mod signals;
mod signing;
mod survey;
mod sweep;
mod world;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use settings::Settings;
pub use signals::{Placed, Signals};
pub use signing::Mesh;

use crate::metrics::Metrics;
use admin::Health;
use events::Events;
use pass::Operator;
use report::Reporter;
use signals::PortForward;
use world::World;

/// Facts that change together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Everything is looked at again after this long, though nothing changed. It writes nothing when nothing is to be done.
const SLOW: Duration = Duration::from_hours(2);
/// After work, and as long without any, memory is given back.
const QUIET: Duration = Duration::from_secs(3);
/// How long a first list may take before the operator works with what it has.
const SYNC: Duration = Duration::from_mins(1);
/// How long the last pass may take at the end.
const GRACE: Duration = Duration::from_secs(10);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging could not be set up.
    #[error(transparent)]
    Log(#[from] crate::telemetry::Error),
    /// The runtime could not be made.
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    /// No cluster is configured.
    #[error("no cluster is configured: run inside one, or set KUBECONFIG")]
    Config(#[source] kube::config::InferConfigError),
    /// The client could not be made.
    #[error("the client cannot be made")]
    Client(#[source] kube::Error),
    /// The admin address cannot be bound.
    #[error("{address} cannot be bound: choose another one with --admin")]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The API server does not answer.
    #[error("the API server cannot be asked for its version")]
    ApiServer(#[source] kube::Error),
    /// Another process leads now.
    #[error(transparent)]
    Lost(#[from] leader::Lost),
}

/// Runs the operator until it is told to stop.
///
/// # Errors
/// [`Error`] says what could not be started, or that leadership was lost.
pub fn run(settings: &Settings) -> Result<(), Error> {
    run_with(settings, |client| {
        Arc::new(PortForward::new(client.clone()))
    })
}

/// Runs the operator until it is told to stop, with another way to ask components: where nodes are simulated there is
/// nobody to forward a port to.
///
/// # Errors
/// [`Error`] says what could not be started, or that leadership was lost.
pub fn run_with(
    settings: &Settings,
    signals: impl FnOnce(&Client) -> Arc<dyn Signals>,
) -> Result<(), Error> {
    crate::telemetry::start(settings.log_format, &settings.log)?;
    // Two providers in one process would make rustls refuse to choose; a second call finds the first in place.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?
        .block_on(serve(settings, signals))
}

async fn serve(
    settings: &Settings,
    signals: impl FnOnce(&Client) -> Arc<dyn Signals>,
) -> Result<(), Error> {
    let mut stop = stopped().map_err(Error::Runtime)?;
    let metrics = Metrics::default();
    let health = Arc::new(Health::default());
    let listener = admin::bind(settings.admin)
        .await
        .map_err(|source| Error::Admin {
            address: settings.admin,
            source,
        })?;
    let mut servers = JoinSet::new();
    servers.spawn(admin::serve(listener, metrics.clone(), Arc::clone(&health)));
    let client = client().await?;
    let signals = signals(&client);
    info!(version = env!("CARGO_PKG_VERSION"), "started");
    health.ready();
    let mut leader = tokio::select! {
        leader = leader::Leader::wait(&client, &settings.identity) => leader,
        _ = stop.changed() => return Ok(()),
    };
    metrics.leads(true);
    let ended = tokio::select! {
        // Whoever has been held for longer than its Lease ends before the pass goes on; a request that it was in the middle of
        // names the version or the uid of what it changes.
        biased;
        lost = leader.keep() => Err(Error::from(lost)),
        ended = operate(&client, signals, settings, &metrics, &health, stop) => ended,
    };
    metrics.leads(false);
    if ended.is_ok() {
        leader.release().await;
        info!("stopped");
    }
    ended
}

/// A client that says who it is.
async fn client() -> Result<Client, Error> {
    let mut config = Config::infer().await.map_err(Error::Config)?;
    let agent = concat!("applink/", env!("CARGO_PKG_VERSION"));
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(agent),
    ));
    Client::try_from(config).map_err(Error::Client)
}

/// Turns true when the process is told to stop.
fn stopped() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("told to stop");
        // Without a receiver nobody has to be told.
        let _ = sender.send(true);
        // A receiver that comes late still sees the value.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}

async fn operate(
    client: &Client,
    signals: Arc<dyn Signals>,
    settings: &Settings,
    metrics: &Metrics,
    health: &Arc<Health>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    let world = start(client, &mut tasks, &mut stop).await;
    let Some(world) = world else { return Ok(()) };
    let wake = Arc::clone(&world.wake);
    let events = Events::new(client.clone(), settings.identity.clone());
    synced(&world, &mut stop).await;
    let mut operator = Operator::new(
        client.clone(),
        world,
        signals,
        metrics.clone(),
        settings.crds.clone(),
        Reporter::new(events),
    );
    while !*stop.borrow() {
        health.busy();
        let pass = operator.pass(Timestamp::now());
        let next = tokio::select! {
            next = pass => next,
            // A pass that has begun ends, unless it takes too long: what it leaves undone is found by the next leader.
            () = overdue(stop.clone()) => break,
        };
        health.idle();
        let pause = next.map_or(SLOW, |at| {
            Duration::try_from(at.duration_since(Timestamp::now()))
                .unwrap_or_default()
                .min(SLOW)
        });
        let worked = &mut operator.worked;
        tokio::select! {
            () = tokio::time::sleep(pause.max(DEBOUNCE)) => {}
            () = async {
                wake.notified().await;
                tokio::time::sleep(DEBOUNCE).await;
            } => {}
            () = async {
                if *worked {
                    tokio::time::sleep(QUIET).await;
                    memory::give_back();
                    *worked = false;
                }
                std::future::pending::<()>().await;
            } => {}
            _ = stop.changed() => {}
        }
    }
    Ok(())
}

/// Starts the watches; tries until the API server answers. Nothing when the process is told to stop meanwhile.
async fn start(
    client: &Client,
    tasks: &mut JoinSet<()>,
    stop: &mut watch::Receiver<bool>,
) -> Option<World> {
    let mut pause = Duration::from_secs(1);
    loop {
        match World::start(client, tasks).await {
            Ok(world) => return Some(world),
            Err(error) => warn!(error = %chain(&error), "the API server does not answer yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => return None,
        }
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

/// Waits until every watch has listed once, but not for ever: what cannot be seen is told in status.
async fn synced(world: &World, stop: &mut watch::Receiver<bool>) {
    let deadline = tokio::time::sleep(SYNC);
    tokio::pin!(deadline);
    while !world.is_synced() {
        tokio::select! {
            () = world.wake.notified() => {}
            () = &mut deadline => return,
            _ = stop.changed() => return,
        }
    }
}

/// Ends a while after the process was told to stop.
async fn overdue(mut stop: watch::Receiver<bool>) {
    if !*stop.borrow() && stop.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(GRACE).await;
}

/// An error with its causes, on one line. What the API server said is told in its own words only.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let (part, last) = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => (status.message.clone(), true),
            _ => (cause.to_string(), false),
        };
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = if last { None } else { cause.source() };
    }
    text
}

#[cfg(test)]
mod tests;
