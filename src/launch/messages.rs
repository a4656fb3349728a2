//! The messages between the runtime and its children. Each kind of child has a
//! conversation of its own, so that no child can send a message of another.
//!
//! | conversation | child | begins in |
//! |---|---|---|
//! | [`Create`] | init | `container/create.rs`, `init/mod.rs` |
//! | [`Exec`] | the exec process | `container/exec.rs`, `init/exec_process.rs` |
//! | [`LiveMounts`] | the process that changes the mounts of a running container | `container/mounts.rs`, `init/live_mounts.rs` |
//! | [`StartCriu`] | the process that becomes CRIU | `criu/service.rs` |
//!
//! Each conversation is drawn at its type: the runtime is on the left, the child on the
//! right, and time goes down.
//!
//! A child may send `Failed` as its last message at any point. The end of the stream in
//! place of a message means that the other side died. A child then exits, so a killed
//! runtime leaves no incomplete container.
//!
//! A message is one packet: a tag, and the bytes of its value. The tag is the message's
//! place in its list below. Both ends of a conversation are the same version of the
//! runtime, because the child is a fork, so the lists may change at any time.

use crate::error::Error;

/// The longest message, in bytes. The sender cuts a longer error or warning.
pub const MAX: usize = 8192;

/// A message of one side of a conversation.
pub trait Message: Sized {
    /// Encodes the message for one packet. Cuts a long warning or error, so that the packet
    /// has at most [`MAX`] bytes.
    fn encode(&self) -> Vec<u8>;

