//! A text read by a template, as PostgreSQL reads it: leniently. Blanks are passed over, a sign of the template stands for any sign or none, what stands behind the template's end
//! counts for nothing, and what the text does not say is the first of its kind. After `DCH_from_char` and `do_to_timestamp` of PostgreSQL's formatting.c.

use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use jiff::civil::{Date, DateTime, ISOWeekDate, Time, Weekday};
use jiff::{SignedDuration, Span};

use crate::functions::templates::{DAYS, MONTHS, Pattern, Piece};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// What a text said; of what it did not say, 0.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Days of years, or of years of weeks.
    of_weeks: Option<bool>,
    year: i64,
    year_digits: usize,
    century: i64,
    is_before_christ: bool,
    month: i64,
    day: i64,
    day_of_year: i64,
    week: i64,
    week_of_month: i64,
    /// From Monday, which is 1.
    weekday: i64,
    julian: i64,
    is_of_twelve: bool,
    is_afternoon: bool,
    hour: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    milliseconds: i64,
    microseconds: i64,
    /// Of its offset from UTC: 1 or -1.
    zone_sign: i64,
    zone_hours: i64,
    zone_minutes: i64,
}

impl Said {
    /// What the text says by the template.
    ///
    /// # Errors
    /// Where it does not fit the template, and where the template says what no text is read by.
    pub(super) fn of(pieces: &[Piece], text: &str) -> Result<Self> {
        let mut said = Self::default();
        let mut reader = Reader { text, rest: text, skipped: 0, is_exact: false };
        for (place, piece) in pieces.iter().enumerate() {
            if reader.rest.is_empty() {
                break;
            }
            if !reader.is_exact && (place == 0 || matches!(piece, Piece::Pattern(_))) {
                reader.skip_blanks();
            }
            match piece {
                Piece::Letter(letter) if is_sign(*letter) => reader.sign(),
                Piece::Letter(_) => reader.letter(),
                Piece::Text(stated) => stated.chars().for_each(|_| reader.letter()),
                Piece::Pattern(pattern) => {
                    let is_open = pattern.bare || pattern.ordinal.is_some() || pieces.get(place + 1).is_none_or(ends_number);
                    said.take(pattern, if is_open { Length::Open } else { Length::Fixed }, &mut reader)?;
                    if pattern.ordinal.is_some() {
                        reader.skip(2);
                    }
                    if !reader.is_exact {
                        reader.skipped = 0;
                        reader.skip_blanks();
                    }
                }
            }
        }
        Ok(said)
    }

    /// What stands in the text for a pattern.
    fn take(&mut self, pattern: &Pattern, length: Length, reader: &mut Reader<'_>) -> Result<()> {
        let name = pattern.name;
        self.count_by(name)?;
        let mut number = |digits: usize| reader.number(digits, length, name);
        match name {
            "FX" => reader.is_exact = true,
            "A.M." | "P.M." => self.half(reader.word(&["a.m.", "p.m."], name)?),
            "AM" | "PM" => self.half(reader.word(&["am", "pm"], name)?),
            "B.C." | "A.D." => self.is_before_christ = reader.word(&["b.c.", "a.d."], name)? == 1,
            "BC" | "AD" => self.is_before_christ = reader.word(&["bc", "ad"], name)? == 1,
            "HH" | "HH12" => {
                self.is_of_twelve = true;
                set(&mut self.hour, number(2)?.0, name)?;
            }
            "HH24" => set(&mut self.hour, number(2)?.0, name)?,
            "MI" => set(&mut self.minute, number(2)?.0, name)?,
            "SS" => set(&mut self.second, number(2)?.0, name)?,
            "SSSS" | "SSSSS" => set(&mut self.second_of_day, number(name.len())?.0, name)?,
            "MS" => set(&mut self.milliseconds, fraction(number(3)?, 3), name)?,
            "US" | "FF6" => set(&mut self.microseconds, fraction(number(6)?, 6), name)?,
            "FF1" | "FF2" | "FF3" | "FF4" | "FF5" => {
                let digits = name.bytes().next_back().map_or(0, |digit| usize::from(digit - b'0'));
                set(&mut self.microseconds, fraction(number(digits)?, 6), name)?;
            }
            "TZ" | "OF" => return exec_err!("the pattern {name} is only supported in to_char: write the offset as TZH:TZM"),
            "TZH" => {
                self.zone_sign = reader.offset_sign();
                set(&mut self.zone_hours, reader.number(2, length, name)?.0, name)?;
            }
            "TZM" => {
                self.zone_sign = if self.zone_sign == 0 { 1 } else { self.zone_sign };
                set(&mut self.zone_minutes, number(2)?.0, name)?;
            }
            _ => return self.take_date(pattern, length, reader),
        }
        Ok(())
    }

