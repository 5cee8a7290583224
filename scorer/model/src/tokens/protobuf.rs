//! SentencePiece's own file, `tokenizer.model`: the few fields of its protocol buffer that make a tokenizer.
//!
//! Only BPE that leaves the text as it is becomes a tokenizer here; a unigram model, or one that rewrites characters or spaces, is
//! refused.

use serde_json::Value;

use crate::tokens::sentencepiece::{Affixes, Leading, Piece, PieceKind, tokenizer_json};

/// A field's value, as far as it is on the wire.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Real(f32),
    /// Eight bytes that nothing here asks for.
    Other,
}

/// The fields of a message, in order; ends with an error where the bytes do.
struct Fields<'a> {
    rest: &'a [u8],
}

fn cut() -> String {
    "it ends within a field".to_owned()
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(cut)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number in it is too long".to_owned())
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let (taken, rest) = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count)).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), String> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Real(f32::from_le_bytes(self.take(4)?.try_into().map_err(|_| cut())?)),
            other => return Err(format!("a field in it is of the unknown kind {other}")),
        };
        Ok((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() { None } else { Some(self.field()) }
    }
}

fn piece(message: &[u8]) -> Result<Piece<'_>, String> {
    let mut piece = Piece { text: "", score: 0.0, kind: PieceKind::Normal };
    for field in (Fields { rest: message }) {
        match field? {
            (1, Field::Bytes(text)) => piece.text = str::from_utf8(text).map_err(|_| "a piece of it is no text".to_owned())?,
            (2, Field::Real(score)) => piece.score = score.into(),
            (3, Field::Number(kind)) => piece.kind = PieceKind::of(i64::try_from(kind).unwrap_or_default()),
            _ => {}
        }
    }
    Ok(piece)
}

/// The number of the token that opens a text, from the trainer's part.
fn opening(trainer: &[u8]) -> Result<Option<u32>, String> {
    let (mut is_bpe, mut opening) = (false, Some(1));
    for field in (Fields { rest: trainer }) {
        match field? {
            (3, Field::Number(kind)) => is_bpe = kind == 2,
            // Minus one, where there is none, does not fit.
            (41, Field::Number(token)) => opening = u32::try_from(token).ok(),
            _ => {}
        }
    }
    if is_bpe { Ok(opening) } else { Err("it is no BPE".to_owned()) }
}

fn leading(normalizer: &[u8]) -> Result<Leading, String> {
    let (mut leading, mut keeps_spaces, mut keeps_characters) = (Leading::Space, false, true);
    for field in (Fields { rest: normalizer }) {
        match field? {
            (2, Field::Bytes(map)) => keeps_characters = map.is_empty(),
            (3, Field::Number(0)) => leading = Leading::Nothing,
            (4, Field::Number(removes)) => keeps_spaces = removes == 0,
            _ => {}
        }
    }
    if keeps_spaces && keeps_characters { Ok(leading) } else { Err("it rewrites the text before it splits it".to_owned()) }
}

/// The `tokenizer.json` of a `tokenizer.model`.
pub(crate) fn sentencepiece_json(model: &[u8]) -> Result<Value, String> {
    let (mut pieces, mut affixes) = (Vec::new(), Affixes { space: Leading::Space, opening: None });
    let (mut is_trained, mut is_normalized) = (false, false);
    for field in (Fields { rest: model }) {
        match field? {
            (1, Field::Bytes(message)) => pieces.push(piece(message)?),
            (2, Field::Bytes(message)) => {
                affixes.opening = opening(message)?;
                is_trained = true;
            }
            (3, Field::Bytes(message)) => {
                affixes.space = leading(message)?;
                is_normalized = true;
            }
            _ => {}
        }
    }
    if is_trained && is_normalized { tokenizer_json(&pieces, affixes) } else { Err("it does not say how it was made".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../goldens/tokenizer.model");

    #[test]
    fn every_cut_is_an_error_or_a_tokenizer() {
        assert!(sentencepiece_json(MODEL).is_ok());
        let refused = (0..MODEL.len()).filter(|length| sentencepiece_json(&MODEL[..*length]).is_err()).count();
        assert!(refused > MODEL.len() - 100, "{refused} of {}", MODEL.len());
        assert!(sentencepiece_json(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }

    #[test]
    fn what_rewrites_text_is_refused() {
        let unigram = [0x12, 2, 0x18, 1, 0x1a, 2, 0x20, 0];
        assert!(sentencepiece_json(&unigram).is_err_and(|what| what.contains("BPE")));
        let squeezed = [0x12, 2, 0x18, 2, 0x1a, 2, 0x20, 1];
        assert!(sentencepiece_json(&squeezed).is_err_and(|what| what.contains("rewrites")));
        assert!(sentencepiece_json(&[0x12, 2, 0x18, 2, 0x1a, 2, 0x20, 0]).is_ok());
    }
}
