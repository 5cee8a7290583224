//! Numbers by PostgreSQL's template patterns (`FM999,990.00`), gone through as `NUM_processor` in its `src/backend/utils/adt/formatting.c` goes through them: `9`, `0`, `.`, `D`,
//! `,`, `G`, `S`, `MI` and `FM`; what else is no pattern stands as it is. A number that has no room is written in `#`, and so is one that is infinite or none.

use datafusion::common::{Result, exec_err};

use super::super::templates::quoted;

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// A digit; nothing where the number has none, but for `FM` a blank.
    Nine,
    /// A digit, or zero.
    Zero,
    Point,
    Group,
    Sign,
    /// The sign of a negative number, or a blank.
    Minus,
    Letter(char),
}

/// Patterns; none where they are known here by name alone, and refused.
const PATTERNS: [(&str, Option<Piece>); 18] = [
    ("EEEE", None),
    ("PL", None),
    ("PR", None),
    ("SG", None),
    ("TH", None),
    ("RN", None),
    ("MI", Some(Piece::Minus)),
    ("V", None),
    ("L", None),
    ("B", None),
    ("C", None),
    ("9", Some(Piece::Nine)),
    ("0", Some(Piece::Zero)),
    (".", Some(Piece::Point)),
    ("D", Some(Piece::Point)),
    (",", Some(Piece::Group)),
    ("G", Some(Piece::Group)),
    ("S", Some(Piece::Sign)),
];

/// Where the sign stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sign {
    /// Before the first digit where it is a minus, and else a blank.
    #[default]
    Beside,
    /// Before the first digit.
    Before,
    /// Where the template says.
    Apart,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    pieces: Vec<Piece>,
    /// `FM`: no blanks, and no zeros at the end that no `0` asks for.
    bare: bool,
    /// Digits before the point, and behind it.
    before: usize,
    after: usize,
    has_point: bool,
    /// The place of the first `0` before the point.
    first_zero: Option<usize>,
    /// The place of the last `0`, the point having a place too.
    last_zero: Option<usize>,
    sign: Sign,
}

impl Template {
    /// Reads it.
    ///
    /// # Errors
    /// Where it has two points, or a pattern that is not known here.
    pub(super) fn of(text: &str) -> Result<Self> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let (letters, behind) = quoted(rest);
                template.pieces.extend(letters.chars().map(Piece::Letter));
                rest = behind;
            } else if let Some(behind) = without(rest, "FM") {
                template.bare = true;
                rest = behind;
            } else {
                let found = PATTERNS.iter().find_map(|(name, piece)| Some((name, piece, without(rest, name)?)));
                let Some((name, piece, behind)) = found else {
                    template.pieces.push(Piece::Letter(first));
                    rest = rest.get(first.len_utf8()..).unwrap_or_default();
                    continue;
                };
                let Some(piece) = piece else { return exec_err!("a template of numbers does not know the pattern {name}") };
                template.add(*piece)?;
                rest = behind;
            }
        }
        Ok(template)
    }

    fn add(&mut self, piece: Piece) -> Result<()> {
        let place = self.before + self.after + usize::from(self.has_point);
        match piece {
            Piece::Nine | Piece::Zero => {
                if piece == Piece::Zero {
                    self.last_zero = Some(place);
                    self.first_zero = self.first_zero.or((!self.has_point).then_some(place));
                }
                *(if self.has_point { &mut self.after } else { &mut self.before }) += 1;
            }
            Piece::Point if self.has_point => return exec_err!("a template of numbers does not know the pattern of two points"),
            Piece::Point => self.has_point = true,
            Piece::Sign => self.sign = if place == 0 { Sign::Before } else { Sign::Apart },
            Piece::Minus => self.sign = Sign::Apart,
            Piece::Group | Piece::Letter(_) => {}
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// A number that is written in digits, as `-12.5`.
    pub(super) fn exact(&self, digits: &str) -> String {
        let (is_negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
        self.written(is_negative, &rounded(digits, self.after))
    }

    /// A number with a binary fraction.
    pub(super) fn binary(&self, number: f64) -> String {
        let digits = if number.is_finite() { format!("{:.*}", self.after, number.abs()) } else { "9".repeat(self.before + 1) };
        self.written(number < 0.0, &digits)
    }

    /// The digits, which are as many behind the point as the template has.
    fn written(&self, is_negative: bool, digits: &str) -> String {
        let is_negative = is_negative && digits.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
        let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole).len();
        let digits =
            if whole > self.before { format!("{}.{}", "#".repeat(self.before), "#".repeat(self.after)) } else { digits.to_owned() };
        let mut writing = Writing {
            template: self,
            is_negative,
            digits: digits.as_bytes(),
            blanks: self.before.saturating_sub(whole),
            last: None,
            text: String::new(),
            next: 0,
            place: 0,
            has_digits: false,
            is_signed: self.sign == Sign::Apart,
        };
        writing.last = writing.last_digit();
        self.pieces.iter().for_each(|piece| writing.add(*piece));
        writing.text
    }
}

/// What stands behind the pattern, where the text begins with it.
fn without<'t>(text: &'t str, pattern: &str) -> Option<&'t str> {
    let (head, behind) = text.split_at_checked(pattern.len())?;
    head.eq_ignore_ascii_case(pattern).then_some(behind)
}

/// The number with so many digits behind the point, a half rounded up.
fn rounded(digits: &str, after: usize) -> String {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let kept = part.get(..after).unwrap_or(part);
    let mut all: Vec<u8> = format!("0{whole}{kept:0<after$}").into_bytes();
    if part.as_bytes().get(after).is_some_and(|next| *next >= b'5') {
        for digit in all.iter_mut().rev() {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            if *digit != b'0' {
                break;
            }
        }
    }
    let point = all.len() - after;
    let text = |digits: &[u8]| digits.iter().map(|digit| char::from(*digit)).collect::<String>();
    let (whole, part) = (text(&all[..point]), text(&all[point..]));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if after == 0 { whole.to_owned() } else { format!("{whole}.{part}") }
}

