//! One TOML file plus environment overrides, resolved once. Each room owns its part.
//!
//! `WARDSTREAM__BUS__BROKERS=host:9092` overrides `bus.brokers`; a value that is TOML is read as TOML, else as text.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const FILE: &str = "wardstream.toml";
const PREFIX: &str = "WARDSTREAM__";

/// What the process was told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where embedded services keep their state.
    pub state: State,
    pub bus: bus::Settings,
    pub warehouse: warehouse::Settings,
    pub registry: warehouse::RegistrySettings,
    pub weights: warehouse::WeightsSettings,
    pub ingest: ingest::Settings,
    pub mllp: mllp::Settings,
    pub scorer: scorer::Settings,
    pub trainer: trainer::Settings,
    pub sql: warehouse::SqlSettings,
    pub telemetry: Telemetry,
}

/// Folder of embedded services and local data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    pub folder: PathBuf,
}

/// Logs, metrics and health.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// `tracing` filter, `info,rdkafka=warn`.
    pub log: String,
    /// Address of `/metrics`, `/livez` and `/readyz`, and of the page of `serve` and `up`.
    pub listen: SocketAddr,
}

impl Default for State {
    fn default() -> Self {
        Self { folder: ".wardstream".into() }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "warn,wardstream=info,ingest=info,scorer=info,trainer=info,warehouse=info,rdkafka=error,librdkafka=off,deltalake_core=error,buoyant_kernel=off,delta_kernel=off".to_owned(), listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// What is wrong with the configuration: the file, the place and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read the configuration {}; name another with --config", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the configuration {origin} is wrong: {said}")]
    Meaning { origin: String, said: String },
    #[error("the environment variable {name} names no key of the configuration; write {PREFIX}SECTION__KEY")]
    Override { name: String },
}

impl Config {
    /// Reads the file (or `wardstream.toml` where it exists), then the environment, then the command line.
    ///
    /// # Errors
    /// One clear sentence with file, key and what is allowed.
    pub fn load(file: Option<&Path>, warehouse: Option<&str>) -> Result<Self, ConfigError> {
        let overrides: Vec<(String, String)> = std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let mut config = Self::resolve(file, &overrides, warehouse)?;
        let environment: std::collections::BTreeMap<String, String> = std::env::vars().collect();
        config.bus.resolve(|name| environment.get(name).cloned());
        config.warehouse.store.resolve(environment);
        Ok(config)
    }

    fn resolve(file: Option<&Path>, overrides: &[(String, String)], warehouse: Option<&str>) -> Result<Self, ConfigError> {
        let implied = file.is_none() && Path::new(FILE).exists();
        let file = file.map(Path::to_owned).or_else(|| implied.then(|| FILE.into()));
        let mut text = String::new();
        if let Some(file) = &file {
            text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.clone(), source })?;
        }
        let origin = file.unwrap_or_else(|| FILE.into()).display().to_string();
        let wrong = |origin: &str, cause: &toml::de::Error| ConfigError::Meaning {
            origin: origin.to_owned(),
            said: warehouse::said_of_toml(cause, &text),
        };
        // Read from the text first: its errors name lines.
        let mut config: Self = toml::from_str(&text).map_err(|cause| wrong(&origin, &cause))?;
        if !overrides.is_empty() {
            let mut table: toml::Table = toml::from_str(&text).map_err(|cause| wrong(&origin, &cause))?;
            for (name, value) in overrides {
                put(&mut table, name, value)?;
            }
            let origin = format!("{origin} with the {PREFIX}* environment");
            config = toml::Value::Table(table).try_into().map_err(|cause| wrong(&origin, &cause))?;
        }
        if let Some(url) = warehouse {
            url.clone_into(&mut config.warehouse.url);
        }
        Ok(config)
    }
}

