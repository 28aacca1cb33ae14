//! A length of time as users write it: `90m`, `1h30m`, `45s`.

use jiff::SignedDuration;

/// Digits of one number; the schema allows no more.
const DIGITS: usize = 5;
/// Numbers in one text; the schema allows no more.
const PARTS: usize = 3;

/// The length that a text of the form `([0-9]{1,5}(h|m|s)){1,3}` stands for, in whole seconds; `None` for any other text.
///
/// The units may come in any order and more than once, as in Go's durations: `30m1h` is an hour and a half.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let mut total: i64 = 0;
    let mut rest = text;
    for _ in 0..PARTS {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, unit) = rest.split_at(end);
        if digits.is_empty() || digits.len() > DIGITS {
            return None;
        }
        let number: i64 = digits.parse().ok()?;
        let seconds = match unit.as_bytes().first()? {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total += number * seconds;
        rest = &unit[1..];
        if rest.is_empty() {
            return Some(SignedDuration::from_secs(total));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up_and_nothing_else_is_read() {
        let table = [
            ("4h", Some(14_400)),
            ("90m", Some(5_400)),
            ("1h30m15s", Some(5_415)),
            ("30m1h", Some(5_400)),
            ("0s", Some(0)),
            ("99999h", Some(359_996_400)),
            ("", None),
            ("4", None),
            ("h", None),
            ("4d", None),
            ("-4h", None),
            ("4h ", None),
            ("1.5h", None),
            ("100000s", None),
            ("1s1s1s1s", None),
            ("1hä", None),
        ];
        for (text, seconds) in table {
            assert_eq!(
                duration(text),
                seconds.map(SignedDuration::from_secs),
                "{text:?}"
            );
        }
    }
}
