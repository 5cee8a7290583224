//! Which model answers, since when and why, and where it stands in each task.

use warehouse::Champion;

use super::facts::{Answered, Facts, Happened, Month};
use super::markup::Markup;
use super::{chart, tasks, words};

/// The section.
pub fn show(html: &mut Markup, facts: &Facts) {
    html.raw("<section aria-labelledby=\"model\"><h2 id=\"model\">The model that answers</h2>");
    html.told(&facts.champion, |html, champion| match champion {
        Some(champion) => {
            show_champion(html, facts, champion);
            show_tasks(html, facts, champion);
        }
        None => {
            html.raw("<p>No model answers yet: the first one is promoted once enough labels are mature to learn from.</p>");
        }
    });
    html.told(&facts.history, |html, history| show_history(html, history));
    html.raw("</section>");
}

fn show_champion(html: &mut Markup, facts: &Facts, champion: &Champion) {
    let version = &champion.model_version.0;
    html.raw("<p>Version <code>").text(version).raw("</code>, promoted on ").text(words::instant(champion.promoted_at)).raw(" of the log");
    let of_it = |happened: &&Happened| happened.model_version == *version;
    let history = facts.history.as_deref().unwrap_or_default();
    let decided = history.iter().filter(of_it).find(|happened| matches!(happened.event.as_str(), "promoted" | "rolled_back"));
    if let Some(decided) = decided {
        html.raw(" by ").text(&decided.by).raw(" (").text(words::reason(&decided.reason)).raw(")");
    }
    let taken = history.iter().filter(of_it).find(|happened| happened.event == "took_over" && happened.at >= champion.promoted_at);
    if let Some(taken) = taken {
        html.raw("; a scorer took it over on ").text(words::instant(taken.at));
    }
    html.raw(".</p>");
}

/// The newest month of a task of a model that was judged; where none was, the newest of which there is a figure.
fn decisive<'a>(facts: &'a Facts, version: &str, task: &str) -> Option<&'a Month> {
    let months = facts.months.as_deref().unwrap_or_default().iter();
    let of_it = || months.clone().filter(|month| month.model_version == version && month.task == task && month.auroc.is_some());
    let judged = of_it().filter(|month| tasks::judged(facts, month).is_some()).max_by_key(|month| month.month);
    judged.or_else(|| of_it().max_by_key(|month| month.month))
}

/// Where a task stands: what is drawn from its decisive month.
enum State {
    Unlabelled,
    Alarm,
    /// Not judged: `drift` asks for so many labels.
    Few,
    /// The interval reaches down to what chance gives, limit or no limit.
    Chance,
    Holds,
}

impl State {
    fn of(facts: &Facts, month: Option<&Month>) -> Self {
        let Some(month) = month else { return Self::Unlabelled };
        match tasks::judged(facts, month) {
            Some(judged) if judged.alarm => Self::Alarm,
            None => Self::Few,
            Some(_) if month.auroc_low.is_none_or(|low| low <= chart::CHANCE) => Self::Chance,
            Some(_) => Self::Holds,
        }
    }

    fn markup(&self) -> &'static str {
        match self {
            Self::Unlabelled => "no mature labels yet",
            Self::Alarm => "<strong class=\"bad\">alarm</strong>",
            Self::Few => "too few labels to judge",
            Self::Chance => "<strong class=\"doubt\">not told apart from chance</strong>",
            Self::Holds => "<span class=\"good\">holds</span>",
        }
    }
}

/// The tasks in which the model that answers is not told apart from chance, and no alarm says so.
pub fn doubtful(facts: &Facts, version: &str) -> Vec<String> {
    let mut names: Vec<&str> = facts.months.as_deref().unwrap_or_default().iter().map(|month| month.task.as_str()).collect();
    names.sort_by_key(|task| (facts.place(task), *task));
    names.dedup();
    let doubted = names.into_iter().filter(|task| matches!(State::of(facts, decisive(facts, version, task)), State::Chance));
    doubted.map(words::task).collect()
}

/// A row for each task that the model was asked or is judged by.
fn show_tasks(html: &mut Markup, facts: &Facts, champion: &Champion) {
    let version = &champion.model_version.0;
    let answers = || facts.answers.as_deref().unwrap_or_default().iter().filter(|answered| answered.model_version == *version);
    let months = || facts.months.as_deref().unwrap_or_default().iter().filter(|month| month.model_version == *version);
    let mut names: Vec<&str> = answers().map(|one| one.task.as_str()).chain(months().map(|one| one.task.as_str())).collect();
    names.sort_by_key(|task| (facts.place(task), *task));
    names.dedup();
    if let Err(sentence) = &facts.answers {
        html.raw("<p class=\"trouble\">").text(sentence).raw("</p>");
    }
    if names.is_empty() {
        html.raw("<p>It has answered nothing yet.</p>");
        return;
    }
    html.table("The model, by task", &["Task", "State", "AUROC", "Limit", "Month", "Threshold", "Last prediction"], |html| {
        for name in names {
            show_row(html, facts, name, (decisive(facts, version, name), answers().find(|answered| answered.task == name)));
        }
    });
}

fn show_row(html: &mut Markup, facts: &Facts, name: &str, (newest, answered): (Option<&Month>, Option<&Answered>)) {
    let judged = newest.and_then(|month| tasks::judged(facts, month));
    html.raw("<tr><th scope=\"row\"><a href=\"#task-").text(name).raw("\">").text(words::task(name)).raw("</a></th><td>");
    html.raw(State::of(facts, newest).markup());
    html.raw("</td><td>").text(words::figure(newest.and_then(|month| month.auroc)));
    if let Some((low, high)) = newest.and_then(tasks::interval) {
        html.text(format_args!(" ({low:.3} to {high:.3})"));
    }
    html.raw("</td><td>").text(words::figure(judged.and_then(|judged| judged.limit))).raw("</td><td>");
    match newest {
        Some(month) => html.text(words::month(month.month)),
        None => html.raw("–"),
    };
    html.raw("</td><td>").text(words::figure(answered.and_then(|answered| answered.threshold))).raw("</td><td>");
    match answered.and_then(|answered| answered.last_at) {
        Some(at) => html.text(words::instant(at)),
        None => html.raw("–"),
    };
    html.raw("</td></tr>");
}

fn show_history(html: &mut Markup, history: &[Happened]) {
    if history.is_empty() {
        return;
    }
    html.raw("<details><summary>What happened to models</summary>");
    html.table("What happened to models", &["When", "Model", "What", "By", "Why"], |html| {
        for happened in history {
            html.raw("<tr><th scope=\"row\">").text(words::instant(happened.at)).raw("</th><td><code>").text(&happened.model_version);
            html.raw("</code></td><td>").text(words::event(&happened.event)).raw("</td><td>").text(&happened.by);
            html.raw("</td><td class=\"words\">").text(words::reason(&happened.reason)).raw("</td></tr>");
        }
    });
    html.raw("</details>");
}
