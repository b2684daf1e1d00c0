//! Units that live in systemd's memory alone, made of typed properties: a name that is misspelt or a value of the wrong
//! type would be refused at run time, at the worst moment.

use crate::systemd::bus::{Bus, number};
use crate::systemd::error::BusError;
use crate::systemd::value;
use std::time::Duration;
use zbus::Variant;

/// A command of a unit: the program's absolute path, all its words (the zeroth included), and whether its failure counts
/// for nothing (the `-` of unit files).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program.
    pub path: String,
    /// All its words.
    pub argv: Vec<String>,
    /// Whether the unit goes on when it fails.
    pub may_fail: bool,
}

/// A property of a transient service, as `systemd.exec(5)`, `systemd.service(5)` and `systemd.unit(5)` describe it under
/// its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named as the setting that systemd documents")]
pub enum Property {
    Description(String),
    Type(&'static str),
    ExecStart(Exec),
    ExecStopPost(Exec),
    RemainAfterExit(bool),
    CollectMode(&'static str),
    /// The unit is kept until its maker has seen how it ended, or has left the bus.
    AddRef(bool),
    DefaultDependencies(bool),
    After(Vec<String>),
    RuntimeMaxSec(Duration),
    TimeoutStartSec(Duration),
    TimeoutStopSec(Duration),
    KillMode(&'static str),
    /// The signal's number, such as 9.
    KillSignal(i32),
    PrivateNetwork(bool),
    PrivateMounts(bool),
    PrivateTmp(bool),
    ProtectSystem(&'static str),
    ProtectControlGroups(bool),
    /// Mount point and options.
    TemporaryFileSystem(Vec<(String, String)>),
    /// Source and destination; with everything mounted below the source.
    BindPaths(Vec<(String, String)>),
    /// Source and destination; with everything mounted below the source.
    BindReadOnlyPaths(Vec<(String, String)>),
    /// A leading `-` for one that may be missing.
    InaccessiblePaths(Vec<String>),
    ReadWritePaths(Vec<String>),
    /// systemd 248 and newer.
    ExecPaths(Vec<String>),
    WorkingDirectory(String),
    /// `NAME=value`.
    Environment(Vec<String>),
    UnsetEnvironment(Vec<String>),
    StandardOutput(&'static str),
    StandardError(&'static str),
    SyslogIdentifier(String),
    /// Bytes.
    MemoryMax(u64),
    TasksMax(u64),
    Slice(String),
}

impl Bus {
    /// Makes and starts a transient service, and waits until systemd calls it started: for `Type=oneshot` that is when
    /// it has ended, for `Type=exec` when the program runs.
    ///
    /// # Errors
    /// As of [`Bus::restart`]; [`BusError::Refused`] also when a unit of that name is there already.
    pub fn start_transient(&self, unit: &str, properties: &[Property], within: Duration) -> Result<(), BusError> {
        let properties: Vec<(&str, Variant<'_>)> = properties.iter().map(Property::assignment).collect();
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (unit, "fail", properties, auxiliary);
        self.job("start", unit, within, "StartTransientUnit", &body)
    }

    /// How the main process of a transient service ended: systemd's word, such as `success`, `exit-code` or `timeout`, and
    /// the exit code or signal. The unit must have been made over this connection with [`Property::AddRef`], and is let go.
    pub fn ended(&self, unit: &str) -> Result<(String, u64), BusError> {
        const SERVICE: &str = "org.freedesktop.systemd1.Service";
        let answer = self.manager("GetUnit", &unit)?;
        let path = value::object(&answer, "GetUnit")?;
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
    /// The type of a service that counts as started when its program runs: `exec`, or `simple` below systemd 240, which
    /// does not know that one and takes a program that cannot be run for started.
    pub fn type_exec(&self) -> Property {
        Property::Type(type_exec(number(self.version())))
    }
}

fn type_exec(systemd: Option<u32>) -> &'static str {
    match systemd {
        Some(240..) => "exec",
        _ => "simple",
    }
}

impl Property {
    /// The name on the bus, which for times is not that of unit files, and the value.
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
    /// `a(sasb)`.
    fn value(&self) -> Variant<'_> {
        let argv: Vec<&str> = self.argv.iter().map(String::as_str).collect();
        vec![(self.path.as_str(), argv, self.may_fail)].into()
    }
}

fn strings(texts: &[String]) -> Variant<'_> {
    texts.iter().map(String::as_str).collect::<Vec<_>>().into()
}

/// `a(ss)`.
fn pairs(pairs: &[(String, String)]) -> Variant<'_> {
    pairs
        .iter()
        .map(|(one, other)| (one.as_str(), other.as_str()))
        .collect::<Vec<_>>()
        .into()
}

/// `a(ssbt)`: source, destination, whether the source may be missing, and mount flags.
fn binds(pairs: &[(String, String)]) -> Variant<'_> {
    /// What is mounted below comes along, as with `rbind` in unit files.
    const MS_REC: u64 = 0x4000;
    pairs
        .iter()
        .map(|(source, destination)| (source.as_str(), destination.as_str(), false, MS_REC))
        .collect::<Vec<_>>()
        .into()
}

/// systemd's times are in microseconds; a longer one than fits means no bound.
fn microseconds(time: Duration) -> Variant<'static> {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_signatures_are_those_of_the_bus() {
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
            let (on_bus, value) = property.assignment();
            assert_eq!(
                (on_bus, value.value_signature().to_string().as_str()),
                (name, signature)
            );
        }
    }

    #[test]
    fn an_old_systemd_is_not_asked_for_what_it_does_not_know() {
        for (version, kind) in [
            ("239 (239-82.el8)", "simple"),
            ("240", "exec"),
            ("252.36-1~deb12u1", "exec"),
        ] {
            assert_eq!(type_exec(number(version)), kind, "{version}");
        }
    }

    #[test]
    fn times_are_microseconds() {
        assert_eq!(microseconds(Duration::from_millis(1500)), Variant::U64(1_500_000));
        assert_eq!(microseconds(Duration::MAX), Variant::U64(u64::MAX));
    }
}
