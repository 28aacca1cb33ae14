use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, Error> {
    read_with(pairs, None, 8)
}

fn read_with(pairs: &[(&str, &str)], mesh: Option<&str>, cores: usize) -> Result<Config, Error> {
    Config::from_sources(&Sources {
        environment: pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        mesh: mesh.map(str::to_owned),
        cores,
        exists: &|path| path.ends_with("there"),
    })
}

#[test]
fn the_defaults_are_upstream_s() {
    let config = read(&[]).unwrap();
    assert_eq!(
        config.xds.as_ref().unwrap().address,
        "https://localhost:15012"
    );
    assert_eq!(
        config.xds.as_ref().unwrap().root,
        Root::File("./var/run/secrets/istio/root-cert.pem".into())
    );
    assert_eq!(config.token, Token::None);
    assert_eq!(
        config.place.instance_ip,
        "1.1.1.1".parse::<IpAddr>().unwrap()
    );
    assert_eq!(config.place.cluster_id, "Kubernetes");
    assert_eq!(config.packet_mark, 1337);
    assert_eq!(
        config.agent_socket,
        PathBuf::from("/var/run/ztunnel/ztunnel.sock")
    );
    assert_eq!(config.secret_ttl, Duration::from_hours(24));
    assert_eq!(config.dns, Some("127.0.0.1:15053".parse().unwrap()));
    assert_eq!(config.listeners.admin, "127.0.0.1:15000".parse().unwrap());
    assert_eq!(config.listeners.stats, "[::]:15020".parse().unwrap());
    assert_eq!(config.listeners.readiness, "[::]:15021".parse().unwrap());
    assert_eq!(
        config.keepalive,
        Some(Keepalive {
            time: Duration::from_mins(3),
            interval: Duration::from_mins(3),
            retries: 9
        })
    );
    assert_eq!(
        config.http2,
        Http2 {
            stream_window: 4_194_304,
            connection_window: 16_777_216,
            frame: 1_048_576,
            streams_per_connection: 100,
            idle_release: Duration::from_mins(5),
        }
    );
    assert_eq!(config.drain_deadline, Duration::from_secs(5));
    assert_eq!(
        (config.log_json, config.log_filter.as_str()),
        (false, "info")
    );
    assert!(
        config.port_reuse && config.ipv6 && config.response_baggage && config.localhost_app_tunnel
    );
    assert_eq!(
        (config.keep_source_address, config.user_timeout),
        (None, None)
    );
}

#[test]
fn istiod_is_found_by_its_service_in_kubernetes() {
    let config = read(&[("KUBERNETES_SERVICE_HOST", "10.96.0.1")]).unwrap();
    assert_eq!(
        config.ca.unwrap().address,
        "https://istiod.istio-system.svc:15012"
    );
}

#[test]
fn what_the_daemonset_sets_is_read() {
    let config = read(&[
        ("XDS_ADDRESS", "istiod-1-6-0.applink-system.svc:15012"),
        (
            "CA_ADDRESS",
            "https://istiod-1-6-0.applink-system.svc:15012",
        ),
        ("LOG_FORMAT", "json"),
        ("NETWORK", "west"),
        ("ISTIO_META_CLUSTER_ID", "west-1"),
        ("ISTIO_META_ENABLE_HBONE", "true"),
        ("INPOD_ENABLED", "true"),
        ("CONNECTION_TERMINATION_DEADLINE", "25s"),
        ("POD_NAME", "ztunnel-x"),
        ("POD_NAMESPACE", "applink-system"),
        ("NODE_NAME", "node-1"),
        ("INSTANCE_IP", "10.0.0.9"),
        ("SERVICE_ACCOUNT", "ztunnel"),
        ("XDS_HEADER_X-Tenant", "blue"),
        ("AUTH_TOKEN", "/var/there"),
    ])
    .unwrap();
    let xds = config.xds.unwrap();
    assert_eq!(xds.address, "https://istiod-1-6-0.applink-system.svc:15012");
    assert_eq!(
        xds.headers,
        [("x-tenant".to_owned(), Secret("blue".to_owned()))]
    );
    assert!(config.ca.unwrap().headers.is_empty());
    assert_eq!(config.token, Token::File("/var/there".into()));
    assert_eq!(config.drain_deadline, Duration::from_secs(25));
    assert_eq!(config.place.cluster_id, "west-1");
    assert_eq!(
        config
            .place
            .metadata
            .get("ENABLE_HBONE")
            .map(String::as_str),
        Some("true")
    );
    assert_eq!(
        (config.place.node.as_str(), config.place.network.as_str()),
        ("node-1", "west")
    );
    assert!(config.log_json);
}

