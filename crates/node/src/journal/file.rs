//! The journal file: past changes, the change in progress, and the files that belong to Mirrorshift.
//!
//! The journal is one JSON file with a schema number, a digest of the body's text, and the body. A process that cannot read
//! it, or finds another digest or a newer schema, changes nothing, because a program that guesses from the files on disk
//! ends up making backups of backups.

use crate::error::NodeError;
use crate::journal::record::{Change, OwnedFile};
use crate::journal::state_dir::StateDir;
use crate::paths::STATE_DIR;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::Phase;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(crate) const NAME: &str = "journal.json";

/// The schema of the body. Increase it for every change that an older program would misread.
const SCHEMA: u64 = 1;

/// The number of closed changes that are kept with their backups. Rollbacks are kept in addition.
const KEPT: usize = 5;

/// The contents of the journal file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    /// The change in progress.
    pub(crate) open: Option<Change>,
    /// Closed changes, oldest first.
    pub(crate) history: Vec<Change>,
    /// Files that hold contents written by Mirrorshift, by path.
    pub(crate) owned: BTreeMap<String, OwnedFile>,
}

/// An error because of which the journal cannot be used. Nothing is changed after any of them.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("cannot read the journal")]
    Unreadable(#[source] NodeError),
    /// The file does not hold what was written.
    #[error("the journal `{STATE_DIR}/{NAME}` is damaged: {0}")]
    Damaged(String),
    /// A newer version of Mirrorshift wrote the file.
    #[error("the journal `{STATE_DIR}/{NAME}` has schema {found}, and this version reads up to {SCHEMA}")]
    Newer {
        /// The schema of the file.
        found: u64,
    },
}

impl JournalError {
    /// Returns advice as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => {
                "make the journal readable, then run the command again; nothing is changed until then"
            }
            Self::Damaged(_) => {
                "compare the files by hand with the backups in `changes` next to the journal, then move the journal away"
            }
            Self::Newer { .. } => "use the version of mirrorshift that wrote it, or a newer one",
        }
    }
}

/// The journal file: the body as text, and its digest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    schema: u64,
    sha256: Digest,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The part that all schemas have in common.
#[derive(Deserialize)]
struct Envelope {
    schema: u64,
}

impl Journal {
    /// Reads the journal in `state`. A missing file is an empty journal.
    pub(crate) fn load(state: &StateDir) -> Result<Self, JournalError> {
        match state.read(NAME).map_err(JournalError::Unreadable)? {
            Some(bytes) => Self::parse(&bytes),
            None => Ok(Self::default()),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        let damaged = |error: serde_json::Error| JournalError::Damaged(error.to_string());
        let found = serde_json::from_slice::<Envelope>(bytes).map_err(damaged)?.schema;
        if found > SCHEMA {
            return Err(JournalError::Newer { found });
        }
        if found != SCHEMA {
            return Err(JournalError::Damaged(format!("there is no schema {found}")));
        }
        let sealed: Sealed<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
        if Digest::of(sealed.body.get().as_bytes()) != sealed.sha256 {
            return Err(JournalError::Damaged("its digest does not match its body".to_owned()));
        }
        serde_json::from_str(sealed.body.get()).map_err(damaged)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::value::to_raw_value(self)?;
        let mut text = serde_json::to_vec(&Sealed {
            schema: SCHEMA,
            sha256: Digest::of(body.get().as_bytes()),
            body: &body,
        })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Removes temporary files and backups that no change in this journal needs. Call it only while no change is open.
    pub(crate) fn remove_temporaries(&self, state: &StateDir) {
        state.remove_leftovers(NAME, &self.ids());
    }

    /// Writes the journal and syncs it with its folder. An empty journal is stored as no file.
    pub(crate) fn save(&self, state: &StateDir) -> Result<(), NodeError> {
        let wrap = |error| NodeError::Journal(Box::new(error));
        if *self == Self::default() {
            return state.remove(NAME).map_err(wrap);
        }
        let unprintable = |error: serde_json::Error| NodeError::Io {
            action: "write",
            path: format!("{STATE_DIR}/{NAME}"),
            source: error.into(),
        };
        let text = self.to_bytes().map_err(unprintable)?;
        match state.write(NAME, &text) {
            Err(error) if error.errno().is_some_and(|errno| errno == rustix::io::Errno::NOSPC) => {
                state.release().and_then(|()| state.write(NAME, &text)).map_err(wrap)
            }
            other => other.map_err(wrap),
        }
    }

    /// Returns a copy of this journal in which `change` is recorded: as the open change, or in the history once it is closed.
    pub(crate) fn with_change(&self, change: &Change) -> Self {
        let mut next = self.clone();
        next.open = None;
        let known = next.history.iter().position(|old| old.id == change.id);
        if !change.phase.is_closed() {
            next.history.retain(|old| old.id != change.id);
            next.open = Some(change.clone());
        } else if let Some(old) = known.and_then(|at| next.history.get_mut(at)) {
            old.clone_from(change);
        } else {
            next.history.push(change.clone());
            next.prune();
        }
        next
    }

    /// Removes changes that are too old. Rollback records do not count against the limit and are kept only for the change that
    /// they reverted, and of those only the last one: otherwise each rollback would shorten the remaining history by one. Of
    /// the repairs only the last one is kept.
    fn prune(&mut self) {
        let own = |change: &Change| change.undoes.is_none() && !change.is_repair;
        let mut surplus = self
            .history
            .iter()
            .filter(|change| own(change))
            .count()
            .saturating_sub(KEPT);
        self.history.retain(|change| {
            let is_surplus = own(change) && surplus > 0;
            surplus -= usize::from(is_surplus);
            !is_surplus
        });
        let all = self.history.clone();
        let mut at = 0;
        self.history.retain(|change| {
            at += 1;
            let later = all.get(at..).unwrap_or_default();
            match &change.undoes {
                None if change.is_repair => !later.iter().any(|other| other.is_repair),
                None => true,
                Some(id) => {
                    all.iter().any(|other| other.id == *id) && !later.iter().any(|other| other.undoes == change.undoes)
                }
            }
        });
    }

    /// Marks the change that `change` reverts as rolled back, and restores the ownership of its files as it was before. Returns
    /// false if `change` is not a rollback.
    pub(crate) fn mark_rolled_back(&mut self, change: &Change) -> bool {
        let Some(id) = &change.undoes else { return false };
        if let Some(reverted) = self.history.iter_mut().find(|other| other.id == *id) {
            reverted.phase = Phase::RolledBack;
            reverted.ended = change.ended;
            for step in &reverted.steps {
                match step.owned {
                    Some(owned) => self.owned.insert(step.path.clone(), owned),
                    None => self.owned.remove(&step.path),
                };
            }
        }
        true
    }

    /// Returns the change whose files are in force: the last settled change that was not rolled back and is neither a rollback
    /// nor a repair.
    pub(crate) fn in_force(history: &[Change]) -> Option<&Change> {
        history
            .iter()
            .rfind(|change| change.phase == Phase::Settled && change.undoes.is_none() && !change.is_repair)
    }

    /// Returns true if the unfinished change, or the last change if there is none, was armed in another boot.
    pub(crate) fn is_of_another_boot(unfinished: Option<&Change>, history: &[Change], boot: &str) -> bool {
        let last = unfinished.or(history.last());
        last.and_then(|change| change.service.as_ref())
            .is_some_and(|service| service.boot != boot)
    }

    /// Returns the identifiers of all recorded changes.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.history
            .iter()
            .chain(&self.open)
            .map(|change| change.id.as_str())
            .collect()
    }
}
