//! AUROC by month as a picture: the model that answers in one stroke, those before it in another, each with its interval, the limits, and what alarms.
//!
//! Arithmetic alone: a picture is a list of points in, markup out.

use jiff::{Timestamp, tz::TimeZone};

use super::markup::Markup;
use super::words;

/// The picture's own units; the page scales it.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// AUROC of chance.
pub const CHANCE: f64 = 0.5;
/// Months that the picture is wide at least.
const LEAST: i32 = 6;
/// Labels below the picture at most.
const LABELS: i32 = 7;

/// A month of a model.
#[derive(Clone, Debug)]
pub struct Point {
    /// First instant of the month.
    pub month: Timestamp,
    pub auroc: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub limit: Option<f64>,
    pub alarm: bool,
    /// Whether labels of the month are not mature.
    pub is_unripe: bool,
    /// What is said of it where it is pointed at.
    pub told: String,
}

/// A model's months, in order.
pub struct Line {
    /// Whether it is the model that answers.
    pub is_live: bool,
    pub points: Vec<Point>,
}

/// Months since the year 0.
fn number(month: Timestamp) -> i32 {
    let date = month.to_zoned(TimeZone::UTC).date();
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

/// Where months and figures lie in the picture.
struct Frame {
    first: i32,
    months: i32,
    /// The lowest figure that is shown.
    least: f64,
    /// From this month on labels are not all mature.
    unripe: Option<i32>,
}

impl Frame {
    fn of(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let first = points().map(|point| number(point.month)).min().unwrap_or_default();
        let last = points().map(|point| number(point.month)).max().unwrap_or_default();
        let lowest = points().flat_map(|point| [point.auroc, point.limit]).flatten().fold(0.4, f64::min);
        let unripe = unripe(lines);
        Self { unripe, first, months: (last - first + 1).max(LEAST), least: ((lowest * 10.0).floor() / 10.0).clamp(0.0, 0.4) }
    }

    /// The middle of a month.
    fn x(&self, month: i32) -> f64 {
        LEFT + (f64::from(month - self.first) + 0.5) / f64::from(self.months) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, figure: f64) -> f64 {
        TOP + (1.0 - figure.clamp(self.least, 1.0)) / (1.0 - self.least) * (HEIGHT - TOP - BOTTOM)
    }

    fn at(&self, point: &Point, figure: f64) -> (f64, f64) {
        (self.x(number(point.month)), self.y(figure))
    }
}

/// The picture; `label` says what there is to be seen for whoever does not see it.
pub fn draw(html: &mut Markup, lines: &[Line], label: &str) {
    let frame = Frame::of(lines);
    html.raw("<svg viewBox=\"0 0 380 210\" role=\"img\" aria-label=\"").text(label).raw("\">");
    draw_axes(html, &frame);
    // The model that answers lies on top.
    for is_live in [false, true] {
        for line in lines.iter().filter(|line| line.is_live == is_live) {
            html.raw(if is_live { "<g class=\"live\">" } else { "<g class=\"before\">" });
            draw_line(html, &frame, line);
            html.raw("</g>");
        }
    }
    html.raw("</svg>");
}

/// The first of the newest months of all of which labels are not mature.
pub fn unripe(lines: &[Line]) -> Option<i32> {
    let mut points: Vec<&Point> = lines.iter().flat_map(|line| &line.points).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.month));
    let ripe = points.iter().find(|point| !point.is_unripe).map(|point| number(point.month));
    let later = points.iter().map(|point| number(point.month)).filter(|month| ripe.is_none_or(|ripe| *month > ripe));
    later.min()
}

fn draw_unripe(html: &mut Markup, frame: &Frame, month: i32) {
    let half = (frame.x(1) - frame.x(0)) / 2.0;
    let x = frame.x(month) - half;
    html.raw("<rect class=\"unripe\" x=\"").text(format_args!("{x:.1}")).raw("\" y=\"10\" height=\"176\" width=\"");
    html.text(format_args!("{:.1}", WIDTH - RIGHT - x)).raw("\"/>");
}

