//! Tests of views: rows in both orders, every plain encoding, and what cannot be a tensor of a model.

use std::path::Path;

use half::{bf16, f16};

use super::*;
use crate::config::Config;

type Tested = Result<(), Box<dyn std::error::Error>>;

/// A file of numbers counting up, as `f32`.
fn counting(dir: &Path, count: u16) -> std::io::Result<Weights> {
    let file = dir.join("counting");
    let bytes: Vec<u8> = (0..count).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    std::fs::write(&file, bytes)?;
    let mut weights = Weights::default();
    weights.add_file(Mapping::open(&file)?);
    Ok(weights)
}

fn stored(bytes: Range<usize>, shape: &[usize]) -> Stored {
    Stored { file: 0, bytes, shape: shape.to_vec(), encoding: Encoding::F32, order: RowOrder::Straight }
}

/// llama.cpp has the halves of each head interleaved: rows 0 2 4 6 are the first half, 1 3 5 7 the second.
#[test]
fn rows_in_llama_cpps_order_are_counted_back() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut weights = counting(dir.path(), 32)?;
    weights.add("turned".to_owned(), Stored { order: RowOrder::Interleaved { width: 8 }, ..stored(0..128, &[16, 2]) })?;
    weights.add("straight".to_owned(), stored(0..128, &[16, 2]))?;
    let mut numbers = [0.0; 32];
    let turned = weights.tensor("turned").ok_or("no tensor")?;
    turned.widen(0..16, &mut numbers);
    let firsts: Vec<f32> = numbers.iter().step_by(2).map(|number| number / 2.0).collect();
    assert_eq!(firsts, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0, 8.0, 10.0, 12.0, 14.0, 9.0, 11.0, 13.0, 15.0]);
    turned.widen(9..11, &mut numbers[..4]);
    assert_eq!(numbers[..4], [20.0, 21.0, 24.0, 25.0]);
    assert_eq!((turned.bytes(), turned.row(1)), (None, [4.0_f32.to_le_bytes(), 5.0_f32.to_le_bytes()].as_flattened()));
    let straight = weights.tensor("straight").ok_or("no tensor")?;
    straight.widen(9..11, &mut numbers[..4]);
    assert_eq!(numbers[..4], [18.0, 19.0, 20.0, 21.0]);
    assert_eq!(straight.bytes().map(<[u8]>::len), Some(128));
    Ok(())
}

/// All of them, by bits: subnormal, infinite, no numbers.
#[test]
fn every_half_is_widened_to_the_same_number() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut found = vec![0.0; 1 << 16];
    let same = |x: f32, y: f32| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
    Encoding::F16.widen(&bytes, &mut found);
    assert!(found.iter().zip(0..=u16::MAX).all(|(found, bits)| same(*found, f16::from_bits(bits).to_f32())));
    Encoding::Bf16.widen(&bytes, &mut found);
    assert!(found.iter().zip(0..=u16::MAX).all(|(found, bits)| same(*found, bf16::from_bits(bits).to_f32())));
}

#[test]
fn what_is_not_in_the_file_or_of_another_size_is_refused() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut weights = counting(dir.path(), 32)?;
    let wrong = [
        stored(0..132, &[33]),
        stored(0..128, &[31]),
        stored(129..129, &[0]),
        stored(0..128, &[usize::MAX, 2]),
        stored(0..0, &[1 << 40, 1 << 40]),
        Stored { file: 1, ..stored(0..128, &[32]) },
        Stored { encoding: Encoding::of_ggml(8).ok_or("Q8_0")?, ..stored(0..34, &[33]) },
    ];
    for tensor in wrong {
        assert!(matches!(weights.add("wrong".to_owned(), tensor.clone()), Err(LoadError::Damaged { .. })), "{tensor:?}");
    }
    weights.add("right".to_owned(), stored(0..128, &[32]))?;
    assert!(matches!(weights.add("right".to_owned(), stored(0..128, &[32])), Err(LoadError::Damaged { .. })));
    Ok(())
}

/// All tensors of a configuration in one file, by name; the numbers do not matter.
fn complete(dir: &Path, config: &Config) -> Result<(Weights, Layout), Box<dyn std::error::Error>> {
    let layout = Layout::of(config);
    let mut weights = counting(dir, u16::try_from(layout.total())?)?;
    for place in &layout.places {
        weights.add(place.name.clone(), stored(place.range.start * 4..place.range.end * 4, &place.shape))?;
    }
    Ok((weights, layout))
}

#[test]
fn the_tensors_are_those_of_the_layout_and_none_beside_them() -> Tested {
    let dir = tempfile::tempdir()?;
    let small = Config { hidden_size: 8, intermediate_size: 8, head_dim: Some(2), num_hidden_layers: 1, ..Config::demo(20) };
    let (mut weights, layout) = complete(dir.path(), &small)?;
    weights.check(&layout)?;
    let flat = weights.run(&layout, 0..layout.total())?;
    assert!(flat.iter().zip(0..).all(|(found, place)| *found == place as f32));
    // Query, key and value lie together.
    let qkv = layout.layers[0].qkv.clone();
    assert_eq!(weights.run(&layout, qkv.clone())?, flat[qkv]);
    // A few rows, and rows of two tensors that follow each other.
    for range in [8..16, 0..24, layout.layers[0].attention_norm.start - 16..layout.layers[0].qkv.start + 24] {
        assert_eq!(weights.run(&layout, range.clone())?, flat[range]);
    }
    // What is tied is not read a second time, but must be what it is tied to; and buffers of old checkpoints are no weights.
    weights.add("lm_head.weight".to_owned(), stored(0..4, &[1]))?;
    let untied = weights.check(&layout).map_err(|error| format!("{:?}", std::error::Error::source(&error)));
    assert!(untied.is_err_and(|message| message.contains("lm_head.weight")));
    let embedding = weights.tensors["model.embed_tokens.weight"].clone();
    weights.tensors.insert("lm_head.weight".to_owned(), embedding);
    weights.add("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), stored(0..4, &[1]))?;
    weights.check(&layout)?;
    weights.tensors.remove("model.norm.weight");
    assert!(matches!(weights.check(&layout), Err(LoadError::Tensor { name, .. }) if name == "model.norm.weight"));
    weights.add("model.norm.weight".to_owned(), stored(0..16, &[4]))?;
    assert!(matches!(weights.check(&layout), Err(LoadError::Shape { found, .. }) if found == [4]));
    for (name, said) in [("model.layers.0.self_attn.q_proj.bias", "biases"), ("model.layers.0.self_attn.q_norm.weight", "another")] {
        weights.add(name.to_owned(), stored(0..4, &[1]))?;
        let refused = weights.check(&layout).map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)));
        assert!(refused.as_ref().is_err_and(|message| message.contains(said) && message.contains(name)), "{refused:?}");
        weights.tensors.remove(name);
    }
    // More layers than the configuration counts, which nothing else is wrong with.
    let name = "model.layers.29.self_attn.q_proj.weight";
    weights.add(name.to_owned(), stored(0..4, &[1]))?;
    assert!(
        matches!(weights.check(&layout), Err(LoadError::Layer { name: found, layers }) if found == name && layers == layout.layers.len())
    );
    weights.add("model.layers.29.self_attn.q_norm.weight".to_owned(), stored(0..4, &[1]))?;
    assert!(matches!(weights.check(&layout), Err(LoadError::Config(_))));
    Ok(())
}
