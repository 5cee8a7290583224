//! The registry's promises, against a small server on this machine.

use std::collections::VecDeque;
use std::error::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::Hints;

const MESSAGE: &str = "MSH|^~\\&|A|||||2020||ADT^A01|1|P|2.5\rPID|1||4711\r";

/// A registry that gives these answers in turn, the last one for ever, and notes what it was asked.
struct Played {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Played {
    async fn start(answers: &[(u16, String)]) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (asked, mut answers) = (Arc::<Mutex<Vec<String>>>::default(), VecDeque::from(answers.to_vec()));
        let mut serving = JoinSet::new();
        let notes = Arc::clone(&asked);
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    request.push(byte);
                }
                notes.lock().expect("no panic").push(String::from_utf8_lossy(&request).into_owned());
                let (status, body) = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }.expect("an answer");
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { url, asked, _serving: serving })
    }

    fn settings(&self) -> Registry {
        Registry {
            url: self.url.clone(),
            user: None,
            password_file: None,
            token_file: None,
            ca: None,
            timeout_ms: 2_000,
            patience_ms: 200,
            retry_ms: 10,
            schemas: 10,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn open(registry: Registry) -> Result<Envelopes, EnvelopeError> {
    Envelopes::open(&Settings { registry: Some(registry) })
}

fn schema(text: &str) -> (u16, String) {
    (200, serde_json::json!({"schema": text}).to_string())
}

/// A text in Avro, behind a frame that names schema 9.
fn framed() -> Vec<u8> {
    [&[0, 0, 0, 0, 9, u8::try_from(MESSAGE.len() * 2).expect("short")], MESSAGE.as_bytes()].concat()
}

async fn read(envelopes: &Envelopes, value: &[u8]) -> Result<String, String> {
    let schemas = envelopes.prepare([value]).await;
    let read = schemas.unwrap(value, Hints::default());
    read.map(|all| String::from_utf8_lossy(&all.payload).into_owned()).map_err(|reject| reject.reason.into_owned())
}

/// Schemas never change: the second record costs no question. Nor does one that needs none.
#[tokio::test]
async fn each_schema_is_asked_for_once() -> Result<(), Box<dyn Error>> {
    let registry = Played::start(&[schema(r#""string""#)]).await?;
    let envelopes = open(registry.settings())?;
    for _ in 0..3 {
        assert_eq!(read(&envelopes, &framed()).await, Ok(MESSAGE.to_owned()));
    }
    assert_eq!(read(&envelopes, MESSAGE.as_bytes()).await, Ok(MESSAGE.to_owned()));
    assert_eq!(registry.asked().len(), 1);
    assert!(registry.asked()[0].starts_with("GET /schemas/ids/9 "), "{:?}", registry.asked());
    let zipped = zstd::encode_all(framed().as_slice(), 1)?;
    assert_eq!(read(&envelopes, &zipped).await, Ok(MESSAGE.to_owned()));
    Ok(())
}

/// A registry that restarts must not cost a night's records.
#[tokio::test]
async fn a_registry_that_comes_back_in_time_costs_nothing_but_time() -> Result<(), Box<dyn Error>> {
    let away = (503, String::new());
    let registry = Played::start(&[away.clone(), (200, "no JSON".to_owned()), away, schema(r#""string""#)]).await?;
    let envelopes = open(Registry { patience_ms: 30_000, ..registry.settings() })?;
    assert_eq!(read(&envelopes, &framed()).await, Ok(MESSAGE.to_owned()));
    assert_eq!(registry.asked().len(), 4);
    Ok(())
}

/// The log goes on in the end, and no second batch waits for what the first waited for in vain.
#[tokio::test]
async fn a_registry_that_stays_away_rejects_what_needs_it_and_holds_up_nothing_else() -> Result<(), Box<dyn Error>> {
    let registry = Played::start(&[(500, String::new())]).await?;
    let envelopes = open(registry.settings())?;
    let refused = |read: Result<String, String>| read.is_err_and(|reason| reason.contains("could not be fetched"));
    assert!(refused(read(&envelopes, &framed()).await));
    let before = registry.asked().len();
    assert!(before > 3, "it was asked again within the patience");
    assert!(refused(read(&envelopes, &framed()).await));
    assert_eq!(registry.asked().len(), before + 1, "the second batch asked once");
    assert_eq!(read(&envelopes, MESSAGE.as_bytes()).await, Ok(MESSAGE.to_owned()));
    Ok(())
}

/// A schema that the registry cannot give costs the records that name it, not the others of their batch.
#[tokio::test]
async fn one_schema_that_cannot_be_had_says_nothing_of_the_others() -> Result<(), Box<dyn Error>> {
    let broken = (500, String::new());
    let registry = Played::start(&[broken.clone(), schema(r#""string""#), broken]).await?;
    let envelopes = open(Registry { patience_ms: 0, ..registry.settings() })?;
    let (refused, other) = (framed(), [&[0, 0, 0, 0, 10], framed().get(5..).expect("a datum")].concat());
    let schemas = envelopes.prepare([refused.as_slice(), other.as_slice()]).await;
    assert!(schemas.unwrap(&refused, Hints::default()).is_err_and(|reject| reject.reason.contains("could not be fetched")));
    assert!(schemas.unwrap(&other, Hints::default()).is_ok_and(|all| *all.payload == *MESSAGE.as_bytes()));
    assert!(registry.asked()[1].starts_with("GET /schemas/ids/10 "), "{:?}", registry.asked());
    Ok(())
}

/// Noise that looks like a frame may name a number that the registry refuses to look for: nothing waits for it.
#[tokio::test]
async fn a_question_that_is_refused_is_not_asked_again() -> Result<(), Box<dyn Error>> {
    for (status, is_final, reason) in [(422, true, "no schema of the number"), (403, false, "could not be fetched")] {
        let registry = Played::start(&[(status, String::new())]).await?;
        let envelopes = open(registry.settings())?;
        assert!(read(&envelopes, &framed()).await.is_err_and(|told| told.contains(reason)), "{status}");
        assert_eq!(registry.asked().len() == 1, is_final, "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_number_without_a_schema_is_not_asked_for_again_at_once() -> Result<(), Box<dyn Error>> {
    let registry = Played::start(&[(404, r#"{"error_code": 40403}"#.to_owned())]).await?;
    let envelopes = open(registry.settings())?;
    for _ in 0..2 {
        assert!(read(&envelopes, &framed()).await.is_err_and(|reason| reason.contains("no schema of the number")));
    }
    assert_eq!(registry.asked().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_schema_is_fetched_with_those_that_it_refers_to() -> Result<(), Box<dyn Error>> {
    let outer = r#"{"type": "record", "name": "E", "fields": [{"name": "data", "type": "D"}]}"#;
    let first =
        serde_json::json!({"schemaType": "AVRO", "schema": outer, "references": [{"name": "D", "subject": "ward/D v", "version": 3}]});
    let inner = r#"{"type": "record", "name": "D", "fields": [{"name": "hl7", "type": "string"}]}"#;
    let registry = Played::start(&[(200, first.to_string()), schema(inner)]).await?;
    assert_eq!(read(&open(registry.settings())?, &framed()).await, Ok(MESSAGE.to_owned()));
    assert!(registry.asked()[1].starts_with("GET /subjects/ward%2FD%20v/versions/3 "), "{:?}", registry.asked());
    Ok(())
}

#[tokio::test]
async fn credentials_come_from_files_and_are_sent() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    std::fs::write(&file, "hunter2\n")?;
    let registry = Played::start(&[schema(r#""string""#)]).await?;
    let basic = Registry { user: Some("ward".to_owned()), password_file: Some(file.clone()), ..registry.settings() };
    assert_eq!(read(&open(basic.clone())?, &framed()).await, Ok(MESSAGE.to_owned()));
    let bearer = Registry { token_file: Some(file.clone()), ..registry.settings() };
    assert_eq!(read(&open(bearer.clone())?, &framed()).await, Ok(MESSAGE.to_owned()));
    let asked = registry.asked();
    assert!(asked[0].contains("authorization: Basic d2FyZDpodW50ZXIy\r\n") && asked[1].contains("authorization: Bearer hunter2\r\n"));

    let wrong = |registry: Registry| open(registry).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(wrong(Registry { token_file: Some(file), ..basic }).contains("either"));
    assert!(wrong(Registry { user: Some("ward".to_owned()), ..registry.settings() }).contains("belong together"));
    assert!(wrong(Registry { url: "http://ward:hunter2@host".to_owned(), ..registry.settings() }).contains("holds credentials"));
    assert!(wrong(Registry { url: "host".to_owned(), ..registry.settings() }).contains("no URL"));
    assert!(wrong(Registry { token_file: Some(folder.path().join("none")), ..registry.settings() }).contains("cannot be read"));
    Ok(())
}