#[test]
fn an_empty_address_turns_the_service_off() {
    let config = read(&[("XDS_ADDRESS", ""), ("CA_ADDRESS", "")]).unwrap();
    assert_eq!((config.xds, config.ca), (None, None));
}

#[test]
fn the_environment_wins_over_the_proxy_configuration_and_that_over_the_mesh() {
    let mesh = "defaultConfig:\n  discoveryAddress: mesh:15012\n  statsPort: 1\n  proxyMetadata:\n    CLUSTER_ID: mesh\n    NETWORK: mesh\n    NODE_NAME: mesh\n";
    let proxy = "discoveryAddress: proxy:15012\nconcurrency: 3\nproxyMetadata:\n  NETWORK: proxy\n  NODE_NAME: proxy\n";
    let config = read_with(
        &[("PROXY_CONFIG", proxy), ("NODE_NAME", "env")],
        Some(mesh),
        8,
    )
    .unwrap();
    assert_eq!(config.xds.unwrap().address, "https://proxy:15012");
    assert_eq!(config.listeners.stats.port(), 1);
    assert_eq!(config.workers, 3);
    let place = config.place;
    assert_eq!(
        (&*place.cluster_id, &*place.network, &*place.node),
        ("mesh", "proxy", "env")
    );
}

#[test]
fn dns_capture_is_turned_off_by_metadata() {
    let mesh = "defaultConfig:\n  proxyMetadata:\n    ISTIO_META_DNS_CAPTURE: \"false\"\n";
    assert_eq!(read_with(&[], Some(mesh), 1).unwrap().dns, None);
}

#[test]
fn a_token_is_a_file_or_the_text() {
    for (value, token) in [
        ("/not/here", Token::File("/not/here".into())),
        ("./there", Token::File("./there".into())),
        ("eyJhbGciOi", Token::Literal(Secret("eyJhbGciOi".into()))),
    ] {
        assert_eq!(
            read(&[("AUTH_TOKEN", value)]).unwrap().token,
            token,
            "{value}"
        );
    }
}

#[test]
fn the_drain_deadline_follows_the_grace_period() {
    for (pairs, seconds) in [
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "30")][..], 25),
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "11")], 6),
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "10")], 9),
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "1")], 1),
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "0")], 1),
        (
            &[
                ("TERMINATION_GRACE_PERIOD_SECONDS", "30"),
                ("CONNECTION_TERMINATION_DEADLINE", "2m"),
            ],
            120,
        ),
        (&[("CONNECTION_TERMINATION_DEADLINE", "5s")], 5),
        (&[("CONNECTION_TERMINATION_DEADLINE", "0s")], 0),
    ] {
        assert_eq!(
            read(pairs).unwrap().drain_deadline,
            Duration::from_secs(seconds),
            "{pairs:?}"
        );
    }
}

#[test]
fn workers_follow_the_rule() {
    for (pairs, cores, workers) in [
        (&[][..], 1, 2),
        (&[], 8, 2),
        (&[], 13, 4),
        (&[("ZTUNNEL_WORKER_THREADS", "0")], 8, 8),
        (&[("ZTUNNEL_WORKER_THREADS", "5")], 8, 5),
        (&[("ZTUNNEL_WORKER_THREADS", "50%")], 9, 5),
        (&[("ZTUNNEL_CPU_LIMIT", "8")], 8, 2),
        (&[("ZTUNNEL_CPU_LIMIT", "3")], 8, 3),
        (&[("ZTUNNEL_RESOURCE_CPU_LIMIT", "1500m")], 8, 2),
        (&[("ZTUNNEL_RESOURCE_CPU_LIMIT", "0.5")], 8, 1),
        (&[("ZTUNNEL_RESOURCE_CPU_REQUEST", "4")], 8, 4),
        (&[("ZTUNNEL_RESOURCE_CPU_REQUEST", "200m")], 8, 2),
    ] {
        assert_eq!(
            read_with(pairs, None, cores).unwrap().workers,
            workers,
            "{pairs:?} on {cores}"
        );
    }
}

