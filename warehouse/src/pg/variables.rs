//! Settings of a session: the names that clients set and show, their defaults, and what each may be set to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::roles::fault::Refusal;
use crate::roles::moments::When;

/// The instant as of which everything is shown.
pub(super) const AS_KNOWN_AT: &str = "wardstream.as_known_at";
/// The version of `messages` that is shown.
pub(super) const VERSION: &str = "wardstream.version";
/// How an instant is written.
pub const INSTANTS: &str = "write 2024-01-31, 2024-01-31 08:00 or 2024-01-31T08:00:00+01:00; without an offset it is UTC";
const TIMEOUT: &str = "statement_timeout";

/// What a setting may be set to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// Nothing: it says how the server is.
    Fixed,
    /// Whatever the client likes; it changes nothing here.
    Anything,
    /// Only what it is.
    Same,
    /// A zone of time. What is given back says its own offset and stays in UTC.
    Zone,
    /// How many digits more or less than usual a number is written with.
    Digits,
    /// How dates are written and read, by words; it changes nothing here.
    Dates,
    /// A time in milliseconds or with a unit.
    Time,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// UTF8, or bytes as they are, which psql asks for on a terminal without a language: those of UTF8.
    Encoding,
    /// An instant, or nothing.
    Instant,
    /// A version, or nothing.
    Version,
}

/// Name as it is written, default, what it may be, and whether clients are told of every change.
struct Known(&'static str, &'static str, May, bool);

/// Words of `DateStyle`.
const DATES: [&str; 13] =
    ["iso", "sql", "postgres", "postgresql", "german", "ymd", "dmy", "mdy", "us", "euro", "european", "noneuro", "noneuropean"];

/// Whoever asks for this encoding gets bytes as they are.
const ASCII: &str = "SQL_ASCII";

const KNOWN: &[Known] = &[
    Known("allow_system_table_mods", "off", May::Fixed, false),
    Known("application_name", "", May::Anything, true),
    Known("bytea_output", "hex", May::OneOf(&["hex", "escape"]), false),
    Known("client_encoding", "UTF8", May::Encoding, true),
    Known("client_min_messages", "notice", May::Anything, false),
    Known("DateStyle", "ISO, YMD", May::Dates, true),
    Known("default_table_access_method", "heap", May::Anything, false),
    Known("default_transaction_isolation", "repeatable read", May::Anything, false),
    Known("default_transaction_read_only", "on", May::Same, true),
    Known("extra_float_digits", "1", May::Digits, false),
    Known("idle_in_transaction_session_timeout", "0", May::Time, false),
    Known("in_hot_standby", "on", May::Fixed, true),
    Known("integer_datetimes", "on", May::Fixed, true),
    Known("IntervalStyle", "postgres", May::Anything, true),
    Known("is_superuser", "off", May::Fixed, true),
    Known("jit", "off", May::Anything, false),
    Known("lc_collate", "C", May::Fixed, false),
    Known("lc_ctype", "C.UTF-8", May::Fixed, false),
    Known("lc_messages", "C", May::Anything, false),
    Known("lc_monetary", "C", May::Anything, false),
    Known("lc_numeric", "C", May::Anything, false),
    Known("lc_time", "C", May::Anything, false),
    Known("lock_timeout", "0", May::Time, false),
    Known("max_identifier_length", "63", May::Fixed, false),
    Known("max_index_keys", "32", May::Fixed, false),
    Known("row_security", "on", May::Anything, false),
    Known("search_path", "\"$user\", public", May::Anything, true),
    Known("server_encoding", "UTF8", May::Fixed, true),
    Known("server_version", "16.6", May::Fixed, true),
    Known("server_version_num", "160006", May::Fixed, false),
    Known("session_authorization", "", May::Fixed, true),
    Known("standard_conforming_strings", "on", May::Same, true),
    Known(TIMEOUT, "0", May::Time, false),
    Known("synchronize_seqscans", "on", May::Anything, false),
    Known("TimeZone", "UTC", May::Zone, true),
    Known("transaction_isolation", "repeatable read", May::Anything, false),
    Known("transaction_read_only", "on", May::Same, false),
    Known(AS_KNOWN_AT, "", May::Instant, false),
    Known(VERSION, "", May::Version, false),
];

fn known(name: &str) -> Result<&'static Known, Refusal> {
    KNOWN
        .iter()
        .find(|known| known.0.eq_ignore_ascii_case(name))
        .ok_or_else(|| Refusal::new("42704", format!("unrecognized configuration parameter \"{name}\"")))
}

