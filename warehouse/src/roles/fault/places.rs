//! Where in a statement's text the engine's words are about, though they name no place.
//!
//! The words name a function, a type or a clause, whose first place in the text is told: where it stands several times, another may be meant.

/// What the words say, how the clause is spelled that they are about, and whether what follows it is meant.
const CLAUSES: [(&str, &str, bool); 10] = [
    ("non-boolean predicate", "where", true),
    ("Aggregate functions are not allowed in the WHERE", "where", true),
    ("does not support logical expression WindowFunction", "where", true),
    ("Cannot find column with position", "group by", true),
    ("Order by column out of bounds", "order by", true),
    ("HAVING clause references", "having", true),
    ("data length across values list", "values", true),
    ("should only return one column", "(select", false),
    ("Invalid window frame", "over", false),
    ("with AS alias not supported", "*", false),
];

/// Where the words are about a part of the text, in characters from 1.
pub(super) fn of(reason: &str, sql: &str) -> Option<usize> {
    if let Some((_, clause, follows)) = CLAUSES.iter().find(|(words, ..)| reason.contains(words)) {
        return if *follows { after(sql, clause) } else { begin(sql, clause) };
    }
    let named = |before: &str, ends: &[char]| {
        let (_, rest) = reason.split_once(before)?;
        rest.split(ends).next().filter(|name| !name.is_empty())
    };
    if let Some(query) = named("WITH query name \"", &['"']) {
        let first = of_word(sql, query)?;
        return of_word(&sql.chars().skip(first).collect::<String>(), query).map(|second| first + second);
    }
    if let Some(number) = named("laceholder '", &['\'']) {
        return begin(sql, number);
    }
    let word = named("unction '", &['\'', '('])
        .or_else(|| named("Unsupported SQL type ", &['(', ' ']))
        .or_else(|| named("Invalid qualifier ", &[' ']));
    of_word(sql, word?)
}

/// Where `word` stands by itself, whatever its case.
pub(super) fn of_word(sql: &str, word: &str) -> Option<usize> {
    let (text, wanted) = (sql.to_lowercase(), word.to_lowercase());
    let within = |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric() || character == '_');
    let found = text.match_indices(&wanted).find(|(at, found)| {
        let (before, after) = (text.get(..*at), text.get(at + found.len()..));
        !within(before.and_then(|before| before.chars().next_back())) && !within(after.and_then(|after| after.chars().next()))
    });
    Some(text.get(..found?.0)?.chars().count() + 1).filter(|_| !wanted.is_empty())
}

/// Where the text begins that is searched for, whatever its case.
fn begin(sql: &str, wanted: &str) -> Option<usize> {
    let text = sql.to_lowercase();
    Some(text.get(..text.find(&wanted.to_lowercase())?)?.chars().count() + 1)
}

/// Where the first word after the clause begins.
fn after(sql: &str, clause: &str) -> Option<usize> {
    let end = of_word(sql, clause)? + clause.chars().count();
    let blanks = sql.chars().skip(end - 1).take_while(|character| character.is_whitespace()).count();
    Some(end + blanks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_a_clause_or_a_name_have_its_place() {
        for (reason, sql, place) in [
            ("Cannot create filter with non-boolean predicate 'a' returning Int32", "SELECT 'ü' WHERE\n  1", Some(20)),
            ("Order by column out of bounds, specified: 2, max: 1", "SELECT 2 ORDER BY 2", Some(19)),
            ("WITH query name \"a\" specified more than once", "WITH a AS (SELECT 1), a AS (SELECT 2) SELECT 1", Some(23)),
            ("Placeholder '$1' was not provided a value for execution.", "SELECT $1", Some(8)),
            ("Function 'sum' failed to match any signature", "SELECT summed, Sum(task) FROM labels", Some(16)),
            ("Unsupported SQL type nosuch(3)", "SELECT CAST(1 AS nosuch(3))", Some(18)),
            ("Too many columns! The subquery should only return one column: 1", "SELECT (SELECT 1, 2)", Some(8)),
            ("Function 'character_length' expects 1 arguments", "SELECT length(1, 2)", None),
            ("UNION queries have different number of columns", "SELECT 1 UNION SELECT 1, 2", None),
        ] {
            assert_eq!(of(reason, sql), place, "{sql}");
        }
    }
}
