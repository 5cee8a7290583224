//! What is kept packed gives the same answers, and what is not to be trusted gives none.

use std::path::PathBuf;

use super::*;

type Tested = Result<(), Box<dyn std::error::Error>>;

const TASKS: [Task; 2] = [Task::Mortality, Task::LengthOfStay];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/linear")
}

/// The golden with a manifest that allows 8 bits: without, whoever asks for them gets what it bears.
fn measured(int8_shift: Option<f64>) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    crate::Learner::from(&golden())?.export(dir.path(), crate::Draft { int8_shift, ..crate::Draft::default() })?;
    Ok(dir)
}

fn answers(model: &Model) -> Result<Vec<u64>, ScoreError> {
    let notes = ["Chest pain since the morning.", "Fever."].map(|text| Asked { text, tasks: &TASKS });
    Ok(model.score(&notes)?.iter().flatten().flat_map(|answer| &answer.probabilities).map(|share| share.to_bits()).collect())
}

/// The one file of a folder.
fn only(folder: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let files: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(format!("{} files", files.len()).into()),
    }
}

#[test]
fn what_was_kept_answers_bit_for_bit_as_what_is_packed() -> Tested {
    let dir = measured(Some(0.0))?;
    for precision in [Precision::F32, Precision::Bf16, Precision::Int16, Precision::Int8] {
        let settings = Settings { precision: Some(precision), threads: Some(1), ..Settings::default() };
        let cache = tempfile::tempdir()?;
        let expected = answers(&Model::load_with(dir.path(), &settings)?)?;
        for _ in 0..2 {
            assert_eq!(answers(&Model::load_cached(dir.path(), &settings, cache.path())?)?, expected);
        }
        // It is read, and not packed again: the very file that is there stays.
        let file = only(cache.path())?;
        let written = std::fs::metadata(&file)?.modified()?;
        let ready = Ready::open(dir.path(), &settings)?;
        let key = Scorer::key(&ready.config, &ready.digest, &ready.reader.letters, &settings);
        assert!(Scorer::kept(&ready.config, &settings, (&file, &key)).is_ok());
        Model::load_cached(dir.path(), &settings, cache.path())?;
        assert_eq!(std::fs::metadata(&file)?.modified()?, written);
    }
    Ok(())
}

/// The golden's pass is its first text and the question about death, and `transformers` said what stands behind them.
#[test]
fn an_answer_has_the_logits_of_its_letters() -> Tested {
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(golden().join("expected.json"))?)?;
    let settings = Settings { precision: Some(Precision::F32), threads: Some(1), ..Settings::default() };
    let (model, letters) = (Model::load_with(&golden(), &settings)?, Ready::open(&golden(), &settings)?.reader.letters);
    let text = expected["texts"][0].as_str().ok_or("no text")?;
    let answers = model.score(&[Asked { text, tasks: &TASKS }])?.concat();
    assert_eq!(answers.iter().map(|answer| answer.logits.len()).collect::<Vec<_>>(), [2, 4]);
    for answer in &answers {
        assert_eq!(answer.probabilities, shares(&answer.logits));
    }
    for (logit, letter) in answers[0].logits.iter().zip(letters) {
        let expected = expected["passes"][0]["logits"][letter as usize].as_f64().ok_or("no logit")?;
        assert!((f64::from(*logit) - expected).abs() < 1e-3, "{logit}, expected {expected}");
    }
    Ok(())
}

#[test]
fn each_way_of_packing_is_kept_under_a_name_of_its_own() -> Tested {
    let (dir, cache) = (measured(Some(0.0))?, tempfile::tempdir()?);
    for precision in [Precision::F32, Precision::Bf16, Precision::Int16, Precision::Int8] {
        for instructions in [None, Some(crate::InstructionSet::Portable)] {
            let settings = Settings { precision: Some(precision), instructions, threads: Some(1), ..Settings::default() };
            Model::load_cached(dir.path(), &settings, cache.path())?;
        }
    }
    let names = if Settings::default().instructions() == crate::InstructionSet::Portable { 4 } else { 8 };
    assert_eq!(std::fs::read_dir(cache.path())?.count(), names);
    Ok(())
}

#[test]
fn a_kept_file_that_is_cut_damaged_or_anothers_is_packed_anew() -> Tested {
    let settings = Settings { precision: Some(Precision::Int8), threads: Some(1), ..Settings::default() };
    let (dir, cache) = (measured(Some(0.0))?, tempfile::tempdir()?);
    let expected = answers(&Model::load_cached(dir.path(), &settings, cache.path())?)?;
    let file = only(cache.path())?;
    let whole = std::fs::read(&file)?;
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        bytes
    };
    let broken = [
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        [whole.as_slice(), &[0]].concat(),
        flipped(0),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
    ];
    for bytes in broken {
        std::fs::write(&file, &bytes)?;
        assert_eq!(answers(&Model::load_cached(dir.path(), &settings, cache.path())?)?, expected);
        assert_eq!(std::fs::read(&file)?, whole);
    }
    // A folder that is none is no reason not to answer.
    assert_eq!(answers(&Model::load_cached(dir.path(), &settings, &file)?)?, expected);
    Ok(())
}

