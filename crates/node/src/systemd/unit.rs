//! What systemd knows of a service. Names and meanings are of `org.freedesktop.systemd1(5)`.

use crate::facts::launch::Launch;
use crate::systemd::environment::Environment;
use crate::systemd::error::BusError;
use crate::systemd::value::{
    Properties, {self},
};
use serde::Serialize;
use zbus::Variant;

/// A service at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its name, such as `containerd.service`.
    pub id: String,
    /// `loaded`, `not-found`, `bad-setting`, `error` or `masked`.
    pub load_state: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating` or `deactivating`.
    pub active_state: String,
    /// Finer, such as `running` or `auto-restart`.
    pub sub_state: String,
    /// How it ended last: `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`, …
    pub result: String,
    /// Its process; `None` while it has none.
    pub main_pid: Option<u32>,
    /// Another one at each start; `None` for a unit that never ran.
    pub invocation_id: Option<String>,
    /// How often systemd restarted it of its own accord since it was last started by hand.
    pub restarts: u64,
    /// Whom `stop` kills: `control-group`, `mixed`, `process` or `none`.
    pub kill_mode: String,
    /// Whether it makes control groups of its own below its own.
    pub delegate: bool,
    /// `notify`, `simple`, …
    pub kind: String,
    /// The command lines, in order.
    pub exec_start: Vec<ExecStart>,
    /// What its file sets, names alone in output: values may hold a proxy's password.
    pub environment: Environment,
    /// Files with more of it, and whether each may be missing.
    pub environment_files: Vec<(String, bool)>,
    /// The job that waits or runs for it: its number.
    pub job: Option<u64>,
    /// Below the root of the hierarchy that systemd uses, such as `/system.slice/containerd.service`; empty while it
    /// does not run.
    pub control_group: String,
    /// The unit's file; empty for a transient unit or none.
    pub fragment: String,
    /// The drop-ins in force.
    pub drop_ins: Vec<String>,
    /// Whether systemd sees that its files changed since it read them. It does not see the first drop-in of a unit (252).
    pub needs_daemon_reload: bool,
    /// When it last changed its state.
    pub state_changed: Option<UnitTimestamps>,
    /// When its process was started.
    pub main_started: Option<UnitTimestamps>,
    /// When it last became active. For `Type=notify` that is when the daemon called itself ready.
    pub active_since: Option<UnitTimestamps>,
    /// How long systemd gives it to start: microseconds; `None` for no bound.
    pub start_timeout_us: Option<u64>,
}

/// A moment by two clocks, in microseconds: of the day (which may be set) and since boot (which may not).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnitTimestamps {
    /// Since 1970.
    pub wall_us: u64,
    /// Since boot, without sleep.
    pub monotonic_us: u64,
}

/// One command line of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecStart {
    /// The program.
    pub path: String,
    /// All its words, the zeroth included.
    pub argv: Vec<String>,
}

impl Unit {
    /// What its first command line starts containerd with; `None` when that starts no containerd.
    pub fn launch(&self) -> Option<Launch> {
        let command = self.exec_start.first()?;
        let file = command.path.rsplit('/').next()?;
        (file == "containerd").then(|| Launch::read(&command.argv)).flatten()
    }

    /// How long the last start took, from the process to the unit being active: microseconds. `None` while it is not
    /// active.
    pub fn start_took_us(&self) -> Option<u64> {
        let (started, active) = (self.main_started?, self.active_since?);
        active.monotonic_us.checked_sub(started.monotonic_us)
    }
}

pub(crate) fn read(all: &Properties) -> Result<Unit, BusError> {
    let text = |name| take(all, name, |value| value::text(value).map(str::to_owned));
    let flag = |name| take(all, name, value::flag);
    let number = |name| take(all, name, value::number);
    let moment = |wall: &'static str, monotonic: &'static str| -> Result<Option<UnitTimestamps>, BusError> {
        let (wall_us, monotonic_us) = (number(wall)?, number(monotonic)?);
        // Zero stands for never.
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
        exec_start: take(all, "ExecStart", commands)?,
        environment: take(all, "Environment", Environment::read)?,
        environment_files: take(all, "EnvironmentFiles", files)?,
        job: (job != 0).then_some(job),
        control_group: text("ControlGroup")?,
        fragment: text("FragmentPath")?,
        drop_ins: take(all, "DropInPaths", value::texts)?,
        needs_daemon_reload: flag("NeedDaemonReload")?,
        state_changed: moment("StateChangeTimestamp", "StateChangeTimestampMonotonic")?,
        main_started: moment("ExecMainStartTimestamp", "ExecMainStartTimestampMonotonic")?,
        active_since: moment("ActiveEnterTimestamp", "ActiveEnterTimestampMonotonic")?,
        start_timeout_us: Some(timeout).filter(|timeout| *timeout != u64::MAX),
    })
}

fn take<T>(all: &Properties, name: &'static str, read: impl FnOnce(&Variant<'_>) -> Option<T>) -> Result<T, BusError> {
    all.get(name)
        .and_then(|value| read(value))
        .ok_or(BusError::Unexpected(name))
}

/// `a(sasbttttuii)`: path, words, whether failure is ignored, and how it went.
fn commands(value: &Variant<'_>) -> Option<Vec<ExecStart>> {
    let command = |value: &Variant<'_>| {
        let fields = value::fields(value)?;
        Some(ExecStart {
            path: value::text(fields.first()?)?.to_owned(),
            argv: value::texts(fields.get(1)?)?,
        })
    };
    value::list(value)?.into_iter().map(command).collect()
}

/// `a(sb)`: path, and whether it may be missing.
fn files(value: &Variant<'_>) -> Option<Vec<(String, bool)>> {
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

    /// What a running unit has, with `changed` instead.
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
    fn a_running_unit() {
        let mut all = properties(vec![("ActiveEnterTimestampMonotonic", owned(30_u64))]);
        let unit = read(&all).unwrap();
        assert_eq!(unit.main_pid, Some(42));
        assert_eq!(unit.invocation_id.as_deref(), Some("ab01"));
        assert_eq!(unit.exec_start[0].argv, ["/usr/bin/containerd", "-c", "/etc/x.toml"]);
        assert_eq!(unit.environment_files, [("/etc/default/containerd".to_owned(), true)]);
        assert_eq!((unit.job, unit.restarts, unit.start_timeout_us), (None, 2, None));
        assert_eq!(unit.start_took_us(), Some(30 - 23));
        all.insert(
            "Job".to_owned(),
            owned((7_u32, zbus::ObjectPath::try_from("/job").unwrap())),
        );
        assert_eq!(read(&all).unwrap().job, Some(7));
    }

    #[test]
    fn a_unit_that_never_ran_has_no_process_and_no_moments() {
        let unit = read(&properties(vec![
            ("MainPID", owned(0_u32)),
            ("InvocationID", owned(Vec::<u8>::new())),
            ("ExecMainStartTimestamp", owned(0_u64)),
        ]))
        .unwrap();
        assert_eq!(
            (unit.main_pid, unit.invocation_id.clone(), unit.main_started),
            (None, None, None)
        );
        assert_eq!(unit.start_took_us(), None);
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named_and_not_made_up() {
        let mut all = properties(vec![]);
        all.remove("KillMode");
        assert!(matches!(read(&all), Err(BusError::Unexpected("KillMode"))));
        let all = properties(vec![("Delegate", owned("yes"))]);
        assert!(matches!(read(&all), Err(BusError::Unexpected("Delegate"))));
        let all = properties(vec![("ExecStart", owned(vec!["/usr/bin/containerd"]))]);
        assert!(matches!(read(&all), Err(BusError::Unexpected("ExecStart"))));
    }

    #[test]
    fn values_of_the_environment_are_kept_and_not_shown() {
        let unit = read(&properties(vec![])).unwrap();
        let shown = format!("{unit:?} {}", serde_json::to_string(&unit).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("HTTPS_PROXY"));
        let values: Vec<_> = unit.environment.iter().collect();
        assert_eq!(values, [("HTTPS_PROXY", "http://u:secret@p=1"), ("EMPTY", "")]);
    }
}