fn draw_axes(html: &mut Markup, frame: &Frame) {
    let right = WIDTH - RIGHT;
    if let Some(month) = frame.unripe {
        draw_unripe(html, frame, month);
    }
    let mut tenth = frame.least;
    while tenth < 1.05 {
        let y = frame.y(tenth);
        let is_chance = (tenth - CHANCE).abs() < 0.01;
        html.raw(if is_chance { "<line class=\"chance\"" } else { "<line class=\"grid\"" });
        stroke(html, (LEFT, y), (right, y));
        html.raw("<text class=\"scale\" text-anchor=\"end\" x=\"28\" y=\"").text(format_args!("{:.1}", y + 3.5)).raw("\">");
        html.text(format_args!("{tenth:.1}")).raw("</text>");
        tenth += 0.1;
    }
    let step = [1, 2, 3, 6, 12, 24, 60].into_iter().find(|step| frame.months / step <= LABELS).unwrap_or(120);
    for month in frame.first..frame.first + frame.months {
        if month.rem_euclid(12) % step.min(12) != 0 || (step > 12 && month.div_euclid(12) % (step / 12) != 0) {
            continue;
        }
        let x = frame.x(month);
        html.raw("<line class=\"tick\"");
        stroke(html, (x, HEIGHT - BOTTOM), (x, HEIGHT - BOTTOM + 4.0));
        html.raw("<text class=\"scale\" text-anchor=\"middle\" x=\"").text(format_args!("{x:.1}")).raw("\" y=\"203\">");
        html.text(name(month, step)).raw("</text>");
    }
}

/// `2024`, or `Mar 24` where months are told apart.
fn name(month: i32, step: i32) -> String {
    const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let year = month.div_euclid(12);
    let name = usize::try_from(month.rem_euclid(12)).ok().and_then(|place| NAMES.get(place)).copied().unwrap_or_default();
    if step >= 12 { year.to_string() } else { format!("{name} {:02}", year.rem_euclid(100)) }
}

fn stroke(html: &mut Markup, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    html.raw(" x1=\"").text(format_args!("{x1:.1}")).raw("\" y1=\"").text(format_args!("{y1:.1}"));
    html.raw("\" x2=\"").text(format_args!("{x2:.1}")).raw("\" y2=\"").text(format_args!("{y2:.1}")).raw("\"/>");
}

fn draw_line(html: &mut Markup, frame: &Frame, line: &Line) {
    for run in runs(&line.points, |point| point.low.and(point.high).is_some()) {
        draw_interval(html, frame, run);
    }
    for run in runs(&line.points, |point| point.limit.is_some()) {
        path(html, "limit", run.iter().filter_map(|point| Some(frame.at(point, point.limit?))));
    }
    for run in runs(&line.points, |point| point.auroc.is_some()) {
        path(html, "auroc", run.iter().filter_map(|point| Some(frame.at(point, point.auroc?))));
    }
    for point in &line.points {
        let Some(auroc) = point.auroc else { continue };
        let (x, y) = frame.at(point, auroc);
        if point.alarm {
            html.raw("<path class=\"alarm\" d=\"M").text(format_args!("{x:.1} {:.1}l5 5l-5 5l-5 -5z", y - 5.0)).raw("\">");
        } else {
            html.raw("<circle r=\"2.2\" cx=\"").text(format_args!("{x:.1}")).raw("\" cy=\"").text(format_args!("{y:.1}")).raw("\">");
        }
        html.raw("<title>").text(&point.told).raw("</title>").raw(if point.alarm { "</path>" } else { "</circle>" });
    }
}

/// A band; of a month that stands alone a bar.
fn draw_interval(html: &mut Markup, frame: &Frame, run: &[Point]) {
    let ends = |end: fn(&Point) -> Option<f64>| run.iter().filter_map(move |point| Some(frame.at(point, end(point)?)));
    if run.len() == 1 {
        path(html, "bar", ends(|point| point.low).chain(ends(|point| point.high)));
        return;
    }
    path(html, "band", ends(|point| point.high).chain(ends(|point| point.low).collect::<Vec<_>>().into_iter().rev()));
}

