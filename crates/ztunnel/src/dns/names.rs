//! Which host names a queried name may stand for.
//!
//! A pod's resolver appends its search domains before it asks, and people write short names. Both are undone here, without
//! a look at the store.

/// Most labels a DNS name can have.
const MAX_LABELS: usize = 127;

/// One reading of a queried name, in the order to try them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    /// A full host name, lower case, without the final dot.
    pub hostname: String,
    /// The name without the search domain that a resolver appended; the answer then starts with a CNAME to it.
    pub stripped: Option<String>,
}

/// The search domains of a pod in `namespace`, as the kubelet writes them.
fn search_domains(namespace: &str, domain: &str) -> [String; 3] {
    [
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.to_owned(),
    ]
}

/// Every reading of `name` (lower case, without the final dot) for a client in `namespace` of the cluster `domain`: the
/// name itself and its Kubernetes short forms, then the same without a search domain.
#[must_use]
pub fn readings(name: &str, namespace: &str, domain: &str) -> Vec<Reading> {
    let mut all = Vec::with_capacity(8);
    for hostname in expanded(name, namespace, domain) {
        add(
            &mut all,
            Reading {
                hostname,
                stripped: None,
            },
        );
    }
    for search in search_domains(namespace, domain) {
        let Some(short) = name
            .strip_suffix(&search)
            .and_then(|rest| rest.strip_suffix('.'))
        else {
            continue;
        };
        if short.is_empty() {
            continue;
        }
        for hostname in expanded(short, namespace, domain) {
            // `web.shop.svc.cluster.local` without its search domain reads as itself again: that is no alias.
            if hostname != name {
                add(
                    &mut all,
                    Reading {
                        hostname,
                        stripped: Some(short.to_owned()),
                    },
                );
            }
        }
    }
    all
}

fn add(all: &mut Vec<Reading>, reading: Reading) {
    if !all.iter().any(|known| known.hostname == reading.hostname) {
        all.push(reading);
    }
}

/// The name itself, then what it is short for: `web` (in the client's namespace), `web.shop`, `web.shop.svc`.
fn expanded(name: &str, namespace: &str, domain: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let labels: Vec<&str> = name.splitn(4, '.').collect();
    match labels[..] {
        [service] => names.push(format!("{service}.{namespace}.svc.{domain}")),
        [service, other] | [service, other, "svc"] => {
            names.push(format!("{service}.{other}.svc.{domain}"));
        }
        _ => {}
    }
    names
}

/// The wildcard names that cover `hostname`, most specific first: `*.b.c` and `*.c` for `a.b.c`.
pub fn wildcards(hostname: &str) -> impl Iterator<Item = String> + '_ {
    hostname
        .match_indices('.')
        .take(MAX_LABELS)
        .map(|(dot, _)| format!("*{}", &hostname[dot..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Vec<(String, Option<String>)> {
        readings(name, "shop", "cluster.local")
            .into_iter()
            .map(|r| (r.hostname, r.stripped))
            .collect()
    }

    fn plain(name: &str) -> (String, Option<String>) {
        (name.into(), None)
    }

    #[test]
    fn short_names_are_expanded() {
        assert_eq!(
            read("web"),
            [plain("web"), plain("web.shop.svc.cluster.local")]
        );
        assert_eq!(
            read("web.other"),
            [plain("web.other"), plain("web.other.svc.cluster.local")]
        );
        assert_eq!(
            read("web.other.svc"),
            [plain("web.other.svc"), plain("web.other.svc.cluster.local")]
        );
        assert_eq!(read("a.b.c.d"), [plain("a.b.c.d")]);
    }

    #[test]
    fn a_full_service_name_is_read_as_itself_first_and_never_as_its_own_alias() {
        let all = read("web.shop.svc.cluster.local");
        assert_eq!(all[0], plain("web.shop.svc.cluster.local"));
        assert!(
            all.iter()
                .skip(1)
                .all(|(hostname, _)| hostname != "web.shop.svc.cluster.local")
        );
    }

    #[test]
    fn a_search_domain_is_taken_off() {
        let all = read("api.example.com.shop.svc.cluster.local");
        assert!(
            all.contains(&("api.example.com".into(), Some("api.example.com".into()))),
            "{all:?}"
        );
        let all = read("web.other.svc.cluster.local");
        assert_eq!(all[0], plain("web.other.svc.cluster.local"));
    }

    #[test]
    fn wildcards_go_from_specific_to_general() {
        assert_eq!(wildcards("a.b.c").collect::<Vec<_>>(), ["*.b.c", "*.c"]);
        assert_eq!(wildcards("a").count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn readings_are_few_and_distinct(name in "[a-z0-9.-]{0,253}") {
            let all = readings(&name, "shop", "cluster.local");
            let distinct: std::collections::HashSet<_> = all.iter().map(|r| &r.hostname).collect();
            proptest::prop_assert!(all.len() <= 8 && distinct.len() == all.len());
        }
    }
}
