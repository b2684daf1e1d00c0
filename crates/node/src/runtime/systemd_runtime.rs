//! The running containerd of a node, controlled through systemd and observed through its socket.

use crate::change::runtime::{Runtime, RuntimeState};
use crate::containerd::socket::Socket;
use crate::error::NodeError;
use crate::facts::baseline::{Baseline, HealthReport};
use crate::facts::gather::observe;
use crate::facts::node_facts::{Facts, ObserveOptions};
use crate::files::root::Root;
use crate::journal::record::{Change, ServiceRecord};
use crate::runtime::boot_guard::{self, Commands};
use crate::runtime::console;
use crate::runtime::deadline::{Deadline, now};
use crate::runtime::kill_change_unit::systemctl_failed;
use crate::runtime::wait_for_cri::wait_for_cri;
use crate::systemd::bus::Bus;
use crate::systemd::error::BusError;
use crate::systemd::systemctl::{self, UnitProperties};
use mirrorshift_plan::change::{Guard, Health, Phase, Trial};
use std::time::Duration;

/// Time limits of a change on a running node. They are values, so that a test need not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeTimeouts {
    /// The deadline of each call to systemd or containerd.
    pub call: Duration,
    /// The time that systemd has for a restart, as far as the change waits for it.
    pub restart: Duration,
    /// The pause between the last observation and a restart. Directly after an observation of the whole node,
    /// containerd takes longer to stop because of grace periods of the kernel: CRI was away for about 5 ms more, see
    /// docs/benchmarks/cri-absence.md.
    pub settle_before_restart: Duration,
    /// The time that CRI has for its first answer after a restart, before the whole node is observed.
    pub first_answer: Duration,
    /// The time from a restart until containerd serves as before. It is doubled while containerd is recovering
    /// sandboxes and containers.
    pub healthy: Duration,
    /// The time that the pull of the test image may take.
    pub pull: Duration,
    /// The pause between two observations.
    pub poll_interval: Duration,
}

impl Default for RuntimeTimeouts {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(2),
            restart: Duration::from_secs(90),
            settle_before_restart: Duration::from_millis(100),
            first_answer: Duration::from_secs(2),
            healthy: Duration::from_secs(20),
            pull: Duration::from_mins(2),
            poll_interval: Duration::from_millis(50),
        }
    }
}

/// Signs by which a running containerd shows that it has read a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The change removes the mirrors, so containerd must no longer report them as deprecated. A release without a list
    /// of deprecations (before 1.6.25 and 1.7.9) is not checked.
    pub deprecation_gone: bool,
    /// An image to pull once when containerd serves again, such as `registry.example/app:1`. The change is undone if
    /// the pull fails.
    pub image: Option<String>,
}

/// The identifier of `registry.mirrors` in containerd's list of deprecations (`deprecation.CRIRegistryMirrors` in its
/// source).
const MIRRORS_DEPRECATION: &str = "io.containerd.deprecation/cri-registry-mirrors";

/// systemd's answer to a request to restart containerd.
enum RestartOutcome {
    /// The job is done: systemd considers containerd started.
    Started,
    /// The job failed, or its result is unknown. The next observation shows what runs.
    NotStarted,
    /// D-Bus is not available, or systemd refused the request.
    Unavailable,
}

/// The containerd of the running machine, for one change.
#[derive(Debug)]
pub struct SystemdRuntime<'a> {
    root: &'a Root,
    commands: Commands,
    times: RuntimeTimeouts,
    /// True if the change includes a restart.
    restarts: bool,
    unit: String,
    /// True if the boot guard has proven that it can run.
    guard_is_proven: bool,
    expectations: Expectations,
    /// The state of the pull of the test image.
    test_pull: Trial,
    /// The reason why that pull failed.
    pull_failure: Option<String>,
    /// The socket of CRI at the last observation.
    address: Option<String>,
    recovering: bool,
    deadline: Deadline,
}

impl<'a> SystemdRuntime<'a> {
    /// Creates the runtime of the machine whose `/` is `root`. The main process of `unit` serves CRI. `restarts` states
    /// that the change takes effect only after a restart.
    pub fn new(root: &'a Root, unit: &str, restarts: bool, commands: Commands, times: RuntimeTimeouts) -> Self {
        Self {
            root,
            commands,
            times,
            restarts,
            unit: unit.to_owned(),
            guard_is_proven: false,
            expectations: Expectations::default(),
            test_pull: Trial::Nothing,
            pull_failure: None,
            address: None,
            recovering: false,
            deadline: Deadline::new(times.healthy, now()),
        }
    }

