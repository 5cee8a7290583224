//! What is let through to the planner, and what is not.

use super::*;
use crate::roles::parse;

fn code(sql: &str) -> &'static str {
    let statements = parse::statements(sql).expect("parses");
    statements.iter().find_map(|statement| check(statement).err()).map_or("fits", |refusal| refusal.code)
}

/// `first`, and so many queries of WITH that each name the one before.
fn chained(first: &str, each: impl Fn(usize) -> String, count: usize) -> String {
    let with: String = (1..=count).map(|number| format!(", c{number} AS ({})", each(number - 1))).collect();
    format!("WITH c0 AS ({first}){with}")
}

#[test]
fn what_is_put_into_itself_again_and_again_is_refused() {
    let twice = |before: usize| format!("SELECT x FROM c{before} UNION ALL SELECT x FROM c{before}");
    assert_eq!(code(&format!("{} SELECT count(*) FROM c8", chained("SELECT 1 AS x", twice, 8))), "fits");
    assert_eq!(code(&format!("{} SELECT count(*) FROM c22", chained("SELECT 1 AS x", twice, 22))), "54001");
    assert_eq!(code(&format!("{} SELECT (SELECT count(*) FROM c22)", chained("SELECT 1 AS x", twice, 22))), "54001");
    let joined = |before: usize| format!("SELECT a.x FROM c{before} AS a JOIN c{before} AS b ON a.x = b.x");
    assert_eq!(code(&format!("{} SELECT count(*) FROM c30", chained("SELECT 1 AS x", joined, 30))), "54001");
    let wide = |before: usize| format!("SELECT * FROM c{before} AS a, c{before} AS b");
    assert_ne!(code(&format!("{} SELECT count(*) FROM c30", chained("SELECT 1 AS x, 2 AS y", wide, 30))), "fits");
}

/// A condition moves below the queries that give its columns, and takes their expressions along.
#[test]
fn what_conditions_grow_to_is_refused() {
    let doubled = |before: usize| format!("SELECT x + x AS x FROM c{before}");
    let chain = |count| chained("SELECT value AS x FROM generate_series(1, 2)", doubled, count);
    assert_eq!(code(&format!("{} SELECT x FROM c24", chain(24))), "fits", "each stands once where no condition is");
    assert_eq!(code(&format!("{} SELECT x FROM c24 WHERE x > 3", chain(24))), "54001");
    assert_eq!(code(&format!("{} SELECT a.x FROM c24 AS a JOIN c24 AS b ON a.x = b.x", chain(24))), "54001");
    for asked in [
        "SELECT max(x) FROM c24",
        "SELECT 1 FROM c24 ORDER BY x LIMIT 1",
        "SELECT 1 FROM c24 NATURAL JOIN c1",
        "SELECT 1 FROM c1 JOIN c24 USING (x)",
        "SELECT 1 WHERE 3 IN (SELECT x FROM c24)",
        "SELECT 1 AS x INTERSECT SELECT x FROM c24",
        "EXPLAIN SELECT x FROM c24 WHERE x > 3",
    ] {
        let (explain, asked) = asked.strip_prefix("EXPLAIN ").map_or(("", asked), |asked| ("EXPLAIN ", asked));
        assert_eq!(code(&format!("{explain}{} {asked}", chain(24))), "54001", "{asked}");
    }
    assert_eq!(code(&format!("{} SELECT t.y FROM c24 AS t (y) WHERE t.y > 3", chain(24))), "54001");
    let nameless = |before: usize| format!("SELECT \"x + x\" + \"x + x\" FROM c{before}");
    assert_eq!(code(&format!("{} SELECT 1 FROM c24 WHERE \"x + x\" > 3", chained("SELECT x + x FROM t", nameless, 24))), "54001");
    let added_up = |before: usize| format!("SELECT y, sum(x) + sum(x) AS x FROM c{before} GROUP BY y");
    let chain = chained("SELECT 1 AS x, 2 AS y", added_up, 24);
    assert_eq!(code(&format!("{chain} SELECT x FROM c24 WHERE x > 3")), "fits", "no condition moves below a sum");
    let grouped = |before: usize| format!("SELECT abs(x) + abs(x) AS x FROM c{before} GROUP BY abs(x) + abs(x)");
    let chain = chained("SELECT 1 AS x", grouped, 24);
    assert_eq!(code(&format!("{chain} SELECT x FROM c24 WHERE x > 3")), "54001");
}

#[test]
fn lists_of_columns_and_of_groups_are_bounded_and_lists_of_literals_are_long() {
    let columns = |count: usize| (0..count).map(|number| format!("{number} AS a{number}")).collect::<Vec<_>>().join(", ");
    assert_eq!(code(&format!("SELECT {}", columns(1_664))), "fits");
    assert_eq!(code(&format!("SELECT {}", columns(1_665))), "54011");
    assert_eq!(code(&format!("SELECT 1 WHERE EXISTS (SELECT {})", columns(1_665))), "54011");
    let names = (0..40).map(|number| format!("a{number}")).collect::<Vec<_>>().join(", ");
    assert_eq!(code(&format!("SELECT count(*) FROM t GROUP BY CUBE ({names})")), "54001");
    let list = (0..50_000).map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(code(&format!("SELECT 1 WHERE 1 IN ({})", list.join(", "))), "fits");
    assert_eq!(code(&format!("VALUES ({})", list.join("), ("))), "fits");
    let named = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT * FROM t";
    assert_eq!(code(named), "fits");
}
