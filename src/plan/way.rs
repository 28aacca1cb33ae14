//! The way of a node from one revision to another: three places, told by one label.

use crate::facts::Node;
use crate::names;

/// Where a node is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Only the proxy that is to leave.
    Start,
    /// Both proxies.
    Middle,
    /// Only the proxy that is to stay.
    End,
}

/// From one revision to another. Never from start to end in one patch: a node would be without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The revision that stays on the node.
    pub survivor: String,
    /// The revision whose label says it; the other one is settled.
    arriving: String,
    /// Towards the arriving revision.
    pub is_forward: bool,
    /// The network agent is replaced before the proxy, not after it.
    pub agent_first: bool,
}

impl Way {
    /// From the settled revision to this one. To an older release the proxy goes first: an agent is never older than the
    /// proxy it talks to.
    pub fn forward(arriving: &str, is_older: bool) -> Self {
        Self {
            survivor: arriving.to_owned(),
            arriving: arriving.to_owned(),
            is_forward: true,
            agent_first: !is_older,
        }
    }

    /// From an arriving revision back to the settled one. Without an arriving one every node is at its end.
    pub fn back(settled: &str, arriving: Option<&str>) -> Self {
        Self {
            survivor: settled.to_owned(),
            arriving: arriving.unwrap_or_default().to_owned(),
            is_forward: false,
            agent_first: false,
        }
    }

    /// Where a node is. A label of a third revision means nothing: no `DaemonSet` looks for it.
    pub fn place(&self, node: &Node) -> Place {
        let carried = node
            .labels
            .get(names::NODE_ZTUNNEL_LABEL)
            .map(String::as_str);
        let arrived = match carried {
            Some(carried) if carried == self.arriving => true,
            Some(carried) if carried == names::moving(&self.arriving) => return Place::Middle,
            _ => false,
        };
        if arrived == self.is_forward {
            Place::End
        } else {
            Place::Start
        }
    }

    /// The label of a node in that place.
    pub fn label(&self, place: Place) -> Option<String> {
        match (place, self.is_forward) {
            (Place::Middle, _) => Some(names::moving(&self.arriving)),
            (Place::Start, true) | (Place::End, false) => None,
            (Place::Start, false) | (Place::End, true) => Some(self.arriving.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(label: Option<String>) -> Node {
        Node {
            labels: label
                .map(|label| (names::NODE_ZTUNNEL_LABEL.to_owned(), label))
                .into_iter()
                .collect(),
            ..Node::default()
        }
    }

    #[test]
    fn a_label_is_the_place_it_was_written_for_in_both_directions() {
        let (there, back) = (Way::forward("b", false), Way::back("a", Some("b")));
        for place in [Place::Start, Place::Middle, Place::End] {
            assert_eq!(there.place(&node(there.label(place))), place);
            assert_eq!(back.place(&node(back.label(place))), place);
        }
        assert_eq!(there.label(Place::End), back.label(Place::Start));
        assert_eq!(there.label(Place::Middle), back.label(Place::Middle));
    }

    #[test]
    fn a_label_of_a_third_revision_means_the_settled_one() {
        let stranger = node(Some("c".to_owned()));
        assert_eq!(Way::forward("b", false).place(&stranger), Place::Start);
        assert_eq!(Way::back("a", Some("b")).place(&stranger), Place::End);
        assert_eq!(Way::back("a", None).place(&stranger), Place::End);
    }
}
