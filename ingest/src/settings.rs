//! What ingest is told: which topics, whose they are, and how large a commit may grow.

use schemas::{Facility, topic};
use serde::{Deserialize, Serialize};

/// The `[ingest]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Raw topics and whose records stand on them; the first route that matches decides.
    pub routes: Vec<Route>,
    /// Where a partition begins of which the tables hold nothing.
    pub start: Oldest,
    /// A batch is committed when it holds this many records,
    pub batch_records: usize,
    /// or this many bytes of payload,
    pub batch_bytes: usize,
    /// or when its oldest record has waited this long.
    pub batch_age_ms: u64,
    /// The same for predictions and alarms that come back.
    pub read_back_age_ms: u64,
    /// What records are wrapped in, and where its schemas are.
    pub envelope: envelope::Settings,
    /// Whether rejected records are copied to `<topic>.dlq`; the row in `messages` is the truth either way.
    pub dead_letters: bool,
    /// Pause between two attempts at a commit or a publication that failed.
    pub retry_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let utc = |topic: &str, name: &str| Route { topic: topic.to_owned(), facility: Facility::new(name) };
        Self {
            routes: vec![utc(topic::HL7_RAW, "north"), utc(topic::FHIR_RAW, "south")],
            start: Oldest::Earliest,
            batch_records: 6_000,
            batch_bytes: 16 << 20,
            batch_age_ms: 1_000,
            read_back_age_ms: 2_000,
            envelope: envelope::Settings::default(),
            dead_letters: false,
            retry_ms: 1_000,
        }
    }
}

/// The oldest record that is read of a partition that is new to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oldest {
    /// The oldest that there is.
    Earliest,
    /// The first that comes from now on; what the topic holds already is left out, and is no loss.
    Latest,
}

/// A topic by name, or by regular expression where it starts with `^`, and the facility that speaks on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `hl7.raw`, or `^hl7\..*`.
    pub topic: String,
    /// How its records are read.
    pub facility: Facility,
}

/// Routes with their expressions compiled.
pub struct Routes(Vec<(Pattern, Facility)>);

enum Pattern {
    Name(String),
    Expression(regex::Regex),
}

/// A route's topic is not a regular expression.
#[derive(Debug, thiserror::Error)]
#[error("ingest.routes: the topic `{topic}` starts with ^ but is no regular expression")]
pub struct RouteError {
    topic: String,
    source: regex::Error,
}

impl Routes {
    /// Compiles the routes.
    ///
    /// # Errors
    /// Where a topic that starts with `^` is no regular expression.
    pub fn new(routes: &[Route]) -> Result<Self, RouteError> {
        routes.iter().map(|route| Ok((Pattern::new(&route.topic)?, route.facility.clone()))).collect::<Result<_, _>>().map(Self)
    }

    /// Whose records stand on `topic`.
    #[must_use]
    pub fn facility(&self, topic: &str) -> Option<&Facility> {
        self.0.iter().find(|(pattern, _)| pattern.matches(topic)).map(|(_, facility)| facility)
    }
}

impl Pattern {
    fn new(topic: &str) -> Result<Self, RouteError> {
        if topic.starts_with('^') {
            regex::Regex::new(topic).map(Self::Expression).map_err(|source| RouteError { topic: topic.to_owned(), source })
        } else {
            Ok(Self::Name(topic.to_owned()))
        }
    }

    fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Expression(expression) => expression.is_match(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_belongs_to_the_first_route_that_matches() -> Result<(), RouteError> {
        let route = |topic: &str, name: &str| Route { topic: topic.into(), facility: Facility::new(name) };
        let routes = Routes::new(&[route("hl7.raw", "north"), route(r"^hl7\..*", "east")])?;
        assert_eq!(routes.facility("hl7.raw").map(|f| f.name.as_str()), Some("north"));
        assert_eq!(routes.facility("hl7.lab").map(|f| f.name.as_str()), Some("east"));
        assert_eq!(routes.facility("fhir.raw"), None);
        assert!(Routes::new(&[route("^(", "x")]).is_err());
        Ok(())
    }
}
