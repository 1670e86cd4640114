//! Business refusals: a "no" that is an answer.
use corduroy_proto::runtime as pb;
use std::fmt;

/// A refusal, by the name clients know it by, with what they need to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal(pub(super) pb::Refusal);

impl Refusal {
    /// `name` is stable; `detail` is a sentence for people.
    pub fn new(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Refusal(pb::Refusal { name: name.into(), detail: detail.into(), extras: Vec::new() })
    }

    /// With a text.
    pub fn text(self, name: &str, text: impl Into<String>) -> Self {
        self.with(name, pb::extra::Value::Text(text.into()))
    }

    /// With a number.
    pub fn number(self, name: &str, number: i64) -> Self {
        self.with(name, pb::extra::Value::Number(number))
    }

    /// With a yes or no.
    pub fn flag(self, name: &str, flag: bool) -> Self {
        self.with(name, pb::extra::Value::Flag(flag))
    }

    fn with(mut self, name: &str, value: pb::extra::Value) -> Self {
        self.0.extras.push(pb::Extra { name: name.into(), value: Some(value) });
        self
    }

    /// What clients know it by.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// For people.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What goes with it, by name.
    pub fn extras(&self) -> impl Iterator<Item = (&str, &pb::extra::Value)> {
        self.0.extras.iter().filter_map(|extra| Some((extra.name.as_str(), extra.value.as_ref()?)))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name, self.0.detail)
    }
}
