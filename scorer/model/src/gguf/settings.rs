//! What a GGUF file says about its model, as the configuration that Hugging Face would write.

use serde_json::{Value, json};

use crate::config::{Config, ConfigError, each_pair};
use crate::gguf::header::{Header, Refusal};
use crate::gguf::tensors::ROPE_FACTORS;
use crate::load_error::shown;
use crate::weights::Encoding;

/// Said only by models that compute something else.
const REFUSED: [(&str, &str); 7] = [
    ("llama.expert_count", "experts"),
    ("llama.attention.sliding_window", "a sliding window"),
    ("llama.attention.clamp_kqv", "clamped attention"),
    ("llama.attention.scale", "an attention scale of its own"),
    ("llama.logit_scale", "scaled logits"),
    ("llama.residual_scale", "scaled residuals"),
    ("llama.embedding_scale", "scaled embeddings"),
];

/// A number without which there is no model.
fn size(header: &Header<'_>, key: &str) -> Result<Option<usize>, Refusal> {
    match header.count(key)? {
        Some(0) => Err(Refusal::Damaged(format!("its {key} is zero"))),
        size => Ok(size),
    }
}

fn needed(header: &Header<'_>, key: &str) -> Result<usize, Refusal> {
    size(header, key)?.ok_or_else(|| Refusal::Damaged(format!("it does not say {key}")))
}

fn refuse_others(header: &Header<'_>) -> Result<(), Refusal> {
    let unsupported = |what: String| Err(ConfigError::Unsupported(what).into());
    match header.text("general.architecture") {
        Some("llama") => {}
        Some(other) => return unsupported(format!("the architecture \"{}\"", shown(other))),
        None => return Err(Refusal::Damaged("it does not say general.architecture".to_owned())),
    }
    if let Some(other) = header.text("general.type").filter(|kind| *kind != "model") {
        return Err(Refusal::Format(format!("no model but \"{}\"", shown(other))));
    }
    if header.count("split.count")?.is_some_and(|parts| parts > 1) {
        return Err(Refusal::Format("one part of a split model".to_owned()));
    }
    for (key, what) in REFUSED {
        let is_set = header.get(key).is_some() && header.count(key) != Ok(Some(0)) && header.real(key) != Ok(Some(0.0));
        if is_set {
            return unsupported(what.to_owned());
        }
    }
    Ok(())
}

/// The divisors of the rotary frequencies, where the file has them and one of them divides.
fn factors(header: &Header<'_>) -> Result<Option<Vec<f32>>, Refusal> {
    let Some(described) = header.tensors.get(ROPE_FACTORS) else { return Ok(None) };
    if matches!(described.encoding, Encoding::Blocks(_)) {
        return Err(Refusal::Format(format!("the divisors of its rotary frequencies ({ROPE_FACTORS}) in blocks")));
    }
    let mut factors = vec![0.0_f32; described.shape.iter().product()];
    described.encoding.widen(header.bytes.get(described.bytes.clone()).unwrap_or_default(), &mut factors);
    Ok(factors.iter().any(|factor| *factor != 1.0).then_some(factors))
}

fn scaling(header: &Header<'_>) -> Result<Option<Value>, Refusal> {
    let factor = header.real("llama.rope.scaling.factor")?.or(header.real("llama.rope.scale_linear")?);
    let factor = factor.filter(|factor| *factor != 0.0 && *factor != 1.0);
    let kind = match header.text("llama.rope.scaling.type") {
        Some("none") => None,
        None => factor.map(|_| "linear"),
        Some("linear") if factor.is_none() => None,
        Some(kind) => Some(kind),
    };
    Ok(match (kind, factors(header)?) {
        (None, None) => None,
        (None, Some(factors)) => Some(each_pair(&factors)),
        (Some(kind), None) => Some(json!({"rope_type": kind, "factor": factor})),
        (Some("linear"), Some(factors)) => {
            let by = factor.unwrap_or(1.0) as f32;
            Some(each_pair(&factors.iter().map(|factor| factor * by).collect::<Vec<_>>()))
        }
        (Some(kind), Some(_)) => return Err(ConfigError::Unsupported(format!("rotary positions scaled by \"{}\"", shown(kind))).into()),
    })
}

/// The configuration of a Llama in GGUF.
pub(super) fn config(header: &Header<'_>) -> Result<Config, Refusal> {
    refuse_others(header)?;
    let heads = needed(header, "llama.attention.head_count")?;
    let hidden = needed(header, "llama.embedding_length")?;
    let head_dim = size(header, "llama.attention.key_length")?;
    let width = head_dim.unwrap_or(hidden / heads);
    if header.count("llama.attention.value_length")?.is_some_and(|values| values != width) {
        return Err(ConfigError::Unsupported("values of another width than keys".to_owned()).into());
    }
    if header.count("llama.rope.dimension_count")?.is_some_and(|turned| turned != width) {
        return Err(ConfigError::Unsupported("rotary positions on a part of each head".to_owned()).into());
    }
    let embedding = header.tensors.get("token_embd.weight").and_then(|described| described.shape.first());
    let token = |key: &str| Ok::<_, Refusal>(header.count(key)?.and_then(|token| u32::try_from(token).ok()));
    let config = Config {
        hidden_size: hidden,
        intermediate_size: needed(header, "llama.feed_forward_length")?,
        num_hidden_layers: needed(header, "llama.block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: size(header, "llama.attention.head_count_kv")?,
        head_dim,
        vocab_size: *embedding.ok_or_else(|| Refusal::Damaged("it has no tensor token_embd.weight".to_owned()))?,
        rms_norm_eps: header.real("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        rope_theta: header.real("llama.rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: scaling(header)?,
        max_position_embeddings: needed(header, "llama.context_length")?,
        tie_word_embeddings: !header.tensors.contains_key("output.weight"),
        bos_token_id: token("tokenizer.ggml.bos_token_id")?,
        eos_token_id: token("tokenizer.ggml.eos_token_id")?.map(Value::from),
        ..Config::lang1_100m()
    };
    config.check()?;
    Ok(config)
}
