//! Messages to measure with: documents of a given size, each its own patient's.

use std::fmt::Write as _;

/// MDM^T02 of about `bytes` bytes.
pub fn document(number: usize, bytes: usize) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|EHR|WARD|WS|HOSP|20250101120000||MDM^T02^MDM_T02|M{number:08}|P|2.5.1|||AL|NE||UNICODE UTF-8\rEVN|T02|20250101120000\r\
         PID|1||{number:08}^^^HOSP^MR||DOE^JOHN||19700101|M||2106-3\rPV1|1|I|4W^401^A|||||||MED|||||||||V{number:08}|||||||||||||||||||||||||20250101\r\
         TXA|1|HP|TX|20250101120000|||||||D{number:08}||||AU|LA|AV\r"
    );
    let mut line = 0;
    while text.len() < bytes {
        line += 1;
        // Writing to memory does not fail.
        let _written = write!(
            text,
            "OBX|{line}|TX|34117-2^History and physical^LN|1|Lungs clear \\T\\ heart regular, line {line} of {number}.||||||F\r"
        );
    }
    text.into_bytes()
}
