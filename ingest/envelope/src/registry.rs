//! The schema registry: asked once for each schema, patient with one that is away, and never for longer than it was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use crate::avro::Avro;
use crate::confluent::{self, Known};
use crate::{EnvelopeError, Registry, Schemas, Settings, compression};

/// No schema is longer than that.
const ANSWER_BYTES: usize = 4 << 20;
/// So many schemas one batch may ask for; a batch that names more is noise.
const ASKED: usize = 256;
/// So many schemas one may refer to, at any depth.
const REFERENCES: usize = 64;
/// A schema that cannot be had says nothing of the others; so many in a row say that none can.
const IN_VAIN: usize = 2;
/// How long the registry is believed that it has no schema of a number.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// Unwraps records, and fetches what that needs.
pub struct Envelopes {
    asking: Option<Asking>,
}

struct Asking {
    client: Client,
    base: String,
    settings: Registry,
    known: Mutex<BTreeMap<u32, (Known, Instant)>>,
    /// A batch has waited in vain: the next ones do not wait.
    away: AtomicBool,
}

/// The answer to `/schemas/ids/{id}` and to `/subjects/{subject}/versions/{version}`.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "schemaType", default)]
    kind: Option<String>,
    schema: String,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

/// The registry did not answer; ask again.
struct Away;

impl Envelopes {
    /// Reads credentials and builds the client. Asks nobody.
    ///
    /// # Errors
    /// With what is wrong in the configuration.
    pub fn open(settings: &Settings) -> Result<Self, EnvelopeError> {
        let asking = settings.registry.as_ref().map(Asking::new).transpose()?;
        Ok(Self { asking })
    }

    /// The schemas that these values need, as far as they can be had. Waits for a registry that is away, within its patience. Cancel
    /// safe.
    pub async fn prepare<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Schemas {
        let Some(asking) = &self.asking else { return Schemas::default() };
        let ids: BTreeSet<u32> = values.into_iter().filter_map(needed).collect();
        if ids.is_empty() {
            return Schemas { registry: true, known: BTreeMap::new() };
        }
        Schemas { registry: true, known: asking.get(ids).await }
    }
}

/// The schema that this value needs, behind a compression too.
fn needed(value: &[u8]) -> Option<u32> {
    match compression::head(value) {
        Some([0, number @ ..]) => Some(u32::from_be_bytes(number)),
        Some(_) => None,
        None => confluent::needs(value),
    }
}

impl Asking {
    fn new(settings: &Registry) -> Result<Self, EnvelopeError> {
        let url = Url::parse(&settings.url).map_err(|_| EnvelopeError::Url("it is no URL; give https://host:port"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EnvelopeError::Url("it begins with neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EnvelopeError::Url("it holds credentials; set user and password_file, or token_file"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.schemaregistry.v1+json, application/json"));
        if let Some(value) = authorization(settings)? {
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| EnvelopeError::Credentials("they hold characters that HTTP cannot carry"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // Only the binary reads the environment, and a proxy is part of it.
        let mut builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        builder = builder.timeout(Duration::from_millis(settings.timeout_ms)).default_headers(headers);
        if let Some(file) = &settings.ca {
            let wrong = |reason: String| EnvelopeError::File { file: file.clone(), reason };
            let pem = std::fs::read(file).map_err(|error| wrong(error.kind().to_string()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|_| wrong("it holds no certificates in PEM".to_owned()))?;
            builder = roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        Ok(Self {
            client: builder.build().map_err(EnvelopeError::Client)?,
            base: settings.url.trim_end_matches('/').to_owned(),
            settings: settings.clone(),
            known: Mutex::default(),
            away: AtomicBool::new(false),
        })
    }

    async fn get(&self, ids: BTreeSet<u32>) -> BTreeMap<u32, Known> {
        let mut found = BTreeMap::new();
        let mut missing: VecDeque<u32> = VecDeque::new();
        for id in ids {
            match self.remembered(id) {
                Some(known) => drop(found.insert(id, known)),
                None if missing.len() < ASKED => missing.push_back(id),
                None => drop(found.insert(id, Known::Away)),
            }
        }
        let patience = if self.away.load(Ordering::Relaxed) { 0 } else { self.settings.patience_ms };
        let deadline = Instant::now() + Duration::from_millis(patience);
        let mut in_vain = 0;
        while let Some(id) = missing.pop_front() {
            if let Ok(known) = self.fetch(id).await {
                self.remember(id, &known);
                found.insert(id, known);
                in_vain = 0;
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the schema registry answers again; replay what was rejected meanwhile");
                }
                continue;
            }
            missing.push_back(id);
            in_vain += 1;
            if Instant::now() >= deadline && in_vain >= missing.len().min(IN_VAIN) {
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        url = self.base,
                        patience_ms = patience,
                        "the schema registry is away; records that need it are rejected, and can be replayed"
                    );
                }
                found.extend(missing.drain(..).map(|id| (id, Known::Away)));
            } else if in_vain >= missing.len() {
                tokio::time::sleep(Duration::from_millis(self.settings.retry_ms)).await;
                in_vain = 0;
            }
        }
        found
    }

    fn remembered(&self, id: u32) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, since) = known.get(&id)?;
        let fresh = !matches!(known, Known::Absent) || since.elapsed() < ABSENT_FOR;
        fresh.then(|| known.clone())
    }

