//! Whether an object has to be applied again: only the fields we own are compared.

use serde_json::Value;

use super::target::Object;
use crate::facts::Facts;

/// Applying the object would change something.
pub fn is_due(object: &Object, facts: &Facts) -> bool {
    let Some(live) = facts.object(&object.key) else {
        return true;
    };
    if live.deleting {
        // A write now would be lost; its end wakes us.
        return false;
    }
    let accepted = facts.accepted.get(&object.key);
    if accepted
        .is_some_and(|accepted| accepted.sent == object.sent && accepted.digest == live.digest)
    {
        return false;
    }
    difference(&live.body, &object.manifest.body).is_some()
}

/// Where the first field of ours is that differs, as a JSON pointer.
pub fn difference(live: &Value, ours: &Value) -> Option<String> {
    let mut ours = ours.clone();
    if let Some(map) = ours.as_object_mut() {
        // What is kept of a live object does not repeat its kind.
        map.remove("apiVersion");
        map.remove("kind");
    }
    path(live, &ours)
}

fn path(live: &Value, ours: &Value) -> Option<String> {
    if covers(live, ours) {
        return None;
    }
    let deeper = match (live, ours) {
        (Value::Object(live), Value::Object(ours)) => ours.iter().find_map(|(key, ours)| {
            let live = live.get(key)?;
            Some((key.clone(), path(live, ours)?))
        }),
        (Value::Array(live), Value::Array(ours)) if live.len() == ours.len() => live
            .iter()
            .zip(ours)
            .enumerate()
            .find_map(|(at, (live, ours))| Some((at.to_string(), path(live, ours)?))),
        _ => None,
    };
    Some(deeper.map_or_else(String::new, |(step, rest)| format!("/{step}{rest}")))
}

/// Every field of `ours` is in `live` with the same value. What others added is passed over.
///
/// Lists of named entries are compared by name, other lists of objects by place, lists of scalars as a whole.
fn covers(live: &Value, ours: &Value) -> bool {
    match (live, ours) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(ours)) => ours.iter().all(|(key, ours)| {
            live.get(key)
                .map_or_else(|| is_empty(ours), |live| covers(live, ours))
        }),
        (Value::Array(live), Value::Array(ours)) => {
            let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
            if !ours.is_empty() && ours.iter().all(|item| name(item).is_some()) {
                return ours.iter().all(|ours| {
                    live.iter()
                        .any(|live| name(live) == name(ours) && covers(live, ours))
                });
            }
            live.len() == ours.len() && live.iter().zip(ours).all(|(live, ours)| covers(live, ours))
        }
        (live, ours) => live == ours,
    }
}

/// The API server may leave out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_and_the_kind_is_none() {
        let ours = json!({"kind": "A", "apiVersion": "v1", "spec": {"list": [{"v": 1}, {"v": 2}]}});
        let live = |second: i64| json!({"spec": {"list": [{"v": 1}, {"v": second}]}});
        assert_eq!(difference(&live(2), &ours), None);
        assert_eq!(
            difference(&live(3), &ours).as_deref(),
            Some("/spec/list/1/v")
        );
        assert_eq!(difference(&json!({}), &ours).as_deref(), Some(""));
    }

    #[test]
    fn what_others_added_is_no_drift_and_what_we_own_is() {
        let ours = json!({"spec": {"list": [{"name": "a", "v": 1}], "args": ["x"], "empty": {}}});
        for (live, expected) in [
            (
                json!({"spec": {"list": [{"name": "a", "v": 1, "default": 2}], "args": ["x"], "other": 1}}),
                true,
            ),
            (
                json!({"spec": {"list": [{"name": "z"}, {"name": "a", "v": 1}], "args": ["x"]}}),
                true,
            ),
            (
                json!({"spec": {"list": [{"name": "a", "v": 2}], "args": ["x"]}}),
                false,
            ),
            (
                json!({"spec": {"list": [{"name": "a", "v": 1}], "args": ["x", "y"]}}),
                false,
            ),
            (json!({"spec": {"args": ["x"]}}), false),
        ] {
            assert_eq!(covers(&live, &ours), expected, "{live}");
        }
    }
}
