//! What PostgreSQL takes a value for, and what it makes of several beside one another.
//!
//! Told is only what PostgreSQL would say for certain: of everything else ([`Kind::Any`]) nothing is refused.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Operator;
use datafusion::scalar::ScalarValue;

use super::super::Refusal;

/// A type of PostgreSQL's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None of those below, or it cannot be told.
    Any,
    /// A text in quotes, NULL or a parameter: it becomes what stands beside it. With the text, where it is one.
    Unknown(Option<Arc<str>>),
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Numeric,
    Real,
    Double,
    Text,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
}

/// Types within which a value is made one of another without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Boolean,
    Number,
    Text,
    Instant,
    Span,
}

/// Two kinds of which no one is made, and the place of the second among those that were looked at.
pub(super) struct Unmatched {
    pub first: Kind,
    pub other: Kind,
    pub place: usize,
}

impl Unmatched {
    /// What PostgreSQL says of values, or of queries, that should be of one type.
    pub(super) fn refusal(&self, of: &str) -> Refusal {
        let words = format!("{of} types {} and {} cannot be matched", self.first, self.other);
        Refusal::new("42804", words).with_hint("cast them to one type, as in x::text")
    }
}

impl Kind {
    /// That of a column.
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Unknown(None),
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::Smallint,
            DataType::Int32 | DataType::UInt16 => Self::Integer,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Self::Bigint,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Numeric,
            DataType::Float16 | DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Self::Text,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampTz,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::Dictionary(_, value) => Self::of(value),
            _ => Self::Any,
        }
    }

    /// That of a type which the engine tells before it knows better: of a CASE it tells the first branch's, which a text in quotes may be beside numbers.
    pub(super) fn unsure(data_type: &DataType) -> Self {
        match Self::of(data_type) {
            Self::Text => Self::Any,
            kind => kind,
        }
    }

    /// That of a constant as it is written.
    pub(super) fn of_literal(value: &ScalarValue) -> Self {
        match value {
            value if value.is_null() => Self::Unknown(None),
            ScalarValue::Int64(Some(number)) if i32::try_from(*number).is_ok() => Self::Integer,
            ScalarValue::Float64(_) => Self::Numeric,
            value => match value.try_as_str().flatten() {
                Some(text) => Self::Unknown(Some(Arc::from(text))),
                None => Self::of(&value.data_type()),
            },
        }
    }

    /// What becomes of it where nothing stands beside it.
    pub(super) fn settled(self) -> Self {
        match self {
            Self::Unknown(Some(_)) => Self::Text,
            Self::Unknown(None) => Self::Any,
            kind => kind,
        }
    }

    /// `None` where nothing can be said.
    pub(super) fn family(&self) -> Option<Family> {
        Some(match self {
            Self::Any | Self::Unknown(_) => return None,
            Self::Boolean => Family::Boolean,
            Self::Smallint | Self::Integer | Self::Bigint | Self::Numeric | Self::Real | Self::Double => Family::Number,
            Self::Text => Family::Text,
            Self::Date | Self::Time | Self::Timestamp | Self::TimestampTz => Family::Instant,
            Self::Interval => Family::Span,
        })
    }

    /// How much of its family it holds: the others become what holds most.
    fn rank(&self) -> u8 {
        match self {
            Self::Integer | Self::Time | Self::Timestamp => 1,
            Self::Bigint | Self::TimestampTz => 2,
            Self::Numeric => 3,
            Self::Real => 4,
            Self::Double => 5,
            _ => 0,
        }
    }

    /// Whether some operator compares the two.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        match (self.family(), other.family()) {
            (Some(Family::Instant), Some(Family::Span)) | (Some(Family::Span), Some(Family::Instant)) => true,
            (Some(left), Some(right)) => left == right,
            _ => true,
        }
    }

    /// Whether there is a cast. Of whole numbers PostgreSQL makes truths where they are of 32 bits, which is not told from 64 here.
    pub(super) fn is_cast_to(&self, to: &Self) -> bool {
        match (self.family(), to.family()) {
            (Some(Family::Number), Some(Family::Boolean)) => matches!(self, Self::Smallint | Self::Integer | Self::Bigint),
            (Some(Family::Boolean), Some(Family::Number)) => *to == Self::Integer,
            (Some(Family::Number | Family::Boolean), Some(Family::Instant | Family::Span)) => false,
            (Some(Family::Instant | Family::Span), Some(Family::Number | Family::Boolean)) => false,
            (Some(Family::Instant), Some(Family::Span)) => *self == Self::Time,
            (Some(Family::Span), Some(Family::Instant)) => *to == Self::Time,
            (Some(Family::Instant), Some(Family::Instant)) if *self == Self::Time => *to == Self::Time,
            (Some(Family::Instant), Some(Family::Instant)) => *self != Self::Date || *to != Self::Time,
            _ => true,
        }
    }

    /// The class by which a text is refused that should be of this kind; `None` where PostgreSQL may read it.
    pub(super) fn refuses(&self, text: &str) -> Option<&'static str> {
        const TRUTHS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "1", "0"];
        const MOMENTS: [&str; 8] = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity", "-infinity", "allballs"];
        let text = text.trim().to_lowercase();
        let has_digits = text.bytes().any(|byte| byte.is_ascii_digit());
        let (is_read, code) = match self.family()? {
            Family::Boolean => (!text.is_empty() && TRUTHS.iter().any(|truth| truth.starts_with(&text)), "22P02"),
            Family::Number => (text.parse::<f64>().is_ok(), "22P02"),
            Family::Text => (true, "22P02"),
            // A zone may stand behind the word.
            Family::Instant => (has_digits || text.split_whitespace().next().is_some_and(|word| MOMENTS.contains(&word)), "22007"),
            Family::Span => (has_digits, "22007"),
        };
        (!is_read).then_some(code)
    }

    /// What two are together by a sign of arithmetic.
    pub(super) fn reckoned(operator: Operator, left: &Self, right: &Self) -> Self {
        let later = |instant: &Self| if *instant == Self::Date { Self::Timestamp } else { instant.clone() };
        match (left.family(), right.family()) {
            (Some(Family::Number), Some(Family::Number)) if left.rank() < right.rank() => right.clone(),
            (Some(Family::Number), Some(Family::Number)) => left.clone(),
            (Some(Family::Number), None) if matches!(right, Self::Unknown(_)) => left.clone(),
            (None, Some(Family::Number)) if matches!(left, Self::Unknown(_)) => right.clone(),
            (Some(Family::Span), Some(Family::Span | Family::Number)) | (Some(Family::Number), Some(Family::Span)) => Self::Interval,
            (Some(Family::Instant), Some(Family::Span)) => later(left),
            (Some(Family::Span), Some(Family::Instant)) => later(right),
            // Days that lie between are a number there, and a span here.
            (Some(Family::Instant), Some(Family::Instant)) if *left == Self::Date && *right == Self::Date => Self::Any,
            (Some(Family::Instant), Some(Family::Instant)) if operator == Operator::Minus => Self::Interval,
            _ => Self::Any,
        }
    }
}