    fn remember(&self, id: u32, schema: &Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.settings.schemas.max(1) {
            let oldest = known.iter().min_by_key(|(_, (_, since))| *since).map(|(id, _)| *id);
            oldest.and_then(|id| known.remove(&id));
        }
        known.insert(id, (schema.clone(), Instant::now()));
    }

    async fn fetch(&self, id: u32) -> Result<Known, Away> {
        let Some(answer) = self.ask(&format!("schemas/ids/{id}")).await? else { return Ok(Known::Absent) };
        match answer.kind.as_deref().unwrap_or("AVRO") {
            "JSON" => Ok(Known::Json),
            "PROTOBUF" => Ok(Known::Protobuf),
            "AVRO" => {
                let references = self.referred(answer.references).await?;
                // The reason is the same for every record that names the schema, so it is kept like one.
                Ok(match Avro::parse(&answer.schema, &references) {
                    Ok(schema) => Known::Avro(Arc::new(schema)),
                    Err(reason) => Known::Refused(reason),
                })
            }
            _ => Ok(Known::Refused("the schema of the Confluent frame is neither Avro nor Protobuf nor JSON")),
        }
    }

    /// The schemas that are referred to, and those that these refer to.
    async fn referred(&self, references: Vec<Reference>) -> Result<Vec<String>, Away> {
        let (mut waiting, mut seen, mut texts) = (references, BTreeSet::new(), Vec::new());
        while let Some(Reference { subject, version }) = waiting.pop() {
            if seen.len() >= REFERENCES || !seen.insert((subject.clone(), version)) {
                continue;
            }
            // A subject may hold any character; a URL may not.
            let subject: String = url::form_urlencoded::byte_serialize(subject.as_bytes()).collect();
            let path = format!("subjects/{}/versions/{version}", subject.replace('+', "%20"));
            if let Some(answer) = self.ask(&path).await? {
                texts.push(answer.schema);
                waiting.extend(answer.references);
            }
        }
        Ok(texts)
    }

    /// One question; `None` where the registry has no such thing.
    async fn ask(&self, path: &str) -> Result<Option<Answer>, Away> {
        let asked = self.client.get(format!("{}/{path}", self.base)).send().await;
        let mut response = asked.map_err(|error| {
            tracing::warn!(error = %error.without_url(), path, "the schema registry cannot be reached");
            Away
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            // It was asked for what cannot be there, a number beyond its own for one: noise may look like a frame. To wait would not help.
            status if status.is_client_error() && !may_change(status) => {
                tracing::warn!(%status, path, "the schema registry refuses the question");
                return Ok(None);
            }
            status => {
                tracing::warn!(%status, path, "the schema registry did not give a schema");
                return Err(Away);
            }
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|_| Away)? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_BYTES {
                tracing::warn!(path, "the schema registry's answer is too long");
                return Err(Away);
            }
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| {
            tracing::warn!(path, "the schema registry's answer is none");
            Away
        })
    }
}

/// Whether the same question may be answered later: once rights are given, or the rush is over.
fn may_change(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// The value of the header `Authorization`.
fn authorization(settings: &Registry) -> Result<Option<String>, EnvelopeError> {
    match (&settings.user, &settings.password_file, &settings.token_file) {
        (None, None, None) => Ok(None),
        (None, None, Some(token)) => Ok(Some(format!("Bearer {}", secret(token)?))),
        (Some(user), Some(password), None) => {
            let pair = format!("{user}:{}", secret(password)?);
            Ok(Some(format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair))))
        }
        (_, _, Some(_)) => Err(EnvelopeError::Credentials("set either user and password_file, or token_file")),
        _ => Err(EnvelopeError::Credentials("user and password_file belong together")),
    }
}

fn secret(file: &Path) -> Result<String, EnvelopeError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| EnvelopeError::File { file: file.to_owned(), reason: format!("it cannot be read: {}", error.kind()) })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests;
