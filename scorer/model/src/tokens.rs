//! Text to tokens: the note's first tokens, the questions, and the letters of the options.
//!
//! The tokenizer that we train is byte-level BPE over printable ASCII (all that [`prompt::clean`] leaves), without splitting words by
//! spaces of their own: a leading space belongs to its word, so ` A` to ` E` are tokens of one piece. Training sees the lettered answers often
//! enough to make them so, and refuses to end otherwise. What the questions are made of stands beside what is learned, each phrase one token.

use std::cell::Cell;
use std::sync::Once;

mod declared;
mod protobuf;
pub(crate) mod sentencepiece;

use schemas::Task;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::config::Config;
use crate::page::Page;
use crate::prompt::{self, LETTERS};

/// Why a tokenizer cannot serve these prompts.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The library refused.
    #[error("could not {action} the tokenizer")]
    Library {
        /// What was tried.
        action: &'static str,
        /// Its reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An option is not one token behind `Answer:`, or is another option's token.
    #[error("option {letter} is not a single token of its own behind \"Answer:\"")]
    Letter {
        /// Which.
        letter: &'static str,
    },
    /// Tokens that the embedding does not have.
    #[error("the tokenizer has {tokens} tokens and the model only {vocab}")]
    Vocabulary {
        /// Of the tokenizer.
        tokens: usize,
        /// `vocab_size`.
        vocab: usize,
    },
    /// No room for a note.
    #[error("the model's {positions} positions leave no room for a note before its question")]
    Context {
        /// `max_position_embeddings`.
        positions: usize,
    },
}

fn library(action: &'static str) -> impl Fn(Refused) -> TokenizerError {
    move |source| TokenizerError::Library { action, source }
}

type Refused = Box<dyn std::error::Error + Send + Sync>;

thread_local! {
    /// Whether this thread's panics are answered for.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What the library makes of a file that anybody may have written: where it panics, it refuses, and says nothing else.
fn guarded<T>(asked: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                told(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(asked));
    GUARDED.set(before);
    answered.unwrap_or_else(|_| Err("the tokenizer's library panicked".into()))
}

/// A tokenizer as its own library writes it. Where the file says that texts are cut or filled up, as whoever saved it last had them, that is left out: notes are cut here.
pub(crate) fn of_json(json: &[u8]) -> Result<Tokenizer, Refused> {
    // The library panics about parts of a file that are no JSON, and takes any memory that the steps ask for; it does not come to that.
    declared::check(json)?;
    guarded(|| {
        let mut tokenizer = Tokenizer::from_bytes(json)?;
        tokenizer.with_padding(None).with_truncation(None)?;
        Ok(tokenizer)
    })
}

/// The `tokenizer.json` of what SentencePiece calls `tokenizer.model`, in bytes.
pub(crate) fn of_sentencepiece(model: &[u8]) -> Result<Vec<u8>, String> {
    Ok(protobuf::sentencepiece_json(model)?.to_string().into_bytes())
}

/// Trains a byte-level BPE of at most `vocab` entries on cleaned `texts`. The three parts of each question are one token each, behind all that is
/// learned from the texts: a question is the same for every note, and its words need not be read anew behind each. The same texts in the same order
/// give the same tokenizer. Token 0 is `<s>`, which opens every text; token 1 is `</s>`.
///
/// # Errors
/// If `vocab` is too small for the options' letters to become single tokens, or the library refuses.
pub fn train_tokenizer<'a>(texts: impl Iterator<Item = &'a str>, vocab: usize) -> Result<Tokenizer, TokenizerError> {
    let phrases = phrases();
    let mut tokenizer = learned(texts.map(prompt::clean).collect(), vocab.saturating_sub(phrases.len()))?;
    tokenizer.add_tokens(phrases.into_iter().map(|phrase| AddedToken::from(phrase, false))).map_err(library("extend"))?;
    letters(&tokenizer)?;
    Ok(tokenizer)
}

/// One that reads the questions word by word, each word one token, as the large vocabulary of a model that was not trained here does.
///
/// # Errors
/// As [`train_tokenizer`].
pub(crate) fn wordy_tokenizer(vocab: usize) -> Result<Tokenizer, TokenizerError> {
    learned(Task::ALL.iter().flat_map(|&task| std::iter::repeat_n(prompt::question(task), 10)).collect(), vocab)
}