/// A pipe, which would wait for its other end.
#[cfg(unix)]
#[test]
fn what_is_no_file_where_one_was_kept_is_packed_anew() -> Tested {
    let settings = Settings { threads: Some(1), ..Settings::default() };
    let (dir, cache) = (measured(Some(0.0))?, tempfile::tempdir()?);
    let expected = answers(&Model::load_cached(dir.path(), &settings, cache.path())?)?;
    let file = only(cache.path())?;
    let whole = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    assert!(std::process::Command::new("mkfifo").arg(&file).status()?.success());
    assert_eq!(answers(&Model::load_cached(dir.path(), &settings, cache.path())?)?, expected);
    assert_eq!(std::fs::read(&file)?, whole);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_kept_file_that_others_may_write_is_not_read() -> Tested {
    use std::os::unix::fs::PermissionsExt as _;
    let settings = Settings { threads: Some(1), ..Settings::default() };
    let cache = tempfile::tempdir()?;
    let ready = Ready::open(&golden(), &settings)?;
    let key = Scorer::key(&ready.config, &ready.digest, &ready.reader.letters, &settings);
    Model::load_cached(&golden(), &settings, cache.path())?;
    let file = only(cache.path())?;
    for (mode, is_read) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
        assert_eq!(Scorer::kept(&ready.config, &settings, (&file, &key)).is_ok(), is_read, "{mode:o}");
    }
    Ok(())
}

/// On a processor in `f32`, and on a card where there is one. The weights are random and their logits large: the processor's own `bf16` is 8e-3 away
/// here, and a card rounds what lies between products, too: an H200 is 2.4e-2 away.
#[test]
fn the_devices_path_answers_as_the_packed_one() -> Tested {
    let settings = Settings { precision: Some(Precision::F32), threads: Some(1), ..Settings::default() };
    let packed = Model::load_with(&golden(), &settings)?;
    let (long, longer) = ("Cough. ".repeat(70), "Chest pain since the morning, and fever. ".repeat(40));
    let notes = ["Fever.", &long, "", &longer].map(|text| Asked { text, tasks: &Task::ALL });
    let expected = packed.score(&notes)?;
    for (device, arithmetic) in crate::device::tested() {
        let ready = Ready::open(&golden(), &settings)?;
        let model = Model::through_candle(ready, (&device, arithmetic.precision()))?;
        assert_eq!(packed.version(), model.version());
        let found = model.score(&notes)?;
        let pairs = expected.iter().flatten().zip(found.iter().flatten());
        assert_eq!(pairs.clone().count(), notes.len() * Task::ALL.len());
        for (expected, found) in pairs {
            assert_eq!((expected.task, expected.tokens_read, expected.truncated), (found.task, found.tokens_read, found.truncated));
            let apart = expected.probabilities.iter().zip(&found.probabilities).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(
                apart < if arithmetic == crate::Arithmetic::F32 { 1e-4 } else { 3e-2 },
                "{} on {device:?}: {apart} apart",
                expected.task
            );
        }
    }
    Ok(())
}

#[test]
fn a_model_that_should_answer_in_whole_numbers_on_a_card_is_refused() {
    for precision in [Precision::Int16, Precision::Int8] {
        let settings = Settings { precision: Some(precision), device: Device::Cuda(0), ..Settings::default() };
        let refused = Model::load_with(&golden(), &settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("cuda:0"), "{refused}");
    }
}

/// Whatever it reads, and however it was stored, a model of which nothing is known answers in 16 bits where vectors multiply no `bf16`.
#[test]
fn a_model_of_which_nothing_is_known_answers_in_what_the_instructions_multiply() -> Tested {
    use crate::InstructionSet::{Amx, Avx2, Avx512, Avx512Bf16, Portable};
    for (set, expected) in [
        (Portable, Precision::F32),
        (Avx2, Precision::Int16),
        (Avx512, Precision::Int16),
        (Avx512Bf16, Precision::Bf16),
        (Amx, Precision::Bf16),
    ] {
        if set.is_here() {
            let settings = Settings { instructions: Some(set), threads: Some(1), ..Settings::default() };
            assert_eq!((settings.precision(), Model::load_with(&golden(), &settings)?.precision()), (expected, expected), "{set:?}");
        }
    }
    Ok(())
}

/// What a manifest says of 8 bits decides, unless somebody asks for something else.
#[test]
fn a_model_whose_auroc_8_bits_do_not_move_answers_in_them() -> Tested {
    let quickest = if Settings::default().instructions() > crate::InstructionSet::Portable { Precision::Int8 } else { Precision::F32 };
    let usual = Settings::default().precision();
    for (shift, expected) in [(None, usual), (Some(1e-4), quickest), (Some(2.1e-3), usual)] {
        let dir = measured(shift)?;
        let (model, cache) = (Model::load(dir.path())?, tempfile::tempdir()?);
        assert_eq!((model.precision(), model.manifest().int8_shift), (expected, shift));
        assert_eq!(Model::load_cached(dir.path(), &Settings::default(), cache.path())?.precision(), expected);
        let asked = Settings { precision: Some(Precision::F32), ..Settings::default() };
        assert_eq!(Model::load_with(dir.path(), &asked)?.precision(), Precision::F32);
    }
    Ok(())
}
