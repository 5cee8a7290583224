//! What the head reads when a model learns: the two losses, and their gradient. It reads the rows that a loss asks for and no others, and
//! whole-vocabulary logits exist for a chunk of rows at a time.

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;
use schemas::Task;

use crate::kernels::{add_scaled, dots, softmax};
use crate::network::{HeadSlopes, Network, Parameters, Trace};
use crate::page::Page;
use crate::pass::Pass;
use crate::products::{Into, Matrix, Products, Sheet};
use crate::vectorised::vectorised;

/// Rows whose whole-vocabulary logits exist at once.
const CHUNK: usize = 512;
/// Words of the vocabulary that are multiplied at once.
const WORDS: usize = 4096;

/// How much each term counts in the gradient: one over the batch's answers, and weight over the batch's next tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Of each answer.
    pub answer: f32,
    /// Of each next token; 0 leaves that loss out.
    pub next_token: f32,
}

/// Sums of natural-logarithm losses over a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    /// Over its labelled questions.
    pub answers: f64,
    /// Over the notes' tokens but the first of each.
    pub next_tokens: f64,
}

impl Losses {
    /// Adds what was lost elsewhere.
    pub fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.next_tokens += other.next_tokens;
    }
}

/// A page and the labels of its questions.
pub(crate) type Labelled<'a> = (&'a Page, &'a [usize]);

/// Where the head reads, and what it should say.
#[derive(Default)]
struct Reading {
    rows: Vec<usize>,
    /// The next tokens, of the first rows.
    targets: Vec<u32>,
    /// Classes and labels, of the rows behind those.
    answers: Vec<(usize, usize)>,
}

impl Reading {
    fn of(pages: &[Labelled<'_>], shares: Shares) -> Self {
        let mut reading = Self::default();
        let mut first = 0;
        let mut answer_rows = Vec::new();
        for (page, labels) in pages {
            if shares.next_token > 0.0 {
                reading.rows.extend(first..first + page.note.saturating_sub(1));
                reading.targets.extend(page.tokens[..page.note].iter().skip(1));
            }
            for (branch, &label) in page.branches.iter().zip(*labels) {
                answer_rows.push(first + branch.answer_row());
                reading.answers.push((Task::classes(branch.task), label));
            }
            first += page.tokens.len();
        }
        reading.rows.extend(answer_rows);
        reading
    }
}

/// The head's rows and the gradient towards them, if they learn; they may be the embedding's.
struct Head<'a> {
    rows: Matrix<'a>,
    towards: Option<&'a mut [f32]>,
}

