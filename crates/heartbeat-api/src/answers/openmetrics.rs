//! The text of metrics, family by family, as OpenMetrics or in the older format of Prometheus.

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    OpenMetrics,
    /// The text format of Prometheus, for readers that ask for it and know nothing else.
    Text,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Whole(u64),
    /// A decimal number in millionths.
    Millionths(i64),
}

impl Value {
    /// 1 for true.
    pub(crate) const fn flag(is: bool) -> Self {
        Self::Whole(is as u64)
    }

    /// A number to six decimals; one that is no number is 0.
    pub(crate) fn real(number: f64) -> Self {
        Self::Millionths((number * 1e6).round() as i64)
    }

    /// Milliseconds as seconds, to the microsecond.
    pub(crate) fn seconds(ms: f64) -> Self {
        Self::Millionths((ms * 1e3).round() as i64)
    }

    fn append(self, out: &mut String) {
        let mut digits = itoa::Buffer::new();
        let millionths = match self {
            Self::Whole(number) => return out.push_str(digits.format(number)),
            Self::Millionths(number) => number,
        };
        if millionths < 0 {
            out.push('-');
        }
        out.push_str(digits.format(millionths.unsigned_abs() / 1_000_000));
        let part = millionths.unsigned_abs() % 1_000_000;
        if part > 0 {
            // A leading 1 keeps the zeros behind the point.
            out.push('.');
            out.push_str(digits.format(1_000_000 + part)[1..].trim_end_matches('0'));
        }
    }
}

/// Labels that several samples share, written once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) fn of(labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (at, (label, of)) in labels.iter().enumerate() {
            text.push(if at == 0 { '{' } else { ',' });
            text.push_str(label);
            text.push_str("=\"");
            escaped(&mut text, of);
            text.push('"');
        }
        Self(text)
    }
}

/// Appends the text of a label.
fn escaped(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            char => out.push(char),
        }
    }
}

/// The text, family by family.
pub(crate) struct Families {
    form: Form,
    text: String,
    /// How the samples of the family are called.
    name: String,
}

impl Families {
    /// A text that will have about so many bytes.
    pub(crate) fn new(form: Form, bytes: usize) -> Self {
        Self { form, text: String::with_capacity(bytes), name: String::new() }
    }

    /// Begins a family of this kind.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        self.name = [name, suffix].concat();
        // In OpenMetrics a family has no suffix; in the text format it is called as its samples are.
        let (name, kind) = match self.form {
            Form::OpenMetrics => (name, kind),
            Form::Text => (self.name.as_str(), if kind == "info" { "gauge" } else { kind }),
        };
        for part in ["# TYPE ", name, " ", kind, "\n# HELP ", name, " ", help, "\n"] {
            self.text.push_str(part);
        }
    }

    /// A sample of the family.
    pub(crate) fn sample(&mut self, labels: &Labels, value: Value) {
        self.text.push_str(&self.name);
        self.text.push_str(&labels.0);
        self.text.push_str(if labels.0.is_empty() { " " } else { "} " });
        value.append(&mut self.text);
        self.text.push('\n');
    }

    /// A sample with one label more: `word` is of a closed list, in which nothing is to be escaped.
    pub(crate) fn sample_of(&mut self, labels: &Labels, label: &str, word: &str, value: Value) {
        self.text.push_str(&self.name);
        self.text.push_str(&labels.0);
        self.text.push(if labels.0.is_empty() { '{' } else { ',' });
        for part in [label, "=\"", word, "\"} "] {
            self.text.push_str(part);
        }
        value.append(&mut self.text);
        self.text.push('\n');
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut families = Families::new(Form::OpenMetrics, 0);
        families.family("a", "counter", "A.");
        families.sample_of(&Labels::of(&[("receiver", "x\"\\\n")]), "result", "y", Value::Whole(3));
        families.family("b", "gauge", "B.");
        families.sample(&Labels::default(), Value::Whole(1));
        families.sample_of(&Labels::default(), "quantile", "1", Value::flag(true));
        let text = families.finish();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            ["a_total{receiver=\"x\\\"\\\\\\n\",result=\"y\"} 3", "b 1", "b{quantile=\"1\"} 1"]
        );
        assert!(text.starts_with("# TYPE a counter\n# HELP a A.\n") && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn in_the_older_format_a_family_is_called_as_its_samples() {
        let mut families = Families::new(Form::Text, 0);
        families.family("a", "counter", "A.");
        families.family("b", "info", "B.");
        let text = families.finish();
        assert!(text.contains("# TYPE a_total counter\n# HELP a_total A.\n"), "{text}");
        assert!(text.ends_with("# TYPE b_info gauge\n# HELP b_info B.\n"), "{text}");
    }

    #[test]
    fn numbers_have_no_more_digits_than_they_need() {
        for (value, text) in [
            (Value::Whole(u64::MAX), "18446744073709551615"),
            (Value::real(0.0), "0"),
            (Value::real(f64::NAN), "0"),
            (Value::real(12.5), "12.5"),
            (Value::real(-0.000_120), "-0.00012"),
            (Value::real(-3.0), "-3"),
            (Value::seconds(9.8), "0.0098"),
            (Value::seconds(1_795_473_601_123.0), "1795473601.123"),
            (Value::Millionths(1_000_001), "1.000001"),
        ] {
            let mut out = String::new();
            value.append(&mut out);
            assert_eq!(out, text, "{value:?}");
        }
    }
}
