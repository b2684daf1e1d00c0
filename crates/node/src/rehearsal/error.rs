//! Errors of a rehearsal. Such an error does not mean that the change is bad: whether it is good is unknown.

use crate::systemd::error::BusError;
use mirrorshift_plan::rehearsal::Variant;
use std::io;
use std::time::Duration;

/// The reason why a change could not be rehearsed. Nothing on the node was changed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The root is a folder, which has no running containerd.
    #[error("a rehearsal needs the running machine's own `/`")]
    NotLive,
    /// A fact is unavailable without which the sandbox would differ from the node.
    #[error("{what} is unknown: {why}")]
    Unknown {
        /// The fact, as a noun phrase.
        what: &'static str,
        /// The reason why it is unavailable.
        why: String,
    },
    /// A file or folder cannot be put into the sandbox.
    #[error("`{path}` cannot be put into the sandbox: it {why}")]
    Place {
        /// The path.
        path: String,
        /// The reason, as the end of a sentence.
        why: &'static str,
    },
    /// The kernel refused an operation on a path.
    #[error("cannot {action} `{path}`")]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The path.
        path: String,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// systemd could not be called, or did not start the sandbox.
    #[error("systemd did not start the sandbox")]
    Bus(#[source] Box<BusError>),
    /// systemd could not execute the program (its exit code 203).
    #[error("systemd cannot execute `{0}` in the sandbox")]
    NotExecutable(String),
    /// systemd could not set up the sandbox (an exit code from 200 to 243).
    #[error("systemd cannot set up the sandbox (exit code {0})")]
    NoSandbox(u64),
    /// The sandbox exceeded its time limit, and systemd ended it.
    #[error("with {variant} the sandbox gave no answer within {} s", within.as_secs())]
    Late {
        /// The set of files.
        variant: Variant,
        /// The time limit.
        within: Duration,
    },
    /// The sandbox ended without an answer.
    #[error("with {variant} the sandbox ended as `{result}` ({status}) without an answer")]
    NoAnswer {
        /// The set of files.
        variant: Variant,
        /// systemd's name of the result.
        result: String,
        /// The exit code or signal.
        status: u64,
    },
    /// The program in the sandbox could not do its work.
    #[error("in the sandbox, with {variant}: {message}")]
    Inside {
        /// The set of files.
        variant: Variant,
        /// The message of the program.
        message: String,
    },
}

impl RehearsalError {
    /// Returns what the operator can do, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotLive => "run the command without `--root`",
            Self::Unknown { .. } => {
                "start containerd and wait until it serves, because the rehearsal copies its properties"
            }
            Self::Place { .. } => "move it to a separate folder in /etc/containerd or /run",
            Self::Io { .. } => "check the free space and the mounts of /run",
            Self::Bus(error) => error.hint(),
            Self::NotExecutable(_) => {
                "put the program on a file system that is not mounted `noexec`, and check the log for denials of SELinux or AppArmor"
            }
            Self::NoSandbox(_) => {
                "read `journalctl -u 'mirrorshift-rehearsal-*'`: systemd.exec(5) explains the number, such as 225 for the \
                 network and 226 for the mounts"
            }
            Self::Late { .. } | Self::NoAnswer { .. } => {
                "read `journalctl -u 'mirrorshift-rehearsal-*'`; if the node is busy, try again later"
            }
            Self::Inside { .. } => "remove the cause and try again; nothing on the node was changed",
        }
    }

    pub(super) fn io(action: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl From<BusError> for RehearsalError {
    fn from(error: BusError) -> Self {
        Self::Bus(Box::new(error))
    }
}
