//! What was changed, is being changed, and what stood there before.
//!
//! The journal is one JSON file: a schema number, a digest of the body's text, and the body. Whoever cannot read it, or
//! reads another digest or a newer schema, touches nothing: guessing from what lies on the disk is how backups of
//! backups are made.

use crate::change::runtime::ServiceRecord;
use crate::error::NodeError;
use crate::journal::state_dir::{STATE_DIR, StateDir};
use crate::journal::undo_cause::UndoCause;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::{Phase, StepKind, StepProgress};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(crate) const NAME: &str = "journal.json";

/// Raised whenever an older binary would misread the body.
const SCHEMA: u64 = 1;

/// How many closed changes are remembered, with their backups; those that took one back come on top.
const KEPT: usize = 5;

/// A file as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of the file system.
    pub device: [u32; 2],
    /// Its number there.
    pub inode: u64,
    /// Extended attributes, ACLs and security labels among them, that the writer could see.
    #[serde(with = "hexadecimal")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl FileRecord {
    /// Nothing that a restore brings back differs. The inode may: a file restored from its backup has a new one.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (self.digest, self.mode, self.uid, self.gid, &self.xattrs)
            == (other.digest, other.mode, other.uid, other.gid, &other.xattrs)
    }
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The file, by the path that the plan gave.
    pub path: String,
    /// Where that path led, without links, when the change was armed.
    pub target: String,
    /// The name used for a copy beside it.
    pub beside: String,
    /// Why, as the plan said.
    pub why: String,
    /// What stood there, or `None` when nothing did.
    pub before: Option<FileRecord>,
    /// The digest of what is put there, or `None` when the file is taken away.
    pub after: Option<Digest>,
    /// Of a change that takes another one back: what stood there before that one, so what the file is to be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<FileRecord>,
    /// What the journal held about the ownership of this path before.
    pub owned: Option<OwnedFile>,
    /// How far the step has come.
    pub mark: StepProgress,
}

impl StepRecord {
    /// What the step does.
    pub fn kind(&self) -> StepKind {
        match (&self.before, &self.after) {
            (None, _) => StepKind::Create,
            (Some(_), Some(_)) => StepKind::Replace,
            (Some(_), None) => StepKind::Remove,
        }
    }
}

/// A file that holds what we wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedFile {
    /// Of what we wrote.
    pub digest: Digest,
    /// Nothing stood there before our first change of it, so a later change may take it away.
    pub made: bool,
}

/// One change of the node's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its identifier, given by the caller.
    pub id: String,
    /// The plan that it carries out.
    pub plan: Digest,
    /// The version of containerd that the plan was made for, as text.
    pub containerd: String,
    /// When it was armed: seconds since 1970.
    pub began: u64,
    /// When it was last closed: seconds since 1970.
    pub ended: Option<u64>,
    /// How far it has come.
    pub phase: Phase,
    /// Whether it was settled at some time.
    pub settled: bool,
    /// Why it was undone, or is stuck, in words.
    pub note: Option<String>,
    /// The kind of that reason; nothing in journals of versions that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<UndoCause>,
    /// The settled change that it takes back, by its identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// It puts back what earlier changes wrote, where somebody wrote over it: it is no step of the way back.
    #[serde(default, rename = "mends", skip_serializing_if = "is_false")]
    pub is_repair: bool,
    /// The folders that it made, outermost first.
    pub folders: Vec<String>,
    /// The folders that the change which it takes back had made, outermost first: they go when it has settled, where they
    /// are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<String>,
    /// The mode of files that it makes.
    pub new_file_mode: u32,
    /// The containerd that it is for, where that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRecord>,
    /// Its steps, in their order.
    pub steps: Vec<StepRecord>,
}

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    /// The change that is not over.
    pub(crate) open: Option<Change>,
    /// Changes that are over, oldest first.
    pub(crate) history: Vec<Change>,
    /// Files that hold what we wrote, by path.
    pub(crate) owned: BTreeMap<String, OwnedFile>,
}

/// Why the journal cannot be used. Nothing is touched in any case.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot read the journal")]
    Unreadable(#[source] NodeError),
    /// It is not what was written.
    #[error("the journal `{STATE_DIR}/{NAME}` is damaged: {0}")]
    Damaged(String),
    /// A newer version of the tool wrote it.
    #[error("the journal `{STATE_DIR}/{NAME}` has schema {found}, and this version reads up to {SCHEMA}")]
    Newer {
        /// Its schema.
        found: u64,
    },
}

