//! A value of a librdkafka property, or the place where it lies. Blind in `Debug`, since it may be a password.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::BusError;

/// The value of one property.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a property is a text, { file = \"..\" } or { env = \"..\" }")]
pub enum Property {
    /// The value itself.
    Value(String),
    /// The value is what this file holds, the line end after it left out: `{ file = "/run/secrets/kafka" }`.
    File(InFile),
    /// The value is what this variable of the environment holds: `{ env = "KAFKA_PASSWORD" }`.
    Environment(InEnvironment),
}

/// `{ file = ".." }`. The file is read whenever a client is built.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFile {
    file: PathBuf,
}

/// `{ env = ".." }`. Only the binary reads the environment: see [`crate::Settings::resolve`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InEnvironment {
    env: String,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("(a value)"),
            Self::File(InFile { file }) => write!(f, "(file {})", file.display()),
            Self::Environment(InEnvironment { env }) => write!(f, "(environment {env})"),
        }
    }
}

impl From<&str> for Property {
    fn from(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

impl From<&Path> for Property {
    /// The value lies in this file.
    fn from(file: &Path) -> Self {
        Self::File(InFile { file: file.to_owned() })
    }
}

impl Property {
    /// Takes the value from the environment, where it lies there.
    pub(super) fn resolve(&mut self, environment: &impl Fn(&str) -> Option<String>) {
        if let Self::Environment(InEnvironment { env }) = self
            && let Some(value) = environment(env)
        {
            *self = Self::Value(value);
        }
    }

    /// The value; reads its file where it lies in one.
    pub(super) fn read(&self, key: &str) -> Result<String, BusError> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(InFile { file }) => {
                let text = std::fs::read_to_string(file).map_err(|error| unreadable(key, file, &error))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            Self::Environment(InEnvironment { env }) => {
                Err(refused(key, format!("its value should be in the variable {env} of the environment, which is not set")))
            }
        }
    }
}

/// The properties of a file in librdkafka's and Java's manner: `name=value` a line, `#` before a remark.
///
/// # Errors
/// The file cannot be read, or a line of it is none of these.
pub(super) fn read_file(file: &Path) -> Result<BTreeMap<String, String>, BusError> {
    let key = "properties_file";
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(key, file, &error))?;
    let mut found = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line may hold a password: only its number is told.
        let Some((name, value)) = line.split_once('=') else {
            return Err(refused(key, format!("line {number} of {} is not name=value", file.display())));
        };
        found.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(found)
}

pub(super) fn refused(key: &str, reason: impl Into<String>) -> BusError {
    BusError::Property { key: key.to_owned(), reason: reason.into() }
}

fn unreadable(key: &str, file: &Path, error: &std::io::Error) -> BusError {
    refused(key, format!("the file {} cannot be read: {}", file.display(), error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets lie in files that an orchestrator mounts, with or without a last line end.
    #[test]
    fn a_value_is_read_from_its_file() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("password");
        std::fs::write(&file, "hunter2 \n")?;
        assert_eq!(Property::from(file.as_path()).read("sasl.password")?, "hunter2 ");
        std::fs::remove_file(&file)?;
        let error = Property::from(file.as_path()).read("sasl.password").expect_err("the file is gone").to_string();
        assert!(error.contains("sasl.password") && error.contains("password cannot be read"), "{error}");
        Ok(())
    }

    #[test]
    fn a_value_of_the_environment_is_given_by_whoever_may_read_it() {
        let mut property: Property = serde_json::from_str(r#"{"env": "KAFKA_PASSWORD"}"#).expect("a property");
        property.resolve(&|_| None);
        assert!(property.read("sasl.password").expect_err("not set").to_string().contains("KAFKA_PASSWORD"));
        property.resolve(&|name| (name == "KAFKA_PASSWORD").then(|| "hunter2".to_owned()));
        assert_eq!(property.read("sasl.password").expect("set"), "hunter2");
        assert_eq!(format!("{property:?}"), "(a value)");
        let error = serde_json::from_str::<Property>("5").expect_err("a number").to_string();
        assert!(error.contains("a property is a text"), "{error}");
    }

    /// A line that is wrong is told by its number: it may be a password that lost its name.
    #[test]
    fn a_file_of_properties_is_read_and_its_errors_show_no_value() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("kafka.properties");
        std::fs::write(&file, "# ours\n\nsasl.username = ward\r\nsasl.password=a=b\n")?;
        let read = read_file(&file)?;
        assert_eq!(read.get("sasl.username").map(String::as_str), Some("ward"));
        assert_eq!(read.get("sasl.password").map(String::as_str), Some("a=b"));
        std::fs::write(&file, "hunter2\n")?;
        let error = read_file(&file).expect_err("no property").to_string();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
        Ok(())
    }
}
