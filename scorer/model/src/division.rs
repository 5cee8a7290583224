//! How the lessons of a step are divided: among replicas, and into passes. Both keep their order, and no lesson is cut.

use crate::loss::Labelled;

/// `pages` in so many portions that follow each other, of about as many rows each: none is further from the mean than its longest page is long. Some
/// are empty where there are fewer pages.
pub(crate) fn portions<'p, 'a>(pages: &'p [Labelled<'a>], count: usize) -> Vec<&'p [Labelled<'a>]> {
    let all = rows(pages).max(1);
    // A page belongs where its middle lies.
    let portion = |before: &mut usize, page: &Labelled<'_>| {
        let middle = *before + page.0.tokens.len() / 2;
        *before += page.0.tokens.len();
        Some(middle * count / all)
    };
    let portions: Vec<usize> = pages.iter().scan(0, portion).collect();
    let start = |portion: usize| portions.partition_point(|&other| other < portion);
    (0..count).map(|portion| &pages[start(portion)..start(portion + 1)]).collect()
}

/// `pages`, some at a time: at most `most` rows, unless one page has more.
pub(crate) fn passes<'p, 'a>(mut pages: &'p [Labelled<'a>], most: usize) -> Vec<&'p [Labelled<'a>]> {
    let mut passes = Vec::new();
    while !pages.is_empty() {
        let ends = pages.iter().scan(0, |rows, page| {
            *rows += page.0.tokens.len();
            Some(*rows)
        });
        let fitting = ends.take_while(|&rows| rows <= most).count().max(1);
        let (pass, rest) = pages.split_at(fitting);
        passes.push(pass);
        pages = rest;
    }
    passes
}

/// Tokens of `pages`, questions included.
pub(crate) fn rows(pages: &[Labelled<'_>]) -> usize {
    pages.iter().map(|(page, _)| page.tokens.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Page;

    fn of_lengths(lengths: &[usize]) -> Vec<Page> {
        lengths.iter().map(|&length| Page::of(&[], &vec![7; length], &[])).collect()
    }

    fn labelled(pages: &[Page]) -> Vec<Labelled<'_>> {
        pages.iter().map(|page| (page, [].as_slice())).collect()
    }

    fn lengths(parts: &[&[Labelled<'_>]]) -> Vec<Vec<usize>> {
        parts.iter().map(|part| part.iter().map(|page| page.0.tokens.len()).collect()).collect()
    }

    #[test]
    fn replicas_get_all_lessons_in_order_and_about_as_many_rows_each() {
        for (length, count, expected) in [
            (vec![5; 4], 1, vec![vec![5; 4]]),
            (vec![5; 4], 2, vec![vec![5; 2]; 2]),
            (vec![5; 8], 3, vec![vec![5; 3], vec![5; 2], vec![5; 3]]),
            (vec![90, 1, 1, 1, 1, 6], 2, vec![vec![90], vec![1, 1, 1, 1, 6]]),
            (vec![90], 3, vec![vec![], vec![90], vec![]]),
            (vec![], 2, vec![vec![]; 2]),
        ] {
            let pages = of_lengths(&length);
            let labelled = labelled(&pages);
            let portions = portions(&labelled, count);
            assert_eq!(lengths(&portions), expected, "{length:?} in {count}");
            let (longest, mean) = (length.iter().max().copied().unwrap_or(0), rows(&labelled) as f64 / count as f64);
            assert!(portions.iter().all(|portion| (rows(portion) as f64 - mean).abs() <= longest as f64), "{length:?} in {count}");
        }
    }

    #[test]
    fn a_pass_holds_what_there_is_room_for_and_a_longer_lesson_alone() {
        let pages = of_lengths(&[3, 3, 4, 1, 11, 10, 2]);
        assert_eq!(lengths(&passes(&labelled(&pages), 10)), [vec![3, 3, 4], vec![1], vec![11], vec![10], vec![2]]);
        assert!(passes(&[], 10).is_empty());
    }
}
