//! Where in a statement's text the engine's words are about, though they name no place: where PostgreSQL would say it is.
//!
//! The words name a function, a type, an operator or a clause, whose first place in the text is told that fits them: where it stands several times, another may
//! be meant. What stands within quotes or in a comment is never taken for it.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::operators;
use super::tokens::{Tokens, name};

/// What the words say, and after which word the part of the text begins that they are about.
const AFTER: [(&str, &str); 12] = [
    ("non-boolean predicate", "where"),
    ("Aggregate functions are not allowed in the WHERE", "where"),
    ("does not support logical expression WindowFunction", "where"),
    ("HAVING clause references", "having"),
    ("Cannot find column with position", "by"),
    ("Order by column out of bounds", "by"),
    ("Order by index starts at 1", "by"),
    ("For SELECT DISTINCT, ORDER BY", "by"),
    ("SELECT DISTINCT ON expressions", "on"),
    ("Expected LIMIT", "limit"),
    ("OFFSET", "offset"),
    ("Invalid window frame", "between"),
];

/// What the words say, and at which word that is.
const AT: [(&str, &str); 6] = [
    ("COUNT DISTINCT", "count"),
    ("in LIKE expression", "like"),
    ("in LIKE expression", "ilike"),
    ("InSubquery", "in"),
    ("Invalid window frame", "over"),
    ("to grouping function", "grouping"),
];

/// What says that two queries beside one another do not fit, and what stands between them.
const BESIDE: [(&str, &str); 6] = [
    ("UNION queries", "union"),
    ("INTERSECT queries", "intersect"),
    ("EXCEPT queries", "except"),
    ("inputs for Union", "union"),
    ("inputs for Intersect", "intersect"),
    ("recursive term must have the same", "union"),
];

/// Functions by the engine's names, and what they are in the text.
const SPELLED: [(&str, &str); 6] = [
    ("substr", "substring"),
    ("character_length", "length"),
    ("date_part", "extract"),
    ("btrim", "trim"),
    ("strpos", "position"),
    ("make_array", "array"),
];

/// Where the words are about a part of the text, in characters from 1.
pub(super) fn of(reason: &str, sql: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    let says = |(words, _): &&(&str, &str)| reason.contains(words);
    let word = |word: &str| tokens.find(|index| tokens.is(index, word));
    if let Some(&(_, between)) = BESIDE.iter().find(says) {
        return word(between).map(|index| tokens.place(first_of(&tokens, index)));
    }
    if let Some(index) = AFTER.iter().filter(says).find_map(|&(_, clause)| after(&tokens, reason, clause)) {
        return Some(tokens.place(index));
    }
    if let Some(index) = AT.iter().filter(says).find_map(|&(_, at)| word(at)) {
        return Some(tokens.place(index));
    }
    let index = if reason.contains("data length across values list") {
        row(&tokens, reason)
    } else if reason.contains("should only return one column") {
        subquery(&tokens)
    } else if reason.contains("expanding wildcard") || reason.contains("SELECT * with no") || reason.contains("with AS alias not supported")
    {
        tokens.find(|index| is_wildcard(&tokens, index)).map(|index| tokens.head(index))
    } else if reason.contains("CAST") || reason.contains("annot automatically convert") {
        operators::cast(&tokens, reason)
    } else {
        operators::operator(&tokens, reason).or_else(|| named(&tokens, reason))
    };
    index.map(|index| tokens.place(index))
}

/// What the words name.
fn named(tokens: &Tokens, reason: &str) -> Option<usize> {
    let within = |before: &str, ends: &[char]| {
        let (_, rest) = reason.split_once(before)?;
        rest.split(ends).next().filter(|name| !name.is_empty())
    };
    let word = |wanted: &str| tokens.find(|index| is_name(tokens, index, wanted));
    if let Some(query) = within("WITH query name \"", &['"']) {
        return tokens.find(|index| is_name(tokens, index, query) && word(query).is_some_and(|first| first < index));
    }
    if let Some(mark) = within("laceholder '", &['\'']) {
        let is_apart = |index: usize| mark.strip_prefix(':').is_some_and(|word| is_name(tokens, index + 1, word));
        return tokens.find(|index| match tokens.get(index) {
            Some(Token::Placeholder(found)) => found == mark,
            Some(Token::Colon) => is_apart(index),
            _ => false,
        });
    }
    if let Some(window) = within("The window ", &[' ']) {
        return tokens.find(|index| is_name(tokens, index, window) && tokens.follows(index, &["over"]));
    }
    if let Some(function) = within("unction '", &['\'', '(']).or_else(|| within("argument types '", &['('])) {
        return called(tokens, function);
    }
    let word_of = within("Unsupported SQL type ", &['(', ' '])
        .or_else(|| within("Invalid qualifier ", &[' ']))
        .or_else(|| within("compound identifier '", &['.', '\'']));
    word(word_of?)
}

