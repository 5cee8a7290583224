//! What a document is for, by the code and the names that its sender gives its type.

use schemas::NoteKind;

use super::{Field, Segment};

/// TXA-2, else what the observations call themselves.
pub(crate) fn kind(txa: &Segment<'_>, group: &[Segment<'_>]) -> NoteKind {
    let field = txa.field(2);
    let known = [1, 4, 2, 5].into_iter().filter_map(|component| kind_of(&field.component(component).text()?)).next();
    known.or_else(|| observed(group)).unwrap_or(NoteKind::Other)
}

/// What the first observation that is known by its LOINC code or its name is.
fn observed(group: &[Segment<'_>]) -> Option<NoteKind> {
    group.iter().filter(|segment| segment.name == *b"OBX").find_map(|obx| named(&obx.field(3)))
}

/// OBR-4, else what the observations call themselves.
pub(crate) fn kind_of_report(obr: &Segment<'_>, group: &[Segment<'_>]) -> NoteKind {
    named(&obr.field(4)).or_else(|| observed(group)).unwrap_or(NoteKind::Report)
}

/// Whether a code of observations is that of a document.
pub(crate) fn is_document(field: &Field<'_>) -> bool {
    named(field).is_some()
}

/// What a code of observations means. The short codes of documents are other things there: `HP` may be a bacterium.
fn named(field: &Field<'_>) -> Option<NoteKind> {
    let words = [1, 4, 2].into_iter().filter_map(|component| field.component(component).text()).filter(|code| code.len() > 3);
    words.filter_map(|code| kind_of(&code)).next()
}

/// `DS`, or `LOINC/18842-5` where the sender says LN.
pub(crate) fn type_code(field: &Field<'_>) -> Option<String> {
    let code = field.component(1).text().or_else(|| field.component(2).text())?;
    let loinc = field.component(3).text().is_some_and(|system| matches!(system.to_ascii_uppercase().as_str(), "LN" | "LOINC"));
    Some(if loinc { format!("LOINC/{code}") } else { code })
}

/// HL7 table 0270, LOINC document types and their names.
fn kind_of(code: &str) -> Option<NoteKind> {
    let code = code.to_ascii_uppercase();
    Some(match code.as_str() {
        "HP" | "H&P" | "34117-2" | "47039-3" | "11492-6" => NoteKind::Admission,
        "DS" | "18842-5" | "11490-0" | "28655-9" | "34105-7" | "34106-5" => NoteKind::Discharge,
        "PN" | "PR" | "11506-3" => NoteKind::Progress,
        "DI" | "CD" | "SP" | "AR" | "RAD" | "PATH" | "RADIOLOGY REPORT" | "PATHOLOGY REPORT" | "18748-4" | "11526-1" => NoteKind::Report,
        name if name.contains("HISTORY AND PHYSICAL") || name.contains("HISTORY & PHYSICAL") => NoteKind::Admission,
        name if name.contains("DISCHARGE SUMMARY") => NoteKind::Discharge,
        name if name.contains("PROGRESS NOTE") => NoteKind::Progress,
        _ => return None,
    })
}
