//! What a model takes of memory, each precision in a process of its own: at most 1.15 times its weights, beside them its tokenizer, and
//! while it answers its activations.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::path::Path;
use std::process::Command;

use model::bench::{Shape, random_folder};
use model::{Asked, Model, Precision, Settings};
use schemas::Task;

type Tested = Result<(), Box<dyn Error>>;

/// What `tokenizers` takes for 32,000 entries, and what reading them leaves behind in the allocator.
const TOKENIZER_MB: f64 = 20.0;
/// For a model of 100 M parameters.
const ACTIVATIONS_MB: f64 = 60.0;

/// Names the precision for the process that is started in the folder where it lies.
const PRECISION: &str = "precision";

#[test]
fn a_loaded_model_takes_little_more_than_its_weights() -> Tested {
    if let Ok(precision) = std::fs::read_to_string(PRECISION) {
        return stays_within(precision.parse()?);
    }
    let folder = random_folder(Shape::Llama110m)?;
    for precision in [Precision::F32, Precision::Bf16, Precision::Int16, Precision::Int8] {
        std::fs::write(folder.path().join(PRECISION), precision.as_str())?;
        let itself = ["--exact", "a_loaded_model_takes_little_more_than_its_weights", "--nocapture"];
        let alone = Command::new(std::env::current_exe()?).args(itself).current_dir(folder.path()).output()?;
        assert!(alone.status.success(), "{precision:?}: {}", String::from_utf8_lossy(&alone.stderr));
        eprintln!("{}", String::from_utf8_lossy(&alone.stderr).trim_end());
    }
    Ok(())
}

/// In the folder of the model, in a process that has done nothing else.
fn stays_within(precision: Precision) -> Tested {
    let bytes = match precision {
        Precision::F32 => 4,
        Precision::Bf16 | Precision::Int16 => 2,
        Precision::Int8 => 1,
    };
    let weights = (Shape::Llama110m.config().parameters() * bytes) as f64 / 1e6;
    let before = megabytes("VmRSS:")?;
    let settings = Settings { precision: Some(precision), threads: Some(2), ..Settings::default() };
    let model = Model::load_with(Path::new("."), &settings)?;
    let loaded = megabytes("VmRSS:")? - before;
    eprintln!("{precision:?}: {weights:.0} MB of weights, {loaded:.0} MB resident");
    let most = 1.15 * weights + TOKENIZER_MB;
    assert!(loaded <= most, "{loaded} MB are resident, {most} allowed");
    // One precision will do: activations are the same in number.
    if precision == Precision::Int8 {
        std::fs::write("/proc/self/clear_refs", "5")?;
        let text = "abcdefgh ".repeat(600);
        let answers = model.score(&[Asked { text: &text, tasks: &[Task::Mortality] }; 8])?;
        assert!(answers.iter().flatten().all(|answer| answer.tokens_read == 512), "a batch of fewer rows");
        let peak = megabytes("VmHWM:")? - before;
        eprintln!("{precision:?}: {peak:.0} MB while it answers");
        assert!(peak <= most + ACTIVATIONS_MB, "{peak} MB while it answers, {} allowed", most + ACTIVATIONS_MB);
    }
    Ok(())
}

/// What the system says of this process.
fn megabytes(name: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or(name)?;
    let kibibytes: f64 = line.split_whitespace().next().ok_or(name)?.parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