impl JournalError {
    /// What to do about it, as a sentence without its full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "find out why it cannot be read; nothing is touched until then",
            Self::Damaged(_) => {
                "compare the files with the backups in `changes` beside it by hand, then move the journal away"
            }
            Self::Newer { .. } => "use the version of the tool that wrote it, or a newer one",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    schema: u64,
    sha256: Digest,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The part that every schema has.
#[derive(Deserialize)]
struct Envelope {
    schema: u64,
}

impl Journal {
    /// The journal in `state`, or an empty one when there is none.
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
            return Err(JournalError::Damaged("its digest is another".to_owned()));
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

    /// Takes away what no change in this journal needs. Only while no change is open.
    pub(crate) fn remove_temporaries(&self, state: &StateDir) {
        state.tidy(NAME, &self.ids());
    }

    /// Writes it, synced with its folder. An empty one is no file at all.
    pub(crate) fn save(&self, state: &StateDir) -> Result<(), NodeError> {
        let wrap = |trouble| NodeError::Journal(Box::new(trouble));
        if *self == Self::default() {
            return state.forget(NAME).map_err(wrap);
        }
        let unprintable = |error: serde_json::Error| NodeError::Io {
            action: "write",
            path: format!("{STATE_DIR}/{NAME}"),
            source: error.into(),
        };
        let text = self.to_bytes().map_err(unprintable)?;
        match state.write(NAME, &text) {
            Err(trouble) if trouble.errno().is_some_and(|errno| errno == rustix::io::Errno::NOSPC) => {
                state.release().and_then(|()| state.write(NAME, &text)).map_err(wrap)
            }
            other => other.map_err(wrap),
        }
    }

    /// The change as it now is, put where its phase belongs.
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
            next.forget();
        }
        next
    }

    /// Forgets what is too old. A change that takes another one back is remembered as long as that one, and only the last of
    /// those: else each way back would cost one of the ways that are left. Of those that mend the last one is remembered.
    fn forget(&mut self) {
        let own = |change: &Change| change.undoes.is_none() && !change.is_repair;
        let mut surplus = self
            .history
            .iter()
            .filter(|change| own(change))
            .count()
            .saturating_sub(KEPT);
        self.history.retain(|change| {
            let goes = own(change) && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
        let all = self.history.clone();
        let mut at = 0;
        self.history.retain(|change| {
            at += 1;
            let later = all.get(at..).unwrap_or_default();
            match &change.undoes {
                None if change.is_repair => !later.iter().any(|one| one.is_repair),
                None => true,
                Some(id) => all.iter().any(|one| one.id == *id) && !later.iter().any(|one| one.undoes == change.undoes),
            }
        });
    }

    /// What becomes true when `change` settles, if it is one that takes another back: that one is rolled back, and its files
    /// are whose they were before it. False for any other change.
    pub(crate) fn mark_rolled_back(&mut self, change: &Change) -> bool {
        let Some(id) = &change.undoes else { return false };
        if let Some(taken) = self.history.iter_mut().find(|one| one.id == *id) {
            taken.phase = Phase::RolledBack;
            taken.ended = change.ended;
            for step in &taken.steps {
                match step.owned {
                    Some(owned) => self.owned.insert(step.path.clone(), owned),
                    None => self.owned.remove(&step.path),
                };
            }
        }
        true
    }

    /// The change whose bytes are in force: the last that settled, was not rolled back, and is itself no way back and no
    /// mending.
    pub(crate) fn in_force(history: &[Change]) -> Option<&Change> {
        history
            .iter()
            .rfind(|change| change.phase == Phase::Settled && change.undoes.is_none() && !change.is_repair)
    }

    /// Whether the unfinished change, or else the last one, was armed in another boot.
    pub(crate) fn is_of_another_boot(unfinished: Option<&Change>, history: &[Change], boot: &str) -> bool {
        let last = unfinished.or(history.last());
        last.and_then(|change| change.service.as_ref())
            .is_some_and(|service| service.boot != boot)
    }

    /// The identifiers of every change that is remembered.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.history
            .iter()
            .chain(&self.open)
            .map(|change| change.id.as_str())
            .collect()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Bytes of extended attributes as text.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;
    use std::fmt::Write;

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<String, Vec<u8>>, out: S) -> Result<S::Ok, S::Error> {
        let text = |bytes: &Vec<u8>| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                write!(text, "{byte:02x}").ok();
                text
            })
        };
        map.iter()
            .map(|(name, value)| (name, text(value)))
            .collect::<BTreeMap<_, _>>()
            .serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        let bytes = |text: &str| -> Option<Vec<u8>> {
            let digits: Option<Vec<u8>> = text
                .chars()
                .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
                .collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
            Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        };
        BTreeMap::<String, String>::deserialize(from)?
            .into_iter()
            .map(|(name, text)| Some((name, bytes(&text)?)))
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("an attribute is not hexadecimal"))
    }
}