/// Byte-level BPE of `corpus`, and of the letters behind `Answer:`.
fn learned(mut corpus: Vec<String>, vocab: usize) -> Result<Tokenizer, TokenizerError> {
    let repeats = corpus.len() / 10 + 10;
    for letter in LETTERS {
        corpus.extend(std::iter::repeat_n(format!("Answer: {letter}"), repeats));
    }
    let model = BPE::builder().build().map_err(library("build"))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true))).with_decoder(Some(ByteLevelDecoder::default()));
    // Byte-level BPE writes the space as U+0120 and the line break as U+010A; other printable ASCII stands for itself.
    let alphabet = ('!'..='~').chain(['\u{120}', '\u{10a}']).collect();
    let special = ["<s>", "</s>"].map(|token| AddedToken::from(token, true)).to_vec();
    let trainer = BpeTrainer::builder().vocab_size(vocab).min_frequency(2).show_progress(false);
    let mut trainer = TrainerWrapper::BpeTrainer(trainer.initial_alphabet(alphabet).special_tokens(special).build());
    tokenizer.train(&mut trainer, corpus.iter().map(String::as_str)).map_err(library("train"))?;
    let mut template = TemplateProcessing::builder();
    template.try_single("<s> $A").map_err(|reason| library("open")(reason.into()))?;
    let opening = template.special_tokens(vec![("<s>", 0)]).build().map_err(|reason| library("open")(reason.into()))?;
    tokenizer.with_post_processor(Some(opening));
    Ok(tokenizer)
}

/// What the questions are made of, each once.
fn phrases() -> Vec<String> {
    let mut phrases = Vec::new();
    for phrase in Task::ALL.into_iter().flat_map(prompt::phrases) {
        if !phrases.contains(&phrase) {
            phrases.push(phrase);
        }
    }
    phrases
}

/// Rows of an embedding that has one for every token: by the highest number and not by how many there are, for a token without a row would
/// be read beyond it.
fn rows_needed(tokenizer: &Tokenizer) -> usize {
    let count = tokenizer.get_vocab_size(true);
    // Where no number is left out, nobody has to copy the whole vocabulary, which the allocator would keep in memory.
    if (0..).take(count).all(|token| tokenizer.id_to_token(token).is_some()) {
        return count;
    }
    tokenizer.get_vocab(true).into_values().max().map_or(0, |token| token as usize + 1)
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
    Ok(guarded(|| tokenizer.encode_fast(text, false)).map_err(library("split a text with"))?.get_ids().to_vec())
}

/// The tokens of a text that stands behind another: without what a tokenizer puts before the first word of a text, such as
/// SentencePiece's space.
fn ids_behind(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
    // Any word that a line break ends will do.
    const BEFORE: &str = "note";
    let (before, whole) = (ids(tokenizer, BEFORE)?, ids(tokenizer, &format!("{BEFORE}{text}"))?);
    match whole.strip_prefix(before.as_slice()) {
        Some(behind) => Ok(behind.to_vec()),
        None => ids(tokenizer, text),
    }
}

/// What a tokenizer puts before every text.
fn opening(tokenizer: &Tokenizer) -> Result<Vec<u32>, TokenizerError> {
    const ANY: &str = "note";
    let whole = guarded(|| tokenizer.encode_fast(ANY, true)).map_err(library("split a text with"))?;
    let (whole, plain) = (whole.get_ids(), ids(tokenizer, ANY)?);
    let before = whole.windows(plain.len().max(1)).position(|some| some == plain);
    Ok(whole[..before.unwrap_or(0)].to_vec())
}

/// The tokens of ` A` to ` E` behind `Answer:`, each another: a vocabulary that does not know them may have one token for all of them.
fn letters(tokenizer: &Tokenizer) -> Result<[u32; 5], TokenizerError> {
    let before = ids(tokenizer, "Answer:")?;
    let mut found = [0; 5];
    for (index, letter) in LETTERS.into_iter().enumerate() {
        let whole = ids(tokenizer, &format!("Answer: {letter}"))?;
        match whole.strip_prefix(before.as_slice()) {
            Some(&[token]) if !found[..index].contains(&token) => found[index] = token,
            _ => return Err(TokenizerError::Letter { letter }),
        }
    }
    Ok(found)
}

/// A tokenizer with its questions already in tokens.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub tokenizer: Tokenizer,
    opening: Vec<u32>,
    questions: Vec<Vec<u32>>,
    /// Tokens of ` A` to ` E`.
    pub letters: [u32; 5],
    /// Tokens of a note that are read.
    pub max_note_tokens: usize,
    /// Bytes of its longest token, or [`LONGEST`].
    longest: usize,
}

