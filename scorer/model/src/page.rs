//! One note and its questions as one tree of tokens: the note is the trunk, each question a branch that sees the note and itself.
//!
//! Positions go on after the note in every branch, so each branch reads exactly what the plain sequence note + question would.

use std::ops::Range;

use schemas::Task;

/// A question behind the note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// What is asked.
    pub task: Task,
    /// Its rows; the answer is read at the last one.
    pub rows: Range<usize>,
}

impl Branch {
    /// The row whose output chooses the letter.
    pub fn answer_row(&self) -> usize {
        self.rows.end - 1
    }
}

/// What the network reads in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Note, then the branches one after the other.
    pub tokens: Vec<u32>,
    /// Position of each row.
    pub positions: Vec<u32>,
    /// Rows of the note, its opening token included.
    pub note: usize,
    /// The questions, in the order they were asked.
    pub branches: Vec<Branch>,
    /// Tokens of the note that are read, without the opening token.
    pub tokens_read: u32,
    /// Whether the note went on.
    pub truncated: bool,
}

impl Page {
    /// The page of a note that begins with `opening` (a start token, or nothing).
    pub fn of(opening: &[u32], note: &[u32], questions: &[(Task, &[u32])]) -> Self {
        let mut page = Self { tokens: [opening, note].concat(), ..Self::default() };
        page.note = page.tokens.len();
        page.tokens_read = u32::try_from(note.len()).unwrap_or(u32::MAX);
        page.positions = (0..).take(page.note).collect();
        let after = u32::try_from(page.note).unwrap_or(u32::MAX);
        for &(task, question) in questions {
            let start = page.tokens.len();
            page.tokens.extend_from_slice(question);
            page.positions.extend((after..).take(question.len()));
            page.branches.push(Branch { task, rows: start..page.tokens.len() });
        }
        page
    }
}
