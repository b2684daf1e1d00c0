//! The policy file of the agent, and the active policy, which is the last valid policy.

use crate::change_run::failure_summary::FailureSummary;
use crate::node::PolicySource;
use crate::reconcile::decide::DesiredMode;
use mirrorshift_plan::Digest;
use mirrorshift_plan::policy::{Mode, Policy, When};
use std::path::{Path, PathBuf};

/// The file's name: the key in the `ConfigMap`.
const NAME: &str = "policy.yaml";

/// The policy file in the folder of the `ConfigMap`. No `Debug`: a policy may hold passwords.
pub(crate) struct PolicyFile {
    file: PathBuf,
    active: Option<ActivePolicy>,
    problem: Option<PolicyProblem>,
}

/// A policy that was read.
#[derive(Clone)]
pub(crate) struct ActivePolicy {
    pub(crate) policy: Policy,
    /// The text of the policy. The observing unit and the change unit parse it again.
    pub(crate) source: PolicySource,
    pub(crate) digest: Digest,
}

/// The problem with the current file, which is therefore not the active policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyProblem {
    Missing,
    /// The message names file, line and key.
    Invalid(String),
}

impl PolicyFile {
    /// The policy file in `folder`, not read yet.
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            file: folder.join(NAME),
            active: None,
            problem: None,
        }
    }

    /// Reads the file again, and returns true if another policy is active now. A file that is missing or invalid leaves
    /// the active policy unchanged.
    pub(crate) fn reload(&mut self) -> bool {
        match self.load() {
            Ok(new) => {
                self.problem = None;
                let is_other = self.active.as_ref().is_none_or(|old| old.digest != new.digest);
                if is_other {
                    self.active = Some(new);
                }
                is_other
            }
            Err(problem) => {
                self.problem = Some(problem);
                false
            }
        }
    }

    pub(crate) fn active(&self) -> Option<&ActivePolicy> {
        self.active.as_ref()
    }

    pub(crate) fn problem(&self) -> Option<&PolicyProblem> {
        self.problem.as_ref()
    }

    fn load(&self) -> Result<ActivePolicy, PolicyProblem> {
        if !self.file.exists() {
            return Err(PolicyProblem::Missing);
        }
        let read = || {
            let source = PolicySource::from_file(&self.file)?;
            let policy = source.policy()?;
            Ok((source, policy))
        };
        let (source, policy) = read().map_err(|error| {
            let failure = FailureSummary::from(&error);
            let hint = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            PolicyProblem::Invalid(format!("{}{hint}", failure.message))
        })?;
        Ok(ActivePolicy {
            digest: source.digest(),
            policy,
            source,
        })
    }
}

impl ActivePolicy {
    pub(crate) fn mode(&self) -> DesiredMode {
        match self.policy.mode {
            None | Some(Mode::Observe) => DesiredMode::Observe,
            Some(Mode::Migrate) => DesiredMode::Migrate,
            Some(Mode::Rollback) => DesiredMode::Rollback,
        }
    }

    /// The mode as a policy spells it.
    pub(crate) fn mode_name(&self) -> &'static str {
        match self.mode() {
            DesiredMode::Observe => "observe",
            DesiredMode::Migrate => "migrate",
            DesiredMode::Rollback => "rollback",
        }
    }

    /// The number of nodes that may be changed at the same time.
    pub(crate) fn max_concurrent(&self) -> u16 {
        u16::try_from(self.policy.restart.max_concurrent.get()).unwrap_or(u16::MAX)
    }

    pub(crate) fn may_restart(&self) -> bool {
        self.policy.restart.when != When::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const VALID: &str = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\nmode: migrate\n";

    #[test]
    fn last_valid_policy_stays_active_when_the_file_is_invalid_or_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut policy_file = PolicyFile::of(folder.path());
        assert!(!policy_file.reload() && policy_file.active().is_none());
        assert_eq!(policy_file.problem(), Some(&PolicyProblem::Missing));

        let file = folder.path().join(NAME);
        fs::write(&file, VALID).unwrap();
        assert!(policy_file.reload());
        assert_eq!(policy_file.active().unwrap().mode(), DesiredMode::Migrate);
        assert!(!policy_file.reload(), "the same policy is not another one");

        fs::write(&file, format!("{VALID}wildcards: drop\n")).unwrap();
        assert!(!policy_file.reload());
        let Some(PolicyProblem::Invalid(message)) = policy_file.problem() else {
            panic!("the invalid policy was accepted");
        };
        assert!(
            message.contains("policy.yaml:4") && message.contains("wildcards"),
            "{message}"
        );
        assert_eq!(policy_file.active().unwrap().mode(), DesiredMode::Migrate);

        fs::remove_file(&file).unwrap();
        assert!(!policy_file.reload());
        assert_eq!(policy_file.problem(), Some(&PolicyProblem::Missing));
        assert_eq!(policy_file.active().unwrap().mode(), DesiredMode::Migrate);

        fs::write(&file, VALID.replace("migrate", "rollback")).unwrap();
        assert!(policy_file.reload() && policy_file.problem().is_none());
        assert_eq!(policy_file.active().unwrap().mode(), DesiredMode::Rollback);
    }
}
