//! SentencePiece's BPE with byte fallback, as Llama 2 has it, written as the `tokenizer.json` of the library that we use.
//!
//! SentencePiece joins the two neighbours whose piece has the highest score; the library joins by a list of pairs in order. The list is
//! every pair of pieces that makes a piece, by falling score, as `transformers` makes it.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Splitting one piece in all ways costs the square of its length; known vocabularies stay below 100.
const MAX_PIECE_BYTES: usize = 512;

/// What a piece is for, under SentencePiece's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    /// Made by joining: 1.
    Normal,
    /// Stands for what nothing else does: 2.
    Unknown,
    /// Never made from text: 3.
    Control,
    /// Taken whole wherever it stands: 4.
    UserDefined,
    /// In no use: 5.
    Unused,
    /// One byte, as `<0x0A>`: 6.
    Byte,
}

impl PieceKind {
    /// The kind of a number; those unknown count as unused.
    pub fn of(number: i64) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            _ => Self::Unused,
        }
    }
}

/// An entry of the vocabulary; its index is its token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Its text, with `▁` for the space.
    pub text: &'a str,
    /// The higher, the sooner joined.
    pub score: f64,
    /// What it is for.
    pub kind: PieceKind,
}

/// What stands before and behind a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Affixes {
    /// Whether a space is put before the text, so that its first word is one like the others.
    pub space: Leading,
    /// The token that opens every text, if one does.
    pub opening: Option<u32>,
}

/// See [`Affixes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leading {
    /// A space is put before the text.
    Space,
    /// The text is taken as it is.
    Nothing,
}

/// Tokens that the library must find before anything else: those that are never made by joining.
pub(crate) fn added<'a>(pieces: impl Iterator<Item = (&'a str, PieceKind)>) -> Vec<Value> {
    let kept = pieces
        .enumerate()
        .filter(|(_, (text, kind))| !text.is_empty() && matches!(kind, PieceKind::Unknown | PieceKind::Control | PieceKind::UserDefined));
    let written = kept.map(|(id, (content, kind))| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": kind != PieceKind::UserDefined})
    });
    written.collect()
}

/// The processor that puts the opening token before a text.
pub(crate) fn opened(opening: Option<(&str, u32)>) -> Value {
    opening.map_or(Value::Null, |(text, id)| {
        json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": text, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}}})
    })
}

/// All pairs of pieces that make a piece, in the order in which they are joined.
fn merges<'a>(pieces: &[Piece<'a>]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let joined = |piece: &&Piece<'_>| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused);
    let known: HashMap<&str, usize> =
        pieces.iter().enumerate().filter(|(_, piece)| joined(piece)).map(|(id, piece)| (piece.text, id)).collect();
    let mut pairs = Vec::new();
    for piece in pieces.iter().filter(joined) {
        if piece.text.len() > MAX_PIECE_BYTES {
            return Err(format!("a piece of its vocabulary is {} bytes long", piece.text.len()));
        }
        if !piece.score.is_finite() {
            return Err("a score in its vocabulary is no number".to_owned());
        }
        let splits = piece.text.char_indices().skip(1).filter_map(|(at, _)| piece.text.split_at_checked(at));
        let both = splits.filter_map(|(left, right)| Some((*known.get(left)?, *known.get(right)?, left, right)));
        let mut both: Vec<_> = both.collect();
        both.sort_by_key(|(left, right, ..)| (*left, *right));
        pairs.extend(both.into_iter().map(|(_, _, left, right)| (piece.score, left, right)));
    }
    let length = |text: &str| text.chars().count();
    pairs.sort_by(|(x, a, b), (y, c, d)| y.total_cmp(x).then(length(c).cmp(&length(a))).then(length(d).cmp(&length(b))));
    Ok(pairs.into_iter().map(|(_, left, right)| (left, right)).collect())
}

/// The `tokenizer.json` of a vocabulary.
pub(crate) fn tokenizer_json(pieces: &[Piece<'_>], affixes: Affixes) -> Result<Value, String> {
    let unknown = pieces.iter().find(|piece| piece.kind == PieceKind::Unknown).map(|piece| piece.text);
    let falls_back = pieces.iter().filter(|piece| piece.kind == PieceKind::Byte).count() == 256;
    let vocabulary: serde_json::Map<String, Value> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.text.to_owned(), id.into())).collect();
    if vocabulary.len() != pieces.len() {
        return Err("a piece of its vocabulary stands there twice".to_owned());
    }
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizers = match affixes.space {
        Leading::Space => vec![json!({"type": "Prepend", "prepend": "▁"}), space],
        Leading::Nothing => vec![space],
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if affixes.space == Leading::Space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let opening = affixes.opening.and_then(|id| Some((pieces.get(usize::try_from(id).ok()?)?.text, id)));
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(pieces.iter().map(|piece| (piece.text, piece.kind))),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": opened(opening),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": falls_back, "ignore_merges": false, "vocab": vocabulary, "merges": merges(pieces)?},
    }))
}
