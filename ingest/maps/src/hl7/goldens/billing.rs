//! Diagnoses, procedures and insurance, wherever they are sent.

use schemas::Outcome;

use super::{PERSON, flags, one, refusals, told, told_of};

fn of_kind(kind: &str, rest: &str) -> crate::Mapped {
    one(&format!("MSH|^~\\&|||||20200301||{kind}|1|P|2.5\r{PERSON}\rPV1|1||||||||||||||||||V1\r{rest}"))
}

const KINDS: [&str; 9] = [
    "ADT^A01^ADT_A01",
    "ADT^A08^ADT_A01",
    "DFT^P03^DFT_P03",
    "DFT^P11^DFT_P11",
    "BAR^P01^BAR_P01",
    "BAR^P05^BAR_P05",
    "BAR^P10^BAR_P10",
    "BAR^P12^BAR_P12",
    "DFT",
];

#[test]
fn diagnoses_are_named_by_system_and_ranked() {
    let dg1 = "DG1|1||I50.9^Failure^I10C|||F|||||||||2\rDG1|2|I9|428.0|||A\rDG1|3||42^x^SCT|||W|||||||||||||||D\rDG1|4||^words";
    let expected = [
        "encounter.diagnosed - N:4711 V1 2 ICD10CM/I50.9 final",
        "encounter.diagnosed - N:4711 V1 2 ICD9CM/428.0 admitting",
        "encounter.diagnosis_retracted - N:4711 V1 3 SNOMED/42 working",
    ];
    for kind in KINDS {
        let mapped = of_kind(kind, dg1);
        assert_eq!(told_of(&mapped, "encounter.diagnos"), expected, "{kind}");
        assert_eq!(refusals(&mapped), ["DG1[4]-3: the diagnosis has no code"], "{kind}");
    }
}

#[test]
fn a_diagnosis_without_a_system_is_told_by_its_shape_and_flagged() {
    let mapped = of_kind("ADT^A08^ADT_A01", "DG1|1||I50.9^Failure\rDG1|2|ICD|428.0\rDG1|3||LOC1^x^L^I10^Hypertension^I10\rDG1|4||KK1");
    assert_eq!(
        told_of(&mapped, "encounter.diagnosed"),
        [
            "encounter.diagnosed - N:4711 V1 1 ICD10CM/I50.9 -",
            "encounter.diagnosed - N:4711 V1 2 ICD9CM/428.0 -",
            "encounter.diagnosed - N:4711 V1 3 ICD10CM/I10 -",
            "encounter.diagnosed - N:4711 V1 4 /KK1 -",
        ]
    );
    let doubt = "no coding system is stated; told by the shape of the code";
    assert_eq!(flags(&mapped), [format!("DG1[1]-3: {doubt}"), format!("DG1[2]-3: {doubt}")]);
    let deleted = of_kind("ADT^A08^ADT_A01", "DG1|1||\"\"");
    assert_eq!((deleted.outcome, flags(&deleted).len(), told_of(&deleted, "encounter.diag").len()), (Outcome::Mapped, 1, 0));
}

#[test]
fn procedures_are_told_with_their_time() {
    let pr1 = "PR1|1||47562^x^C4||202003020800\rPR1|2|I10|0FT44ZZ||20200302|||||||||1\rPR1|3||99213||||||||||||||||D";
    for kind in KINDS {
        assert_eq!(
            told_of(&of_kind(kind, pr1), "encounter.procedure"),
            [
                "encounter.procedure 2020-03-02T13:00Z N:4711 V1 1 CPT/47562 -",
                "encounter.procedure 2020-03-02T05:00Z N:4711 V1 1 ICD10PCS/0FT44ZZ -",
                "encounter.procedure - N:4711 V1 3 CPT/99213 -",
            ],
            "{kind}"
        );
    }
    let retracted = of_kind("BAR^P12^BAR_P12", &super::segment("PR1", &[(1, "1"), (3, "47562^x^C4"), (20, "D")]));
    assert_eq!(told_of(&retracted, "encounter.procedure"), ["encounter.procedure_retracted - N:4711 V1 1 CPT/47562 -"]);
}

#[test]
fn a_charge_says_what_was_done_and_why_and_a_credit_does_not() {
    let ft1 = |kind: &str| {
        let fields = [(1, "1"), (4, "20200302"), (6, kind), (7, "CHARGE"), (19, "I50.9^x^I10~E11.9^y^I10"), (25, "99213^v^C4")];
        super::segment("FT1", &fields)
    };
    let charged = of_kind("DFT^P03^DFT_P03", &["DG1|1||I50.9^x^I10|||F\r", &ft1("CG"), "\r", &ft1("CR")].concat());
    assert_eq!(
        told_of(&charged, "encounter."),
        [
            "encounter.diagnosed - N:4711 V1 1 ICD10CM/I50.9 final",
            "encounter.diagnosed - N:4711 V1 - ICD10CM/E11.9 -",
            "encounter.procedure 2020-03-02T05:00Z N:4711 V1 - CPT/99213 -",
        ]
    );
    let credited = of_kind("DFT^P03^DFT_P03", &ft1("CR"));
    assert_eq!((credited.outcome, told(&credited).len()), (Outcome::Ignored, 0));
}

#[test]
fn insurance_is_ranked_and_guarantors_are_understood() {
    let in1 = [
        super::segment("IN1", &[(1, "1"), (2, "BAV^Blue Advantage"), (3, "BCBS")]),
        super::segment("IN1", &[(1, "2"), (3, "MCR^^^X")]),
        super::segment("IN1", &[(1, "3"), (2, "AUTO"), (22, "1")]),
        super::segment("IN1", &[(1, "4"), (2, "\"\"")]),
        "IN1|5".to_owned(),
        "GT1|1||DOE^JOHN".to_owned(),
    ]
    .join("\r");
    let expected = [
        "encounter.insured - N:4711 V1 1 BAV -",
        "encounter.insured - N:4711 V1 2 MCR -",
        "encounter.insured - N:4711 V1 1 AUTO -",
        "encounter.insured - N:4711 V1 4 - -",
    ];
    for kind in KINDS {
        let mapped = of_kind(kind, &in1);
        assert_eq!(
            (mapped.outcome, told_of(&mapped, "encounter.insured")),
            (Outcome::Mapped, expected.map(str::to_owned).to_vec()),
            "{kind}"
        );
    }
    let guarantor = of_kind("BAR^P01^BAR_P01", "GT1|1||DOE^JOHN");
    assert_eq!((guarantor.outcome, told(&guarantor).len()), (Outcome::Ignored, 0));
}

#[test]
fn a_purged_or_ended_account_takes_nothing_back() {
    for kind in ["BAR^P02^BAR_P02", "BAR^P06^BAR_P06"] {
        let mapped = of_kind(kind, "DG1|1||I50.9^x^I10");
        assert_eq!((mapped.outcome, told(&mapped).len()), (Outcome::Ignored, 0), "{kind}");
    }
}
