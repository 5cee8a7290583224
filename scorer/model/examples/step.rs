//! How fast a model of random weights takes a step of its training, and in how much memory: one line of JSON a case, with the fields of the peers'
//! `train.py`.
//!
//! `cargo run --release -p model --example step -- [key=value ..]`; keys: `shape` (llama-110m, lang1-100m, lang1-1b), `precision` (f32, bf16),
//! `instructions`, `threads`, `reps`, `room` (MB that layers may keep), `loss` (full: next token everywhere;
//! answer: one answer behind each row), `batch` (comma-separated: `ROWSxTOKENS`, or with `+QUESTIONSxTOKENS` behind it for notes that are asked so
//! many questions jointly). `cpu_ms_median` is the time of all threads: on a machine shared with others it moves less than the clock on the wall.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use model::{Computing, Config, Learner, Lesson, Recipe, train_tokenizer};
use rand::SeedableRng as _;
use schemas::Task;

type Failure = Box<dyn std::error::Error>;

fn shape(name: &str) -> Result<Config, Failure> {
    let lang1 = Config { max_position_embeddings: 4096, ..Config::lang1_100m() };
    match name {
        "lang1-100m" => Ok(lang1),
        "lang1-1b" => Ok(Config::lang1_1b()),
        "llama-110m" => Ok(Config {
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_key_value_heads: Some(12),
            head_dim: Some(64),
            intermediate_size: 2048,
            tie_word_embeddings: true,
            ..lang1
        }),
        other => Err(format!("no shape is named {other}").into()),
    }
}

fn sizes(text: &str) -> Result<(usize, usize), Failure> {
    let (count, length) = text.split_once('x').ok_or("a batch is ROWSxTOKENS or ROWSxTOKENS+QUESTIONSxTOKENS")?;
    Ok((count.parse()?, length.parse()?))
}

fn lessons(batch: &str, loss: &str, random: &mut impl rand::Rng) -> Result<Vec<Lesson>, Failure> {
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.random_range(0..32_000)).collect() };
    let (notes, questions) = batch.split_once('+').unwrap_or((batch, "0x0"));
    let ((rows, length), (questions, question)) = (sizes(notes)?, sizes(questions)?);
    let (note, questions, question) = match (loss, questions) {
        ("answer", 0) => (length - 2, 1, 1),
        _ => (length, questions, question),
    };
    let lesson = |_| {
        let note = tokens(note);
        let asked: Vec<(Task, Vec<u32>, usize)> = (0..questions).map(|index| (Task::Comorbidity, tokens(question), index % 4)).collect();
        let asked: Vec<(Task, &[u32], usize)> = asked.iter().map(|(task, tokens, label)| (*task, tokens.as_slice(), *label)).collect();
        Lesson::of(&note, &asked)
    };
    Ok((0..rows).map(lesson).collect())
}

/// Milliseconds that this process has run, with those of threads that are no more.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    behind.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

fn peak_rss_gb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| (kb / 1e4).round() / 100.0)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Failure> {
    let pairs = std::env::args().skip(1).map(|pair| {
        let (key, value) = pair.split_once('=').ok_or("settings are key=value")?;
        Ok::<_, Failure>((key.to_owned(), value.to_owned()))
    });
    let asked: BTreeMap<String, String> = pairs.collect::<Result<_, _>>()?;
    let text = |key: &str, otherwise: &str| asked.get(key).cloned().unwrap_or_else(|| otherwise.to_owned());
    let computing = Computing {
        arithmetic: asked.get("precision").map(|name| name.parse()).transpose()?,
        instructions: asked.get("instructions").map(|name| name.parse()).transpose()?,
        activation_bytes: text("room", "1000").parse::<usize>()? * 1_000_000,
    };
    let (name, loss, threads, reps) = (text("shape", "llama-110m"), text("loss", "full"), text("threads", "2").parse()?, text("reps", "3"));
    let tokenizer = train_tokenizer(std::iter::once("The patient was seen and examined."), 400)?;
    let mut learner = Learner::new(shape(&name)?, tokenizer, 1)?.computing(computing);
    let recipe = Recipe { learning_rate: 1e-4, next_token_weight: if loss == "full" { 1.0 } else { 0.0 }, ..Recipe::default() };
    let (mut random, before_gb) = (rand_chacha::ChaCha8Rng::seed_from_u64(2), peak_rss_gb());
    let mut out = std::io::stdout();
    for batch in text("batch", "8x512").split(',') {
        let lessons = lessons(batch, &loss, &mut random)?;
        let chosen: Vec<&Lesson> = lessons.iter().collect();
        let answers: usize = lessons.iter().map(Lesson::answers).sum();
        let (mut times, mut cpu, mut tokens) = (Vec::new(), Vec::new(), 0);
        for rep in 0..=reps.parse::<usize>()? {
            let (began, before) = (Instant::now(), cpu_ms());
            let report = learner.step(&chosen, &recipe, threads)?;
            if rep > 0 && !report.skipped {
                times.push(began.elapsed().as_secs_f64() * 1e3);
                cpu.push(cpu_ms() - before);
            }
            tokens = report.tokens;
        }
        let (ms, cpu_ms) = (median(&mut times), median(&mut cpu));
        let line = serde_json::json!({
            "engine": "wardstream", "version": env!("CARGO_PKG_VERSION"), "what": "train", "loss": loss, "shape": name,
            "precision": learner.arithmetic().as_str(), "instructions": learner.instructions().as_str(), "threads": threads, "batch": batch,
            "tokens": tokens, "answers": answers, "tokens_per_second": (tokens as f64 / ms * 1e4).round() / 10.0,
            "answers_per_second": (answers as f64 / ms * 1e5).round() / 100.0, "ms_median": ms, "ms_min": times.first(),
            "cpu_ms_median": cpu_ms, "reps": times.len(), "peak_rss_gb": peak_rss_gb(), "rss_before_gb": before_gb,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
