//! `to_char(value, template)`: an instant in UTC, a date, or a number, as text, by PostgreSQL's template patterns.
//!
//! The engine's own function of that name knows other patterns and gives a template of these back as it stands.

mod numbers;

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::templates::{Case, DAYS, MONTHS, Pattern, Piece, pieces};

/// The function.
pub fn to_char() -> ScalarUDF {
    ScalarUDF::from(ToChar { signature: Signature::user_defined(Volatility::Immutable), aliases: vec!["date_format".to_owned()] })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
    /// Those of the engine's own function: under a name that is left to it, it would take its others back when a session is made of another.
    aliases: Vec<String>,
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &'static str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [
                DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) | DataType::Null,
                DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null,
            ] => Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), DataType::Utf8]),
            [number, template] if number.is_numeric() && (template.is_string() || template.is_null()) => {
                let number = match number {
                    DataType::UInt64 => DataType::Decimal128(20, 0),
                    whole if whole.is_integer() => DataType::Int64,
                    DataType::Decimal128(..) => number.clone(),
                    _ => DataType::Float64,
                };
                Ok(vec![number, DataType::Utf8])
            }
            _ => {
                plan_err!("to_char takes an instant, a date or a number, and a template such as 'YYYY-MM-DD HH24:MI:SS' or 'FM999,990.00'")
            }
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [instants, templates] = arrays.as_slice() else { return exec_err!("to_char(value, template)") };
        if instants.data_type().is_numeric() {
            return Ok(ColumnarValue::Array(Arc::new(numbers_written(instants, templates)?)));
        }
        let instants: ArrayRef = cast(instants, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
        let (instants, templates) = (instants.as_primitive::<TimestampMicrosecondType>(), templates.as_string::<i32>());
        let mut known: Option<(&str, Vec<Piece>)> = None;
        let mut texts = Vec::with_capacity(instants.len());
        for (instant, template) in instants.iter().zip(templates.iter()) {
            let (Some(instant), Some(template)) = (instant, template) else {
                texts.push(None);
                continue;
            };
            if known.as_ref().is_none_or(|(text, _)| *text != template) {
                known = Some((template, pieces(template)?));
            }
            let Ok(instant) = jiff::Timestamp::from_microsecond(instant) else { return exec_err!("to_char: the instant is out of range") };
            let at = TimeZone::UTC.to_datetime(instant);
            texts.push(known.as_ref().map(|(_, pieces)| written(pieces, at)));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(texts))))
    }
}

/// The numbers by their templates.
fn numbers_written(values: &ArrayRef, templates: &ArrayRef) -> Result<StringArray> {
    let mut known: Option<(&str, numbers::Template)> = None;
    let mut texts = Vec::with_capacity(values.len());
    for (row, template) in templates.as_string::<i32>().iter().enumerate() {
        let Some(template) = template.filter(|_| values.is_valid(row)) else {
            texts.push(None);
            continue;
        };
        if known.as_ref().is_none_or(|(text, _)| *text != template) {
            known = Some((template, numbers::Template::of(template)?));
        }
        texts.push(known.as_ref().map(|(_, template)| match values.data_type() {
            DataType::Int64 => template.exact(&values.as_primitive::<Int64Type>().value(row).to_string()),
            DataType::Decimal128(..) => template.exact(&values.as_primitive::<Decimal128Type>().value_as_string(row)),
            _ => template.binary(values.as_primitive::<Float64Type>().value(row)),
        }));
    }
    Ok(StringArray::from(texts))
}

/// The instant by the template.
fn written(pieces: &[Piece], at: DateTime) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(stated) => text.push_str(stated),
            Piece::Letter(letter) => text.push(*letter),
            Piece::Pattern(pattern) => text.push_str(&pattern.of(at)),
        }
    }
    text
}

/// Names of months and days are filled up with blanks to so many letters.
const WIDE: usize = 9;

