//! Bytes from the bus: a message is the same however the bytes arrive, and never longer than
//! they are. And the annotations that become properties of a unit: they are refused, or a
//! call that this reader takes.
#![no_main]

use corten::cgroup::fuzz::{BusValue, Call, Message, decode, properties};
use libfuzzer_sys::fuzz_target;
use oracle::{one_line, same};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((message, len))) = decode(bytes) {
        assert!((16..=bytes.len()).contains(&len), "{len} bytes of {}", bytes.len());
        same("without what follows", &decode(&bytes[..len]), &Ok(Some((message.clone(), len))));
        for part in [0, 15, 16, len / 2, len - 1] {
            same(format_args!("the first {part} bytes"), &decode(&bytes[..part.min(len - 1)]), &Ok(None));
        }
        let texts = match &message {
            Message::Return { texts, .. } | Message::Signal { texts, .. } => texts.as_slice(),
            Message::Error { text, .. } => std::slice::from_ref(text),
            Message::Other => &[],
        };
        for text in texts.iter().filter(|text| !text.is_empty() && !text.contains('\u{fffd}')) {
            let end = [text.as_bytes(), b"\0"].concat();
            assert!(bytes.windows(end.len()).any(|part| part == end), "{text:?} is not in the message");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let asked = [("org.systemd.property.Description".to_owned(), text.to_owned())].into();
    match properties(&asked) {
        Ok(found) => found.iter().for_each(|property| {
            well_formed(&property.value.signature());
            written(&property.value);
        }),
        Err(error) => {
            one_line(&error);
            assert!(error.at.starts_with("/annotations/"), "{error}");
        }
    }
});

/// A call with this argument is one whole message.
fn written(value: &BusValue) {
    let args = [BusValue::Variant(Box::new(value.clone()))];
    let call = Call { destination: "d.d", path: "/p", interface: "i.i", member: "M", args: &args };
    let bytes = call.encode(7);
    same("a call", &decode(&bytes), &Ok(Some((Message::Other, bytes.len()))));
}

/// Brackets are closed, and the type has no letter that D-Bus has not.
fn well_formed(signature: &str) {
    assert!((1..=255).contains(&signature.len()), "{signature:?}");
    let depth = signature.chars().fold(0, |depth: i32, c| match c {
        '(' | '{' => depth + 1,
        ')' | '}' => depth - 1,
        _ => depth,
    });
    assert_eq!(depth, 0, "{signature:?}");
    assert!(signature.chars().all(|c| "ybnqiuxtdsogav(){}".contains(c)), "{signature:?}");
}