/// What all of them are made, of which one is wanted.
///
/// # Errors
/// Where two are of two families.
pub(super) fn common(kinds: &[Kind]) -> Result<Kind, Unmatched> {
    let mut found: Option<&Kind> = None;
    for (place, kind) in kinds.iter().enumerate().filter(|(_, kind)| kind.family().is_some()) {
        match found {
            Some(first) if first.family() != kind.family() => {
                return Err(Unmatched { first: first.clone(), other: kind.clone(), place });
            }
            Some(first) if first.rank() >= kind.rank() => {}
            _ => found = Some(kind),
        }
    }
    Ok(match found {
        _ if kinds.contains(&Kind::Any) => Kind::Any,
        Some(kind) => kind.clone(),
        None if kinds.contains(&Kind::Unknown(None)) => Kind::Any,
        None => Kind::Text,
    })
}

/// The name in SQL.
impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Unknown(_) => "unknown",
            Self::Boolean => "boolean",
            Self::Smallint => "smallint",
            Self::Integer => "integer",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Real => "real",
            Self::Double => "double precision",
            Self::Text => "text",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::TimestampTz => "timestamp with time zone",
            Self::Interval => "interval",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Kind {
        Kind::Unknown(Some(Arc::from(text)))
    }

    #[test]
    fn one_kind_is_made_of_those_of_a_family() {
        let made = |kinds: &[Kind]| common(kinds).map_err(|unmatched| (unmatched.first, unmatched.other, unmatched.place));
        assert_eq!(made(&[Kind::Integer, text("x"), Kind::Numeric, Kind::Bigint]), Ok(Kind::Numeric));
        assert_eq!(made(&[Kind::Date, Kind::TimestampTz]), Ok(Kind::TimestampTz));
        assert_eq!(made(&[text("x"), text("y")]), Ok(Kind::Text));
        assert_eq!(made(&[Kind::Unknown(None), text("y")]), Ok(Kind::Any), "a parameter may be anything");
        assert_eq!(made(&[Kind::Any, Kind::Integer]), Ok(Kind::Any));
        assert_eq!(made(&[text("x"), Kind::Integer, Kind::Text]), Err((Kind::Integer, Kind::Text, 2)));
        assert_eq!(made(&[Kind::Interval, Kind::Date]), Err((Kind::Interval, Kind::Date, 1)));
    }

    #[test]
    fn what_postgresql_compares_and_casts_is_let_through() {
        for (left, right) in [
            (Kind::Date, Kind::TimestampTz),
            (Kind::Integer, Kind::Double),
            (Kind::Text, text("x")),
            (Kind::Unknown(None), Kind::Boolean),
            (Kind::Any, Kind::Text),
            (Kind::Time, Kind::Interval),
        ] {
            assert!(left.is_comparable(&right) && right.is_comparable(&left), "{left} {right}");
        }
        for (from, to) in [
            (Kind::Integer, Kind::Boolean),
            (Kind::Boolean, Kind::Integer),
            (Kind::Text, Kind::Date),
            (Kind::Interval, Kind::Text),
            (Kind::TimestampTz, Kind::Time),
            (Kind::Time, Kind::Interval),
            (text("x"), Kind::Interval),
            (Kind::Any, Kind::Integer),
        ] {
            assert!(from.is_cast_to(&to), "{from} {to}");
        }
        for (from, to) in [
            (Kind::Integer, Kind::Date),
            (Kind::Numeric, Kind::Boolean),
            (Kind::Boolean, Kind::Double),
            (Kind::TimestampTz, Kind::Integer),
            (Kind::Interval, Kind::Bigint),
            (Kind::Date, Kind::Time),
            (Kind::Time, Kind::Date),
            (Kind::Interval, Kind::Timestamp),
        ] {
            assert!(!from.is_cast_to(&to), "{from} {to}");
        }
    }

    #[test]
    fn a_text_is_read_where_postgresql_may_read_it() {
        for (kind, text, code) in [
            (Kind::Integer, " -12 ", None),
            (Kind::Double, "NaN", None),
            (Kind::Integer, "none", Some("22P02")),
            (Kind::Boolean, "Y", None),
            (Kind::Boolean, "maybe", Some("22P02")),
            (Kind::TimestampTz, "Jan 5 2024", None),
            (Kind::Date, "Today", None),
            (Kind::TimestampTz, "today UTC", None),
            (Kind::TimestampTz, "the day", Some("22007")),
            (Kind::Date, "none", Some("22007")),
            (Kind::Interval, "1 day", None),
            (Kind::Text, "none", None),
            (Kind::Any, "none", None),
        ] {
            assert_eq!(kind.refuses(text), code, "{kind} {text}");
        }
    }

    #[test]
    fn days_between_are_not_told() {
        let minus = |left, right| Kind::reckoned(Operator::Minus, &left, &right);
        assert_eq!(minus(Kind::Date, Kind::Date), Kind::Any);
        assert_eq!(minus(Kind::TimestampTz, Kind::Date), Kind::Interval);
        assert_eq!(minus(Kind::Date, Kind::Interval), Kind::Timestamp);
        assert_eq!(minus(Kind::Integer, Kind::Double), Kind::Double);
        assert_eq!(minus(Kind::Text, Kind::Integer), Kind::Any);
    }
}