    /// Decodes a packet. `None` if it is no message of this side.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// The messages of each side.
pub trait Conversation {
    /// What the child sends. An error becomes its last message, `Failed`.
    type FromChild: Message + From<Error>;
    /// What the runtime sends.
    type ToChild: Message + PartialEq;
}

/// A conversation whose child may do a double fork (`init/double_fork.rs`).
pub trait WithSecondClone: Conversation {
    /// The child is no longer the process that was cloned. The new process's pidfd comes
    /// along, because that process may not know its own pid on the host.
    const SECOND_CLONE: Self::FromChild;
}

/// A conversation whose child may install a seccomp filter with a listener.
pub trait WithListener: Conversation {
    /// Tells which descriptor of the child is the listener.
    fn listener(number: i32) -> Self::FromChild;
    /// The agent has the listener.
    const LISTENER_TAKEN: Self::ToChild;
}

/// Defines conversations. The last message of every child is `Failed`.
macro_rules! conversations {
    ($($(#[$doc:meta])* $conversation:ident: $from:ident, $to:ident;)+) => {$(
        $(#[$doc])*
        pub struct $conversation;

        impl Conversation for $conversation {
            type FromChild = $from;
            type ToChild = $to;
        }

        impl From<Error> for $from {
            fn from(error: Error) -> Self {
                $from::Failed(error)
            }
        }
    )+};
}

conversations! {
    /// `create` and `run`: the runtime and init.
    ///
    /// ```text
    ///             ◀────── SecondClone + pidfd      only after a double fork
    ///   IdsAndLimitsSet ────────────────────▶      only if init waits for its id maps or its
    ///                                              resource limits
    ///   InCgroup ───────────────────────────▶      only if systemd moved init into its cgroup
    ///             ◀──────────── NetworkCreated     only with netDevices
    ///   DevicesMoved ───────────────────────▶
    ///             ◀── OpenSource(mount) (+ fd)     only for a source that is opened late, see
    ///   SourceOpened + fd ──────────────────▶      launch/late.rs
    ///             ◀─────── MapIds(mount) + fd      only for a late source that is idmapped
    ///   IdsMapped ──────────────────────────▶
    ///             ◀───────────── Warning(text)     only if a mount keeps a flag that it should not
    ///             ◀──────────────── MountsReady    only with prestart/createRuntime hooks
    ///   HooksDone ──────────────────────────▶
    ///             ◀──── LacksCapabilities(them)    only if init can't get all capabilities
    ///             ◀─────────── Listener(number)    only with a seccomp agent, if the filter has
    ///   ListenerTaken ──────────────────────▶      to be installed before the gate
    ///             ◀────────────────────── Ready    everything is set up except the payload
    ///   Commit ─────────────────────────────▶      init goes on: to the start gate, or to execve
    ///             ◀────────── (end of stream)      execve succeeded, or init waits at the gate
    /// ```
    Create: FromInit, ToInit;

    /// `exec`: the runtime and the exec process.
    ///
    /// ```text
    ///             ◀────── SecondClone + pidfd      only after a double fork
    ///             ◀──── LacksCapabilities(them)    only if the process can't get all capabilities
    ///   Commit ─────────────────────────────▶      the process is known and is in its cgroup
    ///             ◀─────────── Listener(number)    only with a seccomp agent
    ///   ListenerTaken ──────────────────────▶
    ///             ◀────────── (end of stream)      execve succeeded
    /// ```
    Exec: FromExec, ToExec;

    /// `mounts add` and `mounts remove`: the runtime and the process that changes the mounts.
    ///
    /// ```text
    ///             ◀────── SecondClone + pidfd      always: it enters the pid namespace
    ///   SecondCloneKnown ───────────────────▶      the runtime can end the process
    ///             ◀─────────────── MountsChanged
    ///   Commit ─────────────────────────────▶      the mounts stay
    /// ```
    LiveMounts: FromMounter, ToMounter;

    /// `checkpoint` and `restore`: the runtime and the process that becomes CRIU.
    ///
    /// ```text
    ///             ◀─────────────────── Prepared    everything but the execve
    ///   Execute ────────────────────────────▶
    ///             ◀────────── (end of stream)      execve succeeded
    /// ```
    StartCriu: FromCriu, ToCriu;
}

impl WithSecondClone for Create {
    const SECOND_CLONE: FromInit = FromInit::SecondClone;
}

impl WithSecondClone for Exec {
    const SECOND_CLONE: FromExec = FromExec::SecondClone;
}

impl WithSecondClone for LiveMounts {
    const SECOND_CLONE: FromMounter = FromMounter::SecondClone;
}

impl WithListener for Create {
    fn listener(number: i32) -> FromInit {
        FromInit::Listener(number)
    }
    const LISTENER_TAKEN: ToInit = ToInit::ListenerTaken;
}

impl WithListener for Exec {
    fn listener(number: i32) -> FromExec {
        FromExec::Listener(number)
    }
    const LISTENER_TAKEN: ToExec = ToExec::ListenerTaken;
}

/// Defines the messages of one side from one list. A tag is a place in the list.
macro_rules! messages {
    ($(#[$doc:meta])* $messages:ident {
        $($(#[$about:meta])* $name:ident $(($value:ident: $kind:ty))?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq)]
        pub enum $messages {
            $($(#[$about])* $name $(($kind))?,)+
        }

        const _: () = {
            #[repr(u8)]
            enum Tag {
                $($name,)+
            }

            impl Message for $messages {
                fn encode(&self) -> Vec<u8> {
                    let mut out = Vec::new();
                    match self {
                        $(Self::$name $(($value))? => {
                            out.push(Tag::$name as u8);
                            $($value.put(&mut out);)?
                        })+
                    }
                    out
                }

                fn decode(bytes: &[u8]) -> Option<Self> {
                    let (tag, mut rest) = bytes.split_first()?;
                    let rest = &mut rest;
                    let message = match *tag {
                        $(tag if tag == Tag::$name as u8 => Self::$name $((<$kind>::take(rest)?))?,)+
                        _ => return None,
                    };
                    rest.is_empty().then_some(message)
                }
            }
        };
    };
}

messages! {
    /// A message from init.
    FromInit {
        /// Init is no longer the process that was cloned. The new process's pidfd comes
        /// along.
        SecondClone,
        /// Init's network namespace exists. Asks for the network devices.
        NetworkCreated,
        /// Asks for the source of the mount with this index. The container's root comes
        /// along if the source is below it.
        OpenSource(mount: u32),
        /// Asks to map the ids of the tree that comes along, for the mount with this index.
        MapIds(mount: u32),
        /// A line for the log.
        Warning(text: String),
        /// The mounts are attached. Asks for the runtime's hooks.
        MountsReady,
        /// Capabilities that init should have and can't get. They are no failure.
        LacksCapabilities(capabilities: Lacking),
        /// The number of init's descriptor that is the listener of its filter.
        Listener(number: i32),
        /// Everything is set up except the payload.
        Ready,
        /// The last message: the reason why init ends.
        Failed(error: Error),
    }
}

messages! {
    /// A message to init.
    ToInit {
        /// The id maps are written and the resource limits are set, as far as init waits
        /// for them.
        IdsAndLimitsSet,
        /// systemd has moved init into its cgroup.
        InCgroup,
        /// The network devices are in init's network namespace.
        DevicesMoved,
        /// The source of a mount comes along.
        SourceOpened,
        /// The ids of the tree are mapped.
        IdsMapped,
        /// The prestart and createRuntime hooks have run.
        HooksDone,
        /// The agent has the listener.
        ListenerTaken,
        /// The container is complete. Init goes on: to the start gate, or to execve.
        Commit,
    }
}

messages! {
    /// A message from the exec process.
    FromExec {
        /// The exec process is no longer the process that was cloned. The new process's
        /// pidfd comes along.
        SecondClone,
        /// Capabilities that the process should have and can't get. They are no failure.
        LacksCapabilities(capabilities: Lacking),
        /// The number of the process's descriptor that is the listener of its filter.
        Listener(number: i32),
        /// The last message: the reason why the process ends.
        Failed(error: Error),
    }
}

messages! {
    /// A message to the exec process.
    ToExec {
        /// The runtime has done its part. The process goes on to execve.
        Commit,
        /// The agent has the listener.
        ListenerTaken,
    }
}

messages! {
    /// A message from the process that changes mounts.
    FromMounter {
        /// The process is no longer the one that was cloned. The new process's pidfd comes
        /// along.
        SecondClone,
        /// All mounts are changed. Without `Commit`, the process rolls the changes back.
        MountsChanged,
        /// The last message: the reason why no mount is changed.
        Failed(error: Error),
    }
}

messages! {
    /// A message to the process that changes mounts.
    ToMounter {
        /// The runtime knows which process to end if a process of the container stops it.
        SecondCloneKnown,
        /// The runtime reports success, so the changes stay.
        Commit,
    }
}

messages! {
    /// A message from the process that becomes CRIU.
    FromCriu {
        /// The process is in its cgroup, and everything is prepared for CRIU.
        Prepared,
        /// The last message: the reason why the process ends.
        Failed(error: Error),
    }
}

messages! {
    /// A message to the process that becomes CRIU.
    ToCriu {
        /// The process may execute CRIU.
        Execute,
    }
}

/// Capabilities, a bit each, that a process should have and lacks.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct Lacking {
    /// The runtime itself lacks them.
    pub of_runtime: u64,
    /// They can't be ambient, for example because they are not inheritable.
    pub ambient: u64,
}

/// The value that a message carries.
trait Value: Sized {
    /// Appends the value to a packet that has at most [`MAX`] bytes afterwards.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes the value off the front of `bytes`.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty)+) => {$(
        impl Value for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$number>::from_le_bytes(*number))
            }
        }
    )+};
}

numbers!(i32 u32 u64);

impl Value for Lacking {
    fn put(&self, out: &mut Vec<u8>) {
        self.of_runtime.put(out);
        self.ambient.put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Lacking { of_runtime: u64::take(bytes)?, ambient: u64::take(bytes)? })
    }
}

/// A text is the rest of its packet.
impl Value for String {
    fn put(&self, out: &mut Vec<u8>) {
        let room = MAX.saturating_sub(out.len());
        out.extend_from_slice(&self.as_bytes()[..self.len().min(room)]);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(String::from_utf8_lossy(std::mem::take(bytes)).into_owned())
    }
}

/// An error is the rest of its packet.
impl Value for Error {
    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.encode(out);
        if out.len() > MAX {
            out.truncate(start);
            shorten_fields(self).encode(out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Error::decode(std::mem::take(bytes))
    }
}

/// Cuts each text of the error to 400 characters, so that the message fits.
fn shorten_fields(error: &Error) -> Error {
    let cut = |text: &String| text.chars().take(400).collect();
    Error {
        at: cut(&error.at),
        subject: cut(&error.subject),
        op: cut(&error.op),
        hint: cut(&error.hint),
        ..error.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    fn survive<M: Message + PartialEq + std::fmt::Debug>(messages: impl IntoIterator<Item = M>) {
        for message in messages {
            assert_eq!(M::decode(&message.encode()).as_ref(), Some(&message));
        }
    }

    #[test]
    fn messages_survive_the_wire() {
        let error = || Error::os("mount", Errno::EPERM).at("/mounts/1");
        let lacking = Lacking { of_runtime: 1 << 40, ambient: 1 };
        survive([
            FromInit::SecondClone,
            FromInit::NetworkCreated,
            FromInit::OpenSource(1),
            FromInit::MapIds(u32::MAX),
            FromInit::Warning("a mount".into()),
            FromInit::MountsReady,
            FromInit::LacksCapabilities(lacking),
            FromInit::Listener(8),
            FromInit::Ready,
            error().into(),
        ]);
        survive([ToInit::IdsAndLimitsSet, ToInit::InCgroup, ToInit::DevicesMoved, ToInit::SourceOpened]);
        survive([ToInit::IdsMapped, ToInit::HooksDone, ToInit::ListenerTaken, ToInit::Commit]);
        survive([FromExec::SecondClone, FromExec::LacksCapabilities(lacking), FromExec::Listener(3)]);
        survive([FromExec::from(error())]);
        survive([ToExec::Commit, ToExec::ListenerTaken]);
        survive([FromMounter::SecondClone, FromMounter::MountsChanged, error().into()]);
        survive([ToMounter::SecondCloneKnown, ToMounter::Commit]);
        survive([FromCriu::Prepared, error().into()]);
        survive([ToCriu::Execute]);
    }

    #[test]
    fn no_message_is_longer_than_a_packet() {
        let long = "x".repeat(3 * MAX);
        for message in [FromInit::Warning(long.clone()), FromInit::Failed(Error::msg(long))] {
            let packet = message.encode();
            assert!(packet.len() <= MAX);
            assert!(FromInit::decode(&packet).is_some());
        }
        let long = Error::os("x".repeat(3 * MAX), Errno::EPERM);
        let cut = FromInit::decode(&FromInit::Failed(long).encode());
        assert!(matches!(cut, Some(FromInit::Failed(error)) if error.is(Errno::EPERM)));
    }

    #[test]
    fn noise_is_refused() {
        for noise in [&[][..], &[10], &[0, 2], &[2], &[6, 1], &[7, 1, 2], &[9, 255, 255, 255, 255]] {
            assert_eq!(FromInit::decode(noise), None, "{noise:?}");
        }
        for noise in [&[][..], &[8], &[0, 0], &[255]] {
            assert_eq!(ToInit::decode(noise), None, "{noise:?}");
        }
    }
}
