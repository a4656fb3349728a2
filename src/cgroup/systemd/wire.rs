//! The D-Bus wire format: encodes and decodes values and messages.
//!
//! Supports only what a client of systemd needs. Writes little-endian and reads both byte
//! orders. Checks every length against the bytes that were received. See the D-Bus
//! specification, "Type System" and "Message Protocol".

/// The longest message that is accepted, in bytes. D-Bus allows 128 MiB, but systemd's
/// answers to this client are below a kilobyte.
const MESSAGE_LIMIT: usize = 1 << 20;

/// The size of the header up to and including the length of its fields, in bytes.
const FIXED_HEADER: usize = 16;

/// A value of one of the types that unit properties have.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Byte(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    /// A text without a NUL byte, like all texts here.
    Str(String),
    Path(String),
    Signature(String),
    /// The signature of the elements, and the elements, which all have it.
    Array(String, Vec<Value>),
    Tuple(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Str(text.into())
    }

    pub fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".into(), bytes.iter().copied().map(Value::Byte).collect())
    }

    pub fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".into(),
            Value::Byte(_) => "y".into(),
            Value::Int16(_) => "n".into(),
            Value::Uint16(_) => "q".into(),
            Value::Int32(_) => "i".into(),
            Value::Uint32(_) => "u".into(),
            Value::Int64(_) => "x".into(),
            Value::Uint64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Str(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Tuple(members) => {
                format!("({})", members.iter().map(Value::signature).collect::<String>())
            }
            Value::Variant(_) => "v".into(),
        }
    }
}

/// Returns the alignment of a type: a value begins at a multiple of this many bytes.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(') => 8,
        _ => 1,
    }
}

/// Builds a message or its body.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend_from_slice(&bytes);
    }

    fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn put_signature(&mut self, signature: &str) {
        // No signature is longer than 255 bytes: `annotations` refuses such a value.
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// Writes an array. Its length does not include the padding before the first element.
    fn array(&mut self, element: &str, content: impl FnOnce(&mut Writer)) {
        self.align(4);
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.align(alignment(element));
        let start = self.0.len();
        content(self);
        let len = length(self.0.len() - start);
        self.0[at..at + 4].copy_from_slice(&len);
    }

    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(on) => self.number(u32::from(*on).to_le_bytes()),
            Value::Byte(n) => self.number([*n]),
            Value::Int16(n) => self.number(n.to_le_bytes()),
            Value::Uint16(n) => self.number(n.to_le_bytes()),
            Value::Int32(n) => self.number(n.to_le_bytes()),
            Value::Uint32(n) => self.number(n.to_le_bytes()),
            Value::Int64(n) => self.number(n.to_le_bytes()),
            Value::Uint64(n) => self.number(n.to_le_bytes()),
            Value::Double(n) => self.number(n.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.text(text),
            Value::Signature(text) => self.put_signature(text),
            Value::Array(element, list) => self.array(element, |w| list.iter().for_each(|v| w.value(v))),
            Value::Tuple(members) => {
                self.align(8);
                members.iter().for_each(|member| self.value(member));
            }
            Value::Variant(inner) => {
                self.put_signature(&inner.signature());
                self.value(inner);
            }
        }
    }
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

/// A method call.
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub args: &'a [Value],
}

impl Call<'_> {
    /// Encodes the whole message. The answer to it contains `serial`.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.args.iter().for_each(|arg| body.value(arg));
        let signature: String = self.args.iter().map(Value::signature).collect();
        let mut out = Writer(vec![b'l', METHOD_CALL, 0, 1]);
        out.number(length(body.0.len()));
        out.number(serial.to_le_bytes());
        let fields = [
            (FIELD_PATH, Value::Path(self.path.into())),
            (FIELD_INTERFACE, Value::text(self.interface)),
            (FIELD_MEMBER, Value::text(self.member)),
            (FIELD_DESTINATION, Value::text(self.destination)),
            (FIELD_SIGNATURE, Value::Signature(signature)),
        ];
        out.array("(yv)", |w| {
            for (code, value) in fields {
                w.value(&Value::Tuple(vec![Value::Byte(code), Value::Variant(Box::new(value))]));
            }
        });
        out.align(8);
        out.0.extend_from_slice(&body.0);
        out.0
    }
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR_NAME: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

/// A received message, without the parts that this client does not need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An answer, with its text arguments up to the first array, structure or variant.
    Return {
        to: u32,
        texts: Vec<String>,
    },
    Error {
        to: u32,
        name: String,
        text: String,
    },
    /// A signal, with its text arguments up to the first array, structure or variant.
    Signal {
        interface: String,
        member: String,
        texts: Vec<String>,
    },
    /// A method call, or a message of an unknown type.
    Other,
}

