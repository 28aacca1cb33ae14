//! The keeper against an issuer under control.

use super::*;
use crate::proto::workload as proto;
use crate::store::{Store, Update};
use crate::tls::tests::Authority;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

type Answer = Result<WorkloadCertificate, Error>;

/// Hands every request to the test, which answers when it likes.
struct Manual(mpsc::UnboundedSender<(Identity, oneshot::Sender<Answer>)>);

impl Issuer for Manual {
    fn issue(&self, identity: Identity) -> BoxFuture<'static, Answer> {
        let (answer, answered) = oneshot::channel();
        self.0.send((identity.clone(), answer)).unwrap();
        Box::pin(async move { answered.await.unwrap_or(Err(Error::Timeout(identity))) })
    }
}

struct Test {
    certificates: Certificates,
    asked: mpsc::UnboundedReceiver<(Identity, oneshot::Sender<Answer>)>,
    authority: Authority,
}

impl Test {
    fn new() -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let certificates = Certificates::new(Arc::new(Manual(sender)));
        Self {
            certificates,
            asked,
            authority: Authority::new(),
        }
    }

    /// The next request, within the time a test may take.
    async fn next(&mut self) -> (Identity, oneshot::Sender<Answer>) {
        timeout(Duration::from_secs(10), self.asked.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn sign_next(&mut self) -> Identity {
        let (identity, answer) = self.next().await;
        answer
            .send(Ok(self
                .authority
                .certificate(&identity, Duration::from_hours(1))))
            .unwrap();
        identity
    }
}

fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account).unwrap()
}

fn refused(account: &str) -> Error {
    Error::Refused {
        identity: identity(account),
        code: tonic::Code::PermissionDenied,
        message: "not on your node".to_owned(),
    }
}

#[tokio::test]
async fn connections_that_wait_for_one_identity_share_one_request() {
    let mut test = Test::new();
    let fetches = (0..5).map(|_| {
        let certificates = test.certificates.clone();
        tokio::spawn(async move {
            certificates
                .fetch(&identity("cart"), Priority::RealTime)
                .await
        })
    });
    let fetches: Vec<_> = fetches.collect();
    assert_eq!(test.sign_next().await, identity("cart"));
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap().unwrap().identity(), &identity("cart"));
    }
    test.certificates
        .fetch(&identity("cart"), Priority::RealTime)
        .await
        .unwrap();
    assert!(test.asked.try_recv().is_err(), "asked only once");
}

#[tokio::test]
async fn a_failure_comes_back_at_once_and_is_tried_again() {
    let mut test = Test::new();
    test.certificates.prefetch(&identity("cart"));
    let mut state = test.certificates.watch(&identity("cart"));
    let (_, answer) = test.next().await;
    answer.send(Err(refused("cart"))).unwrap();
    let error = test
        .certificates
        .fetch(&identity("cart"), Priority::RealTime)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "istiod refused to sign for spiffe://cluster.local/ns/shop/sa/cart: not on your node \
         (The caller does not have permission to execute the specified operation)"
    );
    let states = test.certificates.states();
    assert!(
        states[0]
            .1
            .to_string()
            .starts_with("Unavailable: istiod refused"),
        "{}",
        states[0].1
    );
    // The second attempt comes by itself.
    test.sign_next().await;
    let settled = state.wait_for(|state| matches!(state, State::Available(_)));
    timeout(Duration::from_secs(10), settled)
        .await
        .unwrap()
        .unwrap();
    test.certificates
        .fetch(&identity("cart"), Priority::RealTime)
        .await
        .unwrap();
}

