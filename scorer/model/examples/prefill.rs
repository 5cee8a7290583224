//! How fast a model of random weights answers, as `wardstream bench model` tells it, without the rest of the program.
//!
//! `cargo run --release -p model --example prefill -- [key=value ..]`; keys: `shape`, `precision`, `instructions`, `threads`, `reps` and
//! `batch` (comma-separated; `load` among them measures loading), as [`model::bench`] parses them.

use std::collections::BTreeMap;
use std::io::Write as _;

use model::Settings;
use model::bench::{BATCHES, Figure, Wanted};

type Failure = Box<dyn std::error::Error>;

fn tell(figure: &Figure) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(figure)?)?)
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
    let batches = text("batch", &BATCHES.join(","));
    let (load, batches): (Vec<&str>, Vec<&str>) = batches.split(',').partition(|name| *name == "load");
    let batches = batches.into_iter().map(str::parse).collect::<Result<Vec<_>, _>>()?;
    let wanted = Wanted { shape: text("shape", "llama-110m").parse()?, settings, batches, rounds: text("reps", "5").parse()? };
    if !load.is_empty() {
        tell(&wanted.loading()?)?;
    }
    if wanted.batches.is_empty() {
        return Ok(());
    }
    wanted.answering(tell)
}