/// Bytes that are not a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Decodes the first message in `bytes`. Returns the message and its length in bytes.
/// `None` if the message is not complete yet.
pub fn decode(bytes: &[u8]) -> Result<Option<(Message, usize)>, Malformed> {
    let Some(head) = bytes.first_chunk::<FIXED_HEADER>() else { return Ok(None) };
    let big = match head[0] {
        b'l' => false,
        b'B' => true,
        _ => return Err(Malformed),
    };
    if head[3] != 1 {
        return Err(Malformed);
    }
    let word =
        |at: usize| usize::try_from(Reader::at(head, at, big).u32().unwrap_or(0)).unwrap_or(usize::MAX);
    let (body_len, fields_len) = (word(4), word(12));
    let limited = |len: usize| if len > MESSAGE_LIMIT { Err(Malformed) } else { Ok(len) };
    let body_at = (FIXED_HEADER + limited(fields_len)?).next_multiple_of(8);
    let end = body_at + limited(body_len)?;
    let Some(message) = bytes.get(..end) else { return Ok(None) };
    let fields = Fields::read(Reader::at(&message[..FIXED_HEADER + fields_len], FIXED_HEADER, big))
        .ok_or(Malformed)?;
    let texts =
        || texts(Reader { bytes: &message[body_at..], at: 0, big }, &fields.signature).ok_or(Malformed);
    let message = match head[1] {
        METHOD_RETURN => Message::Return { to: fields.reply_to, texts: texts()? },
        ERROR => {
            let text = texts()?.into_iter().next().unwrap_or_default();
            Message::Error { to: fields.reply_to, name: fields.error, text }
        }
        SIGNAL => Message::Signal { texts: texts()?, interface: fields.interface, member: fields.member },
        0 => return Err(Malformed),
        _ => Message::Other,
    };
    Ok(Some((message, end)))
}

/// Returns the text arguments of a body. Skips numbers. Stops at an array, a structure or
/// a variant, because nothing useful follows these.
fn texts(mut body: Reader, signature: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for kind in signature.bytes() {
        match kind {
            b's' | b'o' => out.push(body.text()?),
            b'g' => drop(body.read_signature()?),
            b'a' | b'(' | b'{' | b'v' => break,
            basic => body.skip(basic)?,
        }
    }
    Some(out)
}

#[derive(Default)]
struct Fields {
    interface: String,
    member: String,
    error: String,
    reply_to: u32,
    signature: String,
}

impl Fields {
    fn read(mut from: Reader) -> Option<Fields> {
        let mut out = Fields::default();
        while !from.is_empty() {
            from.align(8)?;
            let code = from.take::<1>()?[0];
            let kind = from.read_signature()?;
            match (code, kind.as_str()) {
                (FIELD_INTERFACE, "s") => out.interface = from.text()?,
                (FIELD_MEMBER, "s") => out.member = from.text()?,
                (FIELD_ERROR_NAME, "s") => out.error = from.text()?,
                (FIELD_REPLY_SERIAL, "u") => out.reply_to = from.u32()?,
                (FIELD_SIGNATURE, "g") => out.signature = from.read_signature()?,
                // All header fields that are defined so far have basic types.
                (_, "s" | "o") => drop(from.text()?),
                (_, "g") => drop(from.read_signature()?),
                (_, other) => match other.as_bytes() {
                    [basic] => from.skip(*basic)?,
                    _ => return None,
                },
            }
        }
        Some(out)
    }
}

