//! The page as it is read: hostile names, nothing there yet, sections that fail, and over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusBuilder;
use schemas::{DriftAlert, DriftKind, ModelVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warehouse::{Champion, Settings, Warehouse};

use super::facts::{Answered, Conserved, Facts, Feed, Happened, Judged, Maturity, Month, Titled};
use super::kept::Kept;
use super::{asking, document, routed};
use crate::telemetry::{self, Ready};

const HOSTILE: &str = "\"><script>alert('&')</script>";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Nothing has landed, and nobody answers.
fn nothing() -> Facts {
    Facts {
        computed_at: at("2024-07-01T08:00:00Z"),
        took: Duration::from_millis(1_500),
        watermark: Ok(None),
        champion: Ok(None),
        history: Ok(Vec::new()),
        answers: Ok(Vec::new()),
        titles: Ok(Vec::new()),
        drift: Ok(Vec::new()),
        landed: Ok(Vec::new()),
        months: Ok(Vec::new()),
        feeds: Ok(Vec::new()),
        conserved: Ok(Vec::new()),
        maturity: Ok(Vec::new()),
    }
}

fn month(model: &str, month: &str, auroc: Option<f64>) -> Month {
    Month {
        task: "mortality".to_owned(),
        model_version: model.to_owned(),
        month: at(month),
        n: 120,
        positives: if auroc.is_some() { 17 } else { 0 },
        immature: 3,
        auroc,
        auroc_low: Some(auroc.map_or(0.0, |auroc| auroc - 0.1)),
        auroc_high: Some(auroc.map_or(1.0, |auroc| auroc + 0.1)),
    }
}

fn judged(model: &str, month: &str, (value, alarm, standing): (f64, bool, bool)) -> Judged {
    Judged {
        task: "mortality".to_owned(),
        model_version: model.to_owned(),
        month: at(month),
        kind: "performance".to_owned(),
        measure: "auroc".to_owned(),
        value: Some(value),
        limit: Some(0.6),
        alarm,
        standing,
    }
}

const MARCH: &str = "2024-03-01T00:00:00Z";
const APRIL: &str = "2024-04-01T00:00:00Z";
const MAY: &str = "2024-05-01T00:00:00Z";

/// `b2` took over from `a1` and has fallen since April; `a1` had fallen before.
fn fallen() -> Facts {
    Facts {
        watermark: Ok(Some(at("2024-06-30T12:00:00Z"))),
        champion: Ok(Some(Champion {
            model_version: ModelVersion("b2".to_owned()),
            weights_uri: "b2".to_owned(),
            promoted_at: at("2024-03-02T10:00:00Z"),
        })),
        months: Ok(vec![month("a1", MARCH, Some(0.41)), month("b2", APRIL, Some(0.42)), month("b2", MAY, Some(0.43))]),
        drift: Ok(vec![
            judged("b2", MAY, (0.43, true, true)),
            judged("b2", APRIL, (0.42, true, true)),
            judged("a1", MARCH, (0.41, true, true)),
        ]),
        landed: Ok(vec![alert(&judged("b2", APRIL, (0.42, true, true)))]),
        ..nothing()
    }
}

/// The alarm as it was published.
fn alert(judged: &Judged) -> DriftAlert {
    DriftAlert {
        alert_id: DriftAlert::derive_id(&judged.task, &judged.model_version, judged.month, DriftKind::Performance, &judged.measure),
        task: judged.task.clone(),
        model_version: judged.model_version.clone(),
        month: judged.month,
        kind: DriftKind::Performance,
        measure: judged.measure.clone(),
        value: 0.42,
        low: None,
        high: None,
        limit: 0.6,
        alarmed_at: at("2024-05-31T00:00:00Z"),
    }
}

#[test]
fn an_alarm_that_lasts_is_one_and_that_of_a_model_that_answers_no_more_is_past() {
    let page = document::render(&fallen());
    assert!(page.contains("<strong>1 alarm is open</strong>"), "{page}");
    assert!(page.contains("<strong>Mortality</strong> AUROC 0.430 in May 2024, below its limit of 0.600."), "{page}");
    assert!(page.contains("In alarm since Apr 2024, 2 months. Published on 31 May 2024."), "{page}");
    assert!(page.contains("1 alarm of the past</summary>"), "{page}");
    assert!(page.contains("<th scope=\"row\">Mar 2024</th><td>Mortality</td><td class=\"words\">AUROC 0.410 in Mar 2024"), "{page}");
    // Where it is not known who answers, an alarm too many is shown.
    let unknown = Facts { champion: Err("The registry is away.".to_owned()), ..fallen() };
    assert!(document::render(&unknown).contains("<strong>2 alarms are open</strong>"));
    // A month that holds ends an alarm; one that is no alarm any more by what is known now is told as past.
    let mended = Facts { drift: Ok(vec![judged("b2", MAY, (0.8, false, false)), judged("b2", APRIL, (0.8, false, false))]), ..fallen() };
    let page = document::render(&mended);
    assert!(page.contains("No alarm is open. The newest month that was judged is May 2024."), "{page}");
    assert!(page.contains("auroc was published on 31 May 2024, and is no alarm by what is known now."), "{page}");
}

#[test]
fn the_two_models_are_drawn_apart_and_said_in_words() {
    let page = document::render(&fallen());
    let label = "aria-label=\"Mortality: AUROC by month, Mar 2024 to May 2024; 0.430 in the newest month, 3 months in alarm\"";
    assert!(page.contains(label), "{page}");
    // One month alone has a bar, two in a row a band.
    let (before, live) = page.split_once("<g class=\"live\">").expect("the model that answers is drawn last");
    assert!(before.contains("<g class=\"before\"><path class=\"bar\"") && !before.contains("class=\"band\""), "{before}");
    assert!(live.contains("<path class=\"band\"") && live.contains("<path class=\"limit\""), "{live}");
    assert!(page.contains("<title>May 2024: AUROC 0.430 (0.330 to 0.530), 120 labels, 17 positive</title>"), "{page}");
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

/// No alarm is one thing, and a model that holds another.
#[test]
fn what_is_not_told_apart_from_chance_is_said_though_nothing_alarms() {
    let facts = |auroc| Facts {
        months: Ok(vec![month("b2", APRIL, Some(auroc))]),
        drift: Ok(vec![judged("b2", APRIL, (auroc, false, false))]),
        landed: Ok(Vec::new()),
        ..fallen()
    };
    let doubtful = document::render(&facts(0.59));
    assert!(doubtful.contains("not told apart from chance</strong></td><td>0.590 (0.490 to 0.690)</td>"), "{doubtful}");
    assert!(
        doubtful.contains("<li class=\"unknown\"><a href=\"#model\"><span>Model</span><strong>b2 since 2 Mar 2024; in doubt: Mortality"),
        "{doubtful}"
    );
    let page = document::render(&facts(0.8));
    assert!(page.contains("holds</span></td><td>0.800 (0.700 to 0.900)</td>") && !page.contains("in doubt"), "{page}");
}

#[test]
fn a_month_of_one_class_has_a_row_and_no_point() {
    let page =
        document::render(&Facts { months: Ok(vec![month("b2", MAY, None)]), drift: Ok(Vec::new()), landed: Ok(Vec::new()), ..fallen() });
    assert!(page.contains("Mortality: no month has mature labels of both classes yet"), "{page}");
    assert!(page.contains("<th scope=\"row\">May 2024</th><td>–</td><td>–</td><td>–</td><td>120</td><td>0</td><td>3</td>"), "{page}");
    assert!(page.contains("no mature labels yet") && !page.contains("<circle"), "{page}");
    assert!(page.contains("No month of any model has been judged yet"), "{page}");
}

/// Every text that a site, a sender or an operator chooses.
#[test]
fn no_name_is_markup() {
    let mut facts = fallen();
    let hostile = || HOSTILE.to_owned();
    let champion = Champion { model_version: ModelVersion(hostile()), weights_uri: hostile(), promoted_at: at(MARCH) };
    facts.champion = Ok(Some(champion));
    facts.months = Ok(vec![Month { task: hostile(), model_version: hostile(), ..month("", MAY, Some(0.5)) }]);
    let feed = Judged {
        task: "all".to_owned(),
        model_version: String::new(),
        kind: "plumbing".to_owned(),
        measure: format!("missing_text:{HOSTILE}"),
        ..judged("", MAY, (0.5, true, true))
    };
    let task = Judged { task: hostile(), model_version: hostile(), measure: hostile(), kind: hostile(), ..feed.clone() };
    let past = Judged { standing: false, ..task.clone() };
    facts.landed = Ok(vec![DriftAlert { task: hostile(), model_version: hostile(), measure: hostile(), ..alert(&task) }]);
    facts.drift = Ok(vec![feed, task, past]);
    facts.titles = Ok(vec![Titled { task: hostile(), title: hostile() }]);
    facts.answers = Ok(vec![Answered { model_version: hostile(), task: hostile(), threshold: Some(0.1), last_at: None }]);
    let happened =
        |event: &str| Happened { model_version: hostile(), event: event.to_owned(), at: at(MAY), by: hostile(), reason: hostile() };
    facts.history = Ok(vec![happened("promoted"), happened(HOSTILE)]);
    facts.feeds = Ok(vec![Feed { facility: hostile(), watermark: at(MAY), messages: 1, refused: 0, partly: 0 }]);
    facts.conserved = Ok(vec![Conserved { topic: hostile(), table: hostile(), landed: 1, missing: 1, doubled: 0, lost: 0 }]);
    facts.maturity = Ok(vec![Maturity {
        task: hostile(),
        stays: 1,
        labelled: 0,
        excluded: 0,
        immature: 1,
        waiting: 0,
        first_immature: None,
        mature_at: None,
    }]);
    let page = document::render(&facts);
    assert!(page.matches("&lt;script&gt;").count() > 20, "{page}");
    assert!(!page.contains("<script") && !page.contains("alert('"), "{page}");
    // As the page stands alone, and with every section failing in words that are no markup either.
    let failing = || Err::<Vec<_>, _>(hostile());
    let failed = Facts { watermark: Err(hostile()), champion: Err(hostile()), drift: failing(), landed: Err(hostile()), ..facts };
    let page = document::render(&failed);
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("<span>Alarms</span><strong>Not known</strong>"), "{page}");
}

#[test]
fn a_section_that_fails_takes_no_other_with_it() {
    let page = document::render(&Facts { conserved: Err("The tables are away.".to_owned()), ..fallen() });
    assert_eq!(page.matches("The tables are away.").count(), 1, "{page}");
    assert!(page.contains("1 alarm is open") && page.contains("No stay is known yet."), "{page}");
    let lost = Conserved { topic: "hl7.raw".to_owned(), table: "messages".to_owned(), landed: 1_204, missing: 2, doubled: 1, lost: 0 };
    let page = document::render(&Facts { conserved: Ok(vec![lost]), ..fallen() });
    assert!(page.contains("<strong>2 missing and 1 doubled</strong>"), "{page}");
    assert!(page.contains("<td>1,204</td><td><strong class=\"bad\">2 missing in messages and 1 doubled in messages</strong>"), "{page}");
}

/// What a client gets: the head of the answer, and what follows it.
async fn got(address: SocketAddr, method: &str) -> anyhow::Result<(String, String)> {
    let mut client = TcpStream::connect(address).await?;
    client.write_all(format!("{method} / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut said = String::new();
    client.read_to_string(&mut said).await?;
    let (head, body) = said.split_once("\r\n\r\n").context("no end of the head")?;
    Ok((head.to_lowercase(), body.to_owned()))
}

/// A warehouse in which nothing has landed, asked as it is in earnest; the registry is away.
#[tokio::test]
async fn an_empty_warehouse_is_shown_over_http() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let url = folder.path().to_str().context("a folder has a name")?.to_owned();
    let warehouse = Warehouse::open(&Settings { url, ..Settings::default() }).await?;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let make = move || {
        let warehouse = warehouse.clone();
        async move {
            let away = std::future::ready(Err(anyhow::anyhow!("nobody listens")));
            document::render(&asking::facts(&warehouse, away, || at(MAY)).await)
        }
    };
    let shown = routed(Kept::new(make, tracker.clone(), stop.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let handle = PrometheusBuilder::new().build_recorder().handle();
    tracker.spawn(telemetry::answer(listener, handle, Ready::default(), shown, stop.clone()));
    let (head, body) = got(address, "GET").await?;
    assert!(head.starts_with("http/1.1 200") && body.contains("<meta http-equiv=\"refresh\" content=\"2\">"), "{head}\n{body}");
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    let (head, body) = loop {
        let (head, body) = got(address, "GET").await?;
        if !body.contains("being computed") {
            break (head, body);
        }
        anyhow::ensure!(tokio::time::Instant::now() < patience, "the page never comes: {body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; style-src 'unsafe-inline';",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert!(!head.contains("\nrefresh:") && !body.contains("http-equiv=\"refresh\""), "a page that stands does not reload itself");
    // What reads the registry fails, and nothing else: every other question is one that the views answer.
    assert_eq!(body.matches("could not be read").count(), 2, "{body}");
    for told in ["Nothing has landed yet.", "No alarm is open.", "No prediction has been made yet.", "No stay is known yet."] {
        assert!(body.contains(told), "{told}: {body}");
    }
    let (asked, nothing) = got(address, "HEAD").await?;
    assert!(asked.starts_with("http/1.1 200") && asked.contains("content-security-policy") && nothing.is_empty(), "{asked}\n{nothing}");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(())
}