    /// As [`take`](Self::take), of what dates are made of.
    fn take_date(&mut self, pattern: &Pattern, length: Length, reader: &mut Reader<'_>) -> Result<()> {
        let name = pattern.name;
        let mut number = |digits: usize| reader.number(digits, length, name);
        match name {
            "MONTH" => set(&mut self.month, reader.word(&MONTHS, name)?, name),
            "MON" => set(&mut self.month, reader.word(&MONTHS.map(short), name)?, name),
            "MM" => set(&mut self.month, number(2)?.0, name),
            "DAY" => set(&mut self.weekday, reader.word(&DAYS, name)?, name),
            "DY" => set(&mut self.weekday, reader.word(&DAYS.map(short), name)?, name),
            "DDD" | "IDDD" => set(&mut self.day_of_year, number(3)?.0, name),
            "DD" => set(&mut self.day, number(2)?.0, name),
            // Counted from Sunday.
            "D" => set(&mut self.weekday, (number(1)?.0 + 5) % 7 + 1, name),
            "ID" => set(&mut self.weekday, number(1)?.0, name),
            "WW" | "IW" => set(&mut self.week, number(2)?.0, name),
            "W" => set(&mut self.week_of_month, number(1)?.0, name),
            // Which day of a quarter is meant nobody knows.
            "Q" => number(1).map(|_| ()),
            "CC" => set(&mut self.century, number(2)?.0, name),
            "J" => set(&mut self.julian, number(1)?.0, name),
            "Y,YYY" => {
                let (thousands, _) = reader.number(1, Length::Open, name)?;
                reader.rest = reader.rest.strip_prefix(',').ok_or_else(|| unfit(name, "a comma stands behind the thousands"))?;
                let (rest, _) = reader.number(3, Length::Fixed, name)?;
                self.year_digits = 4;
                set(&mut self.year, thousands * 1_000 + rest, name)
            }
            years => {
                let digits = years.len();
                let (year, read) = number(digits)?;
                self.year_digits = digits;
                set(&mut self.year, if digits < 4 && read < 4 { nearest_2020(year) } else { year }, name)
            }
        }
    }

    /// Dates are counted by months, or by weeks.
    fn count_by(&mut self, name: &str) -> Result<()> {
        let of_weeks = match name {
            "IYYY" | "IYY" | "IY" | "I" | "IW" | "ID" | "IDDD" => true,
            "YYYY" | "Y,YYY" | "YYY" | "YY" | "Y" | "MONTH" | "MON" | "MM" | "DDD" | "DD" | "D" | "WW" | "W" => false,
            _ => return Ok(()),
        };
        if self.of_weeks.is_some_and(|before| before != of_weeks) {
            return exec_err!("the template mixes years of weeks (ISO) with years of months, and says no date: write one of them alone");
        }
        self.of_weeks = Some(of_weeks);
        Ok(())
    }

    fn half(&mut self, half: i64) {
        (self.is_of_twelve, self.is_afternoon) = (true, half == 2);
    }

    /// The year as it is counted before its first, too.
    fn year(&self) -> i64 {
        let century = if self.is_before_christ { -self.century } else { self.century };
        if self.year == 0 {
            return match century {
                0 => 0,
                1.. => (century - 1) * 100 + 1,
                _ => century * 100 + 1,
            };
        }
        if century == 0 || self.year_digits > 2 {
            return if self.is_before_christ { 1 - self.year } else { self.year };
        }
        match (self.year % 100, century) {
            (0, 0..) => century * 100,
            (0, _) => century * 100 + 1,
            (year, 0..) => (century - 1) * 100 + year,
            (year, _) => (century + 1) * 100 - year + 1,
        }
    }

