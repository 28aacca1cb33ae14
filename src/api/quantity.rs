//! A resource quantity as users write it: `1`, `"500m"`, `"64Mi"`.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as K8sQuantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The longest quantity that is accepted, in characters.
const LONGEST: usize = 16;

/// What a quantity may look like: at most twelve digits, three decimals, one suffix.
pub const QUANTITY_PATTERN: &str = "^[0-9]{1,12}(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// A quantity, kept as written. An integer is read as its decimal text, as Kubernetes does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantity(pub String);

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&Quantity> for K8sQuantity {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.0.clone())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity: an integer or a string such as 500m or 64Mi")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Quantity, E> {
                Ok(Quantity(value.to_string()))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Quantity, E> {
                Ok(Quantity(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": LONGEST,
            "pattern": QUANTITY_PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn integers_and_texts_are_kept_as_written(number in any::<i64>(), unsigned in any::<u64>(), text in ".{0,20}") {
            for (written, kept) in [
                (json!(number), number.to_string()),
                (json!(unsigned), unsigned.to_string()),
                (json!(text), text.clone()),
            ] {
                let read: Quantity = serde_json::from_value(written).unwrap();
                prop_assert_eq!(&read.to_string(), &kept);
                prop_assert_eq!(serde_json::to_value(&read).unwrap(), json!(kept));
            }
        }

        #[test]
        fn a_number_with_a_fraction_is_refused(number in any::<f64>()) {
            prop_assert!(serde_json::from_value::<Quantity>(json!(number)).is_err());
        }
    }

    #[test]
    fn integers_and_strings_are_read_and_written_as_strings() {
        let read: Vec<Quantity> = serde_json::from_str(r#"[2, "500m", "64Mi"]"#).unwrap();
        assert_eq!(read, ["2", "500m", "64Mi"].map(Quantity::from));
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            r#"["2","500m","64Mi"]"#
        );
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected() {
        let error = serde_json::from_str::<Quantity>("[]")
            .unwrap_err()
            .to_string();
        assert!(error.contains("such as 500m"), "{error}");
    }
}
