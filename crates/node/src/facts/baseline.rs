//! The health of a containerd, compared with an observation from before a change.

use crate::containerd::messages::{ContainerState, SandboxState, TaskState};
use crate::containerd::services::PluginStatus;
use crate::facts::log_fifos::container_id;
use crate::facts::node_facts::Facts;
use mirrorshift_plan::change::Health;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state of containerd when a change was armed, as the journal records it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version that containerd reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The plugins that had loaded, as `type.id`.
    pub plugins: BTreeSet<String>,
    /// True if CRI was served.
    pub cri: bool,
    /// True if CRI's network was ready.
    pub network: bool,
    /// The first process of each sandbox and container that ran, by its id.
    pub tasks: BTreeMap<String, u32>,
    /// The log FIFOs that containerd read, as `ID-stdout` and `ID-stderr`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outputs: BTreeSet<String>,
}

/// The health of containerd, and its differences from a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The health of containerd.
    pub health: Health,
    /// Each difference, as a fragment of a sentence. Empty if containerd serves as before.
    pub differences: Vec<String>,
}

impl Baseline {
    /// Builds the baseline from `facts`; `None` if containerd's plugins, its tasks or CRI could not be observed,
    /// because nothing could be compared with such a baseline.
    pub fn from_facts(facts: &Facts) -> Option<Self> {
        let cri = *facts.cri.served.value()?;
        let network = match facts.cri.status.value() {
            Some(status) => status.network.ready,
            None if cri => return None,
            None => false,
        };
        let tasks = facts.containerd.tasks.value()?;
        Some(Self {
            version: facts.containerd.version.value().cloned(),
            plugins: loaded(facts)?,
            cri,
            network,
            tasks: tasks.iter().map(|task| (task.id.clone(), task.pid)).collect(),
            // A fact that was unavailable then is not required later.
            outputs: facts.outputs.value().cloned().unwrap_or_default(),
        })
    }

    /// Removes what cannot survive a reboot: processes, and the FIFOs that they write to.
    #[must_use]
    pub fn after_reboot(mut self) -> Self {
        self.tasks.clear();
        self.outputs.clear();
        self
    }

    /// Removes the log FIFOs. An undo is compared with this: a log that no longer flows is a reason to undo a change,
    /// but does not mean that the undo failed.
    #[must_use]
    pub fn without_outputs(mut self) -> Self {
        self.outputs.clear();
        self
    }

    /// Compares the node of `facts` with this baseline. An additional plugin is not a difference. A container that has
    /// ended is not a difference either, because it may have ended by itself.
    pub fn compare(&self, facts: &Facts) -> HealthReport {
        let Some(plugins) = loaded(facts) else {
            return HealthReport::new(Health::Absent, "containerd does not answer".to_owned());
        };
        // A package may install another release in the middle of a change. It has other plugins; whether CRI is served
        // is still compared.
        let upgraded = self.version.is_some() && self.version.as_ref() != facts.containerd.version.value();
        let mut lost: Vec<String> = self
            .plugins
            .difference(&plugins)
            .filter(|_| !upgraded)
            .map(|plugin| match load_failure(facts, plugin) {
                Some(why) => format!("the plugin `{plugin}` did not load ({why})"),
                None => format!("the plugin `{plugin}` did not load"),
            })
            .collect();
        let mut pending = Vec::new();
        if self.cri {
            match facts.cri.served.value() {
                Some(true) => pending.extend(self.not_ready(facts)),
                Some(false) => lost.push("CRI is not served".to_owned()),
                None => pending.push("CRI does not answer".to_owned()),
            }
            match self.lost_tasks(facts) {
                // CRI recovers sandboxes before it is ready, so a sandbox that it does not list by then is lost.
                Some(tasks) if pending.is_empty() => {
                    lost.extend(tasks);
                    pending.extend(self.unread_fifos(facts));
                }
                Some(_) => {}
                None => pending.push("CRI does not list sandboxes and containers yet".to_owned()),
            }
        }
        match (lost.is_empty(), pending.is_empty()) {
            (false, _) => HealthReport {
                health: Health::Fails,
                differences: lost,
            },
            (true, false) => HealthReport {
                health: Health::Recovering,
                differences: pending,
            },
            (true, true) => HealthReport::serves(),
        }
    }

