//! Which weights are kept: what the registry says, and the rules of the configuration. Pure, and never about the bytes themselves.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemas::ModelVersion;

use super::predecessor;

/// What the history says of a version whose weights and adapters are gone.
pub const WEIGHTS_REMOVED: &str = "weights_removed";
/// What it says of one that has its weights still, and no adapters.
pub const ADAPTERS_REMOVED: &str = "adapters_removed";

/// A registered model and what the store has of it.
pub struct Version {
    pub name: ModelVersion,
    /// The model that it was tuned from: whose weights its adapters stand beside.
    pub parent: Option<ModelVersion>,
    pub weights_uri: String,
    /// Where its adapters lie; `None` where all weights learned.
    pub adapters_uri: Option<String>,
}

/// A line of the history.
pub struct Line {
    pub version: ModelVersion,
    pub event: String,
    /// When it was written, by PostgreSQL's clock.
    pub written_at: Timestamp,
}

/// How long weights are kept.
pub struct Rules {
    /// So many of the newest that the gate let pass, and so many of those that it refused; 0 removes nothing.
    pub versions: usize,
    /// Whatever was made, promoted or live at this instant or later.
    pub since: Timestamp,
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All that the store has of a version.
    Weights(ModelVersion),
    /// A version's adapters.
    Adapters(ModelVersion),
}

impl Removal {
    pub fn version(&self) -> &ModelVersion {
        match self {
            Self::Weights(version) | Self::Adapters(version) => version,
        }
    }

    /// As the history has it.
    pub fn event(&self) -> &'static str {
        match self {
            Self::Weights(_) => WEIGHTS_REMOVED,
            Self::Adapters(_) => ADAPTERS_REMOVED,
        }
    }
}

/// The registry, as far as it says what is kept.
pub struct Ledger {
    pub versions: Vec<Version>,
    /// The first first.
    pub lines: Vec<Line>,
}

impl Ledger {
    /// What nothing keeps. A version that is held keeps its adapters, and those keep the weights that they were learned on; that version's own
    /// adapters go, or each refresh would keep all before it.
    pub fn removals(&self, rules: &Rules) -> Vec<Removal> {
        if rules.versions == 0 {
            return Vec::new();
        }
        let (gone, held) = (self.named(WEIGHTS_REMOVED), self.held(rules));
        let needed: BTreeSet<&ModelVersion> = self
            .versions
            .iter()
            .filter(|version| held.contains(&version.name) && self.adapters(version).is_some())
            .filter_map(|version| version.parent.as_ref())
            .collect();
        let removal = |version: &Version| {
            let name = &version.name;
            if gone.contains(name) || held.contains(name) {
                return None;
            }
            if !needed.contains(name) {
                return Some(Removal::Weights(name.clone()));
            }
            self.adapters(version).map(|_| Removal::Adapters(name.clone()))
        };
        self.versions.iter().filter_map(removal).collect()
    }

    /// Folders of the store that are recorded as removed, whether their bytes are gone or not.
    pub fn removed_folders(&self) -> BTreeSet<String> {
        let gone = self.named(WEIGHTS_REMOVED);
        let all = self.versions.iter().flat_map(|version| [Some(&version.weights_uri), version.adapters_uri.as_ref()]).flatten();
        let weights = self.versions.iter().filter(|version| !gone.contains(&version.name)).map(|version| &version.weights_uri);
        let standing: BTreeSet<&String> = weights.chain(self.versions.iter().filter_map(|version| self.adapters(version))).collect();
        all.filter(|folder| !standing.contains(folder)).cloned().collect()
    }

    /// Versions of which the history says this.
    fn named(&self, event: &str) -> BTreeSet<&ModelVersion> {
        self.lines.iter().filter(|line| line.event == event).map(|line| &line.version).collect()
    }