    fn date(&self) -> Result<Date> {
        let (first, of_weeks) = (i16::try_from(self.year()).map_err(|_| beyond())?, self.of_weeks == Some(true));
        let (mut year, mut month, mut day, mut day_of_year) = (first, 1, 1, self.day_of_year);
        let mut set_to = |date: Date| (year, month, day) = (date.year(), i64::from(date.month()), i64::from(date.day()));
        if self.julian != 0 {
            set_to(after(Date::constant(1970, 1, 1), self.julian - 2_440_588)?);
        }
        if self.week != 0 && of_weeks {
            set_to(of_week(first, self.week, self.weekday.max(1))?);
        } else if self.week != 0 {
            day_of_year = (self.week - 1) * 7 + 1;
        }
        if self.week_of_month != 0 {
            day = (self.week_of_month - 1) * 7 + 1;
        }
        day = if self.day == 0 { day } else { self.day };
        month = if self.month == 0 { month } else { self.month };
        if day_of_year != 0 && (month <= 1 || day <= 1) {
            if first == 0 && !self.is_before_christ {
                return Err(unfit("DDD", "a day of a year is asked for, and no year is told"));
            }
            let start = if of_weeks { of_week(first, 1, 1)? } else { Date::new(first, 1, 1).map_err(|_| beyond())? };
            let told = after(start, day_of_year - 1)?;
            if of_weeks {
                return Ok(told);
            }
            if told.year() != first {
                return Err(beyond());
            }
            month = if month <= 1 { i64::from(told.month()) } else { month };
            day = if day <= 1 { i64::from(told.day()) } else { day };
        }
        let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else { return Err(beyond()) };
        Date::new(year, month, day).map_err(|_| beyond())
    }

    fn time(&self) -> Result<Time> {
        let of_day = |second: i64| (second / 3_600, second / 60 % 60, second % 60);
        let (hour, minute, second) = of_day(self.second_of_day);
        let stated = |stated: i64, other: i64| if stated == 0 { other } else { stated };
        let (mut hour, minute, second) = (stated(self.hour, hour), stated(self.minute, minute), stated(self.second, second));
        if self.is_of_twelve {
            if !(1..=12).contains(&hour) {
                return Err(unfit("HH", "there is no such hour on a clock of twelve hours; write HH24"));
            }
            hour = hour % 12 + if self.is_afternoon { 12 } else { 0 };
        }
        let nanoseconds = self.milliseconds.saturating_mul(1_000).saturating_add(self.microseconds).saturating_mul(1_000);
        let parts = (i8::try_from(hour), i8::try_from(minute), i8::try_from(second), i32::try_from(nanoseconds));
        let (Ok(hour), Ok(minute), Ok(second), Ok(nanoseconds)) = parts else { return Err(beyond()) };
        Time::new(hour, minute, second, nanoseconds).map_err(|_| beyond())
    }

    /// Days from 1970-01-01 to the date.
    ///
    /// # Errors
    /// Where there is no such date.
    pub(super) fn days(&self) -> Result<i32> {
        self.time()?;
        let days = self.date()?.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
        i32::try_from(days).map_err(|_| beyond())
    }

    /// Microseconds from 1970 to the instant, in UTC where no offset was told.
    ///
    /// # Errors
    /// Where there is no such date or time.
    pub(super) fn microseconds(&self) -> Result<i64> {
        // An instant of jiff's ends a day before the year 9999 does.
        let since = DateTime::from_parts(self.date()?, self.time()?).duration_since(EPOCH);
        if self.zone_hours > 15 || self.zone_minutes > 59 {
            return Err(beyond());
        }
        let offset = SignedDuration::from_secs(self.zone_sign * (3_600 * self.zone_hours + 60 * self.zone_minutes));
        i64::try_from(since.saturating_sub(offset).as_micros()).map_err(|_| beyond())
    }
}

/// The day of a week; of the year's days before its first Monday there are weeks of the last year.
fn of_week(year: i16, week: i64, weekday: i64) -> Result<Date> {
    let first = ISOWeekDate::new(year, 1, Weekday::Monday).map_err(|_| beyond())?.date();
    after(first, (week - 1) * 7 + weekday - 1)
}

fn after(date: Date, days: i64) -> Result<Date> {
    let days = Span::new().try_days(days).map_err(|_| beyond())?;
    date.checked_add(days).map_err(|_| beyond())
}

