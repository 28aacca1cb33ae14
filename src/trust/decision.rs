//! What to do with the authorities that are found: mint, keep, or stop and say why. Pure.

use std::fmt;

use super::reading::{Certificate, Defect, Fingerprint};

/// Which authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The network's root.
    Root,
    /// The member's intermediate, in `cacerts`.
    Intermediate,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
        })
    }
}

/// Fingerprints that status recorded, of the network's root and of the member's intermediate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Of the root: of the network, or of the member where the network has none.
    pub root: Option<Fingerprint>,
    /// Of the intermediate.
    pub intermediate: Option<Fingerprint>,
}

/// What is in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// There is no Secret.
    Nothing,
    /// There is one that cannot be used.
    Unusable(Defect),
    /// There is one in order.
    Good(T),
}

impl<T> From<Option<Result<T, Defect>>> for Found<T> {
    fn from(read: Option<Result<T, Defect>>) -> Self {
        match read {
            None => Self::Nothing,
            Some(Err(defect)) => Self::Unusable(defect),
            Some(Ok(found)) => Self::Good(found),
        }
    }
}

/// An intermediate that was found, and the root it is chained to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The intermediate certificate.
    pub intermediate: Certificate,
    /// The root beside it.
    pub root: Certificate,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing was ever there: make a root, then an intermediate.
    MintBoth,
    /// The root is there, the member is new: make an intermediate.
    MintIntermediate,
    /// All is as recorded, or is there and not recorded yet: record it.
    Keep(Pair),
    /// Nothing is made and nothing is replaced until somebody has acted.
    Stalled(Problem),
}

/// Why trust stands still. Whatever it is, the mesh runs on with what it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A recorded authority is not there.
    #[error(
        "the {subject} certificate authority with fingerprint {recorded} is gone: restore Secret {secret} from a backup; it is never made anew, because every identity depends on it"
    )]
    Missing {
        /// Which one.
        subject: Subject,
        /// Where it was: namespace and name.
        secret: String,
        /// Its fingerprint.
        recorded: Fingerprint,
    },
    /// Another authority is in the place of the recorded one.
    #[error(
        "Secret {secret} holds a {subject} certificate authority with fingerprint {found}, but {recorded} is in use: restore the original from a backup"
    )]
    Foreign {
        /// Which one.
        subject: Subject,
        /// Where it is: namespace and name.
        secret: String,
        /// The recorded fingerprint.
        recorded: Fingerprint,
        /// The one found.
        found: Fingerprint,
    },
    /// A Secret is there and cannot be used.
    #[error(
        "Secret {secret} cannot be used as the {subject} certificate authority: {defect}; restore it from a backup, or delete it if it never belonged to applink"
    )]
    Unusable {
        /// Which one.
        subject: Subject,
        /// Where it is: namespace and name.
        secret: String,
        /// What is wrong.
        defect: Defect,
    },
    /// `cacerts` is chained to another root than the network's.
    #[error(
        "Secret {secret} is chained to root {found}, but the network's root is {root}: delete it if nothing in this cluster depends on it, or join another network"
    )]
    OtherRoot {
        /// Where the intermediate is: namespace and name.
        secret: String,
        /// The network's root.
        root: Fingerprint,
        /// The root beside the intermediate.
        found: Fingerprint,
    },
}

impl Problem {
    /// Reason for conditions and Events.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. }
            | Self::Foreign { .. }
            | Self::Unusable { .. }
            | Self::OtherRoot { .. } => "RootMissing",
        }
    }
}

/// Namespace and name of the Secret that holds an authority of the network.
fn place(subject: Subject, network: &str) -> String {
    use crate::names;
    match subject {
        Subject::Root => format!(
            "{}/{}{network}",
            names::OPERATOR_NAMESPACE,
            names::ROOT_SECRET_PREFIX
        ),
        Subject::Intermediate => format!("{}/{}", names::SYSTEM_NAMESPACE, names::CACERTS_SECRET),
    }
}