    fn not_ready(&self, facts: &Facts) -> Vec<String> {
        match facts.cri.status.value() {
            None => vec!["CRI does not report whether it is ready".to_owned()],
            Some(status) if !status.runtime.ready => vec!["CRI's runtime is not ready".to_owned()],
            Some(status) if self.network && !status.network.ready => vec!["CRI's network is not ready".to_owned()],
            Some(_) => Vec::new(),
        }
    }

    /// Lists FIFOs that were read and are not read now, of containers that still run as the same process.
    fn unread_fifos(&self, facts: &Facts) -> Vec<String> {
        let Some(outputs) = facts.outputs.value() else {
            return vec!["unknown which logs flow".to_owned()];
        };
        let is_same_process = |id: &str| {
            let task = facts
                .containerd
                .tasks
                .value()
                .into_iter()
                .flatten()
                .find(|task| task.id == id);
            task.is_some_and(|task| task.state == TaskState::Running && self.tasks.get(id) == Some(&task.pid))
        };
        let unread = self.outputs.difference(outputs);
        unread
            .filter(|name| container_id(name).is_some_and(is_same_process))
            .map(|name| format!("the log of `{name}` does not flow"))
            .collect()
    }

    /// Lists tasks that are not the same process as before; `None` if they could not be observed. A task that is gone
    /// is not lost if CRI reports that its container exited, or if kubelet removed it, because it may have ended by
    /// itself. If all tasks are gone, they were killed.
    fn lost_tasks(&self, facts: &Facts) -> Option<Vec<String>> {
        let (sandboxes, containers) = (facts.cri.sandboxes.value()?, facts.cri.containers.value()?);
        let tasks = facts.containerd.tasks.value()?;
        let now: BTreeMap<&String, u32> = tasks.iter().map(|task| (&task.id, task.pid)).collect();
        let must_run = |id: &String| {
            let sandbox = sandboxes.iter().find(|sandbox| sandbox.id == *id);
            let container = containers.iter().find(|container| container.id == *id);
            sandbox.is_some_and(|sandbox| sandbox.state == SandboxState::Ready)
                || container.is_some_and(|container| container.state != ContainerState::Exited)
        };
        let lost = |(id, pid): (&String, &u32)| match now.get(id) {
            Some(now) if now == pid => None,
            Some(now) => Some(format!("`{id}` runs as process {now} and not as {pid}")),
            None if must_run(id) => Some(format!("`{id}` (process {pid}) is lost")),
            None => None,
        };
        let mut lost: Vec<String> = self.tasks.iter().filter_map(lost).collect();
        if !self.tasks.is_empty() && !self.tasks.keys().any(|id| now.contains_key(id)) {
            lost.push("every sandbox and container that ran has ended".to_owned());
        }
        Some(lost)
    }
}

impl HealthReport {
    pub(crate) fn serves() -> Self {
        Self {
            health: Health::Serves,
            differences: Vec::new(),
        }
    }

    pub(crate) fn new(health: Health, difference: String) -> Self {
        Self {
            health,
            differences: vec![difference],
        }
    }
}

fn loaded(facts: &Facts) -> Option<BTreeSet<String>> {
    let loaded = facts.containerd.plugins.value()?.iter();
    Some(
        loaded
            .filter(|plugin| plugin.status == PluginStatus::Ok)
            .map(|plugin| format!("{}.{}", plugin.kind, plugin.id))
            .collect(),
    )
}

/// Returns the reason why a plugin did not load.
fn load_failure<'f>(facts: &'f Facts, name: &str) -> Option<&'f str> {
    let mut plugins = facts.containerd.plugins.value()?.iter();
    let plugin = plugins.find(|plugin| format!("{}.{}", plugin.kind, plugin.id) == name)?;
    match &plugin.status {
        PluginStatus::Failed(why) | PluginStatus::Skipped(why) => Some(why),
        PluginStatus::Ok => None,
    }
}
