//! Why systemd could not be asked, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;
use zbus::{DBusError, fdo};

/// Why systemd could not be asked, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody listens there.
    #[error("cannot reach the system bus at `{}`", socket.display())]
    Unreachable {
        /// Where the bus was looked for.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The bus, systemd or a security module said no.
    #[error("the system bus denies `{call}`: {said}")]
    Denied {
        /// What was asked.
        call: &'static str,
        /// In the words of whoever denied it.
        said: String,
    },
    /// The bus is there, and systemd is not on it.
    #[error("nobody answers as systemd on the system bus")]
    NoSystemd,
    /// Below the oldest version that has what a change needs.
    #[error("systemd {0} is too old: 239 or newer is needed")]
    TooOld(String),
    /// No such unit, or no unit of such a process.
    #[error("systemd knows no such unit: {0}")]
    NoUnit(String),
    /// Not the name of a service.
    #[error("`{0}` is not a service")]
    NotAService(String),
    /// No answer in time. What was asked may still happen.
    #[error("systemd did not answer `{call}` within {} ms", within.as_millis())]
    Late {
        /// What was asked.
        call: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// A job ended, and not well.
    #[error("the {kind} of `{unit}` ended as `{result}`")]
    Job {
        /// `start`, `stop` or `restart`.
        kind: &'static str,
        /// The unit.
        unit: String,
        /// In systemd's words: `canceled`, `timeout`, `failed`, `dependency`, `skipped`, …
        result: String,
    },
    /// A job is gone, and how it ended was not seen (systemd executed itself again, for one). Look at the unit.
    #[error("the {kind} of `{unit}` ended unseen")]
    Unseen {
        /// `start`, `stop` or `restart`.
        kind: &'static str,
        /// The unit.
        unit: String,
    },
    /// An answer that no systemd since 239 gives.
    #[error("systemd's `{0}` is not what it should be")]
    Unexpected(&'static str),
    /// systemd said no for another reason.
    #[error("systemd answers `{call}` with `{name}`: {said}")]
    Refused {
        /// What was asked.
        call: &'static str,
        /// The error's name on the bus.
        name: String,
        /// Its text.
        said: String,
    },
    /// The connection broke, or the library could not go on.
    #[error("the system bus failed at `{call}`")]
    Broken {
        /// What was asked.
        call: &'static str,
        /// Why.
        #[source]
        source: Box<zbus::Error>,
    },
}

impl BusError {
    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "start D-Bus (`systemctl start dbus.socket`); without it nobody could watch over the restart"
            }
            Self::Denied { .. } => {
                "run as root; in a pod with `appArmorProfile: Unconfined` and `seLinuxOptions` of type `spc_t`, as the default \
                 profiles of Ubuntu and RHEL deny the bus"
            }
            Self::NoSystemd => "containerd must run under systemd; elsewhere write the files with `--no-restart`",
            Self::TooOld(_) => {
                "upgrade the node, or write the files with `--no-restart` and restart containerd by hand"
            }
            Self::NoUnit(_) | Self::NotAService(_) => {
                "start containerd by a systemd service, so that it can be restarted"
            }
            Self::Late { .. } | Self::Broken { .. } => "look at `systemctl status dbus` and `systemctl list-jobs`",
            Self::Job { .. } | Self::Unseen { .. } => "look at `systemctl status` and the journal of the unit",
            Self::Unexpected(_) | Self::Refused { .. } => "look at systemd's journal: `journalctl _PID=1`",
        }
    }

    pub(crate) fn of(call: &'static str, error: zbus::Error) -> Self {
        match error {
            zbus::Error::FDO(error) => Self::of_bus(call, *error),
            zbus::Error::MethodError(name, said, _) => {
                let said = said.unwrap_or_default();
                match name.as_str() {
                    "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.systemd1.NoUnitForPID" => {
                        Self::NoUnit(said)
                    }
                    name => Self::Refused {
                        call,
                        name: name.to_owned(),
                        said,
                    },
                }
            }
            // The bus takes nobody whom it does not know.
            zbus::Error::Handshake(said) => Self::Denied { call, said },
            other => Self::Broken {
                call,
                source: Box::new(other),
            },
        }
    }

    fn of_bus(call: &'static str, error: fdo::Error) -> Self {
        match error {
            fdo::Error::AccessDenied(said)
            | fdo::Error::AuthFailed(said)
            | fdo::Error::InteractiveAuthorizationRequired(said) => Self::Denied { call, said },
            fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Self::NoSystemd,
            // Whoever was asked left the bus before it answered.
            error @ (fdo::Error::NoReply(_) | fdo::Error::Disconnected(_)) => Self::Broken {
                call,
                source: Box::new(zbus::Error::FDO(Box::new(error))),
            },
            other => Self::Refused {
                call,
                name: other.name().to_string(),
                said: other.description().unwrap_or_default().to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_and_absence_are_told_apart() {
        let of = |error| BusError::of("RestartUnit", zbus::Error::FDO(Box::new(error)));
        let denied = of(fdo::Error::AccessDenied("SELinux policy denies access".to_owned()));
        assert!(matches!(
            denied,
            BusError::Denied {
                call: "RestartUnit",
                ..
            }
        ));
        assert!(denied.hint().contains("spc_t"));
        assert!(matches!(
            of(fdo::Error::ServiceUnknown(String::new())),
            BusError::NoSystemd
        ));
        let bad = of(fdo::Error::InvalidArgs("Unit name is not valid.".to_owned()));
        assert!(
            bad.to_string().contains("InvalidArgs") && bad.to_string().contains("not valid"),
            "{bad}"
        );
        assert!(matches!(
            of(fdo::Error::NoReply(String::new())),
            BusError::Broken { .. }
        ));
    }
}
