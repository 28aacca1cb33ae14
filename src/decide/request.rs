//! What somebody asks for once, by an annotation with a nonce.

use std::collections::BTreeMap;

use crate::api::v1alpha1::MAX_NAME;
use crate::names::{ABORT_ANNOTATION, RETRY_ANNOTATION};

/// Requests that have not been handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// The nonce of a request to take the rollout back.
    pub abort: Option<String>,
    /// The nonce of a request to try failed releases again.
    pub retry: Option<String>,
}

impl Requests {
    /// What the annotations ask for and status does not list as handled.
    pub fn of(
        annotations: Option<&BTreeMap<String, String>>,
        handled: &BTreeMap<String, String>,
    ) -> Self {
        let open = |annotation: &str, action: &str| {
            let nonce = annotations?.get(annotation)?;
            let nonce: String = nonce.chars().take(MAX_NAME / 4).collect();
            (handled.get(action) != Some(&nonce)).then_some(nonce)
        };
        Self {
            abort: open(ABORT_ANNOTATION, "abort"),
            retry: open(RETRY_ANNOTATION, "retry"),
        }
    }

    /// What status is to list as handled: the nonce of each action.
    pub fn handled(&self) -> BTreeMap<String, String> {
        [("abort", &self.abort), ("retry", &self.retry)]
            .into_iter()
            .filter_map(|(action, nonce)| Some((action.to_owned(), nonce.clone()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_handled_once_and_another_one_is_another_request() {
        let ask = |nonce: &str| BTreeMap::from([(RETRY_ANNOTATION.to_owned(), nonce.to_owned())]);
        let none = BTreeMap::new();
        assert_eq!(Requests::of(None, &none), Requests::default());
        let first = Requests::of(Some(&ask("1")), &none);
        assert_eq!(first.retry.as_deref(), Some("1"));
        assert_eq!(first.abort, None);
        let handled = first.handled();
        assert_eq!(Requests::of(Some(&ask("1")), &handled), Requests::default());
        let second = Requests::of(Some(&ask("2")), &handled);
        assert_eq!(second.retry.as_deref(), Some("2"));
    }

    #[test]
    fn a_nonce_of_any_length_is_handled_once() {
        let long = BTreeMap::from([(ABORT_ANNOTATION.to_owned(), "\u{e9}".repeat(5000))]);
        let first = Requests::of(Some(&long), &BTreeMap::new());
        assert!(first.abort.is_some());
        assert!(first.handled()["abort"].len() <= MAX_NAME);
        assert_eq!(
            Requests::of(Some(&long), &first.handled()),
            Requests::default()
        );
    }
}
