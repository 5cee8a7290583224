//! Learns the tasks from a file of labelled notes, and says how well and how fast.
//!
//! `cargo run -p model --example learn -- NOTES.jsonl [key=value ..]` with lines `{"text", "answers": {"mortality": 1, ..}}`; keys:
//! `notes` (read in training), `test` (held out, from the file's end), `batch`, `layers`, `hidden`, `feed`, `heads`, `vocab`, `theta` (of the rotary positions), `tokens` (of a note), `rate`,
//! `warmup`, `next`, `decay`, `threads`, `seed`. Prints a line every 100 steps and the AUROC of each task (one class against the rest,
//! mean over classes) at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use model::{Asked, Config, Learner, Lesson, Recipe, train_tokenizer};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use schemas::Task;

type Failure = Box<dyn std::error::Error>;

#[derive(serde::Deserialize)]
struct Note {
    text: String,
    answers: BTreeMap<Task, i32>,
}

struct Settings(BTreeMap<String, f64>);

impl Settings {
    fn number(&self, key: &str, otherwise: f64) -> f64 {
        self.0.get(key).copied().unwrap_or(otherwise)
    }

    #[expect(clippy::cast_sign_loss, reason = "sizes typed by hand")]
    fn size(&self, key: &str, otherwise: usize) -> usize {
        self.0.get(key).map_or(otherwise, |value| *value as usize)
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("name a file of notes")?;
    let pairs = arguments.map(|pair| {
        let (key, value) = pair.split_once('=').ok_or("settings are key=value")?;
        Ok::<_, Failure>((key.to_owned(), value.parse()?))
    });
    let settings = Settings(pairs.collect::<Result<_, _>>()?);
    let notes: Vec<Note> = std::fs::read_to_string(&file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let (train, test) = notes.split_at(notes.len().saturating_sub(settings.size("test", notes.len() / 5)));
    let learner = learn(train, &settings)?;
    judge(&learner, test)
}

fn learner(train: &[Note], settings: &Settings) -> Result<Learner, Failure> {
    let tokenizer = train_tokenizer(train.iter().take(2000).map(|note| note.text.as_str()), settings.size("vocab", 3000))?;
    let heads = settings.size("heads", 4);
    let hidden = settings.size("hidden", 64);
    let config = Config {
        hidden_size: hidden,
        intermediate_size: settings.size("feed", 176),
        num_hidden_layers: settings.size("layers", 2),
        num_attention_heads: heads,
        num_key_value_heads: Some(heads),
        head_dim: Some(hidden / heads),
        rope_theta: settings.number("theta", 1e6),
        ..Config::demo(tokenizer.get_vocab_size(true))
    };
    let learner = Learner::new(config, tokenizer, settings.size("seed", 1) as u64)?;
    Ok(learner.read_at_most(settings.size("tokens", 512))?)
}

fn learn(train: &[Note], settings: &Settings) -> Result<Learner, Failure> {
    let mut out = std::io::stdout();
    let start = Instant::now();
    let mut learner = learner(train, settings)?;
    let encode = |note: &Note| learner.encode(&note.text, &note.answers.iter().map(|(&task, &label)| (task, label)).collect::<Vec<_>>());
    let lessons: Vec<Lesson> = train.iter().map(encode).collect();
    writeln!(
        out,
        "{} parameters, {} lessons, ready after {:.1} s",
        learner.config().parameters(),
        lessons.len(),
        start.elapsed().as_secs_f64()
    )?;
    let (batch, warm) = (settings.size("batch", 8), settings.number("warmup", 50.0));
    let steps = settings.size("notes", 4800) / batch;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(settings.size("seed", 1) as u64);
    let (mut order, start, mut tokens, mut losses) = (Vec::new(), Instant::now(), 0, (0.0, 0.0));
    for step in 0..steps {
        if order.len() < batch {
            let mut all: Vec<usize> = (0..lessons.len()).collect();
            all.shuffle(&mut random);
            order.extend(all);
        }
        let chosen: Vec<&Lesson> = order.drain(..batch).filter_map(|index| lessons.get(index)).collect();
        let done = step as f64 / steps as f64;
        let rate = settings.number("rate", 2e-3)
            * (f64::from(step as u32 + 1) / warm).min(1.0)
            * (0.525 + 0.475 * (std::f64::consts::PI * done).cos());
        let recipe = Recipe {
            learning_rate: rate as f32,
            next_token_weight: settings.number("next", 0.3) as f32,
            weight_decay: settings.number("decay", 0.01) as f32,
            ..Recipe::default()
        };
        let report = learner.step(&chosen, &recipe, settings.size("threads", 2))?;
        tokens += report.tokens;
        losses = (losses.0 + report.loss, losses.1 + report.answer_loss);
        if step % 100 == 99 {
            let seconds = start.elapsed().as_secs_f64();
            writeln!(
                out,
                "step {:5}  loss {:.4}  answers {:.4}  {:.0} tokens/s  {seconds:.0} s",
                step + 1,
                losses.0 / 100.0,
                losses.1 / 100.0,
                f64::from(tokens as u32) / seconds
            )?;
            losses = (0.0, 0.0);
        }
    }
    Ok(learner)
}

fn judge(learner: &Learner, test: &[Note]) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let start = Instant::now();
    let tasks: Vec<Vec<Task>> = test.iter().map(|note| note.answers.keys().copied().collect()).collect();
    let asked: Vec<Asked<'_>> = test.iter().zip(&tasks).map(|(note, tasks)| Asked { text: &note.text, tasks }).collect();
    let answers = learner.score(&asked)?;
    writeln!(out, "{} notes answered in {:.1} s", test.len(), start.elapsed().as_secs_f64())?;
    for task in Task::ALL {
        let of_task: Vec<(&[f64], i32)> = (answers.iter().zip(test))
            .flat_map(|(answers, note)| {
                answers.iter().filter(|answer| answer.task == task).map(|answer| (answer.probabilities.as_slice(), note.answers[&task]))
            })
            .collect();
        let classes = if task.classes() == 2 { 1..2 } else { 0..task.classes() };
        let each: Vec<f64> = classes.filter_map(|class| auroc(&of_task, class)).collect();
        writeln!(out, "{task}: AUROC {:.4} of {} notes", each.iter().sum::<f64>() / each.len() as f64, of_task.len())?;
    }
    Ok(())
}

/// Of one class against the rest; ties count half.
fn auroc(answers: &[(&[f64], i32)], class: usize) -> Option<f64> {
    let mut ranked: Vec<(f64, bool)> =
        answers.iter().filter_map(|(shares, label)| Some((*shares.get(class)?, usize::try_from(*label) == Ok(class)))).collect();
    ranked.sort_by(|x, y| x.0.total_cmp(&y.0));
    let positives = ranked.iter().filter(|(_, hit)| *hit).count();
    let (mut below, mut wins) = (0.0, 0.0);
    for tied in ranked.chunk_by(|x, y| x.0 == y.0) {
        let hits = tied.iter().filter(|(_, hit)| *hit).count() as f64;
        let misses = tied.len() as f64 - hits;
        wins += hits * (below + misses / 2.0);
        below += misses;
    }
    (positives > 0 && below > 0.0).then(|| wins / (positives as f64 * below))
}