#[test]
fn what_is_not_built_or_not_readable_is_refused_by_key_value_and_remedy() {
    for (key, value, words) in [
        ("PROXY_MODE", "dedicated", "set shared"),
        ("PROXY_MODE", "other", "shared, dedicated"),
        ("ENABLE_PROXY", "false", "leave it out"),
        ("XDS_ON_DEMAND", "true", "set false"),
        ("UNSTABLE_ENABLE_SOCKS5", "1", "set false"),
        ("TLS12_ENABLED", "true", "set false"),
        ("FAKE_CA", "true", "set false"),
        ("LOCAL_XDS", "workloads: []", "leave it out"),
        ("CRL_PATH", "/crl.pem", "leave it out"),
        ("COMPLIANCE_POLICY", "pqc", "leave it out"),
        ("XDS_ADDRESS", "ftp://x", "https://host:port"),
        ("CA_ADDRESS", "https://", "https://host:port"),
        ("PACKET_MARK", "0", "use 1 to"),
        ("KEEPALIVE_RETRIES", "128", "use 1 to 127"),
        ("KEEPALIVE_TIME", "180", "30s"),
        ("HTTP2_FRAME_SIZE", "100", "use 16384 to 16777215"),
        ("POOL_MAX_STREAMS_PER_CONNECTION", "0", "use 1 to"),
        ("IPV6_ENABLED", "maybe", "use true or false"),
        ("INSTANCE_IP", "node-1", "status.podIP"),
        ("DNS_PROXY_ADDR", "15053", "127.0.0.1:15053"),
        ("LOG_FORMAT", "xml", "plain, json"),
        ("ZTUNNEL_WORKER_THREADS", "150%", "1% to 100%"),
        ("ZTUNNEL_RESOURCE_CPU_REQUEST", "much", "500m"),
    ] {
        let error = read(&[(key, value)]).unwrap_err().to_string();
        let named = error.starts_with(key) || error.contains(&format!("{key} is"));
        assert!(named && error.contains(words), "{key}={value}: {error}");
    }
}

#[test]
fn broken_yaml_names_its_source() {
    let error = read(&[("PROXY_CONFIG", "statsPort: [")])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("PROXY_CONFIG"), "{error}");
    let error = read_with(&[], Some("defaultConfig: 5"), 1)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("the mesh configuration"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let config = read(&[
        ("AUTH_TOKEN", "secret-token"),
        ("CA_HEADER_X-KEY", "secret-key"),
    ])
    .unwrap();
    let shown = serde_json::to_string(&config).unwrap();
    assert!(!shown.contains("secret-"), "{shown}");
    assert!(!format!("{config:?}").contains("secret-"));
    assert!(shown.contains("x-key"));
}

proptest::proptest! {
    #[test]
    fn any_value_is_read_or_refused_without_a_panic(
        key in proptest::sample::select(vec![
            "PROXY_CONFIG", "XDS_ADDRESS", "XDS_ROOT_CA", "DNS_PROXY_ADDR", "SECRET_TTL", "ZTUNNEL_WORKER_THREADS",
            "ZTUNNEL_RESOURCE_CPU_LIMIT", "TERMINATION_GRACE_PERIOD_SECONDS", "CONNECTION_TERMINATION_DEADLINE", "INSTANCE_IP", "XDS_HEADER_a",
        ]),
        value in "\\PC{0,60}",
    ) {
        let _ = read(&[(key, &value)]);
    }

    #[test]
    fn any_mesh_text_is_read_or_refused_without_a_panic(text in "\\PC{0,120}") {
        let _ = read_with(&[], Some(&text), 1);
    }
}
