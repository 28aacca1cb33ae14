//! The node's proxy: state, certificates, pods, listeners, and their ordered end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::pods::PodCounts;
use super::signals::Stop;
use super::{Error, heap};
use crate::admin::{self, Admin, server};
use crate::ca::{self, Certificates};
use crate::config::{self, Config};
use crate::control::{self, Control};
use crate::dns;
use crate::drain::Drain;
use crate::hbone;
use crate::inpod::{self, Pods};
use crate::logging::Levels;
use crate::metrics::Metrics;
use crate::proxy;
use crate::readiness::{Readiness, task};
use crate::report::Reports;
use crate::socket;
use crate::store::Store;
use crate::xds;

/// The node's resolver settings, as the kubelet gives them to this pod.
const RESOLVERS: &str = "/etc/resolv.conf";

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
    let agent = inpod::Control::default();

    let admin = Admin {
        config: Arc::clone(&config),
        store: Arc::clone(&store),
        pods: pods.clone(),
        certificates: certificates.clone(),
        connections: Arc::clone(&metrics.connections),
        levels: Some(levels),
        agent: agent.clone(),
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

    let serving = inpod::Settings {
        socket: config.agent_socket.clone(),
        shared: Arc::new(shared(&config, &store, certificates, &metrics)),
        dns: config.dns.map(|listen| inpod::Dns {
            listen,
            shared: Arc::new(names(&config, &store, &metrics)),
        }),
        workers,
        pods,
        control: agent,
        blocker: readiness.block(task::WORKLOAD_PROXY_MANAGER),
        drain: drain.clone(),
    };
    tokio::spawn(inpod::serve(serving));
    tokio::spawn(heap::give_back());
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

/// What the proxies of all pods share.
fn shared(
    config: &Config,
    store: &Arc<Store>,
    certificates: Option<Certificates>,
    metrics: &Metrics,
) -> proxy::Shared {
    let http2 = &config.http2;
    proxy::Shared {
        store: Arc::clone(store),
        certificates,
        reports: Reports::new(Arc::clone(&metrics.connections)),
        settings: proxy::Settings {
            network: config.place.network.as_str().into(),
            cluster_id: config.place.cluster_id.as_str().into(),
            sockets: socket::Options {
                mark: Some(config.packet_mark),
                reuse_port: config.port_reuse,
                ipv6: config.ipv6,
                keepalive: config.keepalive.map(|keepalive| socket::Keepalive {
                    time: keepalive.time,
                    interval: keepalive.interval,
                    retries: keepalive.retries,
                }),
                user_timeout: config.user_timeout,
            },
            hbone: hbone::Settings {
                stream_window: http2.stream_window,
                connection_window: http2.connection_window,
                frame: http2.frame,
                streams_per_connection: http2.streams_per_connection.into(),
                idle_release: http2.idle_release,
                ..hbone::Settings::default()
            },
            keeps_source: config.keep_source_address.unwrap_or(true),
            response_baggage: config.response_baggage,
            localhost_tunnel: config.localhost_app_tunnel,
            logs_authorization: config.log_authorizations,
        },
    }
}

/// What the DNS servers of all pods share.
fn names(config: &Config, store: &Arc<Store>, metrics: &Metrics) -> dns::server::Shared {
    let resolvers = std::fs::read_to_string(RESOLVERS).unwrap_or_else(|error| {
        warn!(%error, "{RESOLVERS} cannot be read: names outside the mesh are asked of this machine");
        String::new()
    });
    dns::server::Shared {
        store: Arc::clone(store),
        resolvers: dns::Resolvers::parse(&resolvers),
        counters: metrics.dns.clone(),
        domain: config.place.cluster_domain.clone(),
        network: config.place.network.clone(),
        cluster_id: config.place.cluster_id.clone(),
    }
}