    /// Sets the signs that containerd must show after it has read the change.
    #[must_use]
    pub fn expecting(mut self, expectations: Expectations) -> Self {
        self.test_pull = match expectations.image {
            Some(_) => Trial::Due,
            None => Trial::Nothing,
        };
        self.expectations = expectations;
        self
    }

    fn facts(&self) -> Result<Facts, NodeError> {
        let options = ObserveOptions {
            call_timeout: self.times.call,
            ..ObserveOptions::default()
        };
        observe(self.root, &options)
            .map_err(|_| NodeError::Message("only the running machine's own `/` has a containerd to observe"))
    }

    fn bus(&self) -> Result<Bus, NodeError> {
        Bus::connect(self.times.call).map_err(systemd)
    }

    /// Returns the unit's state. It is read with `systemctl` if D-Bus is not available, because D-Bus can fail in the
    /// middle of a change.
    fn unit(&self, facts: &Facts) -> Option<UnitProperties> {
        match facts.unit.value() {
            Some(unit) => Some(UnitProperties {
                active_state: unit.active_state.clone(),
                invocation_id: unit.invocation_id.clone(),
            }),
            None if facts.systemd.value().is_none() => systemctl::show(&self.unit),
            None => None,
        }
    }

    /// Requests the restart over D-Bus.
    fn restart_over_dbus(&self, reset_failed: bool) -> RestartOutcome {
        let restarted = Bus::connect(self.times.call).and_then(|bus| {
            if reset_failed {
                bus.reset_failed(&self.unit)?;
            }
            // The result of the job is kept apart from errors of the calls before it.
            Ok(bus.restart(&self.unit, self.times.restart))
        });
        match restarted {
            Ok(Ok(())) => RestartOutcome::Started,
            Ok(Err(BusError::Job { .. } | BusError::ResultMissed { .. } | BusError::Late { .. })) => {
                RestartOutcome::NotStarted
            }
            Ok(Err(_)) | Err(_) => RestartOutcome::Unavailable,
        }
    }
}

