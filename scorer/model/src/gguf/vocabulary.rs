//! The vocabulary that a GGUF file carries, as the `tokenizer.json` of the library that we use.
//!
//! `llama` is SentencePiece's BPE, `gpt2` a byte-level BPE whose words are split as `tokenizer.ggml.pre` names it. A way of splitting
//! that is not known is refused by name: split otherwise, the same text would be other tokens.

use serde_json::{Value as Json, json};

use crate::config::ConfigError;
use crate::gguf::header::{Header, Refusal, Value};
use crate::load_error::shown;
use crate::tokens::sentencepiece::{self, Affixes, Leading, Piece, PieceKind};

const LLAMA_3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How words are split before they are joined again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Splitting {
    Gpt2,
    /// As GPT-2, each digit by itself.
    SmolLm,
    Llama3,
    Qwen2,
}

impl Splitting {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "gpt-2" | "gpt2" => Self::Gpt2,
            "smollm" => Self::SmolLm,
            "llama3" | "llama-v3" | "llama-bpe" => Self::Llama3,
            "qwen2" => Self::Qwen2,
            _ => return None,
        })
    }

    fn pre_tokenizer(self) -> Json {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let words = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let by = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        match self {
            Self::Gpt2 => words,
            Self::SmolLm => json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, words]}),
            Self::Llama3 => json!({"type": "Sequence", "pretokenizers": [by(LLAMA_3), bytes]}),
            Self::Qwen2 => json!({"type": "Sequence", "pretokenizers": [by(QWEN_2), bytes]}),
        }
    }
}

/// What stands before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Token,
    Nothing,
}

struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<PieceKind>,
}

/// Merges for each token that a vocabulary may have: real ones have two or three.
const MERGES: usize = 16;

fn damaged(what: &str) -> Refusal {
    Refusal::Damaged(what.to_owned())
}

fn texts<'a>(header: &Header<'a>, key: &str, most: usize) -> Result<Vec<&'a str>, Refusal> {
    let Some(Value::List(list)) = header.get(key) else { return Err(damaged(&format!("it has no list {key}"))) };
    if list.count > most as u64 {
        return Err(damaged(&format!("its {key} has {} entries, and its model room for {most}", list.count)));
    }
    let texts = list.values().map(|value| match value {
        Value::Text(text) => str::from_utf8(text).map_err(|_| damaged(&format!("an entry of its {key} is no text"))),
        _ => Err(damaged(&format!("an entry of its {key} is no text"))),
    });
    texts.collect()
}

impl<'a> Vocabulary<'a> {
    fn of(header: &Header<'a>, most: usize) -> Result<Self, Refusal> {
        let tokens = texts(header, "tokenizer.ggml.tokens", most)?;
        let kinds = match header.get("tokenizer.ggml.token_type") {
            Some(Value::List(list)) if list.count == tokens.len() as u64 => list.values().map(|value| match value {
                Value::Signed(kind) => PieceKind::of(kind),
                Value::Count(kind) => PieceKind::of(i64::try_from(kind).unwrap_or_default()),
                _ => PieceKind::Unused,
            }),
            Some(_) => return Err(damaged("its tokenizer.ggml.token_type is not as long as its tokens")),
            None => return Ok(Self { kinds: vec![PieceKind::Normal; tokens.len()], tokens }),
        };
        Ok(Self { kinds: kinds.collect(), tokens })
    }

    /// The token that opens every text; where the file does not say whether one does, it is as llama.cpp assumes for vocabularies of this
    /// kind.
    fn opening(&self, header: &Header<'_>, assumed: Opening) -> Result<Option<u32>, Refusal> {
        let opens = header.flag("tokenizer.ggml.add_bos_token").unwrap_or(assumed == Opening::Token);
        let token = header.count("tokenizer.ggml.bos_token_id")?.filter(|token| opens && *token < self.tokens.len());
        Ok(token.and_then(|token| u32::try_from(token).ok()))
    }
}

fn sentencepiece(header: &Header<'_>, vocabulary: &Vocabulary<'_>) -> Result<Json, Refusal> {
    let scores = match header.get("tokenizer.ggml.scores") {
        Some(Value::List(list)) if list.count == vocabulary.tokens.len() as u64 => list,
        _ => return Err(damaged("it has no score for each of its tokens")),
    };
    let scores = scores.values().map(|score| if let Value::Real(score) = score { score } else { f64::NAN });
    let named = vocabulary.tokens.iter().zip(&vocabulary.kinds).zip(scores);
    let pieces: Vec<Piece<'_>> = named.map(|((text, kind), score)| Piece { text, score, kind: *kind }).collect();
    let space = match header.flag("tokenizer.ggml.add_space_prefix") {
        Some(false) => Leading::Nothing,
        _ => Leading::Space,
    };
    let affixes = Affixes { space, opening: vocabulary.opening(header, Opening::Token)? };
    sentencepiece::tokenizer_json(&pieces, affixes).map_err(Refusal::Damaged)
}

fn byte_level(header: &Header<'_>, vocabulary: &Vocabulary<'_>) -> Result<Json, Refusal> {
    let Some(named) = header.text("tokenizer.ggml.pre") else {
        // Files from before the key was there are read wrongly even by the program that they were made for.
        return Err(Refusal::Format("a byte-level vocabulary without tokenizer.ggml.pre".to_owned()));
    };
    let Some(splitting) = Splitting::of(named) else {
        return Err(ConfigError::Unsupported(format!("words split in the way of \"{}\"", shown(named))).into());
    };
    let pairs = texts(header, "tokenizer.ggml.merges", vocabulary.tokens.len().saturating_mul(MERGES))?.into_iter().map(|merge| {
        let pair = merge.split_once(' ').map(|(left, right)| [left, right]);
        pair.ok_or_else(|| damaged("an entry of its tokenizer.ggml.merges is no pair"))
    });
    let merges = pairs.collect::<Result<Vec<_>, _>>()?;
    let numbered = vocabulary.tokens.iter().enumerate();
    let entries: serde_json::Map<String, Json> = numbered.map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    if entries.len() != vocabulary.tokens.len() {
        return Err(damaged("a token of its vocabulary stands there twice"));
    }
    let assumed = if splitting == Splitting::Llama3 { Opening::Token } else { Opening::Nothing };
    let opening = vocabulary.opening(header, assumed)?;
    let opening = opening.and_then(|id| Some((*vocabulary.tokens.get(usize::try_from(id).ok()?)?, id)));
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": sentencepiece::added(vocabulary.tokens.iter().copied().zip(vocabulary.kinds.iter().copied())),
        "normalizer": if splitting == Splitting::Qwen2 { json!({"type": "NFC"}) } else { Json::Null },
        "pre_tokenizer": splitting.pre_tokenizer(),
        "post_processor": sentencepiece::opened(opening),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": splitting == Splitting::Llama3, "vocab": entries, "merges": merges},
    }))
}

/// The file's vocabulary, of `most` tokens at most, in the bytes of a `tokenizer.json`.
pub(super) fn tokenizer_json(header: &Header<'_>, most: usize) -> Result<Vec<u8>, Refusal> {
    let vocabulary = Vocabulary::of(header, most)?;
    let json = match header.text("tokenizer.ggml.model") {
        Some("llama") => sentencepiece(header, &vocabulary)?,
        Some("gpt2") => byte_level(header, &vocabulary)?,
        Some(other) => return Err(ConfigError::Unsupported(format!("a vocabulary of the kind \"{}\"", shown(other))).into()),
        None => return Err(damaged("it does not say tokenizer.ggml.model")),
    };
    Ok(json.to_string().into_bytes())
}