fn path(html: &mut Markup, class: &'static str, points: impl Iterator<Item = (f64, f64)>) {
    html.raw("<path class=\"").raw(class).raw("\" d=\"");
    for (place, (x, y)) in points.enumerate() {
        html.raw(if place == 0 { "M" } else { "L" }).text(format_args!("{x:.1} {y:.1}"));
    }
    html.raw("\"/>");
}

/// The points of which `has` holds, cut where a month is missing between two.
fn runs(points: &[Point], has: fn(&Point) -> bool) -> impl Iterator<Item = &[Point]> {
    let follows = move |one: &Point, next: &Point| has(one) && has(next) && number(next.month) == number(one.month) + 1;
    points.chunk_by(follows).filter(move |run| run.iter().all(has))
}

/// What the picture shows, in a sentence.
pub fn told(task: &str, lines: &[Line]) -> String {
    let points: Vec<&Point> = lines.iter().flat_map(|line| &line.points).filter(|point| point.auroc.is_some()).collect();
    let Some(newest) = points.iter().max_by_key(|point| point.month) else {
        return format!("{task}: no month has mature labels of both classes yet");
    };
    let first = points.iter().map(|point| point.month).min().unwrap_or(newest.month);
    let alarms = points.iter().filter(|point| point.alarm).count();
    let (from, upto) = (words::month(first), words::month(newest.month));
    format!("{task}: AUROC by month, {from} to {upto}; {} in the newest month, {alarms} months in alarm", words::figure(newest.auroc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(month: &str, is_unripe: bool) -> Point {
        Point {
            month: format!("{month}-01T00:00:00Z").parse().expect("an instant"),
            auroc: Some(0.7),
            low: Some(0.6),
            high: Some(0.8),
            limit: None,
            alarm: false,
            is_unripe,
            told: String::new(),
        }
    }

    fn drawn(months: &[(&str, bool)]) -> String {
        let mut html = Markup::default();
        let points = months.iter().map(|(month, is_unripe)| point(month, *is_unripe)).collect();
        draw(&mut html, &[Line { is_live: true, points }], "a label");
        html.into_string()
    }

    #[test]
    fn a_missing_month_is_a_gap_over_the_end_of_a_year_too() {
        let whole = drawn(&[("2023-11", false), ("2023-12", false), ("2024-01", false)]);
        assert_eq!((whole.matches("class=\"auroc\"").count(), whole.matches("class=\"band\"").count()), (1, 1), "{whole}");
        let cut = drawn(&[("2023-11", false), ("2023-12", false), ("2024-02", false)]);
        assert_eq!((cut.matches("class=\"band\"").count(), cut.matches("class=\"bar\"").count()), (1, 1), "{cut}");
        assert_eq!(cut.matches("<circle").count(), 3);
    }

    /// A straggler of long ago is no reason to hold back what has been there for years.
    #[test]
    fn labels_that_are_not_all_mature_are_those_of_the_newest_months() {
        let unripe = |months: &[(&str, bool)]| {
            unripe(&[Line { is_live: true, points: months.iter().map(|(month, is_unripe)| point(month, *is_unripe)).collect() }])
        };
        assert_eq!(unripe(&[("2023-11", true), ("2023-12", false), ("2024-01", true), ("2024-02", true)]), Some(2024 * 12));
        assert_eq!(unripe(&[("2023-11", true), ("2023-12", false)]), None);
        assert_eq!(unripe(&[("2023-11", true)]), Some(2023 * 12 + 10));
        assert_eq!(unripe(&[]), None);
        assert!(drawn(&[("2023-12", false), ("2024-01", true)]).contains("<rect class=\"unripe\""));
    }

    /// However many months there are, labels do not run into each other, and each is told apart from the next.
    #[test]
    fn the_scale_of_months_has_room() {
        for months in [1, 5, 7, 8, 20, 48, 100, 400] {
            let points = (0..months).map(|month| point(&format!("{}-{:02}", 1990 + month / 12, month % 12 + 1), false)).collect();
            let mut html = Markup::default();
            draw(&mut html, &[Line { is_live: false, points }], "a label");
            let drawn = html.into_string();
            let labels = drawn.matches("text-anchor=\"middle\"").count();
            assert!((1..=9).contains(&labels), "{labels} labels of {months} months: {drawn}");
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
    }
}
