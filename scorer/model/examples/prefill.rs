//! How fast a model of random weights answers: one line of JSON a case, with the fields of the peers' scripts.
//!
//! `cargo run --release -p model --example prefill -- [key=value ..]`; keys: `shape` (llama-110m, lang1-100m), `precision` and
//! `instructions` (as [`Settings`] parses them), `threads`, `reps`, `batch` (comma-separated: `ROWSxTOKENS`, with the suffix `mixed` for
//! lengths from 25 to 100 %, or `questionsN` for one 512-token note with N questions of 60 tokens, of which the last is read).
//! `cpu_ms_median` is the time of all threads: on a machine shared with others it moves less than the clock on the wall.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use model::{Config, Prompt, Scorer, Settings};
use rand::SeedableRng as _;

type Failure = Box<dyn std::error::Error>;
type Notes = Vec<(Vec<u32>, Vec<Vec<u32>>)>;

fn shape(name: &str) -> Result<Config, Failure> {
    let lang1 = Config { max_position_embeddings: 4096, ..Config::lang1_100m() };
    match name {
        "lang1-100m" => Ok(lang1),
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

fn notes(batch: &str, random: &mut impl rand::Rng) -> Result<Notes, Failure> {
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.random_range(0..32_000)).collect() };
    if let Some(count) = batch.strip_prefix("questions") {
        let questions = (0..count.parse()?).map(|_| tokens(60)).collect();
        return Ok(vec![(tokens(512), questions)]);
    }
    let sizes = batch.trim_end_matches("mixed");
    let (rows, length) = sizes.split_once('x').ok_or("a batch is ROWSxTOKENS or questionsN")?;
    let (rows, length): (usize, usize) = (rows.parse()?, length.parse()?);
    let quarters = |row: usize| length / 4 + 3 * length / 4 * row / rows.saturating_sub(1).max(1);
    let length = |row| if batch.ends_with("mixed") { quarters(row) } else { length };
    Ok((0..rows).map(|row| (tokens(length(row) - 1), vec![tokens(1)])).collect())
}

/// Milliseconds that all threads of this process have run.
fn cpu_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok())).sum::<f64>() / 1e6
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
    let settings = Settings {
        precision: asked.get("precision").map(|name| name.parse()).transpose()?,
        instructions: asked.get("instructions").map(|name| name.parse()).transpose()?,
        threads: Some(text("threads", "2").parse()?),
    };
    let (name, reps) = (text("shape", "llama-110m"), text("reps", "5").parse::<usize>()?);
    let began = Instant::now();
    let scorer = Scorer::random(&shape(&name)?, 1, &settings)?;
    let ready_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let mut out = std::io::stdout();
    for batch in text("batch", "1x128,1x512,8x512,1x2048,8x512mixed,questions1,questions5").split(',') {
        let notes = notes(batch, &mut random)?;
        let questions: Vec<Vec<&[u32]>> = notes.iter().map(|note| note.1.iter().map(Vec::as_slice).collect()).collect();
        let prompts: Vec<Prompt<'_>> = notes.iter().zip(&questions).map(|(note, questions)| Prompt { note: &note.0, questions }).collect();
        let tokens: usize = notes.iter().map(|note| note.0.len() + note.1.iter().map(Vec::len).sum::<usize>()).sum();
        let (mut times, mut cpu) = (Vec::new(), Vec::new());
        for rep in 0..=reps {
            let (began, before) = (Instant::now(), cpu_ms());
            let logits = scorer.logits(&prompts);
            if rep > 0 && logits.len() == prompts.len() {
                times.push(began.elapsed().as_secs_f64() * 1e3);
                cpu.push(cpu_ms() - before);
            }
        }
        let (ms, cpu_ms) = (median(&mut times), median(&mut cpu));
        let line = serde_json::json!({
            "engine": "wardstream", "version": env!("CARGO_PKG_VERSION"), "what": "prefill", "shape": name,
            "precision": settings.precision().as_str(), "instructions": settings.instructions().as_str(),
            "threads": settings.threads, "batch": batch, "tokens": tokens,
            "tokens_per_second": (tokens as f64 / ms * 1e4).round() / 10.0, "ms_median": ms, "ms_min": times.first(),
            "cpu_ms_median": cpu_ms, "reps": times.len(), "weights_mb": scorer.bytes() / 1_000_000, "ready_ms": ready_ms,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
