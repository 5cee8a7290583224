//! A file of any size as runs of whole records, in order, unzipped on the way. Holds one run in memory, not the file.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use maps::split::Rest;
use schemas::Format;
use sha2::Digest as _;

/// Bytes of a run; a single record that is larger makes it longer.
const RUN_BYTES: usize = 16 << 20;
/// Bytes of the largest file that is one record, such as a Bundle: it has to be read whole.
const WHOLE_BYTES: usize = 1 << 30;

/// Sixteen digits for a file by name and content. The name itself stays out of the tables: it may name a patient.
///
/// # Errors
/// Where the file cannot be read.
pub fn fingerprint(file: &Path) -> io::Result<String> {
    let mut hasher = sha2::Sha256::new();
    hasher.update(file.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update([0]);
    // To open a pipe is to wait for somebody who writes into it.
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    let mut input = File::open(file)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    Ok(hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// How a file's records follow one another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// HL7 v2 messages or MLLP frames.
    Messages,
    /// One JSON text a line.
    Lines,
    /// The file is one record.
    Whole,
}

/// Whole records of a file.
pub struct Run {
    pub bytes: Vec<u8>,
    /// What of the file follows.
    pub rest: Rest,
}

/// The runs of a file.
pub struct Chunks {
    input: Box<dyn Read + Send>,
    /// Read, and not yet part of a run.
    rest: Vec<u8>,
    shape: Option<Shape>,
    ended: bool,
    run_bytes: usize,
}

impl Chunks {
    /// Opens a file; what begins with the gzip magic is unzipped.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn open(file: &Path) -> io::Result<Self> {
        let mut magic = Vec::new();
        File::open(file)?.take(2).read_to_end(&mut magic)?;
        let plain = BufReader::with_capacity(1 << 20, File::open(file)?);
        let input: Box<dyn Read + Send> =
            if magic == b"\x1f\x8b" { Box::new(flate2::bufread::MultiGzDecoder::new(plain)) } else { Box::new(plain) };
        Ok(Self { input, rest: Vec::new(), shape: None, ended: false, run_bytes: RUN_BYTES })
    }

    /// The next run; `None` at the end.
    ///
    /// # Errors
    /// Where the file cannot be read, its gzip stream is damaged, or it is one record of more than a gigabyte.
    pub fn next_run(&mut self) -> io::Result<Option<Run>> {
        let mut wanted = self.run_bytes;
        loop {
            self.fill(wanted)?;
            if self.ended {
                let run = std::mem::take(&mut self.rest);
                return Ok(Some(Run { bytes: self.trimmed(run), rest: Rest::Nothing }).filter(|run| !run.bytes.is_empty()));
            }
            let shape = *self.shape.get_or_insert_with(|| shape(&self.rest));
            if let Some(end) = last_end(&self.rest, shape) {
                let rest = self.rest.split_off(end);
                let run = std::mem::replace(&mut self.rest, rest);
                return Ok(Some(Run { bytes: self.trimmed(run), rest: Rest::More }));
            }
            if wanted > WHOLE_BYTES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "one record of more than a gigabyte; export it as NDJSON"));
            }
            wanted *= 2;
        }
    }

    /// The end of a line is none of its record, though the line be the only one of its run.
    fn trimmed(&self, mut run: Vec<u8>) -> Vec<u8> {
        if self.shape == Some(Shape::Lines) {
            run.truncate(run.trim_ascii_end().len());
        }
        run
    }

    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let missing = wanted.saturating_sub(self.rest.len());
        let read = self.input.by_ref().take(missing as u64).read_to_end(&mut self.rest)?;
        self.ended = read < missing;
        Ok(())
    }
}

/// Told by the beginning of the file.
fn shape(head: &[u8]) -> Shape {
    match maps::split::sniff(head) {
        Format::Hl7v2 => Shape::Messages,
        Format::Fhir => {
            let first = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty()).unwrap_or_default();
            let is_line = serde_json::from_slice::<serde::de::IgnoredAny>(first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first)).is_ok();
            if is_line { Shape::Lines } else { Shape::Whole }
        }
        _ => Shape::Whole,
    }
}

