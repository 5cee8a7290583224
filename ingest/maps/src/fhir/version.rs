//! When a version of a resource was asserted, and which of two versions in one Bundle is the newer one.
//!
//! A version is asserted at `meta.lastUpdated`, else when the server says that it last changed (`response.lastModified`), else at the time of
//! its Bundle; where none is stated, it counts as asserted when the record arrived. Of two versions with one time the higher `versionId`
//! counts: it is added in microseconds (999 at most) where the time is stated no finer than to the millisecond.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::json;
use super::node::Node;
use super::reference::Key;
use super::resource::Reader;

/// When a version was last updated, and what it is.
#[derive(Clone, Copy, Default)]
pub(super) struct Version {
    pub(super) updated_at: Option<Timestamp>,
    number: Option<i64>,
}

impl Version {
    /// The version that a resource says it is, else what the `response` of its Bundle's entry says.
    pub(super) fn of(resource: &Node<'_>, entry: &Node<'_>, reader: &Reader<'_>) -> Self {
        let (meta, response) = (&resource["meta"], &entry["response"]);
        let times = [&meta["lastUpdated"], &response["lastModified"]];
        let numbers = [&meta["versionId"], &response["etag"]];
        Self { updated_at: times.into_iter().find_map(|time| reader.instant(time)), number: numbers.into_iter().find_map(number) }
    }

    /// The same where it states no time of its own.
    pub(super) fn or(self, sent_at: Option<Timestamp>) -> Self {
        Self { updated_at: self.updated_at.or(sent_at), ..self }
    }

    /// When it is asserted: its time, and its number behind it.
    pub(super) fn asserted_at(self) -> Option<Timestamp> {
        const LAST: i64 = 999;
        const MILLISECOND: i32 = 1_000_000;
        let time = self.updated_at?;
        let number = self.number.filter(|_| time.subsec_nanosecond() % MILLISECOND == 0).unwrap_or_default();
        time.checked_add(SignedDuration::from_micros(number.clamp(0, LAST))).ok().or(Some(time))
    }
}

/// `3`, or `W/"3"`.
fn number(value: &Node<'_>) -> Option<i64> {
    if let Some(number) = json::number(value) {
        #[expect(clippy::cast_possible_truncation, reason = "a float becomes the nearest whole number there is")]
        return Some(number as i64);
    }
    let etag = value.as_str()?.trim().trim_start_matches("W/").trim_matches('"');
    etag.parse().ok()
}

/// Of the versions of one resource in a Bundle that are asserted at the same time, the newest: in a history the first, else the last.
#[derive(Default)]
pub(super) struct Newest<'a>(HashMap<(Key<'a>, Option<Timestamp>), usize>);

impl<'a> Newest<'a> {
    pub(super) fn add(&mut self, key: Key<'a>, version: Version, entry: usize, is_history: bool) {
        let slot = self.0.entry((key, version.asserted_at())).or_insert(entry);
        if !is_history {
            *slot = entry;
        }
    }

    /// Whether a newer version with the same time stands beside this one.
    pub(super) fn has_newer(&self, key: Key<'a>, version: Version, entry: usize) -> bool {
        self.0.get(&(key, version.asserted_at())).is_some_and(|newest| *newest != entry)
    }
}