/// What to do with what was found of a network.
///
/// Nothing is ever minted over a recorded fingerprint, nor over a Secret that exists. A Secret without a record is what
/// an operator leaves that is stopped between two writes: it is kept and recorded.
#[must_use]
pub fn decide(
    network: &str,
    recorded: &Recorded,
    root: &Found<Certificate>,
    intermediate: &Found<Pair>,
) -> Decision {
    decided(network, recorded, root, intermediate).unwrap_or_else(Decision::Stalled)
}

fn decided(
    network: &str,
    recorded: &Recorded,
    root: &Found<Certificate>,
    intermediate: &Found<Pair>,
) -> Result<Decision, Problem> {
    let root = settled(
        (Subject::Root, network),
        recorded.root.as_ref(),
        root,
        |certificate| &certificate.fingerprint,
    )?;
    let pair = settled(
        (Subject::Intermediate, network),
        recorded.intermediate.as_ref(),
        intermediate,
        |pair| &pair.intermediate.fingerprint,
    )?;
    match (root, pair) {
        (None, None) => Ok(Decision::MintBoth),
        (Some(_), None) => Ok(Decision::MintIntermediate),
        (Some(root), Some(pair)) if root.fingerprint == pair.root.fingerprint => {
            Ok(Decision::Keep(pair.clone()))
        }
        (Some(root), Some(pair)) => Err(Problem::OtherRoot {
            secret: place(Subject::Intermediate, network),
            root: root.fingerprint.clone(),
            found: pair.root.fingerprint.clone(),
        }),
        // An intermediate of ours or not, its root's key is nowhere: a root made now would split the mesh.
        (None, Some(pair)) => Err(Problem::Missing {
            subject: Subject::Root,
            secret: place(Subject::Root, network),
            recorded: pair.root.fingerprint.clone(),
        }),
    }
}