/// Where the last record that is surely whole ends; `None` where there is no such place.
fn last_end(bytes: &[u8], shape: Shape) -> Option<usize> {
    match shape {
        Shape::Whole => None,
        Shape::Lines => memchr::memrchr(b'\n', bytes).map(|end| end + 1),
        Shape::Messages => {
            let begins = |at: usize| maps::split::sniff(bytes.get(at..).unwrap_or_default()) == Format::Hl7v2;
            // What stands before the first message belongs to it: the envelope of a batch is no record.
            let first = memchr::memmem::find(bytes, b"MSH")?;
            let mut before = bytes.len();
            while let Some(at) = memchr::memrchr3(b'\n', b'\r', 0x0b, bytes.get(..before)?) {
                if at > first && bytes.get(at + 1..at + 4) == Some(b"MSH") && begins(at + 1) {
                    // The start of a frame belongs to the message that it frames.
                    return Some(if bytes.get(at) == Some(&0x0b) { at } else { at + 1 });
                }
                before = at;
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(bytes: &[u8], run_bytes: usize) -> Vec<Run> {
        let input = Box::new(io::Cursor::new(bytes.to_vec()));
        let mut chunks = Chunks { input, rest: Vec::new(), shape: None, ended: false, run_bytes };
        std::iter::from_fn(|| chunks.next_run().expect("memory can be read")).collect()
    }

    #[test]
    fn what_is_no_plain_file_is_refused_before_it_is_opened() {
        assert!(fingerprint(Path::new("/dev/null")).is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput));
    }

    /// Wherever the runs are cut, they hold the records that the whole file holds.
    #[test]
    fn runs_cut_no_record_in_two() {
        let message = |number: usize| {
            format!("MSH|^~\\&|A|B|||20200101||ADT^A31|{number}|P|2.5\rPID|1||{number}^^^H^MR\rNTE|1||MSH is\nMSHA|no header\r")
        };
        let plain: String = (0..40).map(message).collect();
        let framed: String = (0..40).map(|number| format!("\u{b}{}\u{1c}\r", message(number))).collect();
        let batch = format!("FHS|^~\\&\rBHS|^~\\&\r{plain}BTS|40\rFTS|1\r");
        let lines: String = (0..40).map(|number| format!("{{\"resourceType\":\"Patient\",\"id\":\"{number}\"}}\r\n")).collect();
        let bundle = "{\n\"resourceType\": \"Bundle\",\n\"entry\": []\n}\n".to_owned();
        for file in [plain, framed, batch, lines, bundle] {
            let whole = maps::split::records(file.as_bytes());
            for size in [64, 100, 257, 1_000, 100_000] {
                let runs = runs(file.as_bytes(), size);
                let cut: Vec<&[u8]> = runs.iter().flat_map(|run| maps::split::records(&run.bytes)).collect();
                assert!(cut == whole, "runs of {size}: {} records of {}", cut.len(), whole.len());
            }
        }
    }

    /// The counts of a batch are held against the whole of it, wherever its file was cut.
    #[test]
    fn an_envelope_that_counts_wrong_is_flagged_on_the_last_record_in_it() {
        let message = |number: usize| format!("MSH|^~\\&|A|B|||20200101||ADT^A31|{number}|P|2.5\rPID|1||{number}^^^H^MR\r");
        let messages: String = (0..40).map(message).collect();
        let flagged = |file: &str, size| {
            let mut splitter = maps::split::Splitter::default();
            let (mut flagged, mut before) = (Vec::new(), 0);
            for run in runs(file.as_bytes(), size) {
                let split = splitter.split(&run.bytes, run.rest);
                flagged.extend(split.flags.iter().map(|(at, flag)| (before + at, flag.position.clone())));
                before += split.records.len();
            }
            flagged
        };
        for size in [64, 257, 1_000, 100_000] {
            let right = format!("FHS|^~\\&\rBHS|^~\\&\r{messages}BTS|40\rBHS|^~\\&\r{messages}BTS|40\rFTS|2\r");
            assert_eq!(flagged(&right, size), [], "runs of {size}");
            let wrong = format!("FHS|^~\\&\rBHS|^~\\&\r{messages}BTS|40\rBHS|^~\\&\r{messages}BTS|41\rFTS|3\r");
            assert_eq!(flagged(&wrong, size), [(79, "BTS[2]-1".to_owned()), (79, "FTS[1]-1".to_owned())], "runs of {size}");
            let open = format!("FHS|^~\\&\rBHS|^~\\&\r{messages}");
            assert_eq!(flagged(&open, size), [(39, "BHS[1]".to_owned()), (39, "FHS[1]".to_owned())], "runs of {size}");
        }
    }
}
