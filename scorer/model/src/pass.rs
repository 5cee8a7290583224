//! What a network that learns reads at once: the rows of many pages in one list, without padding, and who attends to whom.

use std::ops::Range;

use crate::page::Page;

/// Keys of a tile at most. A tile lies within the note or within one question, so that what a row sees of it is its beginning.
pub(crate) const KEYS: usize = 128;
/// Queries of a block at most.
pub(crate) const QUERIES: usize = 64;

/// Keys that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Rows of the page.
    pub rows: Range<usize>,
}

/// Rows that attend together: each to the rows up to itself in every one of the tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Rows of the page.
    pub rows: Range<usize>,
    /// Numbers of the tiles.
    pub tiles: Vec<usize>,
}

/// One page within a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Its rows in the pass.
    pub rows: Range<usize>,
    pub tiles: Vec<Tile>,
    pub blocks: Vec<Block>,
}

/// The rows of some pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub spreads: Vec<Spread>,
}

impl Spread {
    fn of(page: &Page, first: usize) -> Self {
        let mut spread = Self { rows: first..first + page.tokens.len(), ..Self::default() };
        spread.stretch(0..page.note, 0);
        let note = spread.tiles.len();
        for branch in &page.branches {
            spread.stretch(branch.rows.clone(), note);
        }
        spread
    }

    /// Rows that see the first `common` tiles and each other.
    fn stretch(&mut self, rows: Range<usize>, common: usize) {
        let own = self.tiles.len();
        let tiles = rows.clone().step_by(KEYS).map(|start| Tile { rows: start..rows.end.min(start + KEYS) });
        self.tiles.extend(tiles);
        for start in rows.clone().step_by(QUERIES) {
            let end = rows.end.min(start + QUERIES);
            let seen = (own..self.tiles.len()).filter(|&tile| self.tiles[tile].rows.start < end);
            self.blocks.push(Block { rows: start..end, tiles: (0..common).chain(seen).collect() });
        }
    }
}

impl Pass {
    /// The rows of `pages`, one page after the other.
    pub fn of<'a>(pages: impl IntoIterator<Item = &'a Page>) -> Self {
        let mut pass = Self::default();
        for page in pages {
            pass.spreads.push(Spread::of(page, pass.tokens.len()));
            pass.tokens.extend_from_slice(&page.tokens);
            pass.positions.extend_from_slice(&page.positions);
        }
        pass
    }
}

#[cfg(test)]
mod tests {
    use schemas::Task;

    use super::*;

    /// From the definition: a row sees the note up to itself, and its own question up to itself.
    #[test]
    fn every_row_sees_the_note_and_its_own_question_up_to_itself() {
        let page = Page::of(&[0], &[1; 299], &[(Task::Mortality, &[2; 70]), (Task::Denial, &[3; 1]), (Task::LengthOfStay, &[4; 130])]);
        let pass = Pass::of([&page, &page]);
        assert_eq!((pass.tokens.len(), pass.spreads[1].rows.clone()), (1002, 501..1002));
        let branch = |row: usize| page.branches.iter().position(|branch| branch.rows.contains(&row));
        for spread in &pass.spreads {
            let rows: Vec<usize> = spread.blocks.iter().flat_map(|block| block.rows.clone()).collect();
            assert_eq!(rows, (0..501).collect::<Vec<_>>());
            for block in &spread.blocks {
                for row in block.rows.clone() {
                    let tiles = block.tiles.iter().flat_map(|&tile| spread.tiles[tile].rows.clone());
                    let seen: Vec<usize> = tiles.filter(|&key| key <= row).collect();
                    let expected: Vec<usize> = (0..=row).filter(|&key| key < page.note || branch(key) == branch(row)).collect();
                    assert_eq!(seen, expected, "row {row}");
                }
            }
        }
    }
}
