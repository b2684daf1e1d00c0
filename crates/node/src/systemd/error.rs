//! Errors of calls to systemd, with advice.

use std::io;
use std::path::PathBuf;
use std::time::Duration;
use zbus::{DBusError, fdo};

/// A failed call to systemd, or a request that systemd did not fulfil.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No program listens at the D-Bus socket.
    #[error("cannot reach the system bus at `{}`", socket.display())]
    Unreachable {
        /// The path of the socket.
        socket: PathBuf,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// D-Bus, systemd or a security module denied the call.
    #[error("D-Bus denies `{call}`: {message}")]
    Denied {
        /// The method.
        call: &'static str,
        /// The reason, in the words of the program that denied the call.
        message: String,
    },
    /// D-Bus runs, and systemd is not connected to it.
    #[error("systemd is not available on the system bus")]
    NoSystemd,
    /// systemd is older than the first release that has everything a change needs.
    #[error("systemd {0} is too old: 239 or newer is needed")]
    TooOld(String),
    /// No such unit exists, or the process belongs to no unit.
    #[error("systemd does not know this unit: {0}")]
    NoUnit(String),
    /// The name is not the name of a service.
    #[error("`{0}` is not a service")]
    NotAService(String),
    /// systemd did not answer before the deadline. It may still execute the call.
    #[error("systemd did not answer `{call}` within {} ms", within.as_millis())]
    Late {
        /// The method.
        call: &'static str,
        /// The deadline of the call.
        within: Duration,
    },
    /// A job ended with another result than `done`.
    #[error("the {kind} of `{unit}` ended as `{result}`")]
    Job {
        /// `start`, `stop` or `restart`.
        kind: &'static str,
        /// The unit.
        unit: String,
        /// systemd's name of the result: `canceled`, `timeout`, `failed`, `dependency`, `skipped`, …
        result: String,
    },
    /// A job is finished, and its result was missed, for example because systemd executed itself again. Read the unit's
    /// state instead.
    #[error("the result of the {kind} of `{unit}` was missed")]
    ResultMissed {
        /// `start`, `stop` or `restart`.
        kind: &'static str,
        /// The unit.
        unit: String,
    },
    /// An answer that no systemd since 239 gives. The value names the property or method.
    #[error("systemd's answer to `{0}` has an unexpected form")]
    Unexpected(&'static str),
    /// systemd refused the call for another reason.
    #[error("systemd answers `{call}` with `{name}`: {message}")]
    Refused {
        /// The method.
        call: &'static str,
        /// The D-Bus name of the error.
        name: String,
        /// The text of the error.
        message: String,
    },
    /// The connection broke, or zbus failed.
    #[error("the system bus failed during `{call}`")]
    Broken {
        /// The method.
        call: &'static str,
        /// The error of zbus.
        #[source]
        source: Box<zbus::Error>,
    },
}

impl BusError {
    /// Returns what the operator can do, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "start D-Bus (`systemctl start dbus.socket`); without it the restart of containerd cannot be supervised"
            }
            Self::Denied { .. } => {
                "run as root; in a pod, set `appArmorProfile: Unconfined` and `seLinuxOptions` of type `spc_t`, because the default \
                 profiles of Ubuntu and RHEL deny D-Bus"
            }
            Self::NoSystemd => "run containerd under systemd, or write the files with `--no-restart`",
            Self::TooOld(_) => {
                "upgrade the node, or write the files with `--no-restart` and restart containerd by hand"
            }
            Self::NoUnit(_) | Self::NotAService(_) => {
                "run containerd as a systemd service, so that it can be restarted"
            }
            Self::Late { .. } | Self::Broken { .. } => "run `systemctl status dbus` and `systemctl list-jobs`",
            Self::Job { .. } | Self::ResultMissed { .. } => "run `systemctl status` and `journalctl -u` for the unit",
            Self::Unexpected(_) | Self::Refused { .. } => "read systemd's journal: `journalctl _PID=1`",
        }
    }

    pub(crate) fn new(call: &'static str, error: zbus::Error) -> Self {
        match error {
            zbus::Error::FDO(error) => Self::from_standard_error(call, *error),
            zbus::Error::MethodError(name, message, _) => {
                let message = message.unwrap_or_default();
                match name.as_str() {
                    "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.systemd1.NoUnitForPID" => {
                        Self::NoUnit(message)
                    }
                    name => Self::Refused {
                        call,
                        name: name.to_owned(),
                        message,
                    },
                }
            }
            // D-Bus rejects a client that it cannot authenticate.
            zbus::Error::Handshake(message) => Self::Denied { call, message },
            other => Self::Broken {
                call,
                source: Box::new(other),
            },
        }
    }

    fn from_standard_error(call: &'static str, error: fdo::Error) -> Self {
        match error {
            fdo::Error::AccessDenied(message)
            | fdo::Error::AuthFailed(message)
            | fdo::Error::InteractiveAuthorizationRequired(message) => Self::Denied { call, message },
            fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Self::NoSystemd,
            // The called program left D-Bus before it answered.
            error @ (fdo::Error::NoReply(_) | fdo::Error::Disconnected(_)) => Self::Broken {
                call,
                source: Box::new(zbus::Error::FDO(Box::new(error))),
            },
            other => Self::Refused {
                call,
                name: other.name().to_string(),
                message: other.description().unwrap_or_default().to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_distinguishes_denials_from_an_absent_systemd() {
        let from_standard = |error| BusError::new("RestartUnit", zbus::Error::FDO(Box::new(error)));
        let denied = from_standard(fdo::Error::AccessDenied("SELinux policy denies access".to_owned()));
        assert!(matches!(
            denied,
            BusError::Denied {
                call: "RestartUnit",
                ..
            }
        ));
        assert!(denied.hint().contains("spc_t"));
        assert!(matches!(
            from_standard(fdo::Error::ServiceUnknown(String::new())),
            BusError::NoSystemd
        ));
        let bad = from_standard(fdo::Error::InvalidArgs("Unit name is not valid.".to_owned()));
        assert!(
            bad.to_string().contains("InvalidArgs") && bad.to_string().contains("not valid"),
            "{bad}"
        );
        assert!(matches!(
            from_standard(fdo::Error::NoReply(String::new())),
            BusError::Broken { .. }
        ));
    }
}