/// Bytes that no token of words is longer than.
const LONGEST: usize = 256;
/// Tokens behind those that are read which are looked at, too, where a note is cut before it becomes tokens: the cut may change the last of them.
const SPARE: usize = 64;

impl Reader {
    /// Reads at most `wanted` tokens of a note, fewer if the model has no room for them.
    pub fn new(tokenizer: Tokenizer, config: &Config, wanted: usize) -> Result<Self, TokenizerError> {
        let opening = opening(&tokenizer)?;
        // What opens a text is written out by its number, whatever the vocabulary says.
        let opened = opening.iter().max().map_or(0, |&token| token as usize + 1);
        let tokens = rows_needed(&tokenizer).max(opened);
        if tokens > config.vocab_size {
            return Err(TokenizerError::Vocabulary { tokens, vocab: config.vocab_size });
        }
        let questions = Task::ALL.iter().map(|&task| ids_behind(&tokenizer, &prompt::question(task))).collect::<Result<Vec<_>, _>>()?;
        let positions = config.max_position_embeddings;
        let taken = opening.len() + questions.iter().map(Vec::len).max().unwrap_or(0);
        if positions <= taken {
            return Err(TokenizerError::Context { positions });
        }
        let letters = letters(&tokenizer)?;
        let lengths =
            (0..u32::try_from(tokens).unwrap_or(u32::MAX)).filter_map(|token| Some(tokenizer.id_to_token(token)?.chars().count()));
        let longest = lengths.max().unwrap_or(1).clamp(1, LONGEST);
        Ok(Self { tokenizer, opening, questions, letters, max_note_tokens: wanted.min(positions - taken), longest })
    }

    /// Tokens of the cleaned note, all of them.
    pub fn whole(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        ids(&self.tokenizer, &prompt::clean(text))
    }

    /// The tokens of the cleaned note that are read, and whether it goes on. A long note becomes tokens up to where it is read and some way on, and no further: in the library a byte takes
    /// some hundred and fifty.
    fn note(&self, text: &str) -> Result<(Vec<u32>, bool), TokenizerError> {
        let text = prompt::clean(text);
        let wanted = self.max_note_tokens + SPARE;
        let mut bytes = wanted * self.longest;
        loop {
            let part = text.get(..bytes).unwrap_or(&text);
            let mut tokens = ids(&self.tokenizer, part)?;
            let is_whole = part.len() == text.len();
            if is_whole || tokens.len() >= wanted {
                let goes_on = !is_whole || tokens.len() > self.max_note_tokens;
                tokens.truncate(self.max_note_tokens);
                return Ok((tokens, goes_on));
            }
            bytes *= 2;
        }
    }

    /// The tokens of the question behind the note.
    pub fn question(&self, task: Task) -> &[u32] {
        let index = Task::ALL.iter().position(|&other| other == task);
        index.and_then(|index| self.questions.get(index)).map_or(&[], Vec::as_slice)
    }

    /// The tokens of all questions, in the tasks' order.
    pub fn questions(&self) -> &[Vec<u32>] {
        &self.questions
    }