#[tokio::test]
async fn eight_requests_run_at_once_and_a_waiting_connection_overtakes() {
    let mut test = Test::new();
    let names: Vec<String> = (0..12).map(|number| format!("w{number}")).collect();
    for name in &names {
        test.certificates.prefetch(&identity(name));
    }
    let mut running = HashMap::new();
    for _ in 0..8 {
        let (identity, answer) = test.next().await;
        running.insert(identity, answer);
    }
    let last = names
        .iter()
        .map(|name| identity(name))
        .rfind(|id| !running.contains_key(id))
        .unwrap();
    let certificates = test.certificates.clone();
    let urgent = last.clone();
    let fetch = tokio::spawn(async move { certificates.fetch(&urgent, Priority::RealTime).await });
    // One thread: after these turns of the runtime the keeper of that identity has lined up again.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(test.asked.try_recv().is_err(), "eight at once");
    let (first, answer) = running.into_iter().next().unwrap();
    answer
        .send(Ok(test
            .authority
            .certificate(&first, Duration::from_hours(1))))
        .unwrap();
    assert_eq!(test.sign_next().await, last);
    fetch.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_identity_is_forgotten_with_its_last_user() {
    let mut test = Test::new();
    test.certificates.prefetch(&identity("cart"));
    test.certificates.prefetch(&identity("cart"));
    test.sign_next().await;
    let mut state = test.certificates.watch(&identity("cart"));
    test.certificates.forget(&identity("cart"));
    assert_eq!(test.certificates.states().len(), 1);
    test.certificates.forget(&identity("cart"));
    assert!(test.certificates.states().is_empty());
    // Whoever followed it learns that nothing comes any more.
    let gone = async { while state.changed().await.is_ok() {} };
    timeout(Duration::from_secs(10), gone).await.unwrap();
    // Forgetting what is not there is no fault.
    test.certificates.forget(&identity("cart"));
}

#[tokio::test]
async fn what_a_late_connection_asks_for_is_no_identity_of_the_node() {
    let mut test = Test::new();
    test.certificates.prefetch(&identity("cart"));
    test.sign_next().await;
    test.certificates.forget(&identity("cart"));
    let certificates = test.certificates.clone();
    let late = tokio::spawn(async move {
        certificates
            .fetch(&identity("cart"), Priority::RealTime)
            .await
    });
    let (_, answer) = test.next().await;
    answer.send(Err(refused("cart"))).unwrap();
    assert!(late.await.unwrap().is_err());
    assert!(test.certificates.states().is_empty());
    // A workload that comes needs it again.
    test.certificates.prefetch(&identity("cart"));
    assert_eq!(test.certificates.states().len(), 1);
}

#[tokio::test]
async fn a_connection_that_waits_for_a_forgotten_identity_is_told() {
    let mut test = Test::new();
    test.certificates.prefetch(&identity("cart"));
    let _unanswered = test.next().await;
    let certificates = test.certificates.clone();
    let cart = identity("cart");
    let mut fetch = Box::pin(certificates.fetch(&cart, Priority::RealTime));
    assert!(futures::poll!(&mut fetch).is_pending());
    test.certificates.forget(&identity("cart"));
    let error = timeout(Duration::from_secs(10), fetch)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, Error::Forgotten(_)), "{error}");
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends_and_the_old_one_serves_meanwhile() {
    let mut test = Test::new();
    let fetch = test.certificates.clone();
    let first =
        tokio::spawn(async move { fetch.fetch(&identity("cart"), Priority::RealTime).await });
    let (asked, answer) = test.next().await;
    // Dated back an hour and ending in 3 s: past its half, so it is renewed after half of the rest.
    answer
        .send(Ok(test
            .authority
            .certificate(&asked, Duration::from_secs(3))))
        .unwrap();
    let first = first.await.unwrap().unwrap();
    let (asked, answer) = test.next().await;
    let old = test
        .certificates
        .fetch(&asked, Priority::RealTime)
        .await
        .unwrap();
    assert!(
        Arc::ptr_eq(&old, &first),
        "the old one serves while the new one is made"
    );
    let mut state = test.certificates.watch(&asked);
    state.mark_unchanged();
    answer
        .send(Ok(test
            .authority
            .certificate(&asked, Duration::from_hours(1))))
        .unwrap();
    timeout(Duration::from_secs(10), state.changed())
        .await
        .unwrap()
        .unwrap();
    let new = test
        .certificates
        .fetch(&asked, Priority::RealTime)
        .await
        .unwrap();
    assert!(!Arc::ptr_eq(&new, &first));
}

#[test]
fn an_ended_certificate_is_not_usable() {
    let certificate = Authority::new().certificate(&identity("cart"), Duration::from_mins(1));
    let end = certificate.not_after();
    let state = State::Available(Arc::new(certificate));
    assert!(state.usable(end - Duration::from_secs(1)).is_some());
    assert!(state.usable(end).is_none());
    assert!(State::Initializing.usable(end).is_none());
}

fn workload(uid: &str, node: &str, account: &str, tunnel: i32) -> Update {
    Update::address(proto::Workload {
        uid: uid.to_owned(),
        node: node.to_owned(),
        namespace: "shop".to_owned(),
        service_account: account.to_owned(),
        tunnel_protocol: tunnel,
        ..proto::Workload::default()
    })
}

#[test]
fn only_tunnelled_workloads_of_the_node_need_certificates() {
    let store = Store::default();
    let native = proto::Workload {
        uid: "native".to_owned(),
        node: "n1".to_owned(),
        namespace: "shop".to_owned(),
        service_account: "way".to_owned(),
        tunnel_protocol: 1,
        native_tunnel: true,
        ..proto::Workload::default()
    };
    store.apply(vec![
        workload("a", "n1", "cart", 1),
        workload("b", "n1", "cart", 1),
        workload("c", "n1", "plain", 0),
        workload("d", "n2", "pay", 1),
        Update::address(native),
    ]);
    let needed = node_identities(&store.snapshot(), "n1");
    assert_eq!(needed.into_iter().collect::<Vec<_>>(), [identity("cart")]);
}

#[tokio::test]
async fn certificates_come_and_go_with_the_workloads_of_the_node() {
    #[derive(Default)]
    struct Signs(Mutex<Vec<Identity>>, Option<Authority>);
    impl Issuer for Signs {
        fn issue(&self, identity: Identity) -> BoxFuture<'static, Answer> {
            self.0.lock().unwrap().push(identity.clone());
            let answer = self
                .1
                .as_ref()
                .unwrap()
                .certificate(&identity, Duration::from_hours(1));
            Box::pin(async move { Ok(answer) })
        }
    }
    let store = Arc::new(Store::default());
    let certificates = Certificates::new(Arc::new(Signs(Mutex::default(), Some(Authority::new()))));
    tokio::spawn(prefetch_node(
        Arc::clone(&store),
        certificates.clone(),
        "n1".into(),
    ));
    let held = |expected: Vec<Identity>| {
        let certificates = certificates.clone();
        let reached = async move {
            while certificates
                .states()
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
                != expected
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), reached)
    };
    store.apply(vec![
        workload("a", "n1", "cart", 1),
        workload("b", "n1", "pay", 1),
    ]);
    held(vec![identity("cart"), identity("pay")]).await.unwrap();
    store.apply(vec![
        workload("c", "n1", "cart", 1),
        Update::RemoveAddress("b".to_owned()),
    ]);
    held(vec![identity("cart")]).await.unwrap();
    store.apply(vec![Update::RemoveAddress("a".to_owned())]);
    store.apply(vec![Update::RemoveAddress("c".to_owned())]);
    held(vec![]).await.unwrap();
}