/// A number on its way into a template.
struct Writing<'a> {
    template: &'a Template,
    is_negative: bool,
    digits: &'a [u8],
    /// Places before the first digit.
    blanks: usize,
    /// The last digit that is written, with `FM`.
    last: Option<usize>,
    text: String,
    /// The next digit.
    next: usize,
    /// The place in the template.
    place: usize,
    has_digits: bool,
    is_signed: bool,
}

impl Writing<'_> {
    fn last_digit(&self) -> Option<usize> {
        if !self.template.bare || !self.template.has_point {
            return None;
        }
        let _point = self.digits.iter().position(|digit| *digit == b'.')?;
        let last = self.digits.iter().rposition(|digit| *digit != b'0')?;
        let asked = self.template.last_zero.and_then(|zero| zero.checked_sub(self.blanks)).unwrap_or_default();
        Some(last.max(asked.min(self.digits.len() - 1)))
    }

    fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Letter(letter) => self.text.push(letter),
            Piece::Group if self.has_digits => self.text.push(','),
            Piece::Minus if self.is_negative => self.text.push('-'),
            Piece::Group | Piece::Minus => self.blank(),
            Piece::Sign if self.template.sign == Sign::Apart => self.text.push(if self.is_negative { '-' } else { '+' }),
            Piece::Sign => {}
            Piece::Nine | Piece::Zero | Piece::Point => self.digit(piece),
        }
    }

    fn blank(&mut self) {
        if !self.template.bare {
            self.text.push(' ');
        }
    }

    fn digit(&mut self, piece: Piece) {
        let zero = self.template.first_zero;
        // The zero before a point, where no `0` asks for it.
        let is_hidden = zero.is_none() && self.next == 0 && self.digits.first() == Some(&b'0') && self.template.after > 0;
        let ends_in_point = self.last.is_some_and(|last| self.digits.get(last) == Some(&b'.'));
        let is_begun = self.place >= self.blanks || zero == Some(self.place);
        if !self.is_signed && is_begun && (!is_hidden || ends_in_point) {
            match self.template.sign {
                Sign::Before if !self.is_negative => self.text.push('+'),
                _ if self.is_negative => self.text.push('-'),
                _ => self.blank(),
            }
            self.is_signed = true;
        }
        let is_filled = zero.is_some_and(|zero| zero <= self.place);
        self.place += 1;
        if self.place <= self.blanks {
            if is_filled {
                self.text.push('0');
                self.has_digits = true;
            } else {
                self.blank();
            }
            return;
        }
        match self.digits.get(self.next) {
            Some(b'.') => self.text.push('.'),
            _ if self.last.is_some_and(|last| self.next > last) && piece != Piece::Zero => {}
            _ if is_hidden && ends_in_point => self.text.push('0'),
            _ if is_hidden => self.blank(),
            Some(digit) => {
                self.text.push(char::from(*digit));
                self.has_digits = true;
            }
            None => {}
        }
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(template: &str) -> Template {
        Template::of(template).unwrap_or_else(|error| panic!("{template}: {error}"))
    }

    /// As PostgreSQL 15 answers `to_char(number::numeric, template)`.
    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        for (number, template, wanted) in [
            ("0", "999", "   0"),
            ("-12", "999", " -12"),
            ("1234", "999", " ###"),
            ("42", "00000", " 00042"),
            ("-42", "00000", "-00042"),
            ("1234567.891", "FM999,999,999.00", "1,234,567.89"),
            ("0.5", "FM999,990.00", "0.50"),
            ("12", "999,999", "      12"),
            ("1234.5", "9G999D99", " 1,234.50"),
            ("0.5", "9.9", "  .5"),
            ("-0.5", "9.9", " -.5"),
            ("0", "FM9.99", "0."),
            ("1", "FM999.99", "1."),
            ("148.5", "FM999.990", "148.500"),
            ("123.456", "9999.99", "  123.46"),
            ("999.995", "999.99", " ###.##"),
            ("25.6", "FM990.0%", "25.6%"),
            ("485", "S999", "+485"),
            ("-485", "999S", "485-"),
            ("485", "999MI", "485 "),
            ("-485", "FM999MI", "485-"),
            ("-0.04", "0.9", " 0.0"),
            ("12", "9 \"x9\" 9", " 1 x9 2"),
            ("-7", "$9,990.00", "$    -7.00"),
            ("0.5", ".99", " .##"),
            ("12345.678", "fm09999.9", "12345.7"),
            ("0", "FM00", "00"),
        ] {
            assert_eq!(by(template).exact(number), wanted, "{number} by {template}");
        }
    }

    /// As PostgreSQL 15 answers `to_char(number::float8, template)`, but for what is no number.
    #[test]
    fn binary_fractions_are_rounded_as_they_are() {
        for (number, template, wanted) in
            [(0.125, "0.99", " 0.12"), (2.5, "9", " 2"), (1e20, "9", " #"), (-1234.5, "FM9,999.99", "-1,234.5"), (f64::NAN, "99", " ##")]
        {
            assert_eq!(by(template).binary(number), wanted, "{number} by {template}");
        }
    }

    #[test]
    fn other_patterns_are_refused() {
        for template in ["9.99EEEE", "999PR", "999th", "RN", "99V9", "L999", "9.9.9"] {
            let refused = Template::of(template).expect_err(template).to_string();
            assert!(refused.contains("does not know the pattern"), "{refused}");
        }
    }
}