type Values = BTreeMap<&'static str, String>;

/// The settings of a session, and what they become at the end of its transaction.
#[derive(Clone, Default)]
pub(super) struct Variables {
    now: Values,
    /// What is left at a rollback, and at a commit.
    ending: Option<(Values, Values)>,
}

/// A setting that clients are told of: its name and its value.
pub(super) type Told = Option<(&'static str, String)>;

impl Variables {
    /// Sets; `None` is the default. Says what the client must be told.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Told, Refusal> {
        let Known(name, default, may, told) = known(name)?;
        let value = match value {
            Some(value) => checked(name, default, *may, value)?,
            None => (*default).to_owned(),
        };
        match &mut self.ending {
            Some((_, at_commit)) => {
                if !local {
                    at_commit.insert(name, value.clone());
                }
                self.now.insert(name, value.clone());
            }
            // As in PostgreSQL, SET LOCAL outside a transaction changes nothing.
            None if local => return Ok(None),
            None => {
                self.now.insert(name, value.clone());
            }
        }
        Ok(told.then_some((*name, value)))
    }

    /// Says who the session is of.
    pub(super) fn authorize(&mut self, user: &str) {
        self.now.insert("session_authorization", user.to_owned());
    }

    /// All but who the session is of as at its start.
    pub(super) fn reset(&mut self) {
        let user = self.get("session_authorization").unwrap_or_default();
        self.now = BTreeMap::from([("session_authorization", user)]);
    }

    /// The value of a setting.
    pub(super) fn get(&self, name: &str) -> Result<String, Refusal> {
        let Known(name, default, ..) = known(name)?;
        Ok(self.now.get(name).cloned().unwrap_or_else(|| (*default).to_owned()))
    }

    /// All, by name.
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        let value = |Known(name, default, ..): &Known| (*name, self.now.get(name).cloned().unwrap_or_else(|| (*default).to_owned()));
        KNOWN.iter().map(value).collect()
    }

    /// Those that clients are told of at the start.
    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        self.all().into_iter().filter(|(name, _)| KNOWN.iter().any(|known| known.0 == *name && known.3)).collect()
    }

    pub(super) fn begin(&mut self) {
        if self.ending.is_none() {
            self.ending = Some((self.now.clone(), self.now.clone()));
        }
    }

    pub(super) fn commit(&mut self) {
        if let Some((_, at_commit)) = self.ending.take() {
            self.now = at_commit;
        }
    }

    pub(super) fn rollback(&mut self) {
        if let Some((at_rollback, _)) = self.ending.take() {
            self.now = at_rollback;
        }
    }

    /// As of when the session asks.
    pub(super) fn when(&self) -> When {
        let of = |name: &str| self.now.get(name).map(String::as_str).filter(|value| !value.is_empty());
        When { known_at: of(AS_KNOWN_AT).and_then(|value| value.parse().ok()), version: of(VERSION).and_then(|value| value.parse().ok()) }
    }

    /// The time that the session wants its statements to take at most; zero is none.
    pub(super) fn statement_timeout(&self) -> Duration {
        self.now.get(TIMEOUT).and_then(|value| milliseconds(value)).unwrap_or_default()
    }
}

fn checked(name: &str, default: &str, may: May, value: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::new("22023", format!("invalid value for parameter \"{name}\": \"{value}\""));
    match may {
        May::Fixed => Err(Refusal::new("55P02", format!("parameter \"{name}\" cannot be changed"))),
        May::Anything => Ok(value.to_owned()),
        May::Same if is_same(default, value) => Ok(default.to_owned()),
        May::Same if name.ends_with("read_only") => {
            Err(Refusal::new("25006", "cannot set transaction read-write mode: this server only reads"))
        }
        May::Same => Err(wrong().with_hint(format!("only {default} is supported"))),
        May::Encoding if is_same(default, value) => Ok(default.to_owned()),
        May::Encoding if is_same(ASCII, value) => Ok(ASCII.to_owned()),
        May::Encoding => Err(wrong().with_hint(format!("only {default} is supported"))),
        May::Zone if is_zone(value) => Ok(value.to_owned()),
        May::Zone => Err(wrong().with_hint("name a zone as IANA does, such as Europe/Berlin")),
        May::Digits => {
            value.parse::<i64>().ok().filter(|digits| (-15..=3).contains(digits)).map(|digits| digits.to_string()).ok_or_else(wrong)
        }
        May::Dates if value.split(',').all(is_of_dates) => Ok(value.to_owned()),
        May::Dates => Err(wrong()),
        May::Time => milliseconds(value).map(|_| value.to_owned()).ok_or_else(wrong),
        May::OneOf(values) => values.iter().find(|one| one.eq_ignore_ascii_case(value)).map(|one| (*one).to_owned()).ok_or_else(wrong),
        May::Instant if value.is_empty() => Ok(String::new()),
        May::Instant => instant(value).map(|at| at.to_string()).ok_or_else(|| {
            Refusal::new("22007", format!("invalid input syntax for type timestamp with time zone: \"{value}\"")).with_hint(INSTANTS)
        }),
        May::Version if value.is_empty() => Ok(String::new()),
        May::Version => value.parse::<u32>().map(|version| version.to_string()).map_err(|_| wrong()),
    }
}