/// Where a function is called, by whatever name.
fn called(tokens: &Tokens, function: &str) -> Option<usize> {
    let call = |wanted: &str| {
        tokens
            .find(|index| is_name(tokens, index, wanted) && tokens.get(index + 1) == Some(&Token::LParen))
            .or_else(|| tokens.find(|index| is_name(tokens, index, wanted)))
    };
    match function {
        // An element of what is no list, and a comparison with any of it.
        "array_element" => {
            tokens.find(|index| tokens.get(index) == Some(&Token::LBracket)).map(|index| tokens.head(index.saturating_sub(1)))
        }
        "array_has" => {
            tokens.find(|index| ["any", "all", "some"].iter().any(|word| tokens.is(index, word))).map(|index| index.saturating_sub(1))
        }
        _ => call(function).or_else(|| SPELLED.iter().find(|(engine, _)| *engine == function).and_then(|(_, text)| call(text))),
    }
}

/// The part that follows the clause.
fn after(tokens: &Tokens, reason: &str, clause: &str) -> Option<usize> {
    let is_of = |index: usize| match clause {
        "by" if reason.contains("rder") || reason.contains("ORDER BY") => tokens.follows(index, &["order"]),
        "by" => tokens.follows(index, &["group"]),
        "on" => tokens.follows(index, &["distinct"]),
        "between" => tokens.follows(index, &["rows", "range", "groups"]),
        _ => true,
    };
    let is_clause = |index: &usize| tokens.is(*index, clause) && is_of(*index);
    // The order of a statement stands behind those of its windows.
    let found = if clause == "by" { (0..tokens.count()).rev().find(is_clause) } else { (0..tokens.count()).find(is_clause) }?;
    let opens = clause == "on" && tokens.get(found + 1) == Some(&Token::LParen);
    Some(found + 1 + usize::from(opens))
}

/// The first expression of the query behind `UNION` and the like.
fn first_of(tokens: &Tokens, between: usize) -> usize {
    let is_before = |index: &usize| {
        tokens.get(*index) == Some(&Token::LParen) || ["all", "distinct", "select"].iter().any(|word| tokens.is(*index, word))
    };
    (between + 1..tokens.count()).find(|index| !is_before(index)).unwrap_or(tokens.count())
}

