//! Attachments: from base64 and a content type to plain text.

use std::fmt;

use encoding_rs::Encoding;

use super::json;
use super::node::Node;
use super::resource::Resource;
use crate::attachment::{decode_base64, unreadable};
use crate::{markup, split};

/// What a content type says the bytes are; the order is the order of preference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flavour {
    Plain,
    Html,
    Rtf,
    /// C-CDA, mostly.
    Xml,
    /// The type is missing or is no MIME type: text, if the bytes look like it.
    Unknown,
}

/// Where an attachment stands: `content[2].attachment`, `presentedForm[0]`. Put into words only where there is something to tell.
pub(super) struct Spot {
    pub(super) list: &'static str,
    pub(super) number: usize,
    /// What follows the bracket.
    pub(super) rest: &'static str,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]{}", self.list, self.number, self.rest)
    }
}

/// Text of the best readable one among attachments that say the same in several forms, else the field and reason of the first that failed.
/// `None` where there is no attachment at all.
pub(super) fn best(resource: &Resource<'_>, attachments: &[(Spot, &Node<'_>)]) -> Option<Result<String, (String, &'static str)>> {
    let mut readable: Vec<_> = Vec::new();
    let mut failed = None;
    for (field, attachment) in attachments {
        match flavour(&attachment["contentType"]) {
            Some(flavour) => readable.push((flavour, field, *attachment)),
            None => failed = failed.or_else(|| Some((format!("{field}.contentType"), "attachment is not text"))),
        }
    }
    readable.sort_by_key(|(flavour, ..)| *flavour);
    for (flavour, field, attachment) in readable {
        match text(resource, attachment, flavour) {
            Ok(text) => return Some(Ok(text)),
            Err((part, reason)) => failed = failed.or_else(|| Some((format!("{field}.{part}"), reason))),
        }
    }
    failed.map(Err)
}

fn text(resource: &Resource<'_>, attachment: &Node<'_>, flavour: Flavour) -> Result<String, (&'static str, &'static str)> {
    let (part, data, binary_type) = match attachment["data"].as_str() {
        Some(data) => ("data", data, &Node::Null),
        None => {
            let Some(url) = json::word(&attachment["url"]) else { return Err(("data", "attachment has neither data nor address")) };
            let Some(binary) = binary(resource, url) else { return Err(("url", "attachment lies outside this record")) };
            let data = json::first_of(binary, &["data", "content"]).and_then(|(_, data)| data.as_str());
            ("url", data.ok_or(("url", "the attachment's Binary holds no data"))?, &binary["contentType"])
        }
    };
    let too_much = (part, "the attachments of the record unfold to too much");
    resource.reader.unfold(data.len() / 4 * 3).ok_or(too_much)?;
    let bytes = decode_base64(data).ok_or((part, "attachment is not base64"))?;
    let packed = bytes.len();
    let bytes = split::unzip(bytes).map_err(|_| (part, "the attachment's gzip stream is damaged or unfolds to too much"))?;
    resource.reader.unfold(bytes.len().saturating_sub(packed)).ok_or(too_much)?;
    let declared = [&attachment["contentType"], binary_type].into_iter().find_map(|kind| charset(kind.as_str()?));
    let encoding = declared.or_else(|| Encoding::for_bom(&bytes).map(|(marked, _)| marked));
    let decoded = match encoding.filter(|encoding| *encoding != encoding_rs::UTF_8) {
        Some(encoding) => encoding.decode(&bytes).0.into_owned(),
        None => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) if flavour == Flavour::Unknown => return Err(("contentType", "attachment is not text")),
            // Also where UTF-8 was declared: bytes that cannot be it are more often Latin-1 than broken.
            Err(fault) => resource.reader.text(fault.as_bytes()).0.into_owned(),
        },
    };
    let text = match flavour {
        Flavour::Plain => sniffed(decoded).unwrap_or_else(markup::tidied),
        Flavour::Html => markup::html(&decoded),
        Flavour::Rtf => markup::rtf(&decoded),
        Flavour::Xml => markup::xml(&decoded),
        Flavour::Unknown => sniffed(decoded).map_err(|_| ("contentType", "attachment is not text"))?,
    };
    if text.is_empty() { Err((part, "attachment holds no text")) } else { Ok(text) }
}

/// Plain text whatever the bytes were called: markup is often sent as plain. What was given comes back where it looks like no text.
fn sniffed(decoded: String) -> Result<String, String> {
    if unreadable(decoded.as_bytes()).is_some() {
        return Err(decoded);
    }
    Ok(markup::plain(&decoded).unwrap_or_else(|| markup::tidied(decoded)))
}

/// The Binary at an address: in the same Bundle, or contained.
fn binary<'a>(resource: &Resource<'a>, url: &str) -> Option<&'a Node<'a>> {
    let found = match url.strip_prefix('#') {
        Some(local) => json::each(&resource.body["contained"]).find(|inner| json::word(&inner["id"]) == Some(local)),
        None => resource.index.resource(url),
    };
    found.filter(|binary| binary["resourceType"] == "Binary")
}

fn flavour(content_type: &Node<'_>) -> Option<Flavour> {
    let Some(content_type) = json::word(content_type) else { return Some(Flavour::Unknown) };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/plain" | "text" | "txt" | "plain" | "text/markdown" | "text/x-markdown" => Some(Flavour::Plain),
        "text/html" | "application/xhtml+xml" | "html" | "xhtml" | "text/xhtml" => Some(Flavour::Html),
        "application/gzip" | "application/x-gzip" | "application/octet-stream" => Some(Flavour::Unknown),
        "text/rtf" | "application/rtf" | "rtf" | "text/richtext" => Some(Flavour::Rtf),
        "text/xml" | "application/xml" | "xml" | "application/cda+xml" | "application/hl7-cda+xml" | "application/hl7-v3+xml" => {
            Some(Flavour::Xml)
        }
        "pdf" | "docx" | "doc" => None,
        other => (!other.contains('/')).then_some(Flavour::Unknown),
    }
}

/// The `charset` parameter, quoted or not.
fn charset(content_type: &str) -> Option<&'static Encoding> {
    let parameters = content_type.split(';').skip(1);
    let value = parameters.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?.1;
    Encoding::for_label(value.trim().trim_matches(['"', '\'']).as_bytes())
}