impl Network {
    /// The losses of `pages` and their gradient, added to `gradient`, which is as long as what learns of the parameters. What a page's answers choose from are the first of `letters`.
    pub fn learn(
        &self,
        (parameters, gradient): (Parameters<'_>, &mut [f32]),
        (pages, letters): (&[Labelled<'_>], &[u32]),
        shares: Shares,
        trace: &mut Trace,
    ) -> Losses {
        let pass = Pass::of(pages.iter().map(|(page, _)| *page));
        self.forward(parameters, &pass, trace);
        let reading = Reading::of(pages, shares);
        let (normed, inverses) = self.head_rows(parameters, &trace.stream, &reading.rows);
        let mut slopes = vec![0.0; normed.len()];
        let hidden = self.config.hidden_size;
        let of_head = self.layout.head.clone();
        let mut head = Head { rows: parameters.matrix(of_head.clone(), hidden), towards: parameters.learned(gradient, of_head) };
        let (next, answers) = normed.split_at(reading.targets.len() * hidden);
        let (next_slopes, answer_slopes) = slopes.split_at_mut(next.len());
        let next_tokens = head.next_tokens(trace.head(), (next, next_slopes), &reading.targets, shares.next_token);
        let answers = head.answers((answers, answer_slopes), (&reading.answers, letters), shares.answer);
        let slopes = HeadSlopes { rows: &reading.rows, normed: &slopes, inverses: &inverses };
        self.backward((parameters, gradient), &pass, trace, &slopes);
        Losses { answers, next_tokens }
    }

    /// The losses of the note's next tokens together, each against the whole vocabulary, and no gradient. Questions of `page` are read and not counted.
    pub fn next_tokens(&self, parameters: Parameters<'_>, page: &Page, trace: &mut Trace) -> f64 {
        let targets = page.tokens.get(1..page.note).unwrap_or_default();
        if targets.is_empty() {
            return 0.0;
        }
        self.forward(parameters, &Pass::of([page]), trace);
        let rows: Vec<usize> = (0..targets.len()).collect();
        let (normed, _) = self.head_rows(parameters, &trace.stream, &rows);
        let head = parameters.matrix(self.layout.head.clone(), self.config.hidden_size);
        losses(head, trace.head(), &normed, targets)
    }
}

/// The losses of `rows` together, whose next tokens are `targets`.
fn losses(head: Matrix<'_>, (products, logits): (&mut Products, &mut Vec<f32>), rows: &[f32], targets: &[u32]) -> f64 {
    let (vocab, hidden) = (head.rows, head.columns);
    logits.resize(logits.len().max(CHUNK.min(targets.len()) * vocab), 0.0);
    let mut losses = vec![0.0; targets.len()];
    let chunks = rows.chunks(CHUNK * hidden).zip(targets.chunks(CHUNK)).zip(losses.chunks_mut(CHUNK));
    for ((rows, targets), losses) in chunks {
        let logits = &mut logits[..targets.len() * vocab];
        whole_vocabulary(head, (products, logits), Matrix::plain(rows, hidden));
        logits.par_chunks_mut(vocab).zip(targets).zip(losses).for_each(|((logits, &target), loss)| {
            *loss = cross_entropy(logits, target as usize, 0.0);
        });
    }
    losses.iter().copied().map(f64::from).sum()
}

/// Fills `logits`, `[rows, vocab]`, with what the head says of every word, some words at a time.
fn whole_vocabulary(head: Matrix<'_>, (products, logits): (&mut Products, &mut [f32]), rows: Matrix<'_>) {
    let vocab = head.rows;
    for first in (0..vocab).step_by(WORDS) {
        let words = head.of_rows(first..vocab.min(first + WORDS));
        products.linear(&mut Sheet { numbers: &mut *logits, stride: vocab, first }, Into::Replace, rows, words);
    }
}

impl Head<'_> {
    fn answers(&mut self, (rows, slopes): (&[f32], &mut [f32]), (answers, letters): (&[(usize, usize)], &[u32]), share: f32) -> f64 {
        let (mut loss, hidden) = (0.0, self.rows.columns);
        for (index, &(classes, label)) in answers.iter().enumerate() {
            let own = index * hidden..(index + 1) * hidden;
            let (row, towards) = (&rows[own.clone()], &mut slopes[own]);
            let letters = &letters[..classes];
            let mut table = vec![0.0; classes * hidden];
            letters.iter().zip(table.chunks_exact_mut(hidden)).for_each(|(&letter, numbers)| self.rows.read(letter as usize, 0, numbers));
            let mut logits = dots(&table, row);
            let right = logits[label];
            loss += f64::from(softmax(&mut logits) - right);
            logits[label] -= 1.0;
            for ((&letter, slope), numbers) in letters.iter().zip(&logits).zip(table.chunks_exact(hidden)) {
                add_scaled(towards, numbers, slope * share);
                if let Some(towards) = &mut self.towards {
                    add_scaled(&mut towards[letter as usize * hidden..][..hidden], row, slope * share);
                }
            }
        }
        loss
    }

    fn next_tokens(
        &mut self,
        (products, logits): (&mut Products, &mut Vec<f32>),
        (rows, slopes): (&[f32], &mut [f32]),
        targets: &[u32],
        share: f32,
    ) -> f64 {
        let (head, vocab, hidden) = (self.rows, self.rows.rows, self.rows.columns);
        logits.resize(logits.len().max(CHUNK.min(targets.len()) * vocab), 0.0);
        let mut losses = vec![0.0; targets.len()];
        let chunks = rows.chunks(CHUNK * hidden).zip(slopes.chunks_mut(CHUNK * hidden));
        for ((rows, slopes), (targets, losses)) in chunks.zip(targets.chunks(CHUNK).zip(losses.chunks_mut(CHUNK))) {
            let logits = &mut logits[..targets.len() * vocab];
            let rows = Matrix::plain(rows, hidden);
            whole_vocabulary(head, (products, logits), rows);
            logits.par_chunks_mut(vocab).zip(targets).zip(losses).for_each(|((logits, &target), loss)| {
                *loss = cross_entropy(logits, target as usize, share);
            });
            let logits = Matrix::plain(logits, vocab);
            products.linear_input(&mut Sheet::new(slopes, hidden), Into::Add, logits, head);
            if let Some(towards) = &mut self.towards {
                products.linear_weight(towards, logits, rows);
            }
        }
        losses.iter().copied().map(f64::from).sum()
    }
}

vectorised! {
/// The loss of one row, whose logits become `share` times its slopes.
fn cross_entropy(logits: &mut [f32], target: usize, share: f32) -> f32 {
    let right = logits[target];
    let loss = softmax(logits) - right;
    logits[target] -= 1.0;
    for slope in logits.iter_mut() {
        *slope *= share;
    }
    loss
}
}