/// The row of VALUES that the words number from 0.
fn row(tokens: &Tokens, reason: &str) -> Option<usize> {
    let (_, rest) = reason.split_once(" in row ")?;
    let number: usize = rest.split(' ').next()?.parse().ok()?;
    let begin = tokens.find(|index| tokens.is(index, "values"))?;
    let (mut depth, mut rows) = (0_usize, 0_usize);
    for index in begin + 1..tokens.count() {
        match tokens.get(index) {
            Some(Token::LParen) if depth == 0 && rows == number => return Some(index + 1),
            Some(Token::LParen) => {
                rows += usize::from(depth == 0);
                depth += 1;
            }
            Some(Token::RParen) => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// A query that is a value, or the `IN` before one.
fn subquery(tokens: &Tokens) -> Option<usize> {
    let opens = |index: usize| {
        let within = tokens.follows(index, &["from", "join", "lateral", "as", "exists", "materialized"]);
        tokens.get(index) == Some(&Token::LParen) && tokens.is(index + 1, "select") && !within
    };
    let found = tokens.find(opens)?;
    Some(if tokens.follows(found, &["in"]) { found - 1 } else { found })
}

fn is_wildcard(tokens: &Tokens, index: usize) -> bool {
    let begins =
        matches!(tokens.before(index), Some(Token::Comma | Token::Period)) || tokens.follows(index, &["select", "distinct", "all"]);
    tokens.get(index) == Some(&Token::Mul) && begins
}

fn is_name(tokens: &Tokens, index: usize, wanted: &str) -> bool {
    tokens.get(index).and_then(name).is_some_and(|name| name.eq_ignore_ascii_case(wanted))
}

/// Where a column stands, of a relation where that is told; not where a name is given to it.
pub(super) fn of_column(sql: &str, relation: Option<&str>, column: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    let is_meant = |index: usize| is_name(&tokens, index, column) && !tokens.follows(index, &["as"]);
    let is_of = |index: usize| {
        let head = tokens.head(index);
        head < index && relation.is_some_and(|relation| is_name(&tokens, index.saturating_sub(2), relation))
    };
    let found = tokens.find(|index| is_meant(index) && is_of(index)).or_else(|| tokens.find(is_meant));
    found.map(|index| tokens.place(tokens.head(index)))
}

/// Where a relation stands by its name, with what stands before it: after FROM or JOIN before anywhere else.
pub(super) fn of_relation(sql: &str, relation: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    let is_read = |index: usize| tokens.follows(tokens.head(index), &["from", "join", "copy", "table"]);
    let found = tokens
        .find(|index| is_name(&tokens, index, relation) && is_read(index))
        .or_else(|| tokens.find(|index| is_name(&tokens, index, relation)));
    found.map(|index| tokens.place(tokens.head(index)))
}

/// Where `word` stands by itself, whatever its case.
pub(super) fn of_word(sql: &str, word: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    called(&tokens, word).map(|index| tokens.place(index))
}

/// Where the token stands that follows the first `word`.
pub(super) fn behind(sql: &str, word: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    tokens.find(|index| tokens.is(index, word)).map(|index| tokens.place(index + 1))
}

/// Where it is divided by a zero that is written out.
pub(super) fn of_zero(sql: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    let is_zero = |index: usize| {
        matches!(tokens.get(index), Some(Token::Number(digits, _)) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')))
            && matches!(tokens.before(index), Some(Token::Div | Token::Mod))
    };
    tokens.find(is_zero).map(|index| tokens.place(index))
}

/// Where a text stands within quotes: it alone, or else as a part.
pub(super) fn of_literal(sql: &str, value: &str) -> Option<usize> {
    let tokens = Tokens::of(sql);
    let is = |index: usize, fits: &dyn Fn(&str) -> bool| matches!(tokens.get(index), Some(Token::SingleQuotedString(text)) if fits(text));
    let whole = tokens.find(|index| is(index, &|text| text == value));
    let part = || tokens.find(|index| value.len() > 2 && is(index, &|text| text.contains(value)));
    whole.or_else(part).map(|index| tokens.place(index))
}

/// The place of the whole name, of which a part stands at the place.
pub(super) fn whole(sql: &str, place: usize) -> usize {
    let tokens = Tokens::of(sql);
    tokens.at(place).map_or(place, |index| tokens.place(tokens.head(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_a_clause_or_a_name_have_its_place() {
        for (reason, sql, place) in [
            ("Cannot create filter with non-boolean predicate 'a' returning Int32", "SELECT 'ü' WHERE\n  1", Some(20)),
            ("Order by column out of bounds, specified: 2, max: 1", "SELECT 2 ORDER BY 2", Some(19)),
            ("Cannot find column with position 3 in SELECT clause", "SELECT 2 ORDER BY 2 -- group by\n GROUP BY 3", Some(43)),
            ("WITH query name \"a\" specified more than once", "WITH a AS (SELECT 1), a AS (SELECT 2) SELECT 1", Some(23)),
            ("Placeholder '$1' was not provided a value for execution.", "SELECT '$1', $1", Some(14)),
            ("Placeholder ':x' was not provided a value for execution.", "SELECT 1, :x", Some(11)),
            ("Function 'sum' failed to match any signature", "SELECT 'sum(', summed, Sum(task) FROM labels", Some(24)),
            ("given name and argument types 'substr(Int32)'", "SELECT substring(label) FROM labels", Some(8)),
            ("given name and argument types 'array_element(Int32, Int64)'", "SELECT l.label[1] FROM labels AS l", Some(8)),
            ("given name and argument types 'array_has(Int32, Int64)'", "SELECT 1 = ANY(label) FROM labels", Some(10)),
            ("Unsupported SQL type nosuch(3)", "SELECT CAST(1 AS nosuch(3))", Some(18)),
            ("Too many columns! The subquery should only return one column: 1", "SELECT (SELECT 1, 2)", Some(8)),
            ("The subquery should only return one column: 1", "SELECT 1 FROM (SELECT 1) AS a WHERE 1 IN (SELECT 1, 2)", Some(39)),
            ("UNION queries have different number of columns", "SELECT 1 UNION ALL (SELECT 1, 2)", Some(28)),
            ("Inconsistent data length across values list: got 2 values in row 1 but expected 1", "VALUES ((1)), (2, 3)", Some(16)),
            ("While expanding wildcard, column \"l.label\" must", "SELECT 2 * 3, l.* FROM labels AS l GROUP BY l.task", Some(15)),
            ("The window w is not defined!", "SELECT w, sum(1) OVER w", Some(23)),
            ("There isn't a common type to coerce Int32 and Utf8 in LIKE expression", "SELECT 1 ILIKE '1'", Some(10)),
            ("Function 'trim' expects 1 arguments", "SELECT length(1, 2)", None),
        ] {
            assert_eq!(of(reason, sql), place, "{reason}: {sql}");
        }
    }

    #[test]
    fn names_have_the_place_at_which_they_are_read() {
        assert_eq!(of_column("SELECT 1 AS y FROM t WHERE y > 0", None, "y"), Some(28));
        assert_eq!(of_column("SELECT task, l.task FROM labels AS l", Some("l"), "task"), Some(14));
        assert_eq!(of_column("SELECT \"Task\"", None, "Task"), Some(8));
        assert_eq!(of_relation("SELECT r FROM a.r", "r"), Some(15));
        assert_eq!(of_word("SELECT 'ü', labelled, Label FROM t", "label"), Some(23));
        assert_eq!(of_word("SELECT 1", "nothing"), None);
        assert_eq!((behind("SELECT TOP 10 task", "top"), behind("SELECT 1", "top")), (Some(12), None));
        assert_eq!(of_literal("SELECT 'ü', '12x'::int", "12x"), Some(13));
        assert_eq!(of_literal("SELECT timestamptz '2024-01-01 Mars/Base'", "Mars/Base"), Some(20));
        assert_eq!((of_zero("SELECT 0, 1 / 0.0"), of_zero("SELECT 0, 1 / x")), (Some(15), None));
        assert_eq!(whole("SELECT l.\"Task\"", 10), 8);
    }
}
