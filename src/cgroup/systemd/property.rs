//! A property of a unit.

use super::wire::Value;

/// One property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: String,
    pub value: Value,
    /// Whether the runtime may leave the property out if systemd does not know it. The
    /// runtime also writes the kernel's file, or nothing depends on the property.
    pub optional: bool,
}

impl Property {
    pub fn needed(name: impl Into<String>, value: Value) -> Property {
        Property { name: name.into(), value, optional: false }
    }

    pub fn optional(name: &str, value: Value) -> Property {
        Property { name: name.into(), value, optional: true }
    }

    /// Returns an optional property whose value is a number.
    pub fn number(name: &str, value: u64) -> Property {
        Property::optional(name, Value::Uint64(value))
    }

    /// Returns an optional property with a number for one block device.
    pub fn of_device(name: &str, major: u32, minor: u32, value: u64) -> Property {
        let pair =
            Value::Tuple(vec![Value::text(format!("/dev/block/{major}:{minor}")), Value::Uint64(value)]);
        Property::optional(name, Value::Array("(st)".into(), vec![pair]))
    }
}
