//! The node's proxy: state, certificates, pods, listeners, and their ordered end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Error;
use super::pods::PodCounts;
use super::signals::Stop;
use crate::admin::{self, Admin, server};
use crate::ca::{self, Certificates};
use crate::config::{self, Config};
use crate::control::{self, Control};
use crate::drain::Drain;
use crate::inpod::Pods;
use crate::logging::Levels;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, task};
use crate::store::Store;
use crate::xds;

/// Serves until the process is told to stop, then drains.
pub(super) async fn serve(
    config: Arc<Config>,
    levels: Levels,
    workers: Handle,
) -> Result<(), Error> {
    let quit = Arc::new(Notify::new());
    let mut stop = Stop::new(Arc::clone(&quit))?;
    let drain = Drain::new();
    let readiness = Readiness::default();
    let mut proxy_pending = readiness.block(task::PROXY);
    let mut dns_pending = readiness.block(task::DNS_PROXY);

    let preferred = config
        .preferred_service_namespace
        .clone()
        .unwrap_or_default();
    let store = Arc::new(Store::new(preferred));
    let pods = Pods::default();
    let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    metrics.watch_runtime("control", &Handle::current());
    metrics.watch_runtime("workers", &workers);
    metrics.watch(Box::new(PodCounts(pods.clone())));
    let metrics = Arc::new(metrics);

    start_discovery(&config, &store, &metrics, &readiness)?;
    let certificates = start_certificates(&config, &store)?;

    let admin = Admin {
        config: Arc::clone(&config),
        store: Arc::clone(&store),
        pods: pods.clone(),
        certificates: certificates.clone(),
        levels: Some(levels),
        quit,
    };
    let listeners = &config.listeners;
    let listener = open("admin", listeners.admin).await?;
    tokio::spawn(server::serve(listener, drain.clone(), move |request| {
        admin.answer(&request)
    }));
    let listener = open("metrics", listeners.stats).await?;
    let shown = Arc::clone(&metrics);
    tokio::spawn(server::serve(listener, drain.clone(), move |request| {
        admin::metrics(&shown, request.uri().path(), request.headers())
    }));
    let listener = open("readiness", listeners.readiness).await?;
    let asked = readiness.clone();
    tokio::spawn(server::serve(listener, drain.clone(), move |request| {
        admin::readiness(&asked, request.uri().path())
    }));

    proxy_pending.clear();
    dns_pending.clear();
    info!(
        workers = config.workers,
        version = env!("CARGO_PKG_VERSION"),
        "ztunnel started"
    );

    stop.told().await;
    tokio::select! {
        cut = drain.end(config.drain_deadline) => {
            if cut > 0 {
                warn!(connections = cut, deadline = ?config.drain_deadline, "connections were cut at the drain deadline");
            }
        }
        () = stop.told_again() => drain.cut_now(),
    }
    info!("ztunnel ends");
    Ok(())
}

/// A listener of our own; without IPv6 on this machine the IPv4 form of the address is taken.
async fn open(name: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let opened = TcpListener::bind(address).await;
    let opened = match opened {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], address.port()))).await
        }
        other => other,
    };
    opened.map_err(|source| Error::Listener {
        name,
        address,
        source,
    })
}

fn start_discovery(
    config: &Config,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
) -> Result<(), Error> {
    let Some(upstream) = &config.xds else {
        warn!("XDS_ADDRESS is empty: no workloads, services or policies will be known");
        return Ok(());
    };
    let place = &config.place;
    let facts = xds::NodeFacts {
        ip: place.instance_ip.to_string(),
        pod: place.pod_name.clone(),
        namespace: place.pod_namespace.clone(),
        domain: place.cluster_domain.clone(),
        node: place.node.clone(),
        metadata: place.metadata.clone().into_iter().collect(),
    };
    let client = xds::Client::new(control(config, upstream)?, Arc::clone(store), &facts)
        .observed_by(Arc::new(metrics.xds.clone()));
    let mut pending = readiness.block(task::STATE_MANAGER);
    let mut ready = client.ready();
    tokio::spawn(async move {
        // An error means that the client is gone: then the state stays pending for ever, rightly.
        if ready.wait_for(|ready| *ready).await.is_ok() {
            pending.clear();
        }
        std::future::pending::<()>().await;
    });
    tokio::spawn(client.run());
    Ok(())
}

fn start_certificates(config: &Config, store: &Arc<Store>) -> Result<Option<Certificates>, Error> {
    let Some(upstream) = &config.ca else {
        warn!("CA_ADDRESS is empty: no tunnel can be made or accepted");
        return Ok(None);
    };
    let settings = ca::Settings {
        life: config.secret_ttl,
        impersonate: true,
    };
    let issuer = ca::Istiod::new(control(config, upstream)?, settings)?;
    let certificates = Certificates::new(Arc::new(issuer));
    let node = config.place.node.as_str();
    if !node.is_empty() {
        tokio::spawn(ca::prefetch_node(
            Arc::clone(store),
            certificates.clone(),
            node.into(),
        ));
    }
    Ok(Some(certificates))
}

fn control(config: &Config, upstream: &config::Upstream) -> Result<Control, Error> {
    let target = control::Target {
        address: upstream.address.clone(),
        root: match &upstream.root {
            config::Root::File(path) => control::Root::File(path.clone()),
            config::Root::Pem(text) => control::Root::Pem(text.clone()),
            config::Root::System => control::Root::System,
        },
        alt_hostname: upstream.alternative_name.clone(),
        token: match &config.token {
            config::Token::File(path) => Some(control::Token::File(path.clone())),
            config::Token::Literal(text) => Some(control::Token::Literal(text.0.clone())),
            config::Token::None => None,
        },
        cluster_id: config.place.cluster_id.clone(),
        headers: upstream
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect(),
    };
    Ok(Control::new(target)?)
}