/// Reads the bytes of a message. Every method returns `None` if a length leads out of the
/// message.
struct Reader<'a> {
    /// The bytes from whose beginning the alignment counts.
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn at(bytes: &'a [u8], at: usize, big: bool) -> Self {
        Reader { bytes, at, big }
    }

    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.next_multiple_of(to);
        (self.at <= self.bytes.len()).then_some(())
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let slice = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(slice)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        self.slice(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take::<4>()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.terminated(len)
    }

    fn read_signature(&mut self) -> Option<String> {
        let len = usize::from(self.slice(1)?[0]);
        self.terminated(len)
    }

    fn terminated(&mut self, len: usize) -> Option<String> {
        let text = self.slice(len)?;
        (self.slice(1)? == [0]).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// Skips a number.
    fn skip(&mut self, kind: u8) -> Option<()> {
        match kind {
            b'y' => self.take::<1>().map(drop),
            b'n' | b'q' => self.take::<2>().map(drop),
            b'b' | b'i' | b'u' | b'h' => self.take::<4>().map(drop),
            b'x' | b't' | b'd' => self.take::<8>().map(drop),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.value(value);
        writer.0
    }

    /// A message as a bus writes it.
    fn message(kind: u8, fields: Vec<(u8, Value)>, args: &[Value]) -> Vec<u8> {
        let mut body = Writer::default();
        args.iter().for_each(|arg| body.value(arg));
        let mut out = Writer(vec![b'l', kind, 1, 1]);
        out.number(length(body.0.len()));
        out.number(7u32.to_le_bytes());
        out.array("(yv)", |w| {
            for (code, value) in fields {
                w.value(&Value::Tuple(vec![Value::Byte(code), Value::Variant(Box::new(value))]));
            }
        });
        out.align(8);
        out.0.extend_from_slice(&body.0);
        out.0
    }

    fn job_removed() -> Vec<u8> {
        let fields = vec![
            (FIELD_PATH, Value::Path("/org/freedesktop/systemd1".into())),
            (FIELD_INTERFACE, Value::text("org.freedesktop.systemd1.Manager")),
            (FIELD_MEMBER, Value::text("JobRemoved")),
            (7, Value::text(":1.0")),
            (9, Value::Uint32(0)),
            (FIELD_SIGNATURE, Value::Signature("uoss".into())),
        ];
        let args =
            [Value::Uint32(5), Value::Path("/job/5".into()), Value::text("a.scope"), Value::text("done")];
        message(SIGNAL, fields, &args)
    }

    #[test]
    fn values_are_padded_and_counted() {
        assert_eq!(written(&Value::text("foo")), *b"\x03\0\0\0foo\0");
        assert_eq!(written(&Value::Signature("as".into())), *b"\x02as\0");
        assert_eq!(written(&Value::bytes(&[1, 2])), *b"\x02\0\0\0\x01\x02");
        assert_eq!(written(&Value::Bool(true)), *b"\x01\0\0\0");
        // Padding between the length and the first element is not counted.
        let numbers = Value::Array("t".into(), vec![Value::Uint64(1)]);
        assert_eq!(written(&numbers), *b"\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        assert_eq!(written(&Value::Array("t".into(), vec![])), *b"\0\0\0\0\0\0\0\0");
        let pair = Value::Tuple(vec![Value::Byte(1), Value::Uint16(2), Value::Uint32(3)]);
        assert_eq!(written(&pair), *b"\x01\0\x02\0\x03\0\0\0");
        let variant = Value::Variant(Box::new(Value::Uint32(9)));
        assert_eq!(written(&variant), *b"\x01u\0\0\x09\0\0\0");
    }

    #[test]
    fn signatures_name_the_types() {
        let rule = Value::Tuple(vec![Value::text("/dev/null"), Value::text("rw")]);
        assert_eq!(rule.signature(), "(ss)");
        assert_eq!(Value::Array(rule.signature(), vec![rule]).signature(), "a(ss)");
    }

    /// Compared byte by byte with what the specification says.
    #[test]
    fn a_call_as_the_bus_reads_it() {
        let call = Call {
            destination: "d.d",
            path: "/p",
            interface: "i.i",
            member: "M",
            args: &[Value::text("x"), Value::Uint32(3)],
        };
        let bytes = call.encode(2);
        assert_eq!(bytes[..16], *b"l\x01\0\x01\x0c\0\0\0\x02\0\0\0\x48\0\0\0");
        assert_eq!(bytes[16..24], *b"\x01\x01o\0\x02\0\0\0");
        assert_eq!(bytes[bytes.len() - 12..], *b"\x01\0\0\0x\0\0\0\x03\0\0\0");
        assert_eq!(bytes.len(), (16usize + 0x48).next_multiple_of(8) + 12);
        assert_eq!(decode(&bytes), Ok(Some((Message::Other, bytes.len()))));
    }

    #[test]
    fn answers_and_signals_are_understood() {
        let bytes = job_removed();
        let texts = ["/job/5", "a.scope", "done"].map(String::from).to_vec();
        let signal = Message::Signal {
            interface: "org.freedesktop.systemd1.Manager".into(),
            member: "JobRemoved".into(),
            texts,
        };
        assert_eq!(decode(&bytes), Ok(Some((signal, bytes.len()))));
        let fields = vec![
            (FIELD_REPLY_SERIAL, Value::Uint32(4)),
            (FIELD_ERROR_NAME, Value::text("no.such")),
            (FIELD_SIGNATURE, Value::Signature("s".into())),
        ];
        let bytes = message(ERROR, fields, &[Value::text("why")]);
        let error = Message::Error { to: 4, name: "no.such".into(), text: "why".into() };
        assert_eq!(decode(&bytes), Ok(Some((error, bytes.len()))));
        let bytes = message(METHOD_RETURN, vec![(FIELD_REPLY_SERIAL, Value::Uint32(4))], &[]);
        assert_eq!(decode(&bytes), Ok(Some((Message::Return { to: 4, texts: vec![] }, bytes.len()))));
    }

    #[test]
    fn a_big_endian_peer_is_understood() {
        let bytes = b"B\x02\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x08\x05\x01u\0\0\0\x01\x02";
        assert_eq!(decode(bytes), Ok(Some((Message::Return { to: 258, texts: vec![] }, bytes.len()))));
    }

    #[test]
    fn a_part_of_a_message_is_waited_for() {
        let bytes = job_removed();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{end}");
        }
        let two = [bytes.clone(), bytes.clone()].concat();
        assert_eq!(decode(&two).map(|found| found.map(|(_, len)| len)), Ok(Some(bytes.len())));
    }

    /// No byte of a message can be changed so that reading it goes wrong.
    #[test]
    fn no_length_leads_out_of_the_message() {
        let bytes = job_removed();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut torn = bytes.clone();
                torn[at] = value;
                if let Ok(Some((_, len))) = decode(&torn) {
                    assert!(len <= torn.len(), "{at} {value}");
                }
            }
        }
        let mut long = bytes.clone();
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&long), Err(Malformed));
        let mut long = bytes;
        long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&long), Err(Malformed));
        assert_eq!(decode(b"HTTP/1.1 400 Bad Request"), Err(Malformed));
    }
}
