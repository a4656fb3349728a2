//! An answer of CRIU: refused, or the fields that a second reading finds, too. And CRIU's
//! log, of which an error quotes the last lines.
#![no_main]

use corten::criu::messages::Response;
use corten::criu::{WireMessage, WireValue, errors_in, fields};
use libfuzzer_sys::fuzz_target;
use oracle::{one_line, same};

fuzz_target!(|bytes: &[u8]| {
    let told = errors_in(&String::from_utf8_lossy(bytes));
    assert!(!told.contains('\n') && told.len() <= 3 * bytes.len() + 16, "{told:?}");
    match fields(bytes) {
        Ok(read) => {
            let mut written = WireMessage::default();
            for (field, value) in &read {
                match value {
                    WireValue::Number(number) => written.number(*field, *number),
                    WireValue::Bytes(bytes) => written.bytes(*field, bytes),
                };
            }
            same("read, written, read", &fields(written.encoded()), &Ok(read));
            same("the answer", &Response::decode(written.encoded()), &Response::decode(bytes));
            // Of fields that come twice the last counts; so an answer after an answer wins.
            let twice = [bytes, bytes].concat();
            same("twice", &Response::decode(&twice), &Response::decode(bytes));
        }
        Err(error) => {
            one_line(&error);
            Response::decode(bytes).expect_err("an answer that is no message");
        }
    }
});
