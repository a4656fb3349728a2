//! The part of Protocol Buffers that CRIU's RPC needs: numbers, and byte strings with a
//! length.

use crate::error::{Error, Result};

/// The wire types of fields.
const NUMBER: u64 = 0;
const FIXED_64: u64 = 1;
const WITH_LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// Adds a number, a boolean, or a member of an enumeration.
    pub fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.put_varint(field << 3 | NUMBER).put_varint(value)
    }

    /// Adds a boolean.
    pub fn truth(&mut self, field: u64, value: bool) -> &mut Self {
        self.number(field, value.into())
    }

    /// Adds a text. CRIU accepts any bytes as a text.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.put_varint(field << 3 | WITH_LENGTH).put_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a message as a field.
    pub fn message(&mut self, field: u64, message: &Message) -> &mut Self {
        self.bytes(field, &message.0)
    }

    /// Adds all fields of another message of the same type.
    pub fn append(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.extend_from_slice(encoded);
        self
    }

    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    fn put_varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
        self
    }
}

/// The value of a received field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub fn number(self) -> Result<u64> {
        if let Value::Number(number) = self { Ok(number) } else { Err(malformed()) }
    }

    /// Returns a 32-bit number with a sign.
    pub fn int32(self) -> Result<i32> {
        let [a, b, c, d, ..] = self.number()?.to_le_bytes();
        Ok(i32::from_le_bytes([a, b, c, d]))
    }

    pub fn bytes(self) -> Result<&'a [u8]> {
        if let Value::Bytes(bytes) = self { Ok(bytes) } else { Err(malformed()) }
    }

    pub fn text(self) -> Result<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Returns the fields of a message, in the order in which they came.
pub fn fields(mut rest: &[u8]) -> Result<Vec<(u64, Value<'_>)>> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        let value = match tag & 7 {
            NUMBER => Value::Number(read_varint(&mut rest)?),
            WITH_LENGTH => {
                let length = usize::try_from(read_varint(&mut rest)?).map_err(|_| malformed())?;
                Value::Bytes(take_bytes(&mut rest, length)?)
            }
            FIXED_64 => Value::Bytes(take_bytes(&mut rest, 8)?),
            FIXED_32 => Value::Bytes(take_bytes(&mut rest, 4)?),
            _ => return Err(malformed()),
        };
        out.push((tag >> 3, value));
    }
    Ok(out)
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = left;
    Ok(taken)
}

fn read_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, left) = rest.split_first().ok_or_else(malformed)?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed())
}

fn malformed() -> Error {
    Error::msg("criu sent a message that can't be understood")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_protobufs() {
        // The example of the format's documentation: field 1 is 150, field 2 "testing".
        let mut message = Message::default();
        message.number(1, 150).bytes(2, b"testing");
        assert_eq!(message.encoded(), b"\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Message::default();
        inner.truth(3, true);
        let mut message = Message::default();
        message.number(64, u64::MAX).message(2, &inner).bytes(15, b"");
        assert_eq!(
            fields(message.encoded()),
            Ok(vec![(64, Value::Number(u64::MAX)), (2, Value::Bytes(b"\x18\x01")), (15, Value::Bytes(b""))])
        );
        assert_eq!(Value::Number(u64::MAX).int32(), Ok(-1));
    }

    #[test]
    fn a_torn_message_is_refused() {
        let mut message = Message::default();
        message.number(1, 300).bytes(2, b"text");
        let whole = message.encoded();
        for end in [1, 2, 4, 5, whole.len() - 1] {
            assert!(fields(&whole[..end]).is_err(), "{end} bytes");
        }
        assert!(fields(&[0x08; 1]).is_err());
        assert!(fields(&[0x0b, 0]).is_err(), "a wire type that is none");
        assert!(fields(&[0xff; 11]).is_err(), "a number without an end");
    }
}
