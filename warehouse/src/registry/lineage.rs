//! What came of a model that an erasure lists: a refresh starts from its parent's weights and carries on what they learned, whatever rows it read itself.
//!
//! Each such model gets a line of its own in the audit, `listed`, beside the erasure: when it is registered, or when a service of this release first
//! starts on a registry that holds it already. A version is its weights and its adapters, so the line means both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio_postgres::{Client, Row};

use super::audit::{Told, record_deed, refused, told, whole};
use super::{RegistryError, UsedBy, removal};
use crate::erasure::Deed;

/// A registered model, as far as it says what its weights know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    pub version: String,
    /// The model whose weights it started from.
    pub parent: Option<String>,
    pub dataset: String,
    /// The newest instant that its rows may hold; `None` where it does not say.
    pub watermark: Option<String>,
    /// Whether its weights were removed, so that only its lines are left.
    pub weights_removed: bool,
}

/// All that are registered, the oldest first.
pub(super) async fn models(client: &Client) -> Result<Vec<Learned>, RegistryError> {
    let sql = "SELECT model_version, parent, dataset_id, details->'pin'->>'watermark', EXISTS (SELECT FROM wardstream.model_history AS h \
               WHERE h.model_version = m.model_version AND h.event = 'weights_removed') FROM wardstream.models AS m ORDER BY created_at, model_version";
    let model = |row: &Row| Learned {
        version: row.get(0),
        parent: row.get(1),
        dataset: row.get(2),
        watermark: row.get(3),
        weights_removed: row.get(4),
    };
    Ok(client.query(sql, &[]).await.map_err(refused)?.iter().map(model).collect())
}

/// Models that started from the weights of `named` ones, or of such, and are not named themselves; each with its parent, and behind it.
pub(super) fn descendants<'a>(models: &'a [Learned], named: &BTreeSet<&'a str>) -> Vec<(&'a Learned, &'a str)> {
    let mut children: BTreeMap<&'a str, Vec<&'a Learned>> = BTreeMap::new();
    for model in models {
        if let Some(parent) = &model.parent {
            children.entry(parent.as_str()).or_default().push(model);
        }
    }
    let mut known = named.clone();
    let mut open: VecDeque<&'a str> = named.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(parent) = open.pop_front() {
        for child in children.get(parent).into_iter().flatten().copied() {
            if known.insert(child.version.as_str()) {
                open.push_back(child.version.as_str());
                found.push((child, parent));
            }
        }
    }
    found
}

/// Names every model that came of one which an erasure's lines name, in a line each; what a line names already gets no other. Which versions, once for
/// each erasure.
pub(super) async fn list_descendants(client: &Client, by: &str) -> Result<Vec<String>, RegistryError> {
    let models = models(client).await?;
    let sql = "SELECT salt, subject, counts, used_by->'models' FROM wardstream.erasures ORDER BY seq";
    let lines = client.query(sql, &[]).await.map_err(refused)?;
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in &lines {
        let listed: Option<serde_json::Value> = line.get(3);
        let listed: Vec<String> = listed.and_then(|models| serde_json::from_value(models).ok()).unwrap_or_default();
        named.entry(line.get(0)).or_default().extend(listed);
    }
    let mut written = Vec::new();
    for (salt, Told { subject, traces, .. }) in whole(lines.iter().map(told)) {
        let named: BTreeSet<&str> = named.get(&salt).into_iter().flatten().map(String::as_str).collect();
        for (model, parent) in descendants(&models, &named) {
            let version = model.version.clone();
            let weights_removed = model.weights_removed.then(|| version.clone()).into_iter().collect();
            // Its dataset is not listed: where its own rows may hold the patient, another line names both.
            let used_by = UsedBy { models: vec![version.clone()], weights_removed, ..UsedBy::default() };
            let line = Deed {
                event: "listed",
                at: removal::clock(client).await?,
                by: by.to_owned(),
                reason: because(parent),
                salt: salt.clone(),
                subject: subject.clone(),
                traces: traces.clone(),
                used_by: serde_json::to_value(used_by).unwrap_or_default(),
            };
            record_deed(client, &line).await?;
            written.push(version);
        }
    }
    Ok(written)
}

/// Why the audit names a model that read none of the patient's rows itself.
fn because(parent: &str) -> String {
    format!(
        "the model started from the weights of {parent}, which this erasure lists, and carries on what they learned: \
         `wardstream trainer --once --anew` learns one from nothing"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(version: &str, parent: Option<&str>) -> Learned {
        Learned { version: version.to_owned(), parent: parent.map(str::to_owned), ..Learned::default() }
    }

    fn came_of(models: &[Learned], named: &[&str]) -> String {
        let found = descendants(models, &named.iter().copied().collect());
        found.iter().map(|(model, parent)| format!("{}<{parent}", model.version)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_came_of_a_listed_model_at_whatever_remove_is_found_and_nothing_else() {
        let models = [
            model("first", None),
            model("refresh", Some("first")),
            model("second-refresh", Some("refresh")),
            model("anew", None),
            model("of-anew", Some("anew")),
            // A parent whose line nobody has is a name like any other.
            model("of-a-stranger", Some("stranger")),
        ];
        assert_eq!(came_of(&models, &["first"]), "refresh<first second-refresh<refresh");
        assert_eq!(came_of(&models, &["refresh"]), "second-refresh<refresh", "nobody learns from a child");
        assert_eq!(came_of(&models, &["first", "refresh"]), "second-refresh<refresh", "what is named already is named once");
        assert_eq!(came_of(&models, &["first", "refresh", "second-refresh"]), "");
        assert_eq!(came_of(&models, &["stranger"]), "of-a-stranger<stranger");
        assert_eq!(came_of(&models, &[]), "");
    }

    #[test]
    fn lines_that_name_one_another_end() {
        let models = [model("a", Some("b")), model("b", Some("a")), model("c", Some("c"))];
        assert_eq!(came_of(&models, &["a"]), "b<a");
        assert_eq!(came_of(&models, &["c"]), "");
    }
}