fn is_same(default: &str, value: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', '\''], "");
    let value = plain(value);
    value == plain(default)
        || (default == "UTF8" && value == "unicode")
        || (default == "on" && ["true", "1", "yes"].contains(&value.as_str()))
}

/// Whether the word is one of `DateStyle`, or none.
fn is_of_dates(word: &str) -> bool {
    let word = word.trim().trim_matches('\'');
    word.is_empty() || DATES.iter().any(|date| date.eq_ignore_ascii_case(word))
}

/// Whether there is a zone of that name, or it is an offset as drivers write one (`+02`, `GMT+02:00`, `<+02>-02`).
fn is_zone(value: &str) -> bool {
    TimeZone::get(value).is_ok() || value.bytes().any(|byte| byte.is_ascii_digit()) || value.eq_ignore_ascii_case("localtime")
}

/// An instant as people write it: with an offset, or a day or a time in UTC. `None` where it is none.
#[must_use]
pub fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let utc = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    let date = || text.parse::<Date>().ok().map(|date| date.to_datetime(jiff::civil::Time::midnight()));
    text.parse::<Timestamp>().ok().or_else(|| text.parse::<DateTime>().ok().or_else(date).and_then(utc))
}

/// A time in PostgreSQL's spelling: milliseconds, or a number with a unit.
fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = match text.get(digits..)?.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_set_and_each_to_what_it_may_be() {
        let mut variables = Variables::default();
        let code = |result: Result<Told, Refusal>| result.map_or_else(|refusal| refusal.code, |_| "");
        for (name, value, wanted) in [
            ("datafusion.execution.target_partitions", "64", "42704"),
            ("nothing", "1", "42704"),
            ("server_version", "9", "55P02"),
            ("client_encoding", "LATIN1", "22023"),
            ("CLIENT_ENCODING", "utf-8", ""),
            // As asyncpg sends it.
            ("client_encoding", "'utf-8'", ""),
            // As psql on a terminal where no language is set.
            ("client_encoding", "SQL_ASCII", ""),
            ("transaction_read_only", "off", "25006"),
            ("statement_timeout", "5 fortnights", "22023"),
            ("statement_timeout", "5s", ""),
            ("datestyle", "nostyle", "22023"),
            ("datestyle", "ISO, MDY", ""),
            ("extra_float_digits", "99", "22023"),
            ("extra_float_digits", "3", ""),
            (AS_KNOWN_AT, "yesterday", "22007"),
            (VERSION, "newest", "22023"),
        ] {
            assert_eq!(code(variables.set(name, Some(value), false)), wanted, "{name} = {value}");
        }
        assert_eq!(variables.statement_timeout(), Duration::from_secs(5));
    }

    #[test]
    fn instants_are_read_as_people_write_them() {
        for text in ["2024-01-31T00:00:00Z", "2024-01-31", "2024-01-31 00:00", "2024-01-31 01:00:00+01"] {
            assert_eq!(instant(text).map(|at| at.to_string()).as_deref(), Some("2024-01-31T00:00:00Z"), "{text}");
        }
    }

    #[test]
    fn a_transaction_takes_its_settings_back_or_keeps_them() {
        let mut variables = Variables::default();
        let name = |variables: &Variables| variables.get("application_name").expect("it is known");
        let set = |variables: &mut Variables, value, local| {
            variables.set("application_name", Some(value), local).expect("it may be set");
        };
        set(&mut variables, "a", false);
        variables.begin();
        set(&mut variables, "b", false);
        variables.rollback();
        assert_eq!(name(&variables), "a");
        variables.begin();
        set(&mut variables, "b", false);
        set(&mut variables, "c", true);
        assert_eq!(name(&variables), "c");
        variables.commit();
        assert_eq!(name(&variables), "b");
    }
}
