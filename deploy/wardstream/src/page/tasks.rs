//! What the models reach, task by task: a picture, and the figures behind it.

use std::collections::BTreeMap;

use super::chart::{self, Line, Point};
use super::facts::{Facts, Judged, Month};
use super::markup::Markup;
use super::words;

/// The section.
pub fn show(html: &mut Markup, facts: &Facts) {
    html.raw("<section aria-labelledby=\"tasks\"><h2 id=\"tasks\">How well each task is answered</h2>");
    if let Err(sentence) = facts.drift.as_ref().map(|_| ()) {
        html.raw("<p class=\"trouble\">Limits and alarms are missing below. ").text(sentence).raw("</p>");
    }
    html.told(&facts.months, |html, months| {
        if months.is_empty() {
            html.raw("<p>No prediction has been made yet.</p>");
            return;
        }
        html.raw("<p class=\"note\">AUROC of each month&#39;s predictions against mature labels, with 95 % intervals; the dotted line at 0.5 is chance. The newest 48 months.</p><div class=\"cards\">");
        let mut tasks: Vec<&str> = months.iter().map(|month| month.task.as_str()).collect();
        tasks.sort_by_key(|task| (facts.place(task), *task));
        tasks.dedup();
        for task in tasks {
            show_task(html, facts, task, &months.iter().filter(|month| month.task == task).collect::<Vec<_>>());
        }
        html.raw("</div>");
    });
    html.raw("</section>");
}

/// What drift said of a month of a model.
pub fn judged<'a>(facts: &'a Facts, month: &Month) -> Option<&'a Judged> {
    let is_it = |judged: &&Judged| {
        judged.kind == "performance"
            && judged.task == month.task
            && judged.model_version == month.model_version
            && judged.month == month.month
    };
    facts.drift.as_deref().ok()?.iter().find(is_it)
}

/// The interval of a month's AUROC; the view gives one from 0 to 1 where there is no AUROC.
pub fn interval(month: &Month) -> Option<(f64, f64)> {
    month.auroc.and(month.auroc_low).zip(month.auroc_high)
}

fn lines(facts: &Facts, months: &[&Month]) -> Vec<Line> {
    let mut lines: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
    for month in months {
        let judged = judged(facts, month);
        let (low, high) = interval(month).unzip();
        let told = format!(
            "{}: AUROC {} ({} to {}), {}, {} positive",
            words::month(month.month),
            words::figure(month.auroc),
            words::figure(low),
            words::figure(high),
            words::count(month.n, "label"),
            words::whole(month.positives)
        );
        lines.entry(&month.model_version).or_default().push(Point {
            month: month.month,
            auroc: month.auroc,
            low,
            high,
            limit: judged.and_then(|judged| judged.limit),
            alarm: judged.is_some_and(|judged| judged.alarm),
            is_unripe: month.immature > 0,
            told,
        });
    }
    lines
        .into_iter()
        .map(|(model, mut points)| {
            points.sort_by_key(|point| point.month);
            Line { is_live: facts.live() == Some(model), points }
        })
        .collect()
}

fn show_task(html: &mut Markup, facts: &Facts, task: &str, months: &[&Month]) {
    let name = words::task(task);
    let lines = lines(facts, months);
    html.raw("<article id=\"task-").text(task).raw("\"><h3>").text(&name).raw("</h3>");
    let title = facts.titles.as_deref().unwrap_or_default().iter().find(|titled| titled.task == task);
    if let Some(titled) = title {
        html.raw("<p class=\"note\">").text(&titled.title).raw("</p>");
    }
    html.raw("<figure>");
    chart::draw(html, &lines, &chart::told(&name, &lines));
    show_legend(html, &lines);
    html.raw("</figure>");
    show_table(html, facts, &name, months);
    html.raw("</article>");
}

fn show_legend(html: &mut Markup, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    html.raw("<figcaption class=\"legend\">");
    if lines.iter().any(|line| line.is_live) {
        html.raw("<span class=\"key live\">model that answers</span>");
    }
    if lines.iter().any(|line| !line.is_live) {
        html.raw("<span class=\"key before\">other models</span>");
    }
    if points().any(|point| point.limit.is_some()) {
        html.raw("<span class=\"key limit\">limit</span>");
    }
    if points().any(|point| point.alarm) {
        html.raw("<span class=\"key alarm\">alarm</span>");
    }
    if chart::unripe(lines).is_some() {
        html.raw("<span class=\"key unripe\">labels not all mature</span>");
    }
    html.raw("</figcaption>");
}

fn show_table(html: &mut Markup, facts: &Facts, name: &str, months: &[&Month]) {
    html.raw("<details><summary>Figures by month</summary>");
    let mut newest_first = months.to_vec();
    newest_first.sort_by_key(|month| std::cmp::Reverse(month.month));
    html.table(
        format_args!("{name} by month"),
        &["Month", "AUROC", "95 % interval", "Limit", "Labels", "Positive", "Not mature", "Model"],
        |html| {
            for month in newest_first {
                let judged = judged(facts, month);
                let is_alarm = judged.is_some_and(|judged| judged.alarm);
                html.raw(if is_alarm { "<tr class=\"alarm\">" } else { "<tr>" });
                html.raw("<th scope=\"row\">").text(words::month(month.month)).raw("</th><td>").text(words::figure(month.auroc));
                html.raw(if is_alarm { " alarm</td><td>" } else { "</td><td>" });
                match interval(month) {
                    Some((low, high)) => html.text(format_args!("{low:.3} to {high:.3}")),
                    None => html.raw("–"),
                };
                html.raw("</td><td>").text(words::figure(judged.and_then(|judged| judged.limit)));
                html.raw("</td><td>").text(words::whole(month.n)).raw("</td><td>").text(words::whole(month.positives));
                html.raw("</td><td>").text(words::whole(month.immature)).raw("</td><td><code>").text(&month.model_version);
                html.raw("</code></td></tr>");
            }
        },
    );
    html.raw("</details>");
}
