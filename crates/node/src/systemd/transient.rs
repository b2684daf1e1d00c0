//! Transient units, described by typed properties. Typed properties are used because systemd would refuse a misspelt
//! name or a value of the wrong type only at run time, possibly in the middle of a change.

use crate::systemd::bus::{Bus, version_number};
use crate::systemd::error::BusError;
use crate::systemd::value;
use std::time::Duration;
use zbus::Variant;

/// One command of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The absolute path of the program.
    pub path: String,
    /// All arguments, including the name of the program.
    pub argv: Vec<String>,
    /// True if systemd ignores a failure of the command, like the `-` prefix in unit files.
    pub may_fail: bool,
}

/// A property of a transient service. Each variant has the name under which `systemd.exec(5)`, `systemd.service(5)` or
/// `systemd.unit(5)` documents it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant has the name of the setting that systemd documents"
)]
pub enum Property {
    Description(String),
    Type(&'static str),
    ExecStart(Exec),
    ExecStopPost(Exec),
    RemainAfterExit(bool),
    CollectMode(&'static str),
    /// Keeps the unit loaded until the client that created it has read the result, or has left D-Bus.
    AddRef(bool),
    DefaultDependencies(bool),
    After(Vec<String>),
    RuntimeMaxSec(Duration),
    TimeoutStartSec(Duration),
    TimeoutStopSec(Duration),
    KillMode(&'static str),
    /// The number of the signal, such as 9.
    KillSignal(i32),
    PrivateNetwork(bool),
    PrivateMounts(bool),
    PrivateTmp(bool),
    ProtectSystem(&'static str),
    ProtectControlGroups(bool),
    /// Mount point and options.
    TemporaryFileSystem(Vec<(String, String)>),
    /// Source and destination. Mounts under the source are included.
    BindPaths(Vec<(String, String)>),
    /// Source and destination. Mounts under the source are included.
    BindReadOnlyPaths(Vec<(String, String)>),
    /// A path may be missing if it has the prefix `-`.
    InaccessiblePaths(Vec<String>),
    ReadWritePaths(Vec<String>),
    /// Needs systemd 248 or newer.
    ExecPaths(Vec<String>),
    WorkingDirectory(String),
    /// `NAME=value`.
    Environment(Vec<String>),
    UnsetEnvironment(Vec<String>),
    StandardOutput(&'static str),
    StandardError(&'static str),
    SyslogIdentifier(String),
    /// A number of bytes.
    MemoryMax(u64),
    TasksMax(u64),
    Slice(String),
}

impl Bus {
    /// Creates and starts a transient service, and waits until systemd considers it started. A service of
    /// `Type=oneshot` is started when it has ended, one of `Type=exec` when the program runs.
    ///
    /// # Errors
    /// The errors of [`Bus::restart`], and [`BusError::Refused`] if a unit of that name exists already.
    pub fn start_transient(&self, unit: &str, properties: &[Property], within: Duration) -> Result<(), BusError> {
        let properties: Vec<(&str, Variant<'_>)> = properties.iter().map(Property::assignment).collect();
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (unit, "fail", properties, auxiliary);
        self.run_job("start", unit, within, "StartTransientUnit", &body)
    }

    /// Returns how the main process of a transient service ended: systemd's name of the result, such as `success`,
    /// `exit-code` or `timeout`, and the exit code or signal. The unit must have been created over this connection with
    /// [`Property::AddRef`]; this call releases the reference.
    pub fn exit_result(&self, unit: &str) -> Result<(String, u64), BusError> {
        const SERVICE: &str = "org.freedesktop.systemd1.Service";
        let answer = self.manager("GetUnit", &unit)?;
        let path = value::object_path(&answer, "GetUnit")?;
        let result = self.property(&path, SERVICE, "Result")?;
        let result = value::text(&result).ok_or(BusError::Unexpected("Result"))?.to_owned();
        let status = match *self.property(&path, SERVICE, "ExecMainStatus")? {
            Variant::I32(status) => u64::try_from(status).unwrap_or_default(),
            _ => return Err(BusError::Unexpected("ExecMainStatus")),
        };
        self.manager("UnrefUnit", &unit)?;
        Ok((result, status))
    }
}

impl Bus {
    /// Returns the service type `exec`, or `simple` for systemd older than 240, which does not have `exec`. With
    /// `simple`, systemd reports a program that cannot be executed as started.
    pub fn type_exec(&self) -> Property {
        Property::Type(type_exec(version_number(self.version())))
    }
}

fn type_exec(systemd: Option<u32>) -> &'static str {
    match systemd {
        Some(240..) => "exec",
        _ => "simple",
    }
}

impl Property {
    /// Returns the property's name on D-Bus, which differs from the name in unit files for durations, and its value.
    fn assignment(&self) -> (&'static str, Variant<'_>) {
        match self {
            Self::Description(text) => ("Description", text.as_str().into()),
            Self::Type(text) => ("Type", (*text).into()),
            Self::ExecStart(command) => ("ExecStart", command.value()),
            Self::ExecStopPost(command) => ("ExecStopPost", command.value()),
            Self::RemainAfterExit(flag) => ("RemainAfterExit", (*flag).into()),
            Self::CollectMode(text) => ("CollectMode", (*text).into()),
            Self::AddRef(flag) => ("AddRef", (*flag).into()),
            Self::DefaultDependencies(flag) => ("DefaultDependencies", (*flag).into()),
            Self::After(units) => ("After", strings(units)),
            Self::RuntimeMaxSec(time) => ("RuntimeMaxUSec", microseconds(*time)),
            Self::TimeoutStartSec(time) => ("TimeoutStartUSec", microseconds(*time)),
            Self::TimeoutStopSec(time) => ("TimeoutStopUSec", microseconds(*time)),
            Self::KillMode(text) => ("KillMode", (*text).into()),
            Self::KillSignal(number) => ("KillSignal", (*number).into()),
            Self::PrivateNetwork(flag) => ("PrivateNetwork", (*flag).into()),
            Self::PrivateMounts(flag) => ("PrivateMounts", (*flag).into()),
            Self::PrivateTmp(flag) => ("PrivateTmp", (*flag).into()),
            Self::ProtectSystem(text) => ("ProtectSystem", (*text).into()),
            Self::ProtectControlGroups(flag) => ("ProtectControlGroups", (*flag).into()),
            Self::TemporaryFileSystem(places) => ("TemporaryFileSystem", pairs(places)),
            Self::BindPaths(places) => ("BindPaths", binds(places)),
            Self::BindReadOnlyPaths(places) => ("BindReadOnlyPaths", binds(places)),
            Self::InaccessiblePaths(paths) => ("InaccessiblePaths", strings(paths)),
            Self::ReadWritePaths(paths) => ("ReadWritePaths", strings(paths)),
            Self::ExecPaths(paths) => ("ExecPaths", strings(paths)),
            Self::WorkingDirectory(path) => ("WorkingDirectory", path.as_str().into()),
            Self::Environment(lines) => ("Environment", strings(lines)),
            Self::UnsetEnvironment(names) => ("UnsetEnvironment", strings(names)),
            Self::StandardOutput(text) => ("StandardOutput", (*text).into()),
            Self::StandardError(text) => ("StandardError", (*text).into()),
            Self::SyslogIdentifier(text) => ("SyslogIdentifier", text.as_str().into()),
            Self::MemoryMax(bytes) => ("MemoryMax", (*bytes).into()),
            Self::TasksMax(number) => ("TasksMax", (*number).into()),
            Self::Slice(name) => ("Slice", name.as_str().into()),
        }
    }
}

impl Exec {
    /// Encodes the command as the D-Bus type `a(sasb)`.
    fn value(&self) -> Variant<'_> {
        let argv: Vec<&str> = self.argv.iter().map(String::as_str).collect();
        vec![(self.path.as_str(), argv, self.may_fail)].into()
    }
}

fn strings(texts: &[String]) -> Variant<'_> {
    texts.iter().map(String::as_str).collect::<Vec<_>>().into()
}

/// Encodes pairs as the D-Bus type `a(ss)`.
fn pairs(pairs: &[(String, String)]) -> Variant<'_> {
    pairs
        .iter()
        .map(|(first, second)| (first.as_str(), second.as_str()))
        .collect::<Vec<_>>()
        .into()
}

/// Encodes bind mounts as the D-Bus type `a(ssbt)`: source, destination, whether the source may be missing, and mount
/// flags.
fn binds(pairs: &[(String, String)]) -> Variant<'_> {
    /// Includes the mounts under the source, like `rbind` in unit files.
    const MS_REC: u64 = 0x4000;
    pairs
        .iter()
        .map(|(source, destination)| (source.as_str(), destination.as_str(), false, MS_REC))
        .collect::<Vec<_>>()
        .into()
}

/// Converts a duration to systemd's unit. A duration that does not fit becomes `u64::MAX`, which systemd reads as
/// unlimited.
fn microseconds(time: Duration) -> Variant<'static> {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignment_has_the_names_and_signatures_of_dbus() {
        let text = || "x".to_owned();
        let exec = Exec {
            path: text(),
            argv: vec![text()],
            may_fail: true,
        };
        for (property, name, signature) in [
            (Property::ExecStart(exec), "ExecStart", "a(sasb)"),
            (Property::RuntimeMaxSec(Duration::from_secs(20)), "RuntimeMaxUSec", "t"),
            (Property::KillSignal(9), "KillSignal", "i"),
            (Property::PrivateNetwork(true), "PrivateNetwork", "b"),
            (Property::ProtectSystem("strict"), "ProtectSystem", "s"),
            (Property::TemporaryFileSystem(vec![]), "TemporaryFileSystem", "a(ss)"),
            (
                Property::BindReadOnlyPaths(vec![(text(), text())]),
                "BindReadOnlyPaths",
                "a(ssbt)",
            ),
            (Property::InaccessiblePaths(vec![]), "InaccessiblePaths", "as"),
        ] {
            let (dbus_name, value) = property.assignment();
            assert_eq!(
                (dbus_name, value.value_signature().to_string().as_str()),
                (name, signature)
            );
        }
    }

    #[test]
    fn type_exec_is_simple_before_systemd_240() {
        for (version, kind) in [
            ("239 (239-82.el8)", "simple"),
            ("240", "exec"),
            ("252.36-1~deb12u1", "exec"),
        ] {
            assert_eq!(type_exec(version_number(version)), kind, "{version}");
        }
    }

    #[test]
    fn microseconds_saturate_at_the_largest_value() {
        assert_eq!(microseconds(Duration::from_millis(1500)), Variant::U64(1_500_000));
        assert_eq!(microseconds(Duration::MAX), Variant::U64(u64::MAX));
    }
}
