//! What went wrong with a request, in words that name object, reason and remedy.

use kube::core::Status;

use crate::api::conditions::Reason;
use crate::desired::crds;
use crate::facts::Facts;
use crate::status::Failure;

/// A step of a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("cannot {what} {object}")]
    Request {
        /// What we were doing: `apply`.
        what: &'static str,
        /// The object.
        object: String,
        /// Why.
        source: kube::Error,
    },
    /// Somebody else owns what we would write.
    #[error("{object} belongs to somebody else, and is left alone: {reason}")]
    Foreign {
        /// The object.
        object: String,
        /// The API server's words.
        reason: String,
    },
    /// The definitions that come with this program cannot be read.
    #[error("the definitions cannot be read")]
    Definitions(#[from] crds::Error),
    /// An authority could not be made.
    #[error("the certificate authority cannot be made")]
    Trust(#[from] crate::trust::Error),
    /// An object does not serialise.
    #[error("an object cannot be rendered")]
    Render(#[from] crate::desired::Error),
    /// No kind of ours.
    #[error("{object} is of no kind that is managed here")]
    UnknownKind {
        /// The object.
        object: String,
    },
    /// Something is there that was not a moment ago.
    #[error("{object} has appeared meanwhile, and is read again")]
    Appeared {
        /// The object.
        object: String,
    },
    /// What runs is not known.
    #[error("{kinds} could not be listed yet: what runs is not known, and nothing is changed")]
    Unlisted {
        /// The kinds, in words.
        kinds: String,
    },
    /// A request took too long.
    #[error("{what} {object} took longer than {seconds} s")]
    Timeout {
        /// What we were doing.
        what: &'static str,
        /// The object.
        object: String,
        /// The limit.
        seconds: u64,
    },
}

impl Error {
    /// What is not seen would be taken for what is not there.
    pub fn unlisted(facts: &Facts) -> Result<(), Self> {
        if facts.unlisted.is_empty() {
            return Ok(());
        }
        let kinds: Vec<String> = (facts.unlisted.iter())
            .map(|kind| format!("{kind}s"))
            .collect();
        Err(Self::Unlisted {
            kinds: kinds.join(", "),
        })
    }

    /// For `map_err`.
    pub fn of(what: &'static str, object: &impl ToString) -> impl FnOnce(kube::Error) -> Self {
        let object = object.to_string();
        move |source| Self::Request {
            what,
            object,
            source,
        }
    }

    fn status(&self) -> Option<&Status> {
        match self {
            Self::Request {
                source: kube::Error::Api(status),
                ..
            } => Some(status),
            _ => None,
        }
    }

    /// The reason of a condition, an Event and a metric.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Foreign { .. } => Reason::Conflict,
            Self::Definitions(_) | Self::Trust(_) | Self::Render(_) | Self::UnknownKind { .. } => {
                Reason::Refused
            }
            Self::Timeout { .. } | Self::Appeared { .. } | Self::Unlisted { .. } => {
                Reason::Retrying
            }
            Self::Request { .. } => match self.status() {
                Some(status) if status.code == 403 && !is_admission(status) => {
                    Reason::MissingRights
                }
                Some(status) if is_for_good(status) => Reason::Refused,
                _ => Reason::Retrying,
            },
        }
    }

    /// Only a change by somebody can help.
    pub fn is_terminal(&self) -> bool {
        self.reason() != Reason::Retrying
    }

    /// What status says.
    pub fn failure(&self) -> Failure {
        let mut message = super::chain(self);
        match self.reason() {
            Reason::MissingRights => message.push_str(
                "; apply the operator's manifests of this version again: they contain the roles",
            ),
            Reason::Conflict => {
                message.push_str("; delete it, or hand it over by removing the other manager");
            }
            _ => {}
        }
        Failure {
            reason: self.reason(),
            message,
            is_terminal: self.is_terminal(),
        }
    }
}

/// Refused by a policy or webhook rather than for want of a right.
fn is_admission(status: &Status) -> bool {
    status.message.contains("denied the request")
        || status.message.contains("ValidatingAdmissionPolicy")
        || status.message.contains("violates PodSecurity")
        || status.message.contains("exceeded quota")
        || status.message.contains("being terminated")
}

/// The same request will be refused again.
fn is_for_good(status: &Status) -> bool {
    match status.code {
        // A field that the server does not know is answered with 500 (kubernetes#122480).
        500 => status.message.contains("field not declared in schema"),
        400 | 405 | 413 | 415 | 422 => true,
        403 => is_admission(status) && !status.message.contains("being terminated"),
        _ => false,
    }
}

/// The object is not there.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Somebody else was quicker, or owns the field.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> Error {
        let status = Status {
            code,
            message: message.to_owned(),
            ..Status::default()
        };
        Error::of("apply", &"ConfigMap a/b")(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_only_a_change_can_help_is_terminal() {
        for (code, message, reason) in [
            (
                500,
                ".spec.x: field not declared in schema",
                Reason::Refused,
            ),
            (500, "etcd is away", Reason::Retrying),
            (503, "busy", Reason::Retrying),
            (409, "changed", Reason::Retrying),
            (422, "invalid", Reason::Refused),
            (
                403,
                "User \"x\" cannot patch resource \"configmaps\"",
                Reason::MissingRights,
            ),
            (
                403,
                "admission webhook \"w\" denied the request: no",
                Reason::Refused,
            ),
        ] {
            let error = refused(code, message);
            assert_eq!(error.reason(), reason, "{code} {message}");
            assert_eq!(error.is_terminal(), reason != Reason::Retrying);
            assert!(error.failure().message.contains("ConfigMap a/b"));
        }
    }

    #[test]
    fn an_error_stays_small() {
        assert!(size_of::<Error>() <= 128, "{}", size_of::<Error>());
    }
}
