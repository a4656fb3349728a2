//! The messages between the host side and init, and the errors in them: what
//! is understood is written again as it was read.
#![no_main]

use corten::error::Error;
use corten::launch::sync::{FromInit, ToInit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(message) = FromInit::decode(bytes) {
        let again = message.encode();
        // A message that is too long is cut, once.
        assert_eq!(FromInit::decode(&again).map(|message| message.encode()), Some(again));
    }
    if let Some(message) = ToInit::decode(bytes) {
        assert_eq!(ToInit::decode(&message.encode()), Some(message));
    }
    if let Some(error) = Error::decode(bytes) {
        let mut again = Vec::new();
        error.encode(&mut again);
        assert_eq!(Error::decode(&again), Some(error));
    }
});