impl Runtime for SystemdRuntime<'_> {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        let facts = self.facts()?;
        let unknown = || {
            NodeError::Message(
                "containerd and its unit cannot be observed, so later observations could not be compared",
            )
        };
        let unit = facts.unit.value().ok_or_else(unknown)?;
        Ok(ServiceRecord {
            unit: unit.id.clone(),
            boot: facts.boot_id.value().cloned().ok_or_else(unknown)?,
            restart: self.restarts,
            armed_with: unit.invocation_id.clone().ok_or_else(unknown)?,
            from: None,
            closed_with: None,
            baseline: Baseline::from_facts(&facts).ok_or_else(unknown)?,
        })
    }

    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError> {
        let facts = self.facts()?;
        let unit = self.unit(&facts);
        let mut report = match (&unit, &change.service) {
            // systemd will not start it again by itself.
            (Some(unit), _) if unit.active_state == "failed" => HealthReport::new(
                Health::Fails,
                format!("systemd has stopped trying to start `{}`", self.unit),
            ),
            (_, Some(record)) => {
                let baseline = record.baseline.clone();
                let baseline = match change.phase {
                    _ if facts.boot_id.value() != Some(&record.boot) => baseline.after_reboot(),
                    Phase::Restarting | Phase::Verifying => baseline,
                    _ => baseline.without_outputs(),
                };
                baseline.compare(&facts)
            }
            (Some(unit), None) if unit.active_state == "active" => HealthReport::serves(),
            _ => HealthReport::new(Health::Absent, "its unit is not active".to_owned()),
        };
        if change.phase == Phase::Verifying && report.health == Health::Serves {
            if self.expectations.deprecation_gone && has_mirrors_deprecation(&facts) {
                let why = format!("containerd still reports `{MIRRORS_DEPRECATION}`, so mirrors are still in effect");
                report = HealthReport::new(Health::Fails, why);
            } else {
                report.differences.extend(self.pull_failure.clone());
            }
        }
        self.recovering = report.health == Health::Recovering;
        self.address = facts.serving.value().map(|serving| serving.address.clone());
        Ok(RuntimeState {
            invocation: unit.and_then(|unit| unit.invocation_id),
            health: report.health,
            differences: report.differences,
            trial: self.test_pull,
            guard: match boot_guard::boot_guard_exists(self.root) {
                false => Guard::Nothing,
                true if self.guard_is_proven => Guard::Tried,
                true => Guard::Placed,
            },
        })
    }

    fn guard(&mut self, change: &Change) -> Result<(), NodeError> {
        boot_guard::install(self.root, &self.unit, &self.commands, change)?;
        let bus = self.bus()?;
        bus.reload(self.times.restart).map_err(systemd)?;
        boot_guard::prove(self.root, &bus, &self.commands, change, self.times.restart)?;
        self.guard_is_proven = true;
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), NodeError> {
        boot_guard::uninstall(self.root, &self.unit)?;
        self.guard_is_proven = false;
        boot_guard::reload_systemd(self.times.restart);
        boot_guard::unmark_supervised(self.root)
    }

    fn restart(&mut self, again: bool) -> Result<(), NodeError> {
        // A change from an earlier boot has not been supervised in this boot yet: mark it now, before containerd
        // starts.
        boot_guard::mark_supervised(self.root).ok();
        std::thread::sleep(self.times.settle_before_restart);
        let started = match self.restart_over_dbus(again) {
            RestartOutcome::Started => true,
            RestartOutcome::NotStarted => false,
            RestartOutcome::Unavailable => {
                systemctl::run(&["reset-failed", &self.unit]).map_err(systemctl_failed)?;
                let output = systemctl::run(&["restart", &self.unit]).map_err(systemctl_failed)?;
                output.status.success()
            }
        };
        if let (true, Some(address)) = (started, &self.address) {
            wait_for_cri(address, self.times.first_answer, self.times.call);
        }
        Ok(())
    }

    fn pull_trial_image(&mut self) {
        let Some(image) = &self.expectations.image else { return };
        let pulled = match &self.address {
            Some(address) => Socket::connect(address, self.times.pull)
                .and_then(|mut socket| socket.pull_image(image))
                .map_err(|error| error.to_string()),
            None => Err("the socket of CRI is unknown".to_owned()),
        };
        self.test_pull = match pulled {
            Ok(_) => Trial::Passed,
            Err(why) => {
                self.pull_failure = Some(format!("the image `{image}` cannot be pulled: {why}"));
                Trial::Failed
            }
        };
    }

    fn phase_started(&mut self, _: Phase) {
        self.recovering = false;
        self.deadline = Deadline::new(self.times.healthy, now());
    }

    fn expired(&self) -> bool {
        self.deadline.is_over(now(), self.recovering)
    }

    fn wait(&mut self) {
        std::thread::sleep(self.times.poll_interval);
    }

    fn alert(&mut self, line: &str) {
        console::write(line);
    }
}

/// The runtime of the boot guard's first unit: neither D-Bus nor containerd runs yet, so containerd is absent and every
/// other request fails.
#[derive(Debug)]
pub struct NoRuntime;

impl Runtime for NoRuntime {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        Err(NOT_RUNNING)
    }

    fn observe(&mut self, _: &Change) -> Result<RuntimeState, NodeError> {
        Ok(RuntimeState {
            invocation: None,
            health: Health::Absent,
            differences: Vec::new(),
            trial: Trial::Nothing,
            guard: Guard::Placed,
        })
    }

    fn guard(&mut self, _: &Change) -> Result<(), NodeError> {
        Err(NOT_RUNNING)
    }

    fn disarm(&mut self) -> Result<(), NodeError> {
        Err(NOT_RUNNING)
    }

    fn restart(&mut self, _: bool) -> Result<(), NodeError> {
        Err(NOT_RUNNING)
    }

    fn pull_trial_image(&mut self) {}

    fn phase_started(&mut self, _: Phase) {}

    fn expired(&self) -> bool {
        false
    }

    fn wait(&mut self) {}

    fn alert(&mut self, line: &str) {
        console::write(line);
    }
}

const NOT_RUNNING: NodeError = NodeError::Message("systemd and containerd are not available before containerd starts");

fn systemd(error: BusError) -> NodeError {
    NodeError::Systemd(Box::new(error))
}

/// Returns true if containerd reports mirrors as deprecated. False if the list is unavailable, because older releases
/// have none.
fn has_mirrors_deprecation(facts: &Facts) -> bool {
    let list = facts.containerd.deprecations.value();
    list.is_some_and(|list| list.iter().any(|entry| entry.id == MIRRORS_DEPRECATION))
}
