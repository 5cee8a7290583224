//! Which operator or cast of a text the engine's words are about: they name its sign, and the types of its sides.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::{Tokens, is};

/// Signs as the words have them between the types.
const SIGNS: [&str; 22] =
    ["<=", ">=", "!=", "||", "!~~*", "!~~", "~~*", "~~", "!~*", "!~", "~*", "~", "+", "-", "*", "/", "%", "=", "<", ">", "AND", "OR"];

/// Types by the engine's names, and as the text may have them.
const KINDS: [(&str, &[&str]); 9] = [
    ("Date", &["date"]),
    ("Timestamp", &["timestamp", "timestamptz"]),
    ("Time", &["time"]),
    ("Interval", &["interval"]),
    ("Boolean", &["boolean", "bool"]),
    ("Int16", &["smallint", "int2"]),
    ("Int32", &["int", "integer", "int4"]),
    ("Int64", &["bigint", "int8"]),
    ("Float64", &["double", "float8", "float"]),
];

/// An operation that words are about.
struct Operation<'a> {
    left: &'a str,
    sign: &'a str,
    right: &'a str,
}

impl<'a> Operation<'a> {
    fn of(reason: &'a str) -> Option<Self> {
        let (_, rest) = reason.split_once("arithmetic expression ").or_else(|| reason.split_once("operation "))?;
        let found = SIGNS.iter().filter_map(|sign| Some((rest.find(&format!(" {sign} "))?, *sign)));
        let (at, sign) = found.min_by_key(|(at, _)| *at)?;
        Some(Self { left: rest.get(..at)?, sign, right: rest.get(at + sign.len() + 2..)? })
    }
}

/// The operator, of several of the sign the one whose sides look most like the types; the side that is no condition, where conditions are joined.
pub(super) fn operator(tokens: &Tokens, reason: &str) -> Option<usize> {
    if reason.contains("Unary operator '-'") {
        return tokens.find(|index| tokens.get(index) == Some(&Token::Minus) && is_unary(tokens, index));
    }
    let operation = Operation::of(reason)?;
    let is_sign = |index: usize| tokens.get(index).is_some_and(|token| is_sign(token, operation.sign));
    let likeness = |index: &usize| {
        let left = tokens.before(*index).map_or(0, |token| likeness(token, operation.left));
        left + beginning(tokens, index + 1, operation.right)
    };
    // Of several that are as like, the first: the last of them from behind.
    let found = (0..tokens.count()).rev().filter(|index| is_sign(*index)).max_by_key(likeness)?;
    Some(match operation.sign {
        "AND" | "OR" if !operation.right.starts_with("Boolean") => found + 1,
        "AND" | "OR" if matches!(tokens.before(found), Some(Token::Word(_) | Token::Number(..))) => tokens.head(found - 1),
        _ => found,
    })
}

/// Where an instant or a length of time is reckoned with a text that is written out: PostgreSQL reads that as one of them.
pub(super) fn untimely(tokens: &Tokens, reason: &str) -> Option<usize> {
    let operation = Operation::of(reason)?;
    let is_of_time = |kind: &str| ["Date", "Time", "Interval", "Duration"].iter().any(|time| kind.starts_with(time));
    let is_text = |index: usize| matches!(tokens.get(index), Some(Token::SingleQuotedString(_)));
    let found = operator(tokens, reason).filter(|_| matches!(operation.sign, "+" | "-"))?;
    let right = is_of_time(operation.left) && operation.right.starts_with("Utf8") && is_text(found + 1);
    let left = is_of_time(operation.right) && operation.left.starts_with("Utf8") && found > 0 && is_text(found - 1);
    if right { Some(found + 1) } else { left.then(|| found - 1) }
}

/// The cast to the type that the words tell.
pub(super) fn cast(tokens: &Tokens, reason: &str) -> Option<usize> {
    let to = reason.rsplit_once(" to ").map_or("", |(_, to)| to);
    let words: &[&str] = KINDS.iter().find(|(kind, _)| to.starts_with(kind)).map_or(&[], |(_, words)| *words);
    let is_to = |index: usize| words.iter().any(|word| tokens.is(index + 1, word));
    let is_cast = |index: usize| tokens.get(index) == Some(&Token::DoubleColon);
    tokens
        .find(|index| is_cast(index) && is_to(index))
        .or_else(|| tokens.find(|index| tokens.is(index, "cast")))
        .or_else(|| tokens.find(is_cast))
}