fn put(table: &mut toml::Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let wrong = || ConfigError::Override { name: name.to_owned() };
    let path = name.strip_prefix(PREFIX).ok_or_else(wrong)?.to_lowercase();
    let (section, key) = path.split_once("__").ok_or_else(wrong)?;
    let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut one| one.remove("value"));
    section.as_table_mut().ok_or_else(wrong)?.insert(key.to_owned(), parsed.unwrap_or_else(|| value.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder =
            std::env::temp_dir().join(format!("wardstream-config-{}-{}", std::process::id(), schemas::Digest::of(text.as_bytes())));
        std::fs::write(&folder, text).expect("the temporary folder is writable");
        let overrides: Vec<_> = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::resolve(Some(&folder), &overrides, None)
    }

    #[test]
    fn the_environment_wins_over_the_file() -> Result<(), ConfigError> {
        let config = resolve(
            "[bus]\nbrokers = \"a:1\"\n[scorer]\nbudget_tokens = 5\n",
            &[("WARDSTREAM__BUS__BROKERS", "b:2"), ("WARDSTREAM__SCORER__BUDGET_TOKENS", "9")],
        )?;
        assert_eq!((config.bus.brokers.as_str(), config.scorer.budget_tokens), ("b:2", 9));
        Ok(())
    }

    #[test]
    fn adapters_are_read_from_file_or_environment_and_senseless_ones_refused() -> Result<(), ConfigError> {
        let adapted = r#"lora = { rank = 16, alpha = 32, dropout = 0.05, targets = ["q_proj", "down_proj"] }"#;
        let config = resolve(&format!("[trainer]\n{adapted}\n"), &[])?;
        assert_eq!(config.trainer.lora.as_ref().map(model::Lora::rank), Some(16));
        let named = resolve(
            "",
            &[("WARDSTREAM__TRAINER__LORA", r#"{ rank = 16, alpha = 32, dropout = 0.05, targets = ["q_proj", "down_proj"] }"#)],
        )?;
        assert_eq!((named.trainer.lora, resolve("", &[])?.trainer.lora), (config.trainer.lora, None));
        let error =
            resolve(&format!("[trainer]\n{}\n", adapted.replace("0.05", "1.5")), &[]).expect_err("all would be dropped").to_string();
        assert!(error.contains("LoRA's dropout is 1.5: choose a share from 0 to below 1") && error.contains("line 2"), "{error}");
        Ok(())
    }

    #[test]
    fn adamw_is_configured_and_what_would_not_learn_refused_in_a_sentence() -> Result<(), ConfigError> {
        let trainer = resolve("[trainer]\nbetas = [0.9, 0.999]\nweight_decay = 0\nclip = inf\n", &[])?.trainer;
        assert_eq!((trainer.betas, trainer.weight_decay, trainer.clip), ((0.9, 0.999), 0.0, f32::INFINITY));
        let trainer = resolve("", &[("WARDSTREAM__TRAINER__BETAS", "[0.9, 0.95]")])?.trainer;
        assert_eq!((trainer.betas, trainer.weight_decay, trainer.clip), ((0.9, 0.95), 0.01, 1.0));
        for (said, why) in [
            ("betas = [0.9, 1.0]", "trainer.betas are [0.9, 1]: choose both from 0 to below 1"),
            ("weight_decay = -0.5", "trainer.weight_decay is -0.5: choose 0 or more"),
            ("clip = 0", "trainer.clip is 0: choose more than 0"),
            ("clip = nan", "trainer.clip is NaN: choose more than 0"),
        ] {
            let error = resolve(&format!("[trainer]\n{said}\n"), &[]).expect_err("it would not learn").to_string();
            assert!(error.contains(why) && error.contains("line 2"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn how_the_champion_answers_is_configured_and_what_is_none_refused() -> Result<(), ConfigError> {
        let said = "[scorer]\nprecision = \"int16\"\ninstructions = \"avx2\"\npacked_cache = \"packed\"\n";
        let config = resolve(said, &[("WARDSTREAM__SCORER__THREADS", "3")])?.scorer;
        let expected = model::Settings {
            precision: Some(model::Precision::Int16),
            instructions: Some(model::InstructionSet::Avx2),
            threads: Some(3),
            device: model::Device::Cpu,
        };
        assert_eq!((config.answering(), config.packed_cache.as_deref()), (expected, Some(Path::new("packed"))));
        let shown = toml::to_string_pretty(&config).unwrap_or_default();
        assert!(shown.contains("precision = \"int16\"") && shown.contains("instructions = \"avx2\""), "{shown}");
        let config = resolve("", &[])?.scorer;
        assert_eq!((config.answering(), config.packed_cache), (model::Settings::default(), None));
        for (said, why) in [("precision = \"int4\"", "int4 is none of f32, bf16, int16, int8"), ("threads = 0", "nonzero")] {
            let error = resolve(&format!("[scorer]\n{said}\n"), &[]).expect_err("there is none").to_string();
            assert!(error.contains(why) && error.contains("line 2"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn how_long_weights_are_kept_is_configured_and_nothing_below_none_is_taken() -> Result<(), ConfigError> {
        let config = resolve("[weights]\nkeep_versions = 3\n", &[("WARDSTREAM__WEIGHTS__KEEP_DAYS", "7")])?;
        assert_eq!((config.weights.keep_versions, config.weights.keep_days), (3, 7));
        let config = resolve("", &[])?;
        assert_eq!((config.weights.keep_versions, config.weights.keep_days), (10, 30));
        let error = resolve("[weights]\nkeep_versions = -1\n", &[]).expect_err("fewer than none").to_string();
        assert!(error.ends_with("is wrong: line 2: `keep_versions` must be a whole number from 0, not integer `-1`"), "{error}");
        Ok(())
    }

    #[test]
    fn a_wrong_key_is_named_with_what_is_allowed() {
        let error = resolve("[scorer]\nbudget_token = 5\n", &[]).expect_err("the key is wrong").to_string();
        assert!(error.contains("budget_token") && error.contains("budget_tokens") && error.contains("line 2"), "{error}");
    }
}
