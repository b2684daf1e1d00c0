//! The containerd of a running node, as the loop of a change restarts it, asks it and guards it.

use crate::change::runtime::{Runtime, RuntimeState};
use crate::containerd::socket::Socket;
use crate::error::NodeError;
use crate::facts::baseline::{Baseline, HealthReport};
use crate::facts::gather::observe;
use crate::facts::node_facts::{Facts, ObserveOptions};
use crate::files::root::Root;
use crate::journal::record::Change;
use crate::journal::record::ServiceRecord;
use crate::runtime::boot_guard::{
    Commands, PROOF, {self},
};
use crate::runtime::console;
use crate::runtime::deadline::{Deadline, now};
use crate::runtime::wait_for_cri::wait_for_cri;
use crate::systemd::bus::Bus;
use crate::systemd::error::BusError;
use crate::systemd::systemctl::{
    UnitProperties, {self},
};
use crate::systemd::transient::{Exec, Property};
use mirrorshift_plan::change::{Guard, Health, Phase, Trial};
use std::time::Duration;

/// How long what may take. Values, so that a test need not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeTimeouts {
    /// For a call to systemd or containerd.
    pub call: Duration,
    /// For a restart, as far as the loop waits for systemd.
    pub restart: Duration,
    /// From the last look until a restart. Right after a look at the whole node the end of containerd waits longer for grace
    /// periods of the kernel: CRI was away for some 5 ms more, as docs/cri-away.md has it.
    pub rest: Duration,
    /// For CRI's first answer after a restart, before all of the node is looked at.
    pub up: Duration,
    /// From a restart until containerd serves as before. One whose plugins loaded and that is still recovering what ran has
    /// it once more.
    pub serve: Duration,
    /// For the pull of the image that was asked for.
    pub pull: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Default for RuntimeTimeouts {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(2),
            restart: Duration::from_secs(90),
            rest: Duration::from_millis(100),
            up: Duration::from_secs(2),
            serve: Duration::from_secs(20),
            pull: Duration::from_mins(2),
            pause: Duration::from_millis(50),
        }
    }
}

/// What a change is for, as far as the containerd that read it shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// It takes the mirrors away, so containerd no longer calls them deprecated. A release that keeps no list of what it
    /// calls deprecated (before 1.6.25 and 1.7.9) is not asked.
    pub deprecation_gone: bool,
    /// An image to pull, once, when everything serves: `registry.example/app:1`. The change is undone when it cannot be
    /// pulled.
    pub image: Option<String>,
}

/// What containerd calls `registry.mirrors` in its list of deprecations (`deprecation.CRIRegistryMirrors` in its source).
const MIRRORS: &str = "io.containerd.deprecation/cri-registry-mirrors";

/// The containerd of the running machine.
#[derive(Debug)]
pub struct SystemdRuntime<'a> {
    root: &'a Root,
    commands: Commands,
    times: RuntimeTimeouts,
    /// Whether a restart is part of the change at hand.
    restarts: bool,
    unit: String,
    tried: bool,
    expect: Expectations,
    trial: Trial,
    /// Why the trial failed.
    vain: Option<String>,
    /// Where CRI was served when it was looked at last.
    address: Option<String>,
    recovering: bool,
    deadline: Deadline,
}

impl<'a> SystemdRuntime<'a> {
    /// For the machine of `root`, which must be its own `/`. `unit` is the one whose main process serves CRI; `restarts`
    /// says that the change counts only after a restart.
    pub fn new(root: &'a Root, unit: &str, restarts: bool, commands: Commands, times: RuntimeTimeouts) -> Self {
        Self {
            root,
            commands,
            times,
            restarts,
            unit: unit.to_owned(),
            tried: false,
            expect: Expectations::default(),
            trial: Trial::Nothing,
            vain: None,
            address: None,
            recovering: false,
            deadline: Deadline::new(times.serve, now()),
        }
    }

    /// The same, for a change that is to show this when containerd has read it.
    #[must_use]
    pub fn expecting(mut self, expect: Expectations) -> Self {
        self.trial = match expect.image {
            Some(_) => Trial::Due,
            None => Trial::Nothing,
        };
        self.expect = expect;
        self
    }

