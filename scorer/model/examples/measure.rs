//! How fast a model of random weights answers, as `wardstream bench model` tells it without the rest of the program, and how fast it learns, with
//! the fields of the peers' `train.py`.
//!
//! `cargo run --release -p model --example measure -- [key=value ..]`; keys: `shape`, `precision`, `instructions`, `threads`, `reps` and
//! * `batch` (comma-separated; `load` among them measures loading), as [`model::bench::Batch`] parses them, or
//! * `learn` (comma-separated, as [`model::bench::Lessons`] parses them), with `loss` (full or answer) and `room` (MB that layers may keep).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::str::FromStr;

use model::bench::{BATCHES, BenchError, Figure, Training, Wanted};
use model::{Computing, Settings};

type Failure = Box<dyn std::error::Error>;

fn tell(figure: &Figure) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(figure)?)?)
}

struct Asked(BTreeMap<String, String>);

impl Asked {
    fn text<'a>(&'a self, key: &str, otherwise: &'a str) -> &'a str {
        self.0.get(key).map_or(otherwise, String::as_str)
    }

    fn stated<T: FromStr>(&self, key: &str) -> Result<Option<T>, T::Err> {
        self.0.get(key).map(|text| text.parse()).transpose()
    }
}

fn main() -> Result<(), Failure> {
    let pairs = std::env::args().skip(1).map(|pair| {
        let (key, value) = pair.split_once('=').ok_or("settings are key=value")?;
        Ok::<_, Failure>((key.to_owned(), value.to_owned()))
    });
    let asked = Asked(pairs.collect::<Result<_, _>>()?);
    if asked.0.contains_key("learn") { learning(&asked) } else { answering(&asked) }
}

fn learning(asked: &Asked) -> Result<(), Failure> {
    let training = Training {
        shape: asked.text("shape", "llama-110m").parse()?,
        computing: Computing {
            arithmetic: asked.stated("precision")?,
            instructions: asked.stated("instructions")?,
            activation_bytes: asked.text("room", "1000").parse::<usize>()? * 1_000_000,
        },
        threads: asked.text("threads", "2").parse()?,
        loss: asked.text("loss", "full").parse()?,
        lessons: asked.text("learn", "8x512").split(',').map(str::parse).collect::<Result<_, BenchError>>()?,
        rounds: asked.text("reps", "3").parse()?,
    };
    training.steps(tell)
}

fn answering(asked: &Asked) -> Result<(), Failure> {
    let settings = Settings {
        precision: asked.stated("precision")?,
        instructions: asked.stated("instructions")?,
        threads: Some(asked.text("threads", "2").parse()?),
    };
    let all = BATCHES.join(",");
    let (load, batches): (Vec<&str>, Vec<&str>) = asked.text("batch", &all).split(',').partition(|name| *name == "load");
    let batches = batches.into_iter().map(str::parse).collect::<Result<Vec<_>, _>>()?;
    let (shape, rounds) = (asked.text("shape", "llama-110m").parse()?, asked.text("reps", "5").parse()?);
    let wanted = Wanted { shape, settings, batches, rounds };
    if !load.is_empty() {
        tell(&wanted.loading()?)?;
    }
    if wanted.batches.is_empty() {
        return Ok(());
    }
    wanted.answering(tell)
}
