//! The containerd of a running node, as the loop of a change restarts it, asks it and guards it.

use super::baseline::{Baseline, Compared};
use super::bus::{Bus, BusError, Exec, Property};
use super::facts::{Ask, Facts};
use super::gather::observe;
use super::guard::{self, Commands, PROOF};
use crate::journal::Change;
use crate::root::Root;
use crate::runtime::{Running, Runtime, ServiceRecord};
use crate::trouble::Trouble;
use mirrorshift_plan::change::{Guard, Health, Phase, Trial};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::process::Command;
use std::time::Duration;

/// How long what may take. Values, so that a test need not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For a call to systemd or containerd.
    pub call: Duration,
    /// For a restart, as far as the loop waits for systemd.
    pub restart: Duration,
    /// From a restart until containerd serves as before.
    pub serve: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(2),
            restart: Duration::from_secs(90),
            serve: Duration::from_secs(20),
            pause: Duration::from_millis(50),
        }
    }
}

/// The containerd of the running machine.
#[derive(Debug)]
pub struct Live<'a> {
    root: &'a Root,
    commands: Commands,
    times: Times,
    /// Whether a restart is part of the change at hand.
    restarts: bool,
    unit: String,
    tried: bool,
    began: Duration,
    limit: Duration,
}

impl<'a> Live<'a> {
    /// For the machine of `root`, which must be its own `/`. `unit` is the one whose main process serves CRI; `restarts`
    /// says that the change counts only after a restart.
    pub fn new(root: &'a Root, unit: &str, restarts: bool, commands: Commands, times: Times) -> Self {
        Self {
            root,
            commands,
            times,
            restarts,
            unit: unit.to_owned(),
            tried: false,
            began: now(),
            limit: times.serve,
        }
    }

    fn facts(&self) -> Result<Facts, Trouble> {
        let ask = Ask {
            patience: self.times.call,
            ..Ask::default()
        };
        observe(self.root, &ask)
            .map_err(|_| Trouble::Said("only the running machine's own `/` has a containerd to ask"))
    }

    fn bus(&self) -> Result<Bus, Trouble> {
        Bus::connect(self.times.call).map_err(systemd)
    }
}

impl Runtime for Live<'_> {
    fn record(&mut self) -> Result<ServiceRecord, Trouble> {
        let facts = self.facts()?;
        let unknown =
            || Trouble::Said("containerd and its unit cannot be asked, so nothing could be compared with them");
        let unit = facts.unit.known().ok_or_else(unknown)?;
        Ok(ServiceRecord {
            unit: unit.id.clone(),
            boot: facts.boot_id.known().cloned().ok_or_else(unknown)?,
            restart: self.restarts,
            armed_with: unit.invocation_id.clone().ok_or_else(unknown)?,
            from: None,
            baseline: Baseline::of(&facts).ok_or_else(unknown)?,
        })
    }

    fn look(&mut self, change: &Change) -> Result<Running, Trouble> {
        let facts = self.facts()?;
        let unit = facts.unit.known();
        let compared = match (unit, &change.service) {
            // systemd has given it up.
            (Some(unit), _) if unit.active_state == "failed" => {
                Compared::of(Health::Fails, format!("systemd has given `{}` up", unit.id))
            }
            (_, Some(record)) if facts.boot_id.known() == Some(&record.boot) => record.baseline.compared(&facts),
            (_, Some(record)) => record.baseline.clone().after_reboot().compared(&facts),
            (Some(unit), None) if unit.active_state == "active" => Compared::serves(),
            _ => Compared::of(Health::Absent, "its unit is not active".to_owned()),
        };
        Ok(Running {
            invocation: unit.and_then(|unit| unit.invocation_id.clone()),
            health: compared.health,
            differences: compared.differences,
            trial: Trial::Nothing,
            guard: match guard::is_placed(self.root) {
                false => Guard::Nothing,
                true if self.tried => Guard::Tried,
                true => Guard::Placed,
            },
        })
    }

    fn guard(&mut self, change: &Change) -> Result<(), Trouble> {
        guard::place(self.root, &self.unit, &self.commands)?;
        let bus = self.bus()?;
        bus.reload(self.times.restart).map_err(systemd)?;
        // What runs as this does runs as the guard will: the same program, started by the same systemd.
        let word = format!("{}-{}", change.id, now().as_nanos());
        let mut argv = self.commands.prove.clone();
        argv.push(word.clone());
        let Some(path) = argv.first().cloned() else {
            return Err(Trouble::Said("the guard has no command to prove itself"));
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
            _ => Err(Trouble::Said("the guard was started and left no proof")),
        }
    }

    fn disarm(&mut self) -> Result<(), Trouble> {
        guard::take_away(self.root, &self.unit)?;
        self.tried = false;
        // Without a bus systemd goes on knowing units whose files are gone; it finds no program in them to start.
        self.bus()
            .and_then(|bus| bus.reload(self.times.restart).map_err(systemd))
            .ok();
        Ok(())
    }

    fn restart(&mut self, again: bool) -> Result<(), Trouble> {
        let asked = self.bus().map_err(|_| ()).and_then(|bus| {
            if again {
                bus.reset_failed(&self.unit).map_err(|_| ())?;
            }
            match bus.restart(&self.unit, self.times.restart) {
                Ok(()) | Err(BusError::Job { .. } | BusError::Unseen { .. } | BusError::Late { .. }) => Ok(()),
                Err(_) => Err(()),
            }
        });
        if asked.is_ok() {
            return Ok(());
        }
        // systemd's own program has another way to it when D-Bus is gone.
        let systemctl = |verb: &str| Command::new("systemctl").args([verb, &self.unit]).output();
        let run = |output: io::Result<_>| {
            output.map(drop).map_err(|source| Trouble::Io {
                action: "run",
                path: "systemctl".to_owned(),
                source,
            })
        };
        run(systemctl("reset-failed"))?;
        run(systemctl("restart"))
    }

    fn attempt(&mut self) {}

    fn begin(&mut self, _: Phase) {
        self.began = now();
    }

    fn expired(&self) -> bool {
        now().saturating_sub(self.began) > self.limit
    }

    fn wait(&mut self) {
        std::thread::sleep(self.times.pause);
    }
}

/// What the guard has at a boot, before anything that could be asked runs.
#[derive(Debug)]
pub struct AtBoot;

impl Runtime for AtBoot {
    fn record(&mut self) -> Result<ServiceRecord, Trouble> {
        Err(NOBODY)
    }

    fn look(&mut self, _: &Change) -> Result<Running, Trouble> {
        Ok(Running {
            invocation: None,
            health: Health::Absent,
            differences: Vec::new(),
            trial: Trial::Nothing,
            guard: Guard::Placed,
        })
    }

    fn guard(&mut self, _: &Change) -> Result<(), Trouble> {
        Err(NOBODY)
    }

    fn disarm(&mut self) -> Result<(), Trouble> {
        Err(NOBODY)
    }

    fn restart(&mut self, _: bool) -> Result<(), Trouble> {
        Err(NOBODY)
    }

    fn attempt(&mut self) {}

    fn begin(&mut self, _: Phase) {}

    fn expired(&self) -> bool {
        false
    }

    fn wait(&mut self) {}
}

const NOBODY: Trouble = Trouble::Said("before containerd starts there is nobody to ask");

fn systemd(error: BusError) -> Trouble {
    Trouble::Systemd(Box::new(error))
}

/// Since boot, sleep included: no clock that anybody can set.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