fn is_sign(token: &Token, sign: &str) -> bool {
    match token {
        Token::Neq => sign == "!=",
        Token::Word(_) => is(token, sign),
        other => other.to_string() == sign,
    }
}

/// Whether nothing stands before the sign that it could join.
fn is_unary(tokens: &Tokens, index: usize) -> bool {
    match tokens.before(index) {
        Some(Token::Word(word)) => ["select", "and", "or", "not", "where", "by", "when", "then", "else", "on", "having"]
            .iter()
            .any(|before| word.value.eq_ignore_ascii_case(before)),
        Some(Token::RParen | Token::RBracket | Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_)) => false,
        _ => true,
    }
}

/// How much the token that ends a side looks like its type.
fn likeness(token: &Token, kind: &str) -> usize {
    usize::from(match token {
        Token::Number(digits, _) if digits.contains('.') => kind.starts_with("Float") || kind.starts_with("Decimal"),
        Token::Number(..) => kind.starts_with("Int"),
        Token::SingleQuotedString(_) => kind.starts_with("Utf8") && !kind.starts_with("Utf8View") || kind.starts_with("Interval"),
        _ if is(token, "true") || is(token, "false") => kind.starts_with("Boolean"),
        _ => !kind.starts_with("Int64") && !kind.starts_with("Boolean") && !kind.starts_with("Interval"),
    })
}

/// How much the token that begins a side looks like its type.
fn beginning(tokens: &Tokens, index: usize, kind: &str) -> usize {
    if tokens.is(index, "interval") {
        return usize::from(kind.starts_with("Interval"));
    }
    tokens.get(index).map_or(0, |token| likeness(token, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_found_by_its_sign_and_its_sides() {
        for (reason, sql, word) in [
            ("Cannot coerce arithmetic expression Utf8View + Int64 to valid types", "SELECT 'a+b', label + label, task + 1 FROM labels", 8),
            (
                "Cannot infer common argument type for comparison operation Timestamp(µs, \"UTC\") > Int64",
                "SELECT 1 WHERE a > b AND at > 5",
                8,
            ),
            ("Cannot infer common argument type for comparison operation Int32 = Boolean", "SELECT 1 WHERE a = b AND label = true", 8),
            (
                "Cannot infer common argument type for comparison operation Timestamp(ns) > Interval(MonthDayNano)",
                "SELECT at > interval '1 day'",
                2,
            ),
            (
                "Cannot infer common argument type for logical boolean operation Int32 AND Boolean",
                "SELECT 1 WHERE l.label AND task = 'x'",
                3,
            ),
            ("Cannot infer common argument type for logical boolean operation Boolean OR Int32", "SELECT 1 WHERE task = 'x' OR label", 7),
            ("Unary operator '-' only supports signed numeric", "SELECT 2 - 1, -task FROM labels", 5),
            (
                "Cannot get result type for temporal operation Timestamp(µs, \"UTC\") + Timestamp(µs, \"UTC\"): Invalid argument error",
                "SELECT a + b FROM t",
                2,
            ),
        ] {
            assert_eq!(operator(&Tokens::of(sql), reason), Some(word), "{sql}");
        }
    }

    #[test]
    fn a_text_beside_an_instant_is_taken_for_one() {
        let words = "Cannot coerce arithmetic expression Timestamp(µs, \"UTC\") - Utf8 to valid types";
        assert_eq!(untimely(&Tokens::of("SELECT admitted_at - 'x' FROM encounters"), words), Some(3));
        assert_eq!(untimely(&Tokens::of("SELECT admitted_at - lower('x') FROM encounters"), words), None);
    }

    #[test]
    fn a_cast_is_found_by_its_type() {
        let words = "Unsupported CAST from Boolean to Timestamp(ns)";
        assert_eq!(cast(&Tokens::of("SELECT label::bool::timestamp"), words), Some(4));
        assert_eq!(cast(&Tokens::of("SELECT 1::int, CAST(true AS timestamp)"), words), Some(5));
        assert_eq!(cast(&Tokens::of("SELECT 1"), words), None);
    }
}
