//! Models that bear 8 bits and models that do not.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::{Model, ScoreError};
use super::*;
use crate::folder::{self, Exported};
use crate::layout::Layout;
use crate::{Draft, InstructionSet, Settings};

type Tested = Result<(), Box<dyn std::error::Error>>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/linear")
}

/// The golden with its weights changed.
fn changed(
    int8_shift: Option<f64>,
    change: impl FnOnce(&Layout, usize, &mut [f32]),
) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let folder = folder::load(&golden(), 1)?;
    let (layout, mut weights) = (Layout::of(&folder.config), folder.weights);
    change(&layout, folder.config.hidden_size, &mut weights);
    let (dir, numbers) = (tempfile::tempdir()?, |range: Range<usize>| Cow::Borrowed(&weights[range]));
    let model = Exported {
        config: &folder.config,
        tokenizer: &folder.tokenizer,
        layout: &layout,
        numbers: &numbers,
        max_note_tokens: folder.manifest.max_note_tokens,
    };
    folder::export(dir.path(), &model, Draft { int8_shift, ..Draft::default() })?;
    Ok(dir)
}

/// The golden with some numbers of each row far above the others, as trained models have them: a norm raises them, and what is behind it gives
/// them no more say than before. So only rounding changes what it answers.
fn with_outliers(int8_shift: Option<f64>) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    const RAISED: f32 = 200.0;
    changed(int8_shift, |layout, hidden, weights| {
        for places in &layout.layers {
            for (norm, matrix) in [(&places.attention_norm, &places.qkv), (&places.feed_norm, &places.gate_up)] {
                for column in (0..hidden).step_by(13) {
                    weights[norm.start + column] *= RAISED;
                    weights[matrix.clone()].iter_mut().skip(column).step_by(hidden).for_each(|weight| *weight /= RAISED);
                }
            }
        }
    })
}

fn settings(precision: Option<Precision>) -> Settings {
    Settings { precision, threads: Some(1), ..Settings::default() }
}

/// By how much a model's answers to the page are apart from those of the golden in `f32`.
fn apart(model: &Model) -> Result<f64, Box<dyn std::error::Error>> {
    let exact = Model::load_with(&golden(), &settings(Some(Precision::F32)))?;
    let answers = |model: &Model| Ok::<_, ScoreError>(model.score(&[PAGE])?.concat());
    let (found, expected) = (answers(model)?, answers(&exact)?);
    let pairs = found.iter().zip(&expected).flat_map(|(one, other)| one.probabilities.iter().zip(&other.probabilities));
    Ok(pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max))
}

#[test]
fn a_model_whose_outliers_8_bits_do_not_bear_answers_in_more() -> Tested {
    let (dir, cache) = (with_outliers(None)?, tempfile::tempdir()?);
    let (eighth, usual) = (settings(Some(Precision::Int8)), Model::load_with(dir.path(), &settings(None))?);
    for model in [Model::load_with(dir.path(), &eighth)?, Model::load_cached(dir.path(), &eighth, cache.path())?] {
        let too_coarse = model.too_coarse().ok_or("8 bits were taken")?;
        assert!(too_coarse.apart > LIMIT && too_coarse.to_string().contains(usual.precision().as_str()), "{too_coarse}");
        assert_eq!((model.precision(), too_coarse.instead, model.bytes()), (usual.precision(), usual.precision(), usual.bytes()));
        assert_eq!(model.score(&[PAGE])?, usual.score(&[PAGE])?);
        assert!(apart(&model)? < 2e-2, "{}", apart(&model)?);
    }
    assert_eq!(usual.too_coarse(), None);
    Ok(())
}

/// Weights as small as those of a model that has just begun to learn, by every kernel of 8 bits.
#[test]
fn a_model_that_8_bits_move_little_answers_in_them() -> Tested {
    let dir = changed(None, |layout, _, weights| {
        for place in layout.places.iter().filter(|place| place.shape.len() > 1) {
            weights[place.range.clone()].iter_mut().for_each(|weight| *weight /= 4.0);
        }
    })?;
    for set in InstructionSet::tested() {
        let settings = Settings { instructions: Some(set), ..settings(Some(Precision::Int8)) };
        let model = Model::load_with(dir.path(), &settings)?;
        assert_eq!((model.precision(), model.too_coarse()), (Precision::Int8, None), "{set:?}");
    }
    Ok(())
}

/// Who asks for them knows, then, what they do.
#[test]
fn what_a_manifest_says_of_8_bits_is_not_tried_again() -> Tested {
    let model = Model::load_with(with_outliers(Some(0.3))?.path(), &settings(Some(Precision::Int8)))?;
    assert_eq!((model.precision(), model.too_coarse()), (Precision::Int8, None));
    assert!(apart(&model)? > LIMIT);
    Ok(())
}

#[test]
fn answers_are_judged_by_the_option_that_moves_most() {
    let answer = |probabilities: [f64; 2]| Answer {
        task: Task::Mortality,
        probabilities: probabilities.into(),
        logits: Vec::new(),
        tokens_read: 1,
        truncated: false,
    };
    let wider = [answer([0.5, 0.5]), answer([0.9, 0.1])];
    let judge = |probabilities| judged(Some(&[answer([0.5, 0.5]), answer(probabilities)]), (Some(&wider), Precision::Bf16));
    assert_eq!(judge([0.9049, 0.0951]), None);
    assert!(judge([0.9051, 0.0949]).is_some_and(|found| (found.apart - 5.1e-3).abs() < 1e-9 && found.instead == Precision::Bf16));
    // What gives no number is not borne.
    assert!(judged(None, (Some(&wider), Precision::Bf16)).is_some_and(|found| found.apart.is_infinite()));
}
