//! Limits on everything that comes from outside: status stays small whatever the cluster's size.

use crate::api::v1alpha1::{MAX_MESSAGE, MAX_NAME};

/// A message of at most [`MAX_MESSAGE`] bytes, cut between characters and marked when cut.
pub(super) fn message(text: &str) -> String {
    cut(text, MAX_MESSAGE)
}

/// A name of at most [`MAX_NAME`] bytes.
pub(super) fn name(text: &str) -> String {
    cut(text, MAX_NAME)
}

/// The first `most` items, each made by `bound`.
pub(super) fn list<T, U>(items: &[T], most: usize, bound: impl Fn(&T) -> U) -> Vec<U> {
    items.iter().take(most).map(bound).collect()
}

/// An optional name.
pub(super) fn optional(text: Option<&String>) -> Option<String> {
    text.map(|text| name(text))
}

fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most - MARK.len())
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc...");
        assert_eq!(cut("ääää", 6), "ä...");
    }
}
