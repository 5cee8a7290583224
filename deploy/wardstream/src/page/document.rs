//! The page as a whole: its head, what is to be seen at a glance, and the sections in their order.

use super::facts::Facts;
use super::markup::Markup;
use super::{alarms, feeds, models, tasks, words};

const STYLE: &str = include_str!("style.css");

/// The page of these facts.
pub fn render(facts: &Facts) -> String {
    let mut html = Markup::default();
    begin(&mut html, "");
    html.raw("<p class=\"moment\">");
    match &facts.watermark {
        Ok(Some(at)) => {
            html.raw("The log has come to <strong>").text(words::instant(*at)).raw("</strong>: that is the moment this page speaks of. ")
        }
        Ok(None) => html.raw("Nothing has landed yet. "),
        Err(sentence) => html.text(sentence).raw(" "),
    };
    html.raw("Computed on ").text(facts.computed_at.strftime("%-d %b %Y, %H:%M:%S UTC"));
    html.text(format_args!(" in {:.1} s. ", facts.took.as_secs_f64())).raw("<a href=\"/\">Ask again</a></p>");
    show_glance(&mut html, facts);
    alarms::show(&mut html, facts);
    models::show(&mut html, facts);
    tasks::show(&mut html, facts);
    feeds::show(&mut html, facts);
    html.raw(
        "<footer><p>Aggregates only: no patient, no stay, no note. Ask further in SQL: <code>performance</code>, <code>drift</code>, ",
    );
    html.raw("<code>conservation</code>, <code>watermarks</code>, <code>label_maturity</code>, <code>models</code>, <code>model_history</code>. ");
    html.raw("Counters of this process: <a href=\"/metrics\">/metrics</a>. Wardstream is not a medical device.</p></footer>");
    end(html)
}

/// What stands in the page's place while it is made for the first time.
pub fn render_waiting() -> String {
    let mut html = Markup::default();
    begin(&mut html, "<meta http-equiv=\"refresh\" content=\"2\">");
    html.raw(
        "<p role=\"status\">The page is being computed. It shows itself as soon as it is there, and the first time takes longest.</p>",
    );
    end(html)
}

fn begin(html: &mut Markup, more: &'static str) {
    html.raw("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"robots\" content=\"noindex\">").raw(more);
    html.raw("<title>Wardstream: do the models hold?</title><style>")
        .raw(STYLE)
        .raw("</style></head><body><main><h1>Wardstream: do the models hold?</h1>");
}

fn end(mut html: Markup) -> String {
    html.raw("</main></body></html>\n");
    html.into_string()
}

/// Four answers that need no reading on.
fn show_glance(html: &mut Markup, facts: &Facts) {
    html.raw("<ul class=\"glance\">");
    match alarms::open(facts).map(|open| open.len()) {
        Ok(0) => tile(html, ("good", "Alarms"), "#alarms", "No alarm is open"),
        Ok(1) => tile(html, ("bad", "Alarms"), "#alarms", "1 alarm is open"),
        Ok(number) => tile(html, ("bad", "Alarms"), "#alarms", &format!("{number} alarms are open")),
        Err(_) => tile(html, ("unknown", "Alarms"), "#alarms", "Not known"),
    }
    match &facts.champion {
        Ok(Some(champion)) => {
            let doubtful = models::doubtful(facts, &champion.model_version.0);
            let since = format!("{} since {}", champion.model_version, words::day(champion.promoted_at));
            if doubtful.is_empty() {
                tile(html, ("plain", "Model"), "#model", &since);
            } else {
                tile(html, ("unknown", "Model"), "#model", &format!("{since}; in doubt: {}", words::listed(&doubtful)));
            }
        }
        Ok(None) => tile(html, ("plain", "Model"), "#model", "None answers yet"),
        Err(_) => tile(html, ("unknown", "Model"), "#model", "Not known"),
    }
    let (state, records) = feeds::conserved(&facts.conserved);
    tile(html, (state, "Records"), "#feeds", &records);
    match facts.feeds.as_ref().map(|feeds| (feeds.first(), feeds.len())) {
        Ok((Some(last), 1)) => {
            tile(html, ("plain", "Feeds"), "#feeds", &format!("{}: {}", last.facility, feeds::age(last, facts.computed_at)))
        }
        Ok((Some(last), number)) => {
            let told = format!("{number} feeds, the slowest {}: {}", last.facility, feeds::age(last, facts.computed_at));
            tile(html, ("plain", "Feeds"), "#feeds", &told);
        }
        Ok((None, _)) => tile(html, ("plain", "Feeds"), "#feeds", "None yet"),
        Err(_) => tile(html, ("unknown", "Feeds"), "#feeds", "Not known"),
    }
    html.raw("</ul>");
}

fn tile(html: &mut Markup, (state, name): (&'static str, &'static str), place: &'static str, told: &str) {
    html.raw("<li class=\"").raw(state).raw("\"><a href=\"").raw(place).raw("\"><span>").raw(name).raw("</span><strong>").text(told);
    html.raw("</strong></a></li>");
}
