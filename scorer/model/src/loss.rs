//! What the head reads from the last rows when a model learns: the two losses, and their gradient.

use schemas::Task;

use crate::kernels::{add_scaled, dot, softmax, wide};
use crate::matmul::{Into, linear, linear_input, linear_weight};
use crate::network::{Network, Trace};
use crate::page::Page;

/// Rows of the note whose whole-vocabulary logits exist at once.
const CHUNK: usize = 64;

/// How much each term counts in the gradient: one over the batch's answers, and weight over the batch's next tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Of each answer.
    pub answer: f32,
    /// Of each next token; 0 leaves that loss out.
    pub next_token: f32,
}

/// Sums of natural-logarithm losses over one page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    /// Over its labelled questions.
    pub answers: f64,
    /// Over the note's tokens but the first.
    pub next_tokens: f64,
}

/// Buffers of [`losses`].
#[derive(Default, Debug)]
pub(crate) struct Slopes {
    /// The slope at the head's input: `[rows, hidden]`.
    pub normed: Vec<f32>,
    logits: Vec<f32>,
}

impl Network {
    fn letter<'a>(&self, table: &'a [f32], letter: u32) -> &'a [f32] {
        let hidden = self.config.hidden_size;
        &table[letter as usize * hidden..][..hidden]
    }

    fn letter_logits(&self, head: &[f32], row: &[f32], letters: &[u32]) -> Vec<f32> {
        wide(|| letters.iter().map(|&letter| dot(row, self.letter(head, letter))).collect())
    }

    /// The losses of one page, with the slope at the head's input left in `slopes.normed` and the head's own gradient added.
    /// `labels` are in the order of the page's branches, each within its task's classes.
    pub fn losses(
        &self,
        (weights, gradient): (&[f32], &mut [f32]),
        (page, labels): (&Page, &[usize]),
        (trace, letters): (&Trace, &[u32]),
        shares: Shares,
        slopes: &mut Slopes,
    ) -> Losses {
        let hidden = self.config.hidden_size;
        slopes.normed.clear();
        slopes.normed.resize(page.tokens.len() * hidden, 0.0);
        let (head, towards_head) = (&weights[self.layout.head.clone()], &mut gradient[self.layout.head.clone()]);
        let mut losses = Losses::default();
        for (branch, &label) in page.branches.iter().zip(labels) {
            let at = branch.answer_row() * hidden;
            let row = &trace.normed[at..at + hidden];
            let options = &letters[..Task::classes(branch.task)];
            let mut logits = self.letter_logits(head, row, options);
            let right = logits[label];
            losses.answers += f64::from(softmax(&mut logits) - right);
            logits[label] -= 1.0;
            for (&letter, slope) in options.iter().zip(&logits) {
                add_scaled(&mut slopes.normed[at..at + hidden], self.letter(head, letter), slope * shares.answer);
                add_scaled(&mut towards_head[letter as usize * hidden..][..hidden], row, slope * shares.answer);
            }
        }
        if shares.next_token > 0.0 {
            losses.next_tokens = self.next_tokens((head, towards_head), page, &trace.normed, shares.next_token, slopes);
        }
        losses
    }

    fn next_tokens(&self, (head, towards_head): (&[f32], &mut [f32]), page: &Page, normed: &[f32], share: f32, slopes: &mut Slopes) -> f64 {
        let (hidden, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let last = page.note.saturating_sub(1);
        let mut loss = 0.0;
        for start in (0..last).step_by(CHUNK) {
            let rows = CHUNK.min(last - start);
            let span = start * hidden..(start + rows) * hidden;
            slopes.logits.resize(rows * vocab, 0.0);
            linear(&mut slopes.logits, Into::Replace, &normed[span.clone()], head, (rows, hidden));
            let targets = &page.tokens[start + 1..start + 1 + rows];
            loss += wide(|| {
                let mut sum = 0.0;
                for (logits, &target) in slopes.logits.chunks_exact_mut(vocab).zip(targets) {
                    let right = logits[target as usize];
                    sum += f64::from(softmax(logits) - right);
                    logits[target as usize] -= 1.0;
                    for slope in logits.iter_mut() {
                        *slope *= share;
                    }
                }
                sum
            });
            linear_input(&mut slopes.normed[span.clone()], Into::Add, &slopes.logits, head, (rows, hidden));
            linear_weight(towards_head, &slopes.logits, &normed[span], (rows, hidden));
        }
        loss
    }
}
