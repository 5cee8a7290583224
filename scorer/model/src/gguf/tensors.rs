//! A GGUF file's tensors under Hugging Face's names and in Hugging Face's order of rows.
//!
//! llama.cpp turns neighbouring rows of a head together, Hugging Face the first half with the second; the converter writes the rows of
//! query and key in llama.cpp's order, and here they are counted back.

use crate::config::Config;
use crate::gguf::header::Header;
use crate::weights::{RowOrder, Stored};

/// Divisors of the rotary frequencies: configuration, not weight.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

const PARTS: [(&str, &str); 9] = [
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
];

/// A name that has none at Hugging Face's stays as it is, and is refused with the layout.
fn named(name: &str) -> String {
    match name {
        "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => "model.norm.weight".to_owned(),
        "output.weight" => "lm_head.weight".to_owned(),
        other => {
            let layer = other.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
            let part = layer.and_then(|(index, part)| Some((index, PARTS.iter().find(|(theirs, _)| *theirs == part)?.1)));
            part.map_or_else(|| other.to_owned(), |(index, part)| format!("model.layers.{index}.{part}"))
        }
    }
}

/// All tensors, of file 0.
pub(super) fn stored(header: &Header<'_>, config: &Config) -> Vec<(String, Stored)> {
    let width = config.heads().2;
    let tensors = header.tensors.iter().filter(|(name, _)| **name != ROPE_FACTORS);
    let stored = tensors.map(|(name, described)| {
        let is_turned = name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight");
        let order = if is_turned { RowOrder::Interleaved { width } } else { RowOrder::Straight };
        let shape = described.shape.clone();
        (named(name), Stored { file: 0, bytes: described.bytes.clone(), shape, encoding: described.encoding, order })
    });
    stored.collect()
}