    fn facts(&self) -> Result<Facts, NodeError> {
        let ask = ObserveOptions {
            patience: self.times.call,
            ..ObserveOptions::default()
        };
        observe(self.root, &ask)
            .map_err(|_| NodeError::Message("only the running machine's own `/` has a containerd to ask"))
    }

    fn bus(&self) -> Result<Bus, NodeError> {
        Bus::connect(self.times.call).map_err(systemd)
    }

    /// The unit, by the way that there is to systemd: the bus may go in the middle of a change.
    fn unit(&self, facts: &Facts) -> Option<UnitProperties> {
        match facts.unit.known() {
            Some(unit) => Some(UnitProperties {
                active_state: unit.active_state.clone(),
                invocation_id: unit.invocation_id.clone(),
            }),
            None if facts.systemd.known().is_none() => systemctl::show(&self.unit),
            None => None,
        }
    }
}

impl Runtime for SystemdRuntime<'_> {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        let facts = self.facts()?;
        let unknown =
            || NodeError::Message("containerd and its unit cannot be asked, so nothing could be compared with them");
        let unit = facts.unit.known().ok_or_else(unknown)?;
        Ok(ServiceRecord {
            unit: unit.id.clone(),
            boot: facts.boot_id.known().cloned().ok_or_else(unknown)?,
            restart: self.restarts,
            armed_with: unit.invocation_id.clone().ok_or_else(unknown)?,
            from: None,
            closed_with: None,
            baseline: Baseline::of(&facts).ok_or_else(unknown)?,
        })
    }

    fn observe(&mut self, change: &Change) -> Result<RuntimeState, NodeError> {
        let facts = self.facts()?;
        let unit = self.unit(&facts);
        let mut compared = match (&unit, &change.service) {
            // systemd has given it up.
            (Some(unit), _) if unit.active_state == "failed" => {
                HealthReport::of(Health::Fails, format!("systemd has given `{}` up", self.unit))
            }
            (_, Some(record)) => {
                let baseline = record.baseline.clone();
                let baseline = match change.phase {
                    _ if facts.boot_id.known() != Some(&record.boot) => baseline.after_reboot(),
                    Phase::Restarting | Phase::Verifying => baseline,
                    _ => baseline.without_outputs(),
                };
                baseline.compared(&facts)
            }
            (Some(unit), None) if unit.active_state == "active" => HealthReport::serves(),
            _ => HealthReport::of(Health::Absent, "its unit is not active".to_owned()),
        };
        if change.phase == Phase::Verifying && compared.health == Health::Serves {
            if self.expect.deprecation_gone && calls_mirrors_deprecated(&facts) {
                let why = format!("containerd still reports `{MIRRORS}`, so mirrors are still in force");
                compared = HealthReport::of(Health::Fails, why);
            } else {
                compared.differences.extend(self.vain.clone());
            }
        }
        self.recovering = compared.health == Health::Recovering;
        self.address = facts.serving.known().map(|serving| serving.address.clone());
        Ok(RuntimeState {
            invocation: unit.and_then(|unit| unit.invocation_id),
            health: compared.health,
            differences: compared.differences,
            trial: self.trial,
            guard: match boot_guard::guard_is_left(self.root) {
                false => Guard::Nothing,
                true if self.tried => Guard::Tried,
                true => Guard::Placed,
            },
        })
    }

    fn guard(&mut self, change: &Change) -> Result<(), NodeError> {
        boot_guard::install(self.root, &self.unit, &self.commands, change)?;
        let bus = self.bus()?;
        bus.reload(self.times.restart).map_err(systemd)?;
        // What runs as this does runs as the guard will: the same program, started by the same systemd.
        let word = format!("{}-{}", change.id, now().as_nanos());
        let mut argv = self.commands.prove.clone();
        argv.push(word.clone());
        let Some(path) = argv.first().cloned() else {
            return Err(NodeError::Message("the guard has no command to prove itself"));
        };
        let exec = Exec {
            path,
            argv,
            may_fail: false,
        };
        let properties = [
            Property::Description("Proof that an undo would run".to_owned()),
            Property::Type("oneshot"),
            Property::CollectMode("inactive-or-failed"),
            Property::DefaultDependencies(false),
            Property::TimeoutStartSec(Duration::from_secs(10)),
            Property::ExecStart(exec),
        ];
        bus.start_transient("mirrorshift-proof.service", &properties, self.times.restart)
            .map_err(systemd)?;
        match self.root.entry(PROOF) {
            mirrorshift_containerd::Entry::File(bytes) if bytes == word.as_bytes() => {
                self.tried = true;
                Ok(())
            }
            _ => Err(NodeError::Message("the guard was started and left no proof")),
        }
    }

    fn disarm(&mut self) -> Result<(), NodeError> {
        boot_guard::uninstall(self.root, &self.unit)?;
        self.tried = false;
        boot_guard::reload_systemd(self.times.restart);
        boot_guard::unmark_supervised(self.root)
    }

    fn restart(&mut self, again: bool) -> Result<(), NodeError> {
        // Of an earlier boot's change this one is the first restart by somebody who watches over it.
        boot_guard::mark_supervised(self.root).ok();
        std::thread::sleep(self.times.rest);
        let asked = self.bus().map_err(|_| ()).and_then(|bus| {
            if again {
                bus.reset_failed(&self.unit).map_err(|_| ())?;
            }
            match bus.restart(&self.unit, self.times.restart) {
                Ok(()) => Ok(true),
                Err(BusError::Job { .. } | BusError::Unseen { .. } | BusError::Late { .. }) => Ok(false),
                Err(_) => Err(()),
            }
        });
        let started = if let Ok(started) = asked {
            started
        } else {
            systemctl::run(&["reset-failed", &self.unit])?;
            systemctl::run(&["restart", &self.unit])?.status.success()
        };
        if let (true, Some(address)) = (started, &self.address) {
            wait_for_cri(address, self.times.up, self.times.call);
        }
        Ok(())
    }

    fn pull_trial_image(&mut self) {
        let Some(image) = &self.expect.image else { return };
        let pulled = match &self.address {
            Some(address) => Socket::connect(address, self.times.pull)
                .and_then(|mut socket| socket.pull(image))
                .map_err(|error| error.to_string()),
            None => Err("CRI's socket is not known".to_owned()),
        };
        self.trial = match pulled {
            Ok(()) => Trial::Passed,
            Err(why) => {
                self.vain = Some(format!("the image `{image}` cannot be pulled: {why}"));
                Trial::Failed
            }
        };
    }

    fn phase_started(&mut self, _: Phase) {
        self.recovering = false;
        self.deadline = Deadline::new(self.times.serve, now());
    }

    fn expired(&self) -> bool {
        self.deadline.is_over(now(), self.recovering)
    }

    fn wait(&mut self) {
        std::thread::sleep(self.times.pause);
    }

    fn alert(&mut self, line: &str) {
        console::write(line);
    }
}

/// What the guard has at a boot, before anything that could be asked runs.
#[derive(Debug)]
pub struct NoRuntime;

impl Runtime for NoRuntime {
    fn capture_baseline(&mut self) -> Result<ServiceRecord, NodeError> {
        Err(NOBODY)
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
        Err(NOBODY)
    }

    fn disarm(&mut self) -> Result<(), NodeError> {
        Err(NOBODY)
    }

    fn restart(&mut self, _: bool) -> Result<(), NodeError> {
        Err(NOBODY)
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

const NOBODY: NodeError = NodeError::Message("before containerd starts there is nobody to ask");

fn systemd(error: BusError) -> NodeError {
    NodeError::Systemd(Box::new(error))
}

/// Unknown is no: a release without the list was not asked for it.
fn calls_mirrors_deprecated(facts: &Facts) -> bool {
    let list = facts.containerd.deprecations.known();
    list.is_some_and(|list| list.iter().any(|entry| entry.id == MIRRORS))
}
