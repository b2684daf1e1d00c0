//! The properties of a service. `org.freedesktop.systemd1(5)` documents their names and meanings.

use crate::systemd::environment::Environment;
use crate::systemd::error::BusError;
use crate::systemd::value::{self, Properties};
use serde::Serialize;
use std::time::Duration;
use zbus::Variant;

/// The properties of a service at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// The unit's name, such as `containerd.service`.
    pub id: String,
    /// `loaded`, `not-found`, `bad-setting`, `error` or `masked`.
    pub load_state: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating` or `deactivating`.
    pub active_state: String,
    /// A finer state, such as `running` or `auto-restart`.
    pub sub_state: String,
    /// The result of the last run: `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`, …
    pub result: String,
    /// The main process; `None` if none runs.
    pub main_pid: Option<u32>,
    /// The id of the current run, which is different after each start; `None` for a unit that never ran.
    pub invocation_id: Option<String>,
    /// The number of automatic restarts since an operator or a program last started the unit.
    pub restarts: u64,
    /// The processes that `stop` kills: `control-group`, `mixed`, `process` or `none`.
    pub kill_mode: String,
    /// True if the unit may create control groups under its own.
    pub delegate: bool,
    /// The service type: `notify`, `simple`, …
    pub kind: String,
    /// The command lines, in order.
    pub exec_start: Vec<ExecStart>,
    /// The variables that the unit file sets. Only their names are printed, because a value may contain a proxy's
    /// password.
    pub environment: Environment,
    /// The environment files, and whether each may be missing.
    pub environment_files: Vec<(String, bool)>,
    /// The number of the job that is queued or runs for the unit.
    pub job: Option<u64>,
    /// The path of the control group in systemd's hierarchy, such as `/system.slice/containerd.service`; empty if the
    /// unit does not run.
    pub control_group: String,
    /// The path of the unit file; empty for a transient or missing unit.
    pub fragment: String,
    /// The drop-ins that are in effect.
    pub drop_ins: Vec<String>,
    /// True if systemd noticed that the unit's files changed since it read them. systemd 252 does not notice the first
    /// drop-in of a unit.
    pub needs_daemon_reload: bool,
    /// The time of the last change of state.
    pub state_changed: Option<UnitTimestamps>,
    /// The start time of the main process.
    pub main_started: Option<UnitTimestamps>,
    /// The time at which the unit last became active. With `Type=notify`, the daemon reported at that time that it is
    /// ready.
    pub active_since: Option<UnitTimestamps>,
    /// The limit that systemd sets for a start, in microseconds; `None` for no limit.
    pub start_timeout_us: Option<u64>,
}

/// One moment by two clocks: the time of day, which may be set, and the time since boot, which cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnitTimestamps {
    /// Microseconds since 1970.
    pub wall_us: u64,
    /// Microseconds since boot, without the time in which the machine was suspended.
    pub monotonic_us: u64,
}

/// One command line of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecStart {
    /// The absolute path of the program.
    pub path: String,
    /// All arguments, including the name of the program.
    pub argv: Vec<String>,
}

impl Unit {
    /// Returns how long the last start took, from the start of the main process until the unit became active; `None` if
    /// the unit has not become active since.
    pub fn last_start_duration(&self) -> Option<Duration> {
        let (started, active) = (self.main_started?, self.active_since?);
        let microseconds = active.monotonic_us.checked_sub(started.monotonic_us)?;
        Some(Duration::from_micros(microseconds))
    }
}

/// Builds a unit from the properties of `org.freedesktop.systemd1.Unit` and `.Service`.
///
/// # Errors
/// [`BusError::Unexpected`] with the name of the first property that is missing or has another type.
pub(crate) fn parse_unit(all: &Properties) -> Result<Unit, BusError> {
    let text = |name| take(all, name, |value| value::text(value).map(str::to_owned));
    let flag = |name| take(all, name, value::flag);
    let number = |name| take(all, name, value::number);
    let timestamps = |wall: &'static str, monotonic: &'static str| -> Result<Option<UnitTimestamps>, BusError> {
        let (wall_us, monotonic_us) = (number(wall)?, number(monotonic)?);
        // systemd writes 0 for an event that has not happened.
        Ok((wall_us != 0).then_some(UnitTimestamps { wall_us, monotonic_us }))
    };
    let job = take(all, "Job", |value| value::number(value::fields(value)?.first()?))?;
    let pid = number("MainPID")?;
    let timeout = number("TimeoutStartUSec")?;
    let invocation = take(all, "InvocationID", value::hexadecimal)?;
    Ok(Unit {
        id: text("Id")?,
        load_state: text("LoadState")?,
        active_state: text("ActiveState")?,
        sub_state: text("SubState")?,
        result: text("Result")?,
        main_pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
        invocation_id: Some(invocation).filter(|id| id.chars().any(|digit| digit != '0')),
        restarts: number("NRestarts")?,
        kill_mode: text("KillMode")?,
        delegate: flag("Delegate")?,
        kind: text("Type")?,
        exec_start: take(all, "ExecStart", parse_commands)?,
        environment: take(all, "Environment", Environment::parse)?,
        environment_files: take(all, "EnvironmentFiles", parse_environment_files)?,
        job: (job != 0).then_some(job),
        control_group: text("ControlGroup")?,
        fragment: text("FragmentPath")?,
        drop_ins: take(all, "DropInPaths", value::texts)?,
        needs_daemon_reload: flag("NeedDaemonReload")?,
        state_changed: timestamps("StateChangeTimestamp", "StateChangeTimestampMonotonic")?,
        main_started: timestamps("ExecMainStartTimestamp", "ExecMainStartTimestampMonotonic")?,
        active_since: timestamps("ActiveEnterTimestamp", "ActiveEnterTimestampMonotonic")?,
        start_timeout_us: Some(timeout).filter(|timeout| *timeout != u64::MAX),
    })
}

fn take<T>(all: &Properties, name: &'static str, read: impl FnOnce(&Variant<'_>) -> Option<T>) -> Result<T, BusError> {
    all.get(name)
        .and_then(|value| read(value))
        .ok_or(BusError::Unexpected(name))
}

/// Reads the D-Bus type `a(sasbttttuii)`: path, arguments, whether a failure is ignored, and times and results.
fn parse_commands(value: &Variant<'_>) -> Option<Vec<ExecStart>> {
    let command = |value: &Variant<'_>| {
        let fields = value::fields(value)?;
        Some(ExecStart {
            path: value::text(fields.first()?)?.to_owned(),
            argv: value::texts(fields.get(1)?)?,
        })
    };
    value::list(value)?.into_iter().map(command).collect()
}

/// Reads the D-Bus type `a(sb)`: path, and whether the file may be missing.
fn parse_environment_files(value: &Variant<'_>) -> Option<Vec<(String, bool)>> {
    let file = |value: &Variant<'_>| {
        let fields = value::fields(value)?;
        Some((value::text(fields.first()?)?.to_owned(), value::flag(fields.get(1)?)?))
    };
    value::list(value)?.into_iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::OwnedVariant;

    fn owned<'v>(value: impl Into<Variant<'v>>) -> OwnedVariant {
        value.into().try_into_owned().unwrap()
    }

    fn exec(argv: Vec<&'static str>) -> OwnedVariant {
        type Command = (&'static str, Vec<&'static str>, bool, u64, u64, u64, u64, u32, i32, i32);
        let command: Command = ("/usr/bin/containerd", argv, false, 1, 2, 0, 0, 42, 0, 0);
        owned(vec![command])
    }

    /// Returns the properties of a running unit, with `changed` in place of the defaults.
    fn properties(changed: Vec<(&str, OwnedVariant)>) -> Properties {
        let path = zbus::ObjectPath::try_from("/").unwrap();
        let mut all: Properties = [
            ("Job", owned((0_u32, path))),
            ("MainPID", owned(42_u32)),
            ("InvocationID", owned(vec![0xab_u8, 1])),
            ("NRestarts", owned(2_u32)),
            ("Delegate", owned(true)),
            ("NeedDaemonReload", owned(false)),
            (
                "DropInPaths",
                owned(vec!["/etc/systemd/system/containerd.service.d/a.conf"]),
            ),
            ("Environment", owned(vec!["HTTPS_PROXY=http://u:secret@p=1", "EMPTY="])),
            ("EnvironmentFiles", owned(vec![("/etc/default/containerd", true)])),
            ("ExecStart", exec(vec!["/usr/bin/containerd", "-c", "/etc/x.toml"])),
            ("TimeoutStartUSec", owned(u64::MAX)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for name in [
            "Id",
            "LoadState",
            "ActiveState",
            "SubState",
            "Result",
            "KillMode",
            "Type",
        ] {
            all.insert(name.to_owned(), owned(name));
        }
        for name in ["ControlGroup", "FragmentPath"] {
            all.insert(name.to_owned(), owned("/x"));
        }
        for name in ["StateChange", "ExecMainStart", "ActiveEnter"] {
            all.insert(format!("{name}Timestamp"), owned(10_u64));
            all.insert(format!("{name}TimestampMonotonic"), owned(10_u64 + name.len() as u64));
        }
        all.extend(changed.into_iter().map(|(name, value)| (name.to_owned(), value)));
        all
    }

    #[test]
    fn parse_unit_reads_a_running_unit() {
        let mut all = properties(vec![("ActiveEnterTimestampMonotonic", owned(30_u64))]);
        let unit = parse_unit(&all).unwrap();
        assert_eq!(unit.main_pid, Some(42));
        assert_eq!(unit.invocation_id.as_deref(), Some("ab01"));
        assert_eq!(unit.exec_start[0].argv, ["/usr/bin/containerd", "-c", "/etc/x.toml"]);
        assert_eq!(unit.environment_files, [("/etc/default/containerd".to_owned(), true)]);
        assert_eq!((unit.job, unit.restarts, unit.start_timeout_us), (None, 2, None));
        assert_eq!(unit.last_start_duration(), Some(Duration::from_micros(30 - 23)));
        all.insert(
            "Job".to_owned(),
            owned((7_u32, zbus::ObjectPath::try_from("/job").unwrap())),
        );
        assert_eq!(parse_unit(&all).unwrap().job, Some(7));
    }

    #[test]
    fn parse_unit_has_no_process_and_no_times_for_a_unit_that_never_ran() {
        let unit = parse_unit(&properties(vec![
            ("MainPID", owned(0_u32)),
            ("InvocationID", owned(Vec::<u8>::new())),
            ("ExecMainStartTimestamp", owned(0_u64)),
        ]))
        .unwrap();
        assert_eq!(
            (unit.main_pid, unit.invocation_id.clone(), unit.main_started),
            (None, None, None)
        );
        assert_eq!(unit.last_start_duration(), None);
    }

    #[test]
    fn last_start_duration_is_none_while_the_unit_is_starting() {
        // `ActiveEnterTimestamp` is then of an earlier start.
        let unit = parse_unit(&properties(vec![
            ("ExecMainStartTimestampMonotonic", owned(50_u64)),
            ("ActiveEnterTimestampMonotonic", owned(30_u64)),
        ]));
        assert_eq!(unit.unwrap().last_start_duration(), None);
    }

    #[test]
    fn parse_unit_names_a_missing_or_mistyped_property() {
        let mut all = properties(vec![]);
        all.remove("KillMode");
        assert!(matches!(parse_unit(&all), Err(BusError::Unexpected("KillMode"))));
        let all = properties(vec![("Delegate", owned("yes"))]);
        assert!(matches!(parse_unit(&all), Err(BusError::Unexpected("Delegate"))));
        let all = properties(vec![("ExecStart", owned(vec!["/usr/bin/containerd"]))]);
        assert!(matches!(parse_unit(&all), Err(BusError::Unexpected("ExecStart"))));
    }

    #[test]
    fn environment_values_are_readable_but_not_printed() {
        let unit = parse_unit(&properties(vec![])).unwrap();
        let shown = format!("{unit:?} {}", serde_json::to_string(&unit).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("HTTPS_PROXY"));
        let values: Vec<_> = unit.environment.iter().collect();
        assert_eq!(values, [("HTTPS_PROXY", "http://u:secret@p=1"), ("EMPTY", "")]);
    }
}
