//! No environment, proxy configuration, mesh file or resolver file makes reading the configuration panic.
#![no_main]

use std::collections::BTreeMap;

use applink_ztunnel::config::{Config, Sources};
use applink_ztunnel::dns::Resolvers;
use libfuzzer_sys::fuzz_target;

const KEYS: [&str; 13] = [
    "PROXY_CONFIG",
    "XDS_ADDRESS",
    "CA_ROOT_CA",
    "AUTH_TOKEN",
    "DNS_PROXY_ADDR",
    "SECRET_TTL",
    "ZTUNNEL_WORKER_THREADS",
    "ZTUNNEL_RESOURCE_CPU_LIMIT",
    "TERMINATION_GRACE_PERIOD_SECONDS",
    "CONNECTION_TERMINATION_DEADLINE",
    "INSTANCE_IP",
    "XDS_HEADER_A",
    "HTTP2_FRAME_SIZE",
];

fuzz_target!(|input: (Vec<(u8, String)>, Option<String>)| {
    let (values, mesh) = input;
    if let Some(text) = &mesh {
        assert!(!Resolvers::parse(text).servers.is_empty());
    }
    let environment: BTreeMap<String, String> = values
        .into_iter()
        .map(|(key, value)| (KEYS[usize::from(key) % KEYS.len()].to_owned(), value))
        .collect();
    let sources = Sources {
        environment,
        mesh,
        cores: 4,
        exists: &|_| false,
    };
    match Config::from_sources(&sources) {
        Ok(config) => assert!(config.workers > 0),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
