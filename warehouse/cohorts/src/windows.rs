//! What the windows of a configuration hold, trigger by trigger, of one subject.

use crate::config::{Config, End, Matches, Window};

/// Something that happened to a subject and matches a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Microseconds since 1970.
    pub at: i64,
    pub matches: Matches,
}

/// A trigger that all windows allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose.
    pub subject_id: i64,
    /// Its index timestamp: microseconds since 1970.
    pub at: i64,
    /// Whether the labelled window holds what is asked about.
    pub label: bool,
}

impl Window {
    /// Its events of those from the trigger's instant on, which are sorted by time; `None` where it has no end.
    fn events<'a>(&self, from_trigger: &'a [Event], trigger: i64) -> Option<&'a [Event]> {
        let end = match self.end {
            End::After(microseconds) => trigger.saturating_add(microseconds),
            End::Next(matches) => from_trigger.iter().find(|event| event.at > trigger && event.matches & matches != 0)?.at,
        };
        let before = from_trigger.iter().take_while(|event| event.at < end || (self.with_end && event.at == end)).count();
        let start = if self.with_start { 0 } else { from_trigger.iter().take_while(|event| event.at == trigger).count() };
        Some(&from_trigger[start.min(before)..before])
    }
}

fn count(events: &[Event], matches: Matches) -> usize {
    events.iter().filter(|event| event.matches & matches != 0).count()
}

/// The triggers of one subject that count, with their labels; its events are sorted by time.
pub(crate) fn find(config: &Config, subject_id: i64, events: &[Event], found: &mut Vec<Found>) {
    let mut from = 0;
    while let Some(first) = events.get(from) {
        let here = &events[from..];
        let upto = here.iter().take_while(|event| event.at == first.at).count();
        if here[..upto].iter().any(|event| event.matches & config.trigger != 0) {
            let index = index(config, &events[..from + upto], first.at);
            found.extend(index.zip(label(config, here, first.at)).map(|(at, label)| Found { subject_id, at, label }));
        }
        from += upto;
    }
}

/// The index timestamp of a trigger, of the events up to it and in its instant; `None` where it has none.
fn index(config: &Config, upto_trigger: &[Event], trigger: i64) -> Option<i64> {
    let Some(matches) = config.index else { return Some(trigger) };
    upto_trigger.iter().rev().find(|event| event.matches & matches != 0).map(|event| event.at)
}

/// `None` where a window does not hold what it must.
fn label(config: &Config, from_trigger: &[Event], trigger: i64) -> Option<bool> {
    let mut label = false;
    for window in &config.windows {
        let events = window.events(from_trigger, trigger)?;
        if !window.has.iter().all(|(matches, least, most)| (*least..=*most).contains(&count(events, *matches))) {
            return None;
        }
        label |= window.label.is_some_and(|matches| count(events, matches) > 0);
    }
    Some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn found(text: &str, events: &[(i64, &str)]) -> Vec<(i64, bool)> {
        let config = Config::read(text).expect("is read");
        let events: Vec<Event> = events.iter().map(|(at, code)| Event { at: *at, matches: config.matches(code) }).collect();
        let mut found = Vec::new();
        find(&config, 7, &events, &mut found);
        found.into_iter().map(|one| (one.at, one.label)).collect()
    }

    #[test]
    fn a_return_within_the_horizon_counts_and_its_edges_are_whole() {
        let stay = |at: i64| [(at, "EPISODE_END//01"), (at, "MATURE//readmission")];
        let back = |at: i64| (at, "EPISODE_BEGIN");
        let told = |back_at: i64| found(crate::READMISSION, &[&stay(DAY)[..], &[back(back_at)]].concat());
        assert_eq!(told(DAY + 1), [(DAY, true)]);
        assert_eq!(told(31 * DAY), [(DAY, true)]);
        assert_eq!(told(31 * DAY + 1), [(DAY, false)]);
        assert_eq!(found(crate::READMISSION, &[&[back(DAY)], &stay(DAY)[..]].concat()), [(DAY, false)], "the instant itself is before");
    }

    #[test]
    fn a_trigger_counts_where_every_window_allows_it() {
        let discharged = (0, "EPISODE_END//01");
        let mature = (0, "MATURE//readmission");
        assert_eq!(found(crate::READMISSION, &[discharged]), []);
        assert_eq!(found(crate::READMISSION, &[discharged, (1, "MATURE//readmission")]), [], "a microsecond later is another moment");
        assert_eq!(found(crate::READMISSION, &[discharged, mature, (0, "EXCLUDED//readmission//hospice")]), []);
        assert_eq!(found(crate::READMISSION, &[(0, "EPISODE_END//EXP"), mature]), []);
        assert_eq!(found(crate::READMISSION, &[discharged, discharged, mature]), [(0, false)], "one instant triggers once");
    }

    #[test]
    fn a_window_up_to_an_event_needs_the_event() {
        let admitted = [(0, "HOSPITAL_ADMISSION//I"), (0, "STAY_BEGIN"), (0, "MATURE//mortality")];
        let told = |events: &[(i64, &'static str)]| found(crate::MORTALITY, &[&admitted[..], events].concat());
        assert_eq!(told(&[]), []);
        assert_eq!(told(&[(DAY, "STAY_END//01"), (2 * DAY, "STAY_END//20")]), [(0, false)]);
        assert_eq!(told(&[(DAY, "STAY_END//20")]), [(0, true)]);
        assert_eq!(told(&[(1, "STAY_END//DIED")]), [(0, true)]);
    }

    #[test]
    fn stays_that_begin_in_one_instant_have_an_end_each_and_their_admission_is_the_index() {
        let stay = |at: i64, end: &'static str| [(at, "STAY_BEGIN"), (at, "MATURE//mortality"), (at + 1, end)];
        let both = [stay(DAY, "STAY_END//20"), stay(DAY + 3, "STAY_END//01")].concat();
        let admitted = [(0, "HOSPITAL_ADMISSION//I"), (DAY, "HOSPITAL_ADMISSION//I"), (DAY, "HOSPITAL_ADMISSION//I")];
        assert_eq!(found(crate::MORTALITY, &[&admitted[..], &both[..]].concat()), [(DAY, true), (DAY, false)]);
        assert_eq!(found(crate::MORTALITY, &both), [], "without an admission there is no index");
    }
}
