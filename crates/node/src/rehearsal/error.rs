//! Why a change could not be rehearsed. None of this says that the change is bad: it says that nobody knows.

use crate::systemd::error::BusError;
use mirrorshift_plan::rehearsal::Variant;
use std::io;
use std::time::Duration;

/// Why a change could not be rehearsed. Nothing on the node was changed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// Only the running machine has a containerd to ask.
    #[error("only the running machine's own `/` can be rehearsed on")]
    NotLive,
    /// A fact without which the sandbox could not stand for the node.
    #[error("{what} is not known: {why}")]
    Unknown {
        /// The fact.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A file or folder that cannot be put in the sandbox.
    #[error("`{path}` cannot be put in the sandbox: it {why}")]
    Place {
        /// The path.
        path: String,
        /// What is the matter with it.
        why: &'static str,
    },
    /// The kernel refused at this path.
    #[error("cannot {action} `{path}`")]
    Io {
        /// A verb.
        action: &'static str,
        /// The path.
        path: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// systemd was not asked, or did not do it.
    #[error("systemd did not start the sandbox")]
    Bus(#[source] Box<BusError>),
    /// systemd could not execute the program: its exit code 203.
    #[error("systemd cannot execute `{0}` in the sandbox")]
    NotExecutable(String),
    /// systemd could not make the sandbox: an exit code of its own, 200 to 243.
    #[error("systemd cannot make the sandbox (exit code {0})")]
    NoSandbox(u64),
    /// It took too long, and was ended.
    #[error("with {variant} the sandbox gave no answer within {} s", within.as_secs())]
    Late {
        /// The files.
        variant: Variant,
        /// How long it was waited for.
        within: Duration,
    },
    /// It ended without an answer.
    #[error("with {variant} the sandbox ended as `{result}` ({status}) without an answer")]
    NoAnswer {
        /// The files.
        variant: Variant,
        /// In systemd's word.
        result: String,
        /// The exit code or signal.
        status: u64,
    },
    /// It could not do what it was there for.
    #[error("in the sandbox, with {variant}: {said}")]
    Inside {
        /// The files.
        variant: Variant,
        /// In its own words.
        said: String,
    },
}

impl RehearsalError {
    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotLive => "leave `--root` out",
            Self::Unknown { .. } => {
                "start containerd and wait until it serves, so that it can be asked what it runs with"
            }
            Self::Place { .. } => "move it to a place of its own below /etc/containerd or /run",
            Self::Io { .. } => "look at the space and the mounts of /run",
            Self::Bus(error) => error.hint(),
            Self::NotExecutable(_) => {
                "put the program on a file system that is not mounted `noexec`, and look for denials of SELinux or AppArmor"
            }
            Self::NoSandbox(_) => {
                "look at `journalctl -u 'mirrorshift-rehearsal-*'`: the number is one of systemd.exec(5), such as 225 for the \
                 network and 226 for the mounts"
            }
            Self::Late { .. } | Self::NoAnswer { .. } => {
                "look at `journalctl -u 'mirrorshift-rehearsal-*'`; on a busy node try again later"
            }
            Self::Inside { .. } => "look at what it says; nothing on the node was changed",
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
