//! Parts of this room that only the fuzzers (tests/fuzz) call from outside. They build
//! corten with `--cfg fuzzing`; no other build has this file.

pub use super::device_program::compile as compile_device_rules;
pub use super::host::v1_mounts;
pub use super::pids::list_pids;
pub use super::setting::{Otherwise, Setting};
pub use super::systemd::{BusValue, Call, Message, decode, properties};
pub use super::v1_stats::read as read_v1_stats;
pub use super::v1_table::settings as v1_settings;
pub use super::v2_stats::read as read_v2_stats;
pub use super::v2_table::settings as v2_settings;
