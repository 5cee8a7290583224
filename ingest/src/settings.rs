//! What ingest is told: which topics, whose they are, and how large a commit may grow.

use jiff::tz::TimeZone;
use schemas::{Facility, topic};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::reading;

/// The `[ingest]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Raw topics and whose records stand on them; the first route that matches decides.
    pub routes: Vec<Route>,
    /// Where a partition begins of which the tables hold nothing.
    pub start: Oldest,
    /// A batch is committed when it holds this many records,
    #[serde(deserialize_with = "some")]
    pub batch_records: usize,
    /// or this many bytes of payload,
    #[serde(deserialize_with = "some")]
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
    #[serde(deserialize_with = "some")]
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
    #[serde(deserialize_with = "pattern")]
    pub topic: String,
    /// How its records are read.
    #[serde(deserialize_with = "known")]
    pub facility: Facility,
}

fn some<'de, D: Deserializer<'de>, N: Deserialize<'de> + Default + PartialEq>(reader: D) -> Result<N, D::Error> {
    let number = N::deserialize(reader)?;
    if number == N::default() { Err(D::Error::custom("it must be more than 0")) } else { Ok(number) }
}

fn pattern<'de, D: Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    let topic = String::deserialize(reader)?;
    Pattern::new(&topic).map_err(D::Error::custom)?;
    Ok(topic)
}

fn known<'de, D: Deserializer<'de>>(reader: D) -> Result<Facility, D::Error> {
    let facility = Facility::deserialize(reader)?;
    refusal(&facility).map_or(Ok(facility), |refusal| Err(D::Error::custom(refusal)))
}

/// Why no record can be read as this facility's, and what to write instead; `None` where they can.
#[must_use]
pub fn refusal(facility: &Facility) -> Option<String> {
    let Facility { name, zone, charset, .. } = facility;
    if name.is_empty() || name == reading::OWN {
        return Some(format!("a facility cannot be called `{name}`: it needs a name, and `{}` are our own records", reading::OWN));
    }
    if TimeZone::get(zone).is_err() {
        return Some(format!("the zone `{zone}` of facility `{name}` is not known: write one of IANA's, such as America/New_York"));
    }
    if let Some(unusable) = unusable_authority(facility) {
        return Some(unusable);
    }
    let known = maps::is_charset(charset);
    (!known)
        .then(|| format!("the charset `{charset}` of facility `{name}` is not known: write one of WHATWG's labels, such as windows-1252"))
}

/// An authority stands before its number as `authority|number`, so that it cannot hold the bar. What is read has no blanks around it, so that with them it
/// would be another authority than everybody's, or no identifier's system.
fn unusable_authority(facility: &Facility) -> Option<String> {
    let Facility { name, authority, authorities, .. } = facility;
    let is_bare = |text: &str| !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
    let is_one = |authority: &str| is_bare(authority) && !authority.contains('|');
    let are_authorities = (authority.is_empty() || is_one(authority)) && authorities.values().all(|authority| is_one(authority));
    if !are_authorities {
        return Some(format!(
            "an authority of facility `{name}` is none: write it as HL7 v2 does in CX.4, not empty, without | and without blanks around it"
        ));
    }
    let are_systems = authorities.keys().all(|system| is_bare(system));
    (!are_systems).then(|| {
        format!("an authority of facility `{name}` stands under no system: write the system of FHIR's identifiers before it, without blanks around it")
    })
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

    /// A setting under which nothing would be read, or everything wrongly, is refused by its name before anything is read.
    #[test]
    fn what_could_not_be_meant_is_refused() {
        let told = |json: &str| serde_json::from_str::<Settings>(json).err().map(|error| error.to_string()).unwrap_or_default();
        let route = |topic: &str, facility: &str| told(&format!(r#"{{"routes": [{{"topic": "{topic}", "facility": {facility}}}]}}"#));
        for key in ["batch_records", "batch_bytes", "retry_ms"] {
            assert!(told(&format!(r#"{{"{key}": 0}}"#)).contains("more than 0"), "{key}");
        }
        assert!(route("^(", r#"{"name": "north"}"#).contains("no regular expression"));
        assert!(route("raw", r#"{"name": "north", "zone": "Mars/Olympus"}"#).contains("IANA"));
        assert!(route("raw", r#"{"name": "north", "charset": "klingon"}"#).contains("WHATWG"));
        assert!(route("raw", r#"{"name": ""}"#).contains("needs a name") && route("raw", r#"{"name": "wardstream"}"#).contains("our own"));
        for authorities in [r#"{"urn:a": ""}"#, r#"{"urn:a": "A|B"}"#, r#"{"urn:a": "A "}"#] {
            assert!(route("raw", &format!(r#"{{"name": "north", "authorities": {authorities}}}"#)).contains("CX.4"), "{authorities}");
        }
        for authority in ["A|B", " ", " A"] {
            assert!(route("raw", &format!(r#"{{"name": "north", "authority": "{authority}"}}"#)).contains("CX.4"), "{authority}");
        }
        for system in ["", "urn:a "] {
            let named = format!(r#"{{"name": "north", "authorities": {{"{system}": "A"}}}}"#);
            assert!(route("raw", &named).contains("under no system"), "{system}");
        }
        let good =
            r#"{"name": "north", "zone": "America/New_York", "charset": "ISO-8859-15", "authority": "A", "authorities": {"urn:a": "A"}}"#;
        assert_eq!((route("^hl7.*", good), told(r#"{"batch_records": 1}"#)), (String::new(), String::new()));
    }

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
