//! How nodes are moved, with every default filled in.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::duration::duration;
use crate::api::v1alpha1::{self as api, CanaryType, OnFailure, OnFullNode, Selector, Upgrade};

/// How many of something: a number, or a part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many.
    Number(usize),
    /// So many of a hundred.
    Percent(usize),
}

impl Size {
    /// How many that is of `total`: at least 1, rounded up.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        let count = match self {
            Self::Number(number) => number,
            Self::Percent(percent) => total.saturating_mul(percent).div_ceil(100),
        };
        count.max(1)
    }

    fn read(value: Option<&IntOrString>, default: Self) -> Self {
        match value {
            Some(IntOrString::Int(number)) => {
                usize::try_from(*number).map_or(default, Self::Number)
            }
            Some(IntOrString::String(text)) => text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .map_or(default, Self::Percent),
            None => default,
        }
    }
}

/// Thousandths of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permille(pub u16);

impl Permille {
    /// Reads a percentage with at most one decimal: `0.5%`.
    fn read(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        let whole: u16 = whole.parse().ok()?;
        let tenths: u16 = tenths.parse().ok().filter(|tenths| *tenths < 10)?;
        let all = whole.checked_mul(10)?.checked_add(tenths)?;
        (all <= 1000).then_some(Self(all))
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenths) = (self.0 / 10, self.0 % 10);
        if tenths == 0 {
            write!(f, "{whole}%")
        } else {
            write!(f, "{whole}.{tenths}%")
        }
    }
}

/// The nodes that go first.
#[derive(Clone, Debug, PartialEq)]
pub enum Canary {
    /// So many.
    Count(usize),
    /// Those with these labels.
    Selector(Selector),
}

/// How nodes are moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// The nodes that go first.
    pub canary: Canary,
    /// How long these are watched.
    pub canary_soak: SignedDuration,
    /// How many nodes are in flight at a time after that.
    pub batch: Size,
    /// How long each wave is watched.
    pub batch_soak: SignedDuration,
    /// How long connections may live on after a proxy was told to end.
    pub drain: Duration,
    /// How long a gate may take.
    pub gate_timeout: SignedDuration,
    /// How much larger the part of a node's connections that fail may get.
    pub max_failure_increase: Permille,
    /// How many nodes may be set aside because they do not answer.
    pub max_unreachable: Size,
    /// What happens on a node without room.
    pub on_full_node: OnFullNode,
    /// What happens when a gate fails.
    pub on_failure: OnFailure,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            canary: Canary::Count(1),
            canary_soak: SignedDuration::from_mins(5),
            batch: Size::Percent(10),
            batch_soak: SignedDuration::from_mins(1),
            drain: Duration::from_mins(1),
            gate_timeout: SignedDuration::from_mins(5),
            max_failure_increase: Permille(10),
            max_unreachable: Size::Percent(10),
            on_full_node: OnFullNode::default(),
            on_failure: OnFailure::default(),
        }
    }
}

impl Strategy {
    /// What the spec says, with defaults. A text that the CRD would refuse counts as absent.
    #[must_use]
    pub fn of(upgrade: Option<&Upgrade>) -> Self {
        let Some(strategy) = upgrade.and_then(|upgrade| upgrade.strategy.as_ref()) else {
            return Self::default();
        };
        let default = Self::default();
        let canary = strategy.canary.as_ref();
        let batch = strategy.batch.as_ref();
        Self {
            canary: canary
                .and_then(first_nodes)
                .unwrap_or_else(|| default.canary.clone()),
            canary_soak: canary
                .and_then(|canary| duration(canary.soak.as_ref()?))
                .unwrap_or(default.canary_soak),
            batch: Size::read(batch.and_then(|batch| batch.size.as_ref()), default.batch),
            batch_soak: batch
                .and_then(|batch| duration(batch.soak.as_ref()?))
                .unwrap_or(default.batch_soak),
            drain: strategy
                .drain
                .as_ref()
                .and_then(|drain| duration(drain.timeout.as_ref()?))
                .and_then(|drain| Duration::try_from(drain).ok())
                .unwrap_or(default.drain),
            gate_timeout: strategy
                .gates
                .as_ref()
                .and_then(|gates| duration(gates.timeout.as_ref()?))
                .unwrap_or(default.gate_timeout),
            max_failure_increase: strategy
                .gates
                .as_ref()
                .and_then(|gates| Permille::read(gates.max_failure_increase.as_ref()?))
                .unwrap_or(default.max_failure_increase),
            max_unreachable: Size::read(strategy.max_unreachable.as_ref(), default.max_unreachable),
            on_full_node: strategy.on_full_node.unwrap_or_default(),
            on_failure: strategy.on_failure.unwrap_or_default(),
        }
    }
}

