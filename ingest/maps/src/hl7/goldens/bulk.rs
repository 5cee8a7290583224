//! Messages of megabytes in every segment that is read: a map that is quadratic in any of them would not come to an end.

use super::of_bytes;

#[test]
fn megabytes_of_any_segment_are_read_to_the_end() {
    let heads = ["ADT^A40^X", "ADT^A43^X", "ADT^A45^X", "ADT^A24^X", "ADT^A17^X", "ADT^A08^X", "DFT^P03^X", "MDM^T02^X", "ORU^R01^X"];
    let units = [
        "MRG|2",
        "MRG|1~2^^^N",
        "PID|1||2\rMRG|1\rPV1||||||||||||||||||V",
        "TXA|1\rOBX|1|TX|||x",
        "OBR|1\rOBX|1|TX|||x",
        "OBX|1|FT|||x\rNTE|1||y",
    ];
    let billing = ["FT1|1|||||||||||||||||||I10", "PR1|1||99213", "IN1|1|A", "DG1|1||I10", "SPM|1"];
    for head in heads {
        for unit in units.iter().chain(&billing) {
            let mut message = format!("MSH|^~\\&|||||2020||{head}|1|P|2.5\rPID|1||1~2\rPV1|1|I|||||||||||||||||V1\r");
            message.extend([*unit, "\r"].iter().copied().cycle().take(2 * 60_000));
            assert!(of_bytes(message.as_bytes()).rejects.len() <= 1_000, "{head} {unit}");
        }
        let numbers =
            format!("MSH|^~\\&|||||2020||{head}|1|P|2.5\rPID|1||{}\rMRG|{}", "1^^^A^MR~".repeat(100_000), "1^^^A^MR~".repeat(100_000));
        assert!(of_bytes(numbers.as_bytes()).rejects.len() <= 1_000, "{head}");
    }
}

/// Each number is held against those of PID-18 and PID-21.
#[test]
fn as_many_numbers_of_others_as_of_the_patient_are_read_to_the_end() {
    let numbers = |unit: &str| (0..100_000).map(|number| format!("{unit}{number}^^^A^MR")).collect::<Vec<_>>().join("~");
    let fields = [numbers("1"), "|".repeat(15), numbers("2"), "|".repeat(3), numbers("3")].concat();
    let message = format!("MSH|^~\\&|||||2020||ADT^A08|1|P|2.5\rPID|1||{fields}");
    let facts = of_bytes(message.as_bytes()).facts;
    let ties = facts.iter().filter(|fact| fact.text_value.as_deref() == Some("alike")).count();
    assert!(ties > 90_000, "{ties} of the numbers are none of the others'");
}