    /// Where a version's adapters lie that are not recorded as removed.
    fn adapters<'a>(&self, version: &'a Version) -> Option<&'a String> {
        let is_removal = |line: &Line| line.event == WEIGHTS_REMOVED || line.event == ADAPTERS_REMOVED;
        let are_gone = self.lines.iter().any(|line| line.version == version.name && is_removal(line));
        version.adapters_uri.as_ref().filter(|_| !are_gone)
    }

    /// Versions that are kept for themselves: the champion, the one that a rollback brings back, the newest, what is young or was live of late, and
    /// whatever has no line of its own making.
    fn held(&self, rules: &Rules) -> BTreeSet<ModelVersion> {
        let gone = self.named(WEIGHTS_REMOVED);
        let promotions: Vec<&Line> = self.lines.iter().filter(|line| line.event == "promoted" || line.event == "rolled_back").collect();
        let happened: Vec<(String, ModelVersion)> = promotions.iter().map(|line| (line.event.clone(), line.version.clone())).collect();
        let mut held: BTreeSet<ModelVersion> = promotions.last().map(|line| line.version.clone()).into_iter().collect();
        held.extend(predecessor(&happened));
        let replaced = promotions.iter().zip(promotions.iter().skip(1)).filter(|(_, next)| next.written_at >= rules.since);
        held.extend(replaced.map(|(line, _)| line.version.clone()));
        let young = self.lines.iter().filter(|line| line.written_at >= rules.since && line.event != ADAPTERS_REMOVED);
        held.extend(young.map(|line| line.version.clone()));
        for verdict in ["registered", "refused"] {
            let made = self.lines.iter().rev().filter(|line| line.event == verdict && !gone.contains(&line.version));
            held.extend(made.take(rules.versions).map(|line| line.version.clone()));
        }
        let made: BTreeSet<&ModelVersion> = self.named("registered").union(&self.named("refused")).copied().collect();
        held.extend(self.versions.iter().filter(|version| !made.contains(&version.name)).map(|version| version.name.clone()));
        held.retain(|version| !gone.contains(version));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY).expect("an instant")
    }

    fn named(name: &str) -> ModelVersion {
        ModelVersion(name.to_owned())
    }

    /// Versions `a`, `b`, ..., one a day, each tuned from the one before it; those of capital letters learned adapters.
    fn ledger(versions: &str, lines: &[(i64, &str, &str)]) -> Ledger {
        let mut ledger = Ledger { versions: Vec::new(), lines: Vec::new() };
        for (day, letter) in (0..).zip(versions.chars()) {
            let name = letter.to_string();
            let adapters_uri = letter.is_uppercase().then(|| format!("{name}-adapters"));
            let parent = ledger.versions.last().map(|version| version.name.clone());
            ledger.versions.push(Version { name: named(&name), parent, weights_uri: name.clone(), adapters_uri });
            ledger.lines.push(Line { version: named(&name), event: "registered".to_owned(), written_at: at(day) });
        }
        for (day, event, version) in lines {
            ledger.lines.push(Line { version: named(version), event: (*event).to_owned(), written_at: at(*day) });
        }
        ledger
    }

    /// Removed are whole versions, and adapters alone where a `*` stands behind the version.
    fn removed(ledger: &Ledger, versions: usize, since: i64) -> String {
        let removals = ledger.removals(&Rules { versions, since: at(since) });
        let shown = removals.iter().map(|one| match one {
            Removal::Weights(version) => version.0.clone(),
            Removal::Adapters(version) => format!("{version}*"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_newest_the_champion_and_the_one_before_it_are_kept_however_old_they_are() {
        let promoted = [(20, "promoted", "b"), (21, "promoted", "d")];
        assert_eq!(removed(&ledger("abcdefgh", &promoted), 2, 1_000), "a c e f");
        assert_eq!(removed(&ledger("abcdefgh", &promoted), 8, 1_000), "");
        assert_eq!(removed(&ledger("abcdefgh", &promoted), 0, 1_000), "", "0 removes nothing");
        // A rollback brings `b` back; nothing stands behind it then, and `d` is no more than a version.
        let back = [(20, "promoted", "b"), (21, "promoted", "d"), (22, "rolled_back", "b")];
        assert_eq!(removed(&ledger("abcdefgh", &back), 2, 1_000), "a c d e f");
    }

    #[test]
    fn what_the_gate_refused_pushes_nothing_out_that_it_let_pass() {
        let mut ledger = ledger("abcdef", &[(20, "promoted", "a")]);
        for line in &mut ledger.lines[2..6] {
            line.event = "refused".to_owned();
        }
        assert_eq!(removed(&ledger, 1, 1_000), "c d e");
        assert_eq!(removed(&ledger, 2, 1_000), "c d");
    }

    #[test]
    fn what_is_young_or_was_live_of_late_is_kept_to_the_instant() {
        // `a` was live until day 40, `b` until day 41.
        let promoted = [(20, "promoted", "a"), (40, "promoted", "b"), (41, "promoted", "c"), (42, "promoted", "d")];
        assert_eq!(removed(&ledger("abcdef", &promoted), 1, 40), "e", "a was live at that instant");
        assert_eq!(removed(&ledger("abcdef", &promoted), 1, 41), "a e", "b was");
        assert_eq!(removed(&ledger("abcdef", &promoted), 1, 42), "a b e");
        assert_eq!(removed(&ledger("abcdef", &promoted), 1, 4), "", "e was made at that instant");
    }

    #[test]
    fn weights_are_kept_that_a_kept_adapter_was_learned_on_and_no_line_of_them() {
        // D's adapters stand beside C's weights, C's beside B's, B's beside a's.
        let mut ledger = ledger("aBCDef", &[(20, "promoted", "D")]);
        assert_eq!(removed(&ledger, 2, 1_000), "a B C*");
        for removal in ledger.removals(&Rules { versions: 2, since: at(1_000) }) {
            ledger.lines.push(Line { version: removal.version().clone(), event: removal.event().to_owned(), written_at: at(1_000) });
        }
        assert_eq!(removed(&ledger, 2, 1_001), "", "a second look finds nothing more");
        let gone: Vec<String> = ledger.removed_folders().into_iter().collect();
        assert_eq!(gone, ["B", "B-adapters", "C-adapters", "a"]);
        // Once D goes, nothing needs C.
        for version in ["e", "f"] {
            ledger.lines.push(Line { version: named(version), event: "promoted".to_owned(), written_at: at(2_000) });
        }
        assert_eq!(removed(&ledger, 2, 3_000), "C D");
    }

    #[test]
    fn a_folder_that_a_kept_version_names_too_is_not_removed_and_one_without_a_line_is_left_alone() {
        let mut ledger = ledger("abc", &[(20, "promoted", "c"), (30, WEIGHTS_REMOVED, "a"), (30, WEIGHTS_REMOVED, "b")]);
        ledger.versions[1].weights_uri = "c".to_owned();
        assert_eq!(ledger.removed_folders().into_iter().collect::<Vec<_>>(), ["a"]);
        let version = Version { name: named("z"), parent: None, weights_uri: "z".to_owned(), adapters_uri: None };
        ledger.versions.push(version);
        assert_eq!(removed(&ledger, 1, 1_000), "");
    }
}
