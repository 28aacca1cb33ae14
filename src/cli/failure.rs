//! What a command says when it cannot do its work: the object, the reason, the remedy.

use std::error::Error as _;
use std::fmt;

use kube::core::Status;

/// What is wrong where a command needs a member and there is none.
pub const NO_MEMBER: &str = "no MeshMember exists";
/// What to do about it.
pub const MAKE_MEMBER: &str = "make one: applink install --apply --member NAME --image IMAGE";

/// A failed command, in words a person can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What could not be done, with the object's name: `cannot list meshmembers.applink.dev`.
    pub what: String,
    /// Why, without the words of the library that noticed.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Failure {
    /// A failure in the words given.
    pub fn new(
        what: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// Turns an answer of the API server, or the lack of one, into a sentence.
    ///
    /// `what` is what was tried, in the infinitive: `list meshmembers.applink.dev`.
    pub fn of_kube(what: &str, error: &kube::Error) -> Self {
        let what = format!("cannot {what}");
        match error {
            kube::Error::Api(status) => Self::of_status(what, status),
            kube::Error::InferConfig(_) | kube::Error::InferKubeconfig(_) => Self::new(
                what,
                chain(error),
                "set KUBECONFIG or pass --kubeconfig and --context",
            ),
            kube::Error::Auth(_) => Self::new(
                what,
                chain(error),
                "log in to the cluster again; `kubectl auth whoami` shows who you are",
            ),
            kube::Error::SerdeError(_) => Self::new(
                what,
                format!(
                    "the answer is not what this version of applink expects: {}",
                    chain(error)
                ),
                "compare `applink version` of the client with the operator's, and use the same",
            ),
            _ => Self::new(
                what,
                unreachable_reason(&chain(error)),
                "check that the cluster runs and that `kubectl version` answers",
            ),
        }
    }

    fn of_status(what: String, status: &Status) -> Self {
        let message = status.message.trim();
        match status.code {
            401 => Self::new(
                what,
                "the API server does not know who you are",
                "log in again or choose another context with --context",
            ),
            403 if message.contains("being terminated") => Self::new(
                what,
                forbidden_reason(message),
                "wait until the namespace is gone, then run the same again",
            ),
            403 if message.contains("ValidatingAdmissionPolicy") => Self::new(
                what,
                forbidden_reason(message),
                "do what the policy's message says",
            ),
            403 => Self::new(
                what,
                forbidden_reason(message),
                "ask an administrator of the cluster for this right",
            ),
            404 if status
                .details
                .as_ref()
                .is_none_or(|details| details.name.is_empty()) =>
            {
                Self::new(
                    what,
                    "this cluster does not know the kind, so the operator is not installed",
                    "install it: applink install | kubectl apply --server-side -f -",
                )
            }
            404 => Self::new(what, "it does not exist", "check the name and the context"),
            409 => Self::new(
                what,
                message,
                "somebody else owns the field or changed the object; look at its managedFields",
            ),
            429 | 503 => Self::new(
                what,
                "the API server is overloaded or starting",
                "try again in a moment",
            ),
            _ if message.is_empty() => Self::new(
                what,
                format!("the API server answered {}", status.code),
                "look at the API server's log",
            ),
            _ => Self::new(
                what,
                message,
                "mend what the API server names and try again",
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.what, self.reason)?;
        write!(f, "  remedy: {}", self.remedy)
    }
}

impl std::error::Error for Failure {}

/// The API server's sentence names the user, the verb, the resource and the scope; only its quoting of the object is noise.
fn forbidden_reason(message: &str) -> String {
    match message.find(" is forbidden: ") {
        Some(at) => message[at + " is forbidden: ".len()..].replace('"', ""),
        None if message.is_empty() => "it is forbidden".to_owned(),
        None => message.to_owned(),
    }
}

fn unreachable_reason(chain: &str) -> String {
    let lower = chain.to_lowercase();
    if lower.contains("connection refused") {
        "nothing listens where the kubeconfig points (connection refused)".to_owned()
    } else if lower.contains("dns error") || lower.contains("failed to lookup address") {
        "the host name of the API server does not resolve".to_owned()
    } else if lower.contains("certificate") {
        format!("the API server's certificate was refused: {chain}")
    } else if lower.contains("timed out") || lower.contains("deadline") {
        "the API server does not answer (timed out)".to_owned()
    } else {
        chain.to_owned()
    }
}

/// The innermost sentences of an error, each once; outer layers usually repeat the inner ones.
fn chain(error: &kube::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = source.source();
    }
    if parts.is_empty() {
        error.to_string()
    } else {
        parts.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;

    use super::*;

    fn answer(code: u16, message: &str, name: &str) -> kube::Error {
        let details = StatusDetails {
            name: name.to_owned(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        };
        kube::Error::Api(Box::new(
            Status::failure(message, "")
                .with_code(code)
                .with_details(details),
        ))
    }

    #[test]
    fn a_forbidden_request_names_the_user_the_verb_and_the_resource() {
        let error = answer(
            403,
            "meshmembers.applink.dev is forbidden: User \"eve\" cannot list resource \"meshmembers\" in API group \"applink.dev\" at the cluster scope",
            "",
        );
        let failure = Failure::of_kube("list meshmembers.applink.dev", &error);
        assert_eq!(
            failure.to_string(),
            "cannot list meshmembers.applink.dev: User eve cannot list resource meshmembers in API group applink.dev at the cluster scope\n  \
             remedy: ask an administrator of the cluster for this right"
        );
    }

    #[test]
    fn a_cluster_without_our_kinds_is_told_apart_from_a_missing_object() {
        let no_kind = Failure::of_kube(
            "list meshmembers.applink.dev",
            &answer(404, "404 page not found", ""),
        );
        assert!(no_kind.reason.contains("not installed"), "{no_kind}");
        let no_object = Failure::of_kube(
            "read meshmember east",
            &answer(404, "meshmembers.applink.dev \"east\" not found", "east"),
        );
        assert_eq!(no_object.reason, "it does not exist");
    }

    #[test]
    fn a_refused_connection_is_a_sentence() {
        let refused = std::io::Error::from_raw_os_error(111);
        let failure = Failure::of_kube("list nodes", &kube::Error::Service(Box::new(refused)));
        assert_eq!(
            failure.reason,
            "nothing listens where the kubeconfig points (connection refused)"
        );
    }

    #[test]
    fn every_failure_has_a_reason_and_a_remedy() {
        for code in [400, 401, 403, 404, 409, 422, 429, 500, 503] {
            let failure = Failure::of_kube("read it", &answer(code, "", "east"));
            assert!(!failure.remedy.is_empty(), "{code}");
            assert!(!failure.what.is_empty(), "{code}");
        }
    }
}