fn first_nodes(canary: &api::Canary) -> Option<Canary> {
    match canary.kind {
        CanaryType::Count => canary
            .count
            .and_then(|count| usize::try_from(count).ok())
            .map(Canary::Count),
        CanaryType::Selector => canary.selector.clone().map(Canary::Selector),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(strategy: serde_json::Value) -> Strategy {
        let upgrade = json!({ "strategy": strategy });
        Strategy::of(Some(&serde_json::from_value(upgrade).unwrap()))
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(Strategy::of(None), Strategy::default());
        assert_eq!(of(json!({})), Strategy::default());
        assert_eq!(
            of(json!({"canary": {"type": "Count", "count": 3}})),
            Strategy {
                canary: Canary::Count(3),
                ..Strategy::default()
            }
        );
    }

    #[test]
    fn what_is_said_is_read() {
        let read = of(json!({
            "canary": {"type": "Selector", "selector": {"matchLabels": {"pool": "a"}}, "soak": "1h30m"},
            "batch": {"size": "25%", "soak": "0s"},
            "drain": {"timeout": "90s"},
            "gates": {"timeout": "2m", "maxFailureIncrease": "0.5%"},
            "maxUnreachable": 2,
            "onFullNode": "Preempt",
            "onFailure": "Pause",
        }));
        assert!(matches!(read.canary, Canary::Selector(_)));
        assert_eq!(read.canary_soak, SignedDuration::from_mins(90));
        assert_eq!(read.batch, Size::Percent(25));
        assert_eq!(read.batch_soak, SignedDuration::ZERO);
        assert_eq!(read.drain, Duration::from_secs(90));
        assert_eq!(read.gate_timeout, SignedDuration::from_mins(2));
        assert_eq!(read.max_failure_increase, Permille(5));
        assert_eq!(read.max_unreachable, Size::Number(2));
        assert_eq!(read.on_full_node, OnFullNode::Preempt);
        assert_eq!(read.on_failure, OnFailure::Pause);
    }

    #[test]
    fn every_order_of_units_that_the_schema_takes_is_read() {
        let read = of(json!({"batch": {"soak": "30m1h"}}));
        assert_eq!(read.batch_soak, SignedDuration::from_mins(90));
    }

    #[test]
    fn a_percentage_has_one_decimal_at_most_and_is_told_as_it_is_written() {
        for (text, value) in [
            ("0%", 0),
            ("0.5%", 5),
            ("1%", 10),
            ("99.9%", 999),
            ("100%", 1000),
        ] {
            assert_eq!(Permille::read(text), Some(Permille(value)), "{text}");
            assert_eq!(Permille(value).to_string(), text);
        }
        for text in [
            "", "1", "%", "1.5.5%", "1.%", "0.25%", "-1%", "100.1%", "6554%", "99999%",
        ] {
            assert_eq!(Permille::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_rounds_up_to_at_least_one() {
        for (percent, total, expected) in [(10, 1, 1), (10, 11, 2), (10, 0, 1), (100, 7, 7)] {
            assert_eq!(
                Size::Percent(percent).of(total),
                expected,
                "{percent} % of {total}"
            );
        }
        assert_eq!(Size::Number(3).of(100), 3);
    }
}
