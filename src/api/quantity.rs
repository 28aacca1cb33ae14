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

/// A quantity in thousandths, rounded up; 0 for a text that is none.
/// Source: apimachinery `pkg/api/resource`, the suffixes of a quantity.
pub fn thousandths(text: &str) -> u64 {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = format!("{part:0<9}");
    let Ok(billionths) = format!("{whole}{}", &part[..9]).parse::<u128>() else {
        return 0;
    };
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .and_then(|digits| digits.parse::<u32>().ok())
        .and_then(|digits| 10_u128.checked_pow(digits));
    // In billionths.
    let factor: u128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        "k" => 1_000_000_000_000,
        "M" => 1_000_000_000_000_000,
        "G" => 1_000_000_000_000_000_000,
        "T" => 1_000_000_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000_000_000,
        "Ki" => 1_000_000_000 << 10,
        "Mi" => 1_000_000_000 << 20,
        "Gi" => 1_000_000_000 << 30,
        "Ti" => 1_000_000_000 << 40,
        "Pi" => 1_000_000_000 << 50,
        _ => exponent
            .and_then(|e| e.checked_mul(1_000_000_000))
            .unwrap_or(0),
    };
    let thousandths = billionths
        .saturating_mul(factor)
        .div_ceil(1_000_000_000_000_000);
    u64::try_from(thousandths).unwrap_or(u64::MAX)
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
    fn a_quantity_counts_in_thousandths_rounded_up() {
        for (text, expected) in [
            ("50m", 50),
            ("1", 1000),
            ("0.5", 500),
            ("1.0005", 1001),
            ("64Mi", 64 * 1024 * 1024 * 1000),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("100n", 1),
            ("", 0),
            ("many", 0),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
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
