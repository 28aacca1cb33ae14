//! The older Prometheus text form, written from the `OpenMetrics` one.
//!
//! The two differ in three points: counters are declared with their `_total` suffix, there is no `# UNIT`, and no `# EOF`.

/// The media type a scraper's `Accept` header asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Text,
}

impl Form {
    /// The form for an `Accept` header; the older one when nothing is said.
    #[must_use]
    pub fn accepted_by(accept: Option<&str>) -> Self {
        let wants_open = accept.is_some_and(|a| {
            a.split(',').any(|part| {
                let mut fields = part.split(';').map(str::trim);
                let named = fields.next() == Some("application/openmetrics-text");
                named && !fields.any(|f| matches!(f, "q=0" | "q=0.0"))
            })
        });
        if wants_open {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of the answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// `open` (`OpenMetrics` text) in this form.
    #[must_use]
    pub fn write(self, open: String) -> String {
        match self {
            Self::OpenMetrics => open,
            Self::Text => older(&open),
        }
    }
}

fn older(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((name, text)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            help = Some((name, text));
            continue;
        }
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, text)) = help.take().filter(|(helped, _)| *helped == name) {
                out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_chooses_the_form() {
        for (accept, form) in [
            (None, Form::Text),
            (Some("*/*"), Form::Text),
            (Some("text/plain;version=0.0.4"), Form::Text),
            (
                Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
                Form::OpenMetrics,
            ),
            (
                Some("text/plain, application/openmetrics-text; q=0.2"),
                Form::OpenMetrics,
            ),
            (Some("application/openmetrics-text;q=0"), Form::Text),
        ] {
            assert_eq!(Form::accepted_by(accept), form, "{accept:?}");
        }
    }

    #[test]
    fn counters_are_declared_with_their_suffix_in_the_older_form() {
        let open = concat!(
            "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n",
            "# HELP t_seconds Time.\n# TYPE t_seconds histogram\n# UNIT t_seconds seconds\nt_seconds_sum 1.0\n# EOF\n",
        );
        let text = concat!(
            "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n",
            "# HELP t_seconds Time.\n# TYPE t_seconds histogram\nt_seconds_sum 1.0\n",
        );
        assert_eq!(Form::Text.write(open.into()), text);
    }
}
