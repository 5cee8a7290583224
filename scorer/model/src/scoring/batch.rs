//! Notes and their questions as one list of rows, each row with the rows that it sees.
//!
//! A note stands once; what its questions have in common at their beginning stands once behind it. No row is padding.

use std::ops::Range;

/// Positions of a tile: keys are gathered so many at a time, from the text's beginning on, whatever segments they lie in.
pub(crate) const KEYS: usize = 128;

/// Rows that follow each other in one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its rows.
    pub rows: Range<usize>,
    /// The rows that its last row sees, by position; its own are the last of them.
    pub path: Vec<u32>,
    /// The tiles of its path, as places in [`Batch::tiles`].
    pub tiles: Vec<usize>,
}

impl Segment {
    /// Position of its first row.
    pub fn first(&self) -> usize {
        self.path.len() - self.rows.len()
    }
}

/// What a segment begins with.
#[derive(Clone, Debug, Default)]
struct Trail {
    path: Vec<u32>,
    tiles: Vec<usize>,
}

/// What is read in one pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub segments: Vec<Segment>,
    /// Rows whose keys and values are gathered together, at most [`KEYS`] each; segments share those that their paths share.
    pub tiles: Vec<Vec<u32>>,
    /// The last row of each question, note by note in the order asked.
    pub answers: Vec<usize>,
}

impl Batch {
    /// Adds a note and its questions.
    pub fn push<'a>(&mut self, note: &[u32], questions: impl Iterator<Item = &'a [u32]>) {
        let trunk = self.segment(&Trail::default(), note);
        let first = self.answers.len();
        let questions: Vec<(usize, &[u32])> = questions.enumerate().map(|(index, tokens)| (first + index, tokens)).collect();
        self.answers.resize(first + questions.len(), 0);
        self.grow(&trunk, questions);
    }

    fn segment(&mut self, before: &Trail, tokens: &[u32]) -> Trail {
        if tokens.is_empty() {
            return before.clone();
        }
        let rows = self.tokens.len()..self.tokens.len() + tokens.len();
        let own = rows.clone().map(|row| u32::try_from(row).unwrap_or(u32::MAX));
        let path: Vec<u32> = before.path.iter().copied().chain(own).collect();
        self.positions.extend((0..).skip(before.path.len()).take(tokens.len()));
        self.tokens.extend_from_slice(tokens);
        // Tiles that were full already are the same in every text that begins so.
        let full = before.path.len() / KEYS;
        let mut tiles = before.tiles[..full].to_vec();
        for rows in path[full * KEYS..].chunks(KEYS) {
            tiles.push(self.tiles.len());
            self.tiles.push(rows.to_vec());
        }
        let trail = Trail { path, tiles };
        self.segments.push(Segment { rows, path: trail.path.clone(), tiles: trail.tiles.clone() });
        trail
    }

    /// Puts `questions` behind what was read `before`: those that go on with the same token share their rows as far as they agree.
    fn grow(&mut self, before: &Trail, questions: Vec<(usize, &[u32])>) {
        let (ended, mut open): (Vec<_>, Vec<_>) = questions.into_iter().partition(|(_, tokens)| tokens.is_empty());
        for (answer, _) in ended {
            self.answers[answer] = before.path.last().map_or(0, |&row| row as usize);
        }
        while let Some(&(_, tokens)) = open.first() {
            let (group, others): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, other)| other.first() == tokens.first());
            let agreed = group.iter().map(|(_, other)| agreement(tokens, other)).min().unwrap_or(0);
            let trail = self.segment(before, &tokens[..agreed]);
            self.grow(&trail, group.into_iter().map(|(answer, tokens)| (answer, &tokens[agreed..])).collect());
            open = others;
        }
    }
}

fn agreement(left: &[u32], right: &[u32]) -> usize {
    left.iter().zip(right).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_share_what_they_have_in_common_and_see_the_note_and_themselves() {
        let mut batch = Batch::default();
        batch.push(&[1, 2], [[7, 8, 3].as_slice(), &[9], &[7, 8, 4, 5], &[7, 8]].into_iter());
        batch.push(&[6], [[7].as_slice()].into_iter());
        assert_eq!(batch.tokens, [1, 2, 7, 8, 3, 4, 5, 9, 6, 7]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 4, 4, 5, 2, 0, 1]);
        assert_eq!(batch.answers, [4, 7, 6, 3, 9]);
        let paths: Vec<&[u32]> = batch.segments.iter().map(|segment| segment.path.as_slice()).collect();
        assert_eq!(paths, [&[0, 1][..], &[0, 1, 2, 3], &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 5, 6], &[0, 1, 7], &[8], &[8, 9]]);
        assert_eq!(batch.segments[3].first(), 4);
    }

    #[test]
    fn full_tiles_are_gathered_once() {
        let mut batch = Batch::default();
        let note: Vec<u32> = (0..300).collect();
        batch.push(&note, [[1_u32; 90].as_slice(), &[2; 5]].into_iter());
        let tiles: Vec<&[usize]> = batch.segments.iter().map(|segment| segment.tiles.as_slice()).collect();
        assert_eq!(tiles, [&[0, 1, 2][..], &[0, 1, 3, 4], &[0, 1, 5]]);
        assert_eq!(batch.tiles.iter().map(Vec::len).collect::<Vec<_>>(), [128, 128, 44, 128, 6, 49]);
        assert_eq!(batch.tiles[4], [384, 385, 386, 387, 388, 389]);
    }
}