impl Pattern {
    fn of(&self, at: DateTime) -> String {
        let (date, weekday) = (at.date(), at.weekday().to_monday_one_offset());
        let named =
            |names: &[&'static str], place: i8| names.get(usize::try_from(place - 1).unwrap_or_default()).copied().unwrap_or_default();
        match self.name {
            "FX" => String::new(),
            "MONTH" => self.word(named(&MONTHS, at.month()), WIDE),
            "DAY" => self.word(named(&DAYS, weekday), WIDE),
            "MON" => self.word(named(&MONTHS, at.month()).get(..3).unwrap_or_default(), 0),
            "DY" => self.word(named(&DAYS, weekday).get(..3).unwrap_or_default(), 0),
            "AM" | "PM" => self.word(if at.hour() < 12 { "am" } else { "pm" }, 0),
            "A.M." | "P.M." => self.word(if at.hour() < 12 { "a.m." } else { "p.m." }, 0),
            "BC" | "AD" => self.word(if at.year() < 1 { "bc" } else { "ad" }, 0),
            "B.C." | "A.D." => self.word(if at.year() < 1 { "b.c." } else { "a.d." }, 0),
            "TZ" => self.word("utc", 0),
            "OF" | "TZH" => "+00".to_owned(),
            "TZM" => "00".to_owned(),
            "Y,YYY" => format!("{},{:03}", year(date) / 1_000, year(date) % 1_000),
            name => self.number(number(name, at)),
        }
    }

    /// A word in the case of the pattern.
    fn word(&self, word: &str, wide: usize) -> String {
        let cased = match self.case {
            Case::Upper => word.to_uppercase(),
            Case::Title => word.to_owned(),
            Case::Lower => word.to_lowercase(),
        };
        if self.bare { cased } else { format!("{cased:wide$}") }
    }

    /// A number with leading zeros up to so many digits.
    fn number(&self, (number, digits): (i64, usize)) -> String {
        let mut text = if self.bare { number.to_string() } else { format!("{number:0digits$}") };
        if let Some(case) = self.ordinal {
            let th = match (number % 10, number / 10 % 10) {
                (1, tens) if tens != 1 => "st",
                (2, tens) if tens != 1 => "nd",
                (3, tens) if tens != 1 => "rd",
                _ => "th",
            };
            // Writing to a text does not fail.
            let _written = if case == Case::Upper { write!(text, "{}", th.to_uppercase()) } else { write!(text, "{th}") };
        }
        text
    }
}

/// The year as it is counted: there is none of 0.
fn year(date: Date) -> i64 {
    let year = i64::from(date.year());
    if year < 1 { 1 - year } else { year }
}

/// What a pattern of numbers stands for, and with how many digits.
fn number(pattern: &str, at: DateTime) -> (i64, usize) {
    let (date, micros) = (at.date(), i64::from(at.subsec_nanosecond()) / 1_000);
    let (iso, hour) = (date.iso_week_date(), i64::from(at.hour()));
    let (iso_year, iso_week, weekday) = (i64::from(iso.year()), i64::from(iso.week()), i64::from(at.weekday().to_monday_one_offset()));
    let of_year = i64::from(date.day_of_year());
    match pattern {
        "YYYY" => (year(date), 4),
        "YYY" => (year(date) % 1_000, 3),
        "YY" => (year(date) % 100, 2),
        "Y" => (year(date) % 10, 1),
        "IYYY" => (iso_year, 4),
        "IYY" => (iso_year % 1_000, 3),
        "IY" => (iso_year % 100, 2),
        "I" => (iso_year % 10, 1),
        "MM" => (i64::from(date.month()), 2),
        "DD" => (i64::from(date.day()), 2),
        "DDD" => (of_year, 3),
        "IDDD" => (7 * (iso_week - 1) + weekday, 3),
        "D" => (weekday % 7 + 1, 1),
        "ID" => (weekday, 1),
        "W" => ((i64::from(date.day()) - 1) / 7 + 1, 1),
        "WW" => ((of_year - 1) / 7 + 1, 2),
        "IW" => (iso_week, 2),
        "CC" => ((year(date) - 1) / 100 + 1, 2),
        // Days since the first of a count that begins at the end of 4714 BC.
        "J" => (date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24 + 2_440_588, 1),
        "Q" => ((i64::from(date.month()) - 1) / 3 + 1, 1),
        "HH24" => (hour, 2),
        "HH" | "HH12" => ((hour + 11) % 12 + 1, 2),
        "MI" => (i64::from(at.minute()), 2),
        "SS" => (i64::from(at.second()), 2),
        "SSSS" | "SSSSS" => (3_600 * hour + 60 * i64::from(at.minute()) + i64::from(at.second()), 1),
        "MS" | "FF3" => (micros / 1_000, 3),
        "US" | "FF6" => (micros, 6),
        "FF1" => (micros / 100_000, 1),
        "FF2" => (micros / 10_000, 2),
        "FF4" => (micros / 100, 4),
        "FF5" => (micros / 10, 5),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::super::tests::asked;
    use super::*;

    fn by(template: &str, at: &str) -> String {
        written(&pieces(template).expect("is known"), at.parse().expect("a time"))
    }

    /// As PostgreSQL answers them.
    #[test]
    fn templates_are_postgresqls() {
        let at = "2024-03-05T14:07:09.012345";
        for (template, wanted) in [
            ("YYYY-MM", "2024-03"),
            ("YYYY-MM-DD HH24:MI:SS.US", "2024-03-05 14:07:09.012345"),
            ("FMDay, FMDD. FMMonth YYYY", "Tuesday, 5. March 2024"),
            ("Day|MONTH|mon|Dy|DY", "Tuesday  |MARCH    |mar|Tue|TUE"),
            ("HH:MI am HH12 P.M.", "02:07 pm 02 P.M."),
            ("IYYY-\"W\"IW-ID", "2024-W10-2"),
            ("Q DDD D W WW CC J", "1 065 3 1 10 21 2460375"),
            ("DDth FMDDth MMTH", "05th 5th 03RD"),
            ("YYYYMMDD\"T\"HH24MISS", "20240305T140709"),
            ("Y,YYY YY Y MS FF1 FF4 SSSS", "2,024 24 4 012 0 0123 50829"),
            ("\"a \\\"quote\\\"\" TZ OF", "a \"quote\" UTC +00"),
            ("year: ü", "4ear: ü"),
        ] {
            assert_eq!(by(template, at), wanted, "{template}");
        }
        assert_eq!(by("HH12 AM IYYY IW Q", "2023-01-01T00:00:00"), "12 AM 2022 52 1");
        assert_eq!(by("FXTMMonth|fmtmDD", "2024-03-05T00:00:00"), "March|5");
        assert!(pieces("RM").is_err());
    }

    #[tokio::test]
    async fn columns_dates_numbers_and_nulls_are_written_and_truths_refused() {
        let ctx = SessionContext::new();
        ctx.register_udf(to_char());
        let sql = "SELECT to_char(at, 'YYYY-MM') AS month, to_char(DATE '2024-02-29', t) AS day FROM (VALUES \
                   (TIMESTAMP '2024-01-31 23:59:59', 'DD'), (NULL, 'MM'), (TIMESTAMP '1969-12-31 00:00:00', NULL)) AS v(at, t)";
        let batches = asked(&ctx, sql).await;
        let column = |place: usize| batches[0].column(place).as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!(column(0), [Some("2024-01"), None, Some("1969-12")]);
        assert_eq!(column(1), [Some("29"), Some("02"), None]);
        let sql = "SELECT to_char(a, 'FM9,999') AS a, to_char(b, t) AS b, to_char(c, 'FM990.00') AS c FROM (VALUES \
                   (1234, 0.5, 2.345::DECIMAL(5, 3), '0.9'), (NULL, 1.5, NULL, NULL)) AS v(a, b, c, t)";
        let batches = asked(&ctx, sql).await;
        let column = |place: usize| batches[0].column(place).as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!(column(0), [Some("1,234"), None]);
        assert_eq!(column(1), [Some(" 0.5"), None]);
        assert_eq!(column(2), [Some("2.35"), None]);
        let refused = ctx.sql("SELECT to_char(true, '999')").await.expect_err("is no number");
        assert!(refused.to_string().contains("takes an instant, a date or a number"), "{refused}");
    }
}