    /// The note, cut, with its questions.
    pub fn page(&self, text: &str, tasks: &[Task]) -> Result<Page, TokenizerError> {
        let (note, truncated) = self.note(text)?;
        let questions: Vec<_> = tasks.iter().map(|&task| (task, self.question(task))).collect();
        Ok(Page { truncated, ..Page::of(&self.opening, &note, &questions) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        (0..60)
            .map(|index| format!("Patient {index} admitted with chest pain.\nHistory of {} and asthma.", ["gout", "stroke"][index % 2]))
            .collect()
    }

    fn trained(vocab: usize) -> Result<Tokenizer, TokenizerError> {
        train_tokenizer(texts().iter().map(String::as_str), vocab)
    }

    #[test]
    fn the_same_texts_give_the_same_tokenizer() -> Result<(), TokenizerError> {
        let written = |tokenizer: &Tokenizer| tokenizer.to_string(false).map_err(library("write"));
        assert_eq!(written(&trained(400)?)?, written(&trained(400)?)?);
        Ok(())
    }

    /// A post-processor that names a token nobody knows: the library panics when it is first used.
    #[test]
    fn a_tokenizer_that_its_library_panics_about_is_refused() -> Result<(), TokenizerError> {
        let written = include_str!("../goldens/linear/tokenizer.json");
        let (named, known) = ("\"SpecialToken\": {\n          \"id\": \"<s>\"", "\"SpecialToken\": {\n          \"id\": \"<t>\"");
        let json = written.replace(named, known);
        assert_ne!(json, written);
        let refused =
            of_json(json.as_bytes()).map_err(library("parse")).and_then(|tokenizer| Reader::new(tokenizer, &Config::demo(160), 512));
        // "could not use the tokenizer" stands before it.
        let told = refused.map_err(|error| error.to_string()).err();
        assert_eq!(told.as_deref(), Some("could not split a text with the tokenizer"));
        assert!(of_json(b"{\"decoder\": {\"type\": }}").is_err());
        Ok(())
    }

    #[test]
    fn a_vocabulary_without_room_for_the_letters_is_refused() {
        assert!(matches!(trained(97 + phrases().len()), Err(TokenizerError::Letter { .. })));
    }

    /// It would answer every question with equal shares.
    #[test]
    fn a_vocabulary_that_tells_no_letter_from_another_is_refused() -> Result<(), TokenizerError> {
        let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"?": 0, "note": 1}, "unk_token": "?"}}"#;
        let tokenizer = of_json(json.as_bytes()).map_err(library("parse"))?;
        assert!(matches!(letters(&tokenizer), Err(TokenizerError::Letter { letter: "B" })));
        Ok(())
    }

    /// Which note, what is asked, and the options: so five questions cost little more than one.
    #[test]
    fn a_question_is_three_tokens_of_those_that_we_train() -> Result<(), TokenizerError> {
        let tokenizer = trained(400)?;
        let learned = u32::try_from(tokenizer.get_vocab_size(false)).unwrap_or(u32::MAX);
        let places: Vec<_> = phrases().iter().filter_map(|phrase| tokenizer.token_to_id(phrase)).collect();
        assert_eq!(places, (learned..).take(phrases().len()).collect::<Vec<_>>(), "behind all that is learned");
        let reader = Reader::new(tokenizer.clone(), &Config::demo(400), 512)?;
        for task in Task::ALL {
            let tokens = reader.question(task);
            assert_eq!(tokens.len(), 3, "{task:?}");
            assert_eq!(tokenizer.decode(tokens, false).map_err(library("split a text with"))?, prompt::question(task));
        }
        assert_eq!(reader.question(Task::Mortality)[0], reader.question(Task::Denial)[0]);
        assert!(ids(&wordy_tokenizer(1000)?, &prompt::question(Task::Readmission))?.len() > 30);
        Ok(())
    }

    /// So a prompt written out as one text has exactly the tokens that the model reads.
    #[test]
    fn note_and_question_meet_between_tokens() -> Result<(), TokenizerError> {
        let tokenizer = trained(400)?;
        let reader = Reader::new(tokenizer.clone(), &Config::demo(400), 512)?;
        for text in texts().iter().take(5) {
            let page = reader.page(text, &[Task::Mortality])?;
            let whole = format!("{}{}", prompt::clean(text), prompt::question(Task::Mortality));
            let expected = tokenizer.encode(whole, true).map_err(library("split a text with"))?;
            assert_eq!(page.tokens, expected.get_ids());
            let positions: Vec<u32> = (0..).take(page.tokens.len()).collect();
            assert_eq!(page.positions, positions);
        }
        Ok(())
    }

    /// Counted, they would fit.
    #[test]
    fn a_token_without_a_row_in_the_embedding_is_refused() -> Result<(), TokenizerError> {
        let mut tokenizer = trained(400)?;
        let config = Config::demo(tokenizer.get_vocab_size(true));
        assert!(Reader::new(tokenizer.clone(), &config, 512).is_ok());
        tokenizer.add_tokens([AddedToken::from("zzz", false)]).map_err(library("extend"))?;
        let refused = Reader::new(tokenizer, &config, 512);
        assert!(matches!(refused, Err(TokenizerError::Vocabulary { tokens, vocab }) if tokens == vocab + 1));
        let json = include_str!("../goldens/linear/tokenizer.json").replace("\"!\": 2,", "\"!\": 9999,");
        let sparse = of_json(json.as_bytes()).map_err(library("parse"))?;
        assert!(matches!(Reader::new(sparse, &Config::demo(160), 512), Err(TokenizerError::Vocabulary { tokens: 10_000, vocab: 160 })));
        Ok(())
    }

    /// The vocabulary knows nothing of it.
    #[test]
    fn an_opening_token_without_a_row_in_the_embedding_is_refused() -> Result<(), TokenizerError> {
        let json = trained(400)?.to_string(false).map_err(library("write"))?;
        let (known, other) = (r#""<s>":{"id":"<s>","ids":[0]"#, r#""<s>":{"id":"<s>","ids":[9999]"#);
        let written = json.replace(known, other);
        assert_ne!(written, json);
        let opened = of_json(written.as_bytes()).map_err(library("parse"))?;
        assert!(matches!(Reader::new(opened, &Config::demo(400), 512), Err(TokenizerError::Vocabulary { tokens: 10_000, vocab: 400 })));
        Ok(())
    }

    /// The same for SentencePiece, which puts a space before every text and not before a question.
    #[test]
    fn a_question_behind_a_note_begins_with_no_space_of_its_own() -> Result<(), Box<dyn std::error::Error>> {
        let model = include_bytes!("../goldens/tokenizer.model");
        let tokenizer = of_json(&of_sentencepiece(model)?).map_err(library("parse"))?;
        let config = Config { bos_token_id: Some(1), ..Config::demo(tokenizer.get_vocab_size(true)) };
        let reader = Reader::new(tokenizer.clone(), &config, 512)?;
        for text in texts().iter().take(5) {
            let page = reader.page(text, &[Task::Denial])?;
            let whole = format!("{}{}", prompt::clean(text), prompt::question(Task::Denial));
            let expected = tokenizer.encode(whole, true).map_err(library("split a text with"))?;
            assert_eq!(page.tokens, expected.get_ids());
        }
        Ok(())
    }

    /// Whatever a tokenizer's file says of texts that are cut or filled up, and whether or not the configuration names the token that opens one.
    #[test]
    fn what_was_said_of_other_texts_does_not_matter() -> Result<(), TokenizerError> {
        let plain = trained(400)?;
        let json = plain.to_string(false).map_err(library("write"))?;
        let cut = json.replace(
            "\"truncation\":null",
            "\"truncation\":{\"direction\":\"Right\",\"max_length\":16,\"strategy\":\"LongestFirst\",\"stride\":0}",
        );
        let filled = "\"padding\":{\"strategy\":{\"Fixed\":64},\"direction\":\"Right\",\"pad_to_multiple_of\":null,\"pad_id\":0,\"pad_type_id\":0,\"pad_token\":\"<s>\"}";
        let cut = cut.replace("\"padding\":null", filled);
        assert!(cut.contains("max_length") && cut.contains("Fixed"));
        let read = of_json(cut.as_bytes()).map_err(library("parse"))?;
        let nameless = Config { bos_token_id: None, ..Config::demo(400) };
        let (reader, other) = (Reader::new(plain, &Config::demo(400), 512)?, Reader::new(read, &nameless, 512)?);
        let text = texts().concat();
        assert_eq!(reader.page(&text, &Task::ALL)?, other.page(&text, &Task::ALL)?);
        assert_eq!(reader.opening, [0]);
        Ok(())
    }

    /// The first tokens of a note of megabytes are those of all of it.
    #[test]
    fn of_a_long_note_no_more_becomes_tokens_than_is_needed() -> Result<(), Box<dyn std::error::Error>> {
        let pieces = of_json(&of_sentencepiece(include_bytes!("../goldens/tokenizer.model"))?).map_err(library("parse"))?;
        let texts =
            [texts().concat(), "a".repeat(9_000), "ab".repeat(4_000), " of".repeat(5_000), format!("{}\n", "word ".repeat(40)).repeat(60)];
        for tokenizer in [trained(400)?, pieces] {
            let reader = Reader::new(tokenizer.clone(), &Config::demo(rows_needed(&tokenizer)), 24)?;
            for text in &texts {
                let whole = reader.whole(text)?;
                assert!(whole.len() > 24 + SPARE);
                assert_eq!(reader.note(text)?, (whole[..24].to_vec(), true));
            }
        }
        Ok(())
    }

    #[test]
    fn a_long_note_is_cut_and_says_so() -> Result<(), TokenizerError> {
        let reader = Reader::new(trained(400)?, &Config::demo(400), 8)?;
        let page = reader.page(&texts().concat(), &[])?;
        assert_eq!((page.tokens_read, page.truncated, page.note), (8, true, 9));
        Ok(())
    }
}