/// What is there and may stay; `None` when nothing is there and nothing ever was.
fn settled<'a, T>(
    (subject, network): (Subject, &str),
    recorded: Option<&Fingerprint>,
    found: &'a Found<T>,
    fingerprint: impl Fn(&T) -> &Fingerprint,
) -> Result<Option<&'a T>, Problem> {
    let secret = place(subject, network);
    match (recorded, found) {
        (None, Found::Nothing) => Ok(None),
        (Some(recorded), Found::Nothing) => Err(Problem::Missing {
            subject,
            secret,
            recorded: recorded.clone(),
        }),
        (_, Found::Unusable(defect)) => Err(Problem::Unusable {
            subject,
            secret,
            defect: defect.clone(),
        }),
        (Some(recorded), Found::Good(there)) if recorded != fingerprint(there) => {
            Err(Problem::Foreign {
                subject,
                secret,
                recorded: recorded.clone(),
                found: fingerprint(there).clone(),
            })
        }
        (_, Found::Good(there)) => Ok(Some(there)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn certificate(name: &str) -> Certificate {
        Certificate {
            fingerprint: Fingerprint::recorded(name),
            not_after: Timestamp::UNIX_EPOCH,
            der: Vec::new(),
        }
    }

    fn pair(intermediate: &str, root: &str) -> Found<Pair> {
        Found::Good(Pair {
            intermediate: certificate(intermediate),
            root: certificate(root),
        })
    }

    fn root(name: &str) -> Found<Certificate> {
        Found::Good(certificate(name))
    }

    fn recorded(root: Option<&str>, intermediate: Option<&str>) -> Recorded {
        Recorded {
            root: root.map(Fingerprint::recorded),
            intermediate: intermediate.map(Fingerprint::recorded),
        }
    }

    fn missing(subject: Subject, name: &str) -> Decision {
        Decision::Stalled(Problem::Missing {
            subject,
            secret: place(subject, "blue"),
            recorded: Fingerprint::recorded(name),
        })
    }

    fn foreign(subject: Subject, recorded: &str, found: &str) -> Decision {
        let (recorded, found) = (
            Fingerprint::recorded(recorded),
            Fingerprint::recorded(found),
        );
        Decision::Stalled(Problem::Foreign {
            subject,
            secret: place(subject, "blue"),
            recorded,
            found,
        })
    }

    #[test]
    fn every_finding_has_one_answer() {
        let nothing = || Found::Nothing;
        let keep = || {
            Decision::Keep(Pair {
                intermediate: certificate("i"),
                root: certificate("r"),
            })
        };
        let other_root = Decision::Stalled(Problem::OtherRoot {
            secret: place(Subject::Intermediate, "blue"),
            root: Fingerprint::recorded("r"),
            found: Fingerprint::recorded("x"),
        });
        for (record, root_found, pair_found, expected) in [
            (
                recorded(None, None),
                nothing(),
                Found::Nothing,
                Decision::MintBoth,
            ),
            // Stopped after the first write, after the second, before the record.
            (
                recorded(None, None),
                root("r"),
                Found::Nothing,
                Decision::MintIntermediate,
            ),
            (recorded(None, None), root("r"), pair("i", "r"), keep()),
            (recorded(Some("r"), None), root("r"), pair("i", "r"), keep()),
            (
                recorded(Some("r"), Some("i")),
                root("r"),
                pair("i", "r"),
                keep(),
            ),
            // A second member joins the network.
            (
                recorded(Some("r"), None),
                root("r"),
                Found::Nothing,
                Decision::MintIntermediate,
            ),
            // Gone or replaced under us.
            (
                recorded(Some("r"), Some("i")),
                nothing(),
                pair("i", "r"),
                missing(Subject::Root, "r"),
            ),
            (
                recorded(Some("r"), Some("i")),
                nothing(),
                Found::Nothing,
                missing(Subject::Root, "r"),
            ),
            (
                recorded(Some("r"), Some("i")),
                root("r"),
                Found::Nothing,
                missing(Subject::Intermediate, "i"),
            ),
            (
                recorded(Some("r"), Some("i")),
                root("x"),
                pair("i", "r"),
                foreign(Subject::Root, "r", "x"),
            ),
            (
                recorded(Some("r"), Some("i")),
                root("r"),
                pair("y", "r"),
                foreign(Subject::Intermediate, "i", "y"),
            ),
            (recorded(None, None), root("r"), pair("i", "x"), other_root),
            // Somebody else's cacerts and no root: not ours to shadow.
            (
                recorded(None, None),
                nothing(),
                pair("i", "x"),
                missing(Subject::Root, "x"),
            ),
        ] {
            assert_eq!(
                decide("blue", &record, &root_found, &pair_found),
                expected,
                "{record:?} {root_found:?} {pair_found:?}"
            );
        }
    }

    #[test]
    fn an_unusable_secret_is_never_replaced() {
        let defect = Defect::Absent("ca-key.pem");
        for record in [recorded(None, None), recorded(Some("r"), Some("i"))] {
            let decision = decide(
                "blue",
                &record,
                &root("r"),
                &Found::Unusable(defect.clone()),
            );
            assert_eq!(
                decision,
                Decision::Stalled(Problem::Unusable {
                    subject: Subject::Intermediate,
                    secret: "applink-system/cacerts".to_owned(),
                    defect: defect.clone()
                })
            );
        }
    }

    #[test]
    fn a_problem_names_the_object_of_its_own_network_and_the_remedy() {
        for (record, root_found, secret) in [
            (
                recorded(Some("r"), Some("abc")),
                root("r"),
                "Secret applink-system/cacerts ",
            ),
            (
                recorded(Some("abc"), None),
                Found::Nothing,
                "Secret applink-operator/applink-root-blue ",
            ),
        ] {
            let Decision::Stalled(problem) = decide("blue", &record, &root_found, &Found::Nothing)
            else {
                panic!("not stalled: {record:?}")
            };
            let text = problem.to_string();
            assert!(
                text.contains(secret) && text.contains("abc") && text.contains("restore"),
                "{text}"
            );
            assert_eq!(problem.reason(), "RootMissing");
        }
    }
}
