//! The plumbing: how far each feed has come, what the tables hold of each topic, and how many labels are there.

use jiff::Timestamp;

use super::facts::{Conserved, Facts, Feed, Maturity, Told};
use super::markup::Markup;
use super::words;

/// The section.
pub fn show(html: &mut Markup, facts: &Facts) {
    html.raw("<section aria-labelledby=\"feeds\"><h2 id=\"feeds\">Feeds, records, labels</h2><div class=\"rows\">");
    html.raw("<article><h3>Feeds</h3>");
    html.told(&facts.feeds, |html, feeds| show_feeds(html, feeds, facts.computed_at));
    html.raw("</article><article><h3>Records</h3>");
    html.told(&facts.conserved, |html, conserved| show_topics(html, &topics(conserved)));
    html.raw("</article><article><h3>Labels</h3>");
    html.told(&facts.maturity, |html, maturity| show_maturity(html, facts, maturity));
    html.raw("</article></div></section>");
}

/// How far a feed's newest message lies behind the clock, or before it.
pub fn age(feed: &Feed, now: Timestamp) -> String {
    let behind = now.duration_since(feed.watermark);
    if behind.is_negative() { format!("{} ahead of the clock", words::span(behind)) } else { format!("{} ago", words::span(behind)) }
}

fn show_feeds(html: &mut Markup, feeds: &[Feed], now: Timestamp) {
    if feeds.is_empty() {
        html.raw("<p>Nothing has landed yet.</p>");
        return;
    }
    html.table("Feeds", &["Feed", "Watermark", "By the clock", "Messages", "Refused", "In part"], |html| {
        for feed in feeds {
            html.raw("<tr><th scope=\"row\">").text(&feed.facility).raw("</th><td>").text(words::instant(feed.watermark)).raw("</td><td>");
            html.raw(if feed.watermark > now { "<strong class=\"bad\">" } else { "<span>" }).text(age(feed, now));
            html.raw(if feed.watermark > now { "</strong>" } else { "</span>" });
            html.raw("</td><td>").text(words::whole(feed.messages)).raw("</td><td>").text(words::whole(feed.refused));
            html.raw("</td><td>").text(words::whole(feed.partly)).raw("</td></tr>");
        }
    });
    html.raw("<p class=\"note\">A feed&#39;s watermark is its newest message. Counted is what came in the seven days before it: all messages, those refused, those read only in part.</p>");
}

/// A topic over all its partitions.
#[derive(Default)]
struct Topic {
    name: String,
    landed: i64,
    lost: i64,
    /// What is missing or doubled, table by table.
    troubles: Vec<String>,
}

fn topics(conserved: &[Conserved]) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for row in conserved {
        if topics.last().is_none_or(|topic| topic.name != row.topic) {
            topics.push(Topic { name: row.topic.clone(), ..Topic::default() });
        }
        let Some(topic) = topics.last_mut() else { continue };
        topic.lost += row.lost;
        if row.table == "messages" {
            topic.landed += row.landed;
        }
        for (number, what) in [(row.missing, "missing"), (row.doubled, "doubled")] {
            if number != 0 {
                topic.troubles.push(format!("{} {what} in {}", words::whole(number), row.table));
            }
        }
    }
    topics
}

fn show_topics(html: &mut Markup, topics: &[Topic]) {
    if topics.is_empty() {
        html.raw("<p>Nothing has landed yet.</p>");
        return;
    }
    html.table("Records by topic", &["Topic", "Landed", "Missing or doubled", "Deleted unread"], |html| {
        for topic in topics {
            html.raw("<tr><th scope=\"row\">").text(&topic.name).raw("</th><td>").text(words::whole(topic.landed)).raw("</td><td>");
            if topic.troubles.is_empty() {
                html.raw("<span class=\"good\">nothing</span>");
            } else {
                html.raw("<strong class=\"bad\">").text(words::listed(&topic.troubles)).raw("</strong>");
            }
            html.raw("</td><td>").text(words::whole(topic.lost)).raw("</td></tr>");
        }
    });
    html.raw("<p class=\"note\"><code>wardstream verify</code> names the ranges, and holds every record to its digest.</p>");
}

/// Whether every record is there once: how that is to be seen, and in a few words.
pub fn conserved(conserved: &Told<Vec<Conserved>>) -> (&'static str, String) {
    let Ok(rows) = conserved else { return ("unknown", "Not known".to_owned()) };
    let sum = |of: fn(&Conserved) -> i64| rows.iter().map(of).sum::<i64>();
    let (missing, doubled, lost) = (sum(|row| row.missing), sum(|row| row.doubled), sum(|row| row.lost));
    let found: Vec<String> = [(missing, "missing"), (doubled, "doubled"), (lost, "deleted before they were read")]
        .into_iter()
        .filter(|(number, _)| *number != 0)
        .map(|(number, what)| format!("{} {what}", words::whole(number)))
        .collect();
    match (found.is_empty(), rows.is_empty()) {
        (false, _) => ("bad", words::listed(&found)),
        (true, true) => ("plain", "None yet".to_owned()),
        (true, false) => ("good", "None missing, none doubled".to_owned()),
    }
}

fn show_maturity(html: &mut Markup, facts: &Facts, maturity: &[Maturity]) {
    if maturity.is_empty() {
        html.raw("<p>No stay is known yet.</p>");
        return;
    }
    html.table(
        "Labels by task",
        &["Task", "Stays", "Labelled", "Left out", "Not mature", "Waiting for an outcome", "First month not mature", "Mature on"],
        |html| {
            let mut rows: Vec<&Maturity> = maturity.iter().collect();
            rows.sort_by_key(|row| facts.place(&row.task));
            for row in rows {
                html.raw("<tr><th scope=\"row\">").text(words::task(&row.task)).raw("</th>");
                for number in [row.stays, row.labelled, row.excluded, row.immature, row.waiting] {
                    html.raw("<td>").text(words::whole(number)).raw("</td>");
                }
                html.raw("<td>").text(row.first_immature.map_or_else(|| "none".to_owned(), words::month));
                html.raw("</td><td>").text(row.mature_at.map_or_else(|| "–".to_owned(), words::day)).raw("</td></tr>");
            }
        },
    );
}
