//! How a containerd serves, against what it did when a change was armed.

use crate::containerd::cri::{ContainerState, SandboxState};
use crate::containerd::services::{PluginStatus, TaskState};
use crate::facts::log_fifos::container;
use crate::facts::node_facts::Facts;
use mirrorshift_plan::change::Health;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What served when a change was armed, as the journal keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The containerd that ran, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The plugins that had loaded, as `type.id`.
    pub plugins: BTreeSet<String>,
    /// CRI was served.
    pub cri: bool,
    /// CRI's network was ready.
    pub network: bool,
    /// The first process of each sandbox and container that ran, by id.
    pub tasks: BTreeMap<String, u32>,
    /// The containers' FIFOs that the daemon read, `ID-stdout` and `ID-stderr`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outputs: BTreeSet<String>,
}

/// What has become of it: the health, and what is not as it was, each as a fragment for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// How it serves.
    pub health: Health,
    /// What is not as it was. Empty when it serves.
    pub differences: Vec<String>,
}

impl Baseline {
    /// What serves by `facts`; nothing when containerd's plugins, its tasks or CRI could not be asked, as nothing could be
    /// compared with that.
    pub fn of(facts: &Facts) -> Option<Self> {
        let cri = *facts.cri.served.known()?;
        let network = match facts.cri.status.known() {
            Some(status) => status.network.ready,
            None if cri => return None,
            None => false,
        };
        let tasks = facts.containerd.tasks.known()?;
        Some(Self {
            version: facts.containerd.version.known().cloned(),
            plugins: loaded(facts)?,
            cri,
            network,
            tasks: tasks.iter().map(|task| (task.id.clone(), task.pid)).collect(),
            // What could not be seen then is not asked for later.
            outputs: facts.outputs.known().cloned().unwrap_or_default(),
        })
    }

    /// What of it can be there again after a reboot, which no process outlives.
    #[must_use]
    pub fn after_reboot(mut self) -> Self {
        self.tasks.clear();
        self.outputs.clear();
        self
    }

    /// What an undo is measured by: a log that does not flow is a reason to go back, and none to say that going back failed.
    #[must_use]
    pub fn without_outputs(mut self) -> Self {
        self.outputs.clear();
        self
    }

    /// How the node of `facts` serves, against this. Plugins that were not there and are now are no difference. A container
    /// that ended of itself is none either.
    pub fn compared(&self, facts: &Facts) -> HealthReport {
        let Some(plugins) = loaded(facts) else {
            return HealthReport::of(Health::Absent, "containerd does not answer".to_owned());
        };
        // Another release, which a package brought in the middle, has other plugins; whether CRI serves is asked all the same.
        let upgraded = self.version.is_some() && self.version.as_ref() != facts.containerd.version.known();
        let mut lost: Vec<String> = self
            .plugins
            .difference(&plugins)
            .filter(|_| !upgraded)
            .map(|plugin| match why(facts, plugin) {
                Some(why) => format!("the plugin `{plugin}` did not load ({why})"),
                None => format!("the plugin `{plugin}` did not load"),
            })
            .collect();
        let mut awaited = Vec::new();
        if self.cri {
            match facts.cri.served.known() {
                Some(true) => awaited.extend(self.not_ready(facts)),
                Some(false) => lost.push("CRI is not served".to_owned()),
                None => awaited.push("CRI does not answer".to_owned()),
            }
            match self.lost_tasks(facts) {
                // Sandboxes are recovered before CRI is ready, so what it does not know by then is lost.
                Some(tasks) if awaited.is_empty() => {
                    lost.extend(tasks);
                    awaited.extend(self.unread(facts));
                }
                Some(_) => {}
                None => awaited.push("sandboxes and containers are not told yet".to_owned()),
            }
        }
        match (lost.is_empty(), awaited.is_empty()) {
            (false, _) => HealthReport {
                health: Health::Fails,
                differences: lost,
            },
            (true, false) => HealthReport {
                health: Health::Recovering,
                differences: awaited,
            },
            (true, true) => HealthReport::serves(),
        }
    }

    fn not_ready(&self, facts: &Facts) -> Vec<String> {
        match facts.cri.status.known() {
            None => vec!["CRI does not say whether it is ready".to_owned()],
            Some(status) if !status.runtime.ready => vec!["CRI's runtime is not ready".to_owned()],
            Some(status) if self.network && !status.network.ready => vec!["CRI's network is not ready".to_owned()],
            Some(_) => Vec::new(),
        }
    }

    /// Outputs that were read and are not yet, of containers that still run as the same process.
    fn unread(&self, facts: &Facts) -> Vec<String> {
        let Some(outputs) = facts.outputs.known() else {
            return vec!["which logs flow cannot be seen".to_owned()];
        };
        let runs = |id: &str| {
            let task = facts
                .containerd
                .tasks
                .known()
                .into_iter()
                .flatten()
                .find(|task| task.id == id);
            task.is_some_and(|task| task.state == TaskState::Running && self.tasks.get(id) == Some(&task.pid))
        };
        let unread = self.outputs.difference(outputs);
        unread
            .filter(|name| container(name).is_some_and(runs))
            .map(|name| format!("the log of `{name}` does not flow"))
            .collect()
    }

    /// Tasks that are not the processes that they were. One that ended, by what CRI says or because kubelet took it away,
    /// may have done so of itself; all of them at once have been killed.
    fn lost_tasks(&self, facts: &Facts) -> Option<Vec<String>> {
        let (sandboxes, containers) = (facts.cri.sandboxes.known()?, facts.cri.containers.known()?);
        let tasks = facts.containerd.tasks.known()?;
        let now: BTreeMap<&String, u32> = tasks.iter().map(|task| (&task.id, task.pid)).collect();
        let counted_on = |id: &String| {
            let sandbox = sandboxes.iter().find(|one| one.id == *id);
            let container = containers.iter().find(|one| one.id == *id);
            sandbox.is_some_and(|one| one.state == SandboxState::Ready)
                || container.is_some_and(|one| one.state != ContainerState::Exited)
        };
        let lost = |(id, pid): (&String, &u32)| match now.get(id) {
            Some(now) if now == pid => None,
            Some(now) => Some(format!("`{id}` runs as process {now} and not as {pid}")),
            None if counted_on(id) => Some(format!("`{id}` (process {pid}) is lost")),
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

    pub(crate) fn of(health: Health, why: String) -> Self {
        Self {
            health,
            differences: vec![why],
        }
    }
}

fn loaded(facts: &Facts) -> Option<BTreeSet<String>> {
    let loaded = facts.containerd.plugins.known()?.iter();
    Some(
        loaded
            .filter(|plugin| plugin.status == PluginStatus::Ok)
            .map(|plugin| format!("{}.{}", plugin.kind, plugin.id))
            .collect(),
    )
}

/// What a plugin said when it did not load.
fn why<'f>(facts: &'f Facts, name: &str) -> Option<&'f str> {
    let mut plugins = facts.containerd.plugins.known()?.iter();
    let plugin = plugins.find(|plugin| format!("{}.{}", plugin.kind, plugin.id) == name)?;
    match &plugin.status {
        PluginStatus::Failed(why) | PluginStatus::Skipped(why) => Some(why),
        PluginStatus::Ok => None,
    }
}
