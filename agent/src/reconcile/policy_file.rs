//! The policy in force: the last one that could be read.

use crate::node::PolicySource;
use crate::observe::observation::Refused;
use crate::reconcile::decide::DesiredMode;
use mirrorshift_plan::Digest;
use mirrorshift_plan::policy::{Mode, Policy, When};
use std::path::{Path, PathBuf};

/// The key of the `ConfigMap`, and so the file's name.
const NAME: &str = "policy.yaml";

/// The policy's folder, and what of it is in force. No `Debug`: a policy may hold passwords.
pub(crate) struct PolicyFile {
    file: PathBuf,
    in_force: Option<ActivePolicy>,
    /// What is wrong with what lies there now.
    wrong: Option<PolicyProblem>,
}

/// A policy that was read.
#[derive(Clone)]
pub(crate) struct ActivePolicy {
    pub(crate) policy: Policy,
    /// Its text, for the node to read.
    pub(crate) wanted: PolicySource,
    /// Names it: the plan is made anew for another one.
    pub(crate) digest: Digest,
}

/// Why the policy that lies there is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyProblem {
    /// There is none.
    Missing,
    /// It cannot be read; file, line and key are named.
    Invalid(String),
}

impl PolicyFile {
    /// Of a folder that was not looked at yet.
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            file: folder.join(NAME),
            in_force: None,
            wrong: None,
        }
    }

    /// Looks again; whether another policy is in force now. One that cannot be read changes nothing, and neither does one that
    /// is gone.
    pub(crate) fn read(&mut self) -> bool {
        match self.load() {
            Ok(new) => {
                self.wrong = None;
                let other = self.in_force.as_ref().is_none_or(|old| old.digest != new.digest);
                if other {
                    self.in_force = Some(new);
                }
                other
            }
            Err(wrong) => {
                self.wrong = Some(wrong);
                false
            }
        }
    }

    pub(crate) fn in_force(&self) -> Option<&ActivePolicy> {
        self.in_force.as_ref()
    }

    pub(crate) fn wrong(&self) -> Option<&PolicyProblem> {
        self.wrong.as_ref()
    }

    fn load(&self) -> Result<ActivePolicy, PolicyProblem> {
        if !self.file.exists() {
            return Err(PolicyProblem::Missing);
        }
        let read = || {
            let wanted = PolicySource::from_file(&self.file)?;
            let policy = wanted.policy()?;
            Ok((wanted, policy))
        };
        let (wanted, policy) = read().map_err(|failure| {
            let said = Refused::of(&failure);
            let hint = said.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            PolicyProblem::Invalid(format!("{}{hint}", said.message))
        })?;
        Ok(ActivePolicy {
            digest: wanted.digest(),
            policy,
            wanted,
        })
    }
}

impl ActivePolicy {
    pub(crate) fn want(&self) -> DesiredMode {
        match self.policy.mode {
            None | Some(Mode::Observe) => DesiredMode::Observe,
            Some(Mode::Migrate) => DesiredMode::Migrate,
            Some(Mode::Rollback) => DesiredMode::Rollback,
        }
    }

    /// How many nodes may be changed at one time.
    pub(crate) fn slots(&self) -> u16 {
        u16::try_from(self.policy.restart.max_concurrent.get()).unwrap_or(u16::MAX)
    }

    pub(crate) fn may_restart(&self) -> bool {
        self.policy.restart.when != When::Never
    }

    /// As `mode:` spells it.
    pub(crate) fn mode(&self) -> &'static str {
        match self.want() {
            DesiredMode::Observe => "observe",
            DesiredMode::Migrate => "migrate",
            DesiredMode::Rollback => "rollback",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const GOOD: &str = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nmode: migrate\n";

    #[test]
    fn the_last_good_one_stays_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let mut policies = PolicyFile::of(folder.path());
        assert!(!policies.read() && policies.in_force().is_none());
        assert_eq!(policies.wrong(), Some(&PolicyProblem::Missing));

        let file = folder.path().join(NAME);
        fs::write(&file, GOOD).unwrap();
        assert!(policies.read());
        assert_eq!(policies.in_force().unwrap().want(), DesiredMode::Migrate);
        assert!(!policies.read(), "the same one is nothing new");

        fs::write(&file, format!("{GOOD}wildcards: drop\n")).unwrap();
        assert!(!policies.read());
        let Some(PolicyProblem::Invalid(why)) = policies.wrong() else {
            panic!("it was read");
        };
        assert!(why.contains("policy.yaml:4") && why.contains("wildcards"), "{why}");
        assert_eq!(policies.in_force().unwrap().want(), DesiredMode::Migrate);

        fs::remove_file(&file).unwrap();
        assert!(!policies.read());
        assert_eq!(policies.wrong(), Some(&PolicyProblem::Missing));
        assert_eq!(policies.in_force().unwrap().want(), DesiredMode::Migrate);

        fs::write(&file, GOOD.replace("migrate", "rollback")).unwrap();
        assert!(policies.read() && policies.wrong().is_none());
        assert_eq!(policies.in_force().unwrap().want(), DesiredMode::Rollback);
    }
}