fn short(word: &'static str) -> &'static str {
    word.get(..3).unwrap_or(word)
}

/// A year of fewer than four digits in the century that brings it next to 2020.
fn nearest_2020(year: i64) -> i64 {
    match year {
        ..70 | 100..520 => year + 2_000,
        70..100 => year + 1_900,
        520..1_000 => year + 1_000,
        _ => year,
    }
}

/// Digits behind a point, as a number of so many digits.
fn fraction((number, read): (i64, usize), digits: usize) -> i64 {
    let missing = u32::try_from(digits.saturating_sub(read)).unwrap_or(0);
    number.saturating_mul(10_i64.pow(missing))
}

/// What was said before must not be contradicted.
fn set(part: &mut i64, value: i64, name: &str) -> Result<()> {
    if *part != 0 && *part != value {
        return Err(unfit(name, "it contradicts what stands before"));
    }
    *part = value;
    Ok(())
}

fn unfit(name: &str, why: &str) -> DataFusionError {
    exec_datafusion_err!("the text does not fit the template at \"{name}\": {why}")
}

fn beyond() -> DataFusionError {
    exec_datafusion_err!("date/time field value out of range")
}

/// Whether a character stands between parts.
fn is_sign(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter.is_ascii_punctuation()
}

/// Whether a number before the piece ends with its digits.
fn ends_number(next: &Piece) -> bool {
    match next {
        Piece::Letter(letter) => !letter.is_ascii_digit(),
        Piece::Text(stated) => !stated.starts_with(|letter: char| letter.is_ascii_digit()),
        Piece::Pattern(pattern) => {
            let words = ["MONTH", "MON", "DAY", "DY", "AM", "PM", "A.M.", "P.M.", "BC", "AD", "B.C.", "A.D.", "TZ", "TZH", "OF", "FX"];
            words.contains(&pattern.name)
        }
    }
}

/// How many digits a number has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// As many as its pattern: other digits may stand behind it.
    Fixed,
    /// As many as there are.
    Open,
}

/// Where in the text one has read to.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    /// Characters that were passed over, and for which no piece of the template stood.
    skipped: usize,
    /// Behind `FX`: each piece of the template stands for as many characters as it has.
    is_exact: bool,
}

