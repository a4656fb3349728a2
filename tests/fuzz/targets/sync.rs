//! The messages between the runtime and its children, and the errors in them: what
//! is understood is written again as it was read.
#![no_main]

use corten::error::Error;
use corten::launch::messages::{Conversation, Create, Exec, LiveMounts, Message, StartCriu};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    both_sides::<Create>(bytes);
    both_sides::<Exec>(bytes);
    both_sides::<LiveMounts>(bytes);
    both_sides::<StartCriu>(bytes);
    if let Some(error) = Error::decode(bytes) {
        let mut again = Vec::new();
        error.encode(&mut again);
        assert_eq!(Error::decode(&again), Some(error));
    }
});

fn both_sides<C: Conversation>(bytes: &[u8]) {
    survives::<C::FromChild>(bytes);
    survives::<C::ToChild>(bytes);
}

fn survives<M: Message>(bytes: &[u8]) {
    if let Some(message) = M::decode(bytes) {
        let again = message.encode();
        // A message that is too long is cut, once.
        assert_eq!(M::decode(&again).map(|message| message.encode()), Some(again));
    }
}