impl Reader<'_> {
    fn skip(&mut self, count: usize) {
        let mut letters = self.rest.chars();
        letters.by_ref().take(count).for_each(drop);
        self.rest = letters.as_str();
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest.trim_ascii_start();
        self.skipped += self.rest.len() - rest.len();
        self.rest = rest;
    }

    /// A sign of the template.
    fn sign(&mut self) {
        if self.is_exact {
            return self.skip(1);
        }
        if self.rest.starts_with(is_sign) {
            self.skip(1);
        } else {
            self.skipped = self.skipped.saturating_sub(1);
        }
    }

    /// A character of the template that is no sign.
    fn letter(&mut self) {
        if self.is_exact || self.skipped == 0 {
            return self.skip(1);
        }
        self.skipped -= 1;
    }

    /// A number and how many characters it has.
    fn number(&mut self, digits: usize, length: Length, name: &str) -> Result<(i64, usize)> {
        let rest = self.rest.trim_ascii_start();
        let given = match length {
            Length::Open => rest,
            Length::Fixed => rest.get(..digits).ok_or_else(|| unfit(name, "the text is too short"))?,
        };
        let unsigned = given.strip_prefix(['-', '+']).unwrap_or(given);
        let behind = unsigned.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let read = given.len() - behind.len();
        if behind.len() == unsigned.len() {
            return Err(unfit(name, "a whole number is wanted"));
        }
        if length == Length::Fixed && read < digits {
            return Err(unfit(name, &format!("{digits} digits are wanted")));
        }
        let number = given.get(..read).and_then(|number| number.parse::<i32>().ok()).ok_or_else(beyond)?;
        self.rest = rest.get(read..).unwrap_or_default();
        Ok((i64::from(number), read))
    }

    /// The place of a word among these, from 1.
    fn word(&mut self, words: &[&str], name: &str) -> Result<i64> {
        let is_here = |word: &&str| self.rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        let Some(place) = words.iter().position(is_here) else { return Err(unfit(name, "none of its words stands there")) };
        self.rest = words.get(place).and_then(|word| self.rest.get(word.len()..)).unwrap_or_default();
        Ok(i64::try_from(place).unwrap_or(0) + 1)
    }

    /// The sign of an offset, which may have been passed over as a sign of the template.
    fn offset_sign(&mut self) -> i64 {
        let before = self.text.get(..self.text.len() - self.rest.len()).and_then(|read| read.chars().next_back());
        let before = before.filter(|_| self.skipped > 0);
        let stated = self.rest.chars().next().filter(|letter| ['+', '-', ' '].contains(letter));
        if stated.is_some() {
            self.skip(1);
        }
        if stated.or(before) == Some('-') { -1 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::templates::pieces;

    fn read(text: &str, template: &str) -> Result<String> {
        let since = SignedDuration::from_micros(Said::of(&pieces(template)?, text)?.microseconds()?);
        let at = EPOCH.checked_add(since).expect("a moment").to_string();
        Ok(at.strip_suffix("T00:00:00").unwrap_or(&at).to_owned())
    }

    /// As PostgreSQL answers them.
    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        for (text, template, wanted) in [
            ("2024-01-31 08:15:09", "YYYY-MM-DD HH24:MI:SS", "2024-01-31T08:15:09"),
            ("05 Dec 2000", "DD Mon YYYY", "2000-12-05"),
            ("5.3.2024", "DD.MM.YYYY", "2024-03-05"),
            ("20240131T0815", "YYYYMMDD\"T\"HH24MI", "2024-01-31T08:15:00"),
            ("2011-12-18 11:38 PM", "YYYY-MM-DD HH:MI am", "2011-12-18T23:38:00"),
            ("12 a.m.", "HH12 P.M.", "0000-01-01"),
            ("  2000    jUN", "YYYY MON", "2000-06-01"),
            ("2000/JUN", "YYYY MON", "2000-06-01"),
            ("2000JUN", "YYYY///MON", "2000-06-01"),
            ("3rd march 2024", "DDth Month YYYY", "2024-03-03"),
            ("2024-W10-2", "IYYY-\"W\"IW-ID", "2024-03-05"),
            ("2022-52", "IYYY-IW", "2022-12-26"),
            ("2024 065", "YYYY DDD", "2024-03-05"),
            ("2024 Q3", "YYYY \"Q\"Q", "2024-01-01"),
            ("95-3-1", "YY-MM-DD", "1995-03-01"),
            ("5/3/24", "DD/MM/YY", "2024-03-05"),
            ("21 07", "CC YY", "2007-01-01"),
            ("2,024", "Y,YYY", "2024-01-01"),
            ("2460375", "J", "2024-03-05"),
            ("44-02-01 BC", "YYYY-MM-DD BC", "-000043-02-01"),
            ("12:34:56.7", "HH24:MI:SS.MS", "0000-01-01T12:34:56.7"),
            ("2024-03-05 14:07:09.012345", "YYYY-MM-DD HH24:MI:SS.US", "2024-03-05T14:07:09.012345"),
            ("2024-03-05 10:00 -05:30", "YYYY-MM-DD HH24:MI TZH:TZM", "2024-03-05T15:30:00"),
            ("2024-03-05 10:00+02", "YYYY-MM-DD HH24:MITZH", "2024-03-05T08:00:00"),
            ("31.12.9999", "DD.MM.YYYY", "9999-12-31"),
            ("2024-00-00 and more", "YYYY-MM-DD", "2024-01-01"),
            ("2024", "YYYY-MM-DD", "2024-01-01"),
            ("Tuesday, 2024-03-05", "FMDay, YYYY-MM-DD", "2024-03-05"),
        ] {
            assert_eq!(read(text, template).expect(template), wanted, "{text} {template}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, template, words) in [
            ("2024-13-01", "YYYY-MM-DD", "out of range"),
            ("2024-02-30", "YYYY-MM-DD", "out of range"),
            ("25:00", "HH24:MI", "out of range"),
            ("2024 367", "YYYY DDD", "out of range"),
            ("x", "YYYY", "a whole number"),
            ("202", "YYYYMM", "too short"),
            ("20241x01", "YYYYMMDD", "2 digits"),
            ("2024-Foo", "YYYY-Mon", "none of its words"),
            ("13 PM", "HH12 PM", "twelve hours"),
            ("065", "DDD", "no year"),
            ("2024 2025", "YYYY YYYY", "contradicts"),
            ("2024-01", "IYYY-MM", "mixes"),
            ("2024 UTC", "YYYY TZ", "only supported in to_char"),
            ("2000    JUN", "FXYYYY MON", "none of its words"),
        ] {
            let refused = read(text, template).expect_err(template).to_string();
            assert!(refused.contains(words), "{text} {template}: {refused}");
        }
    }
}
