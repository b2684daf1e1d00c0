//! Exchanges a file with the copy next to it, and checks the result.

use crate::error::NodeError;
use crate::files::root::{Root, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::files::stage::rename_to_free;
use crate::journal::record::StepRecord;
use mirrorshift_plan::Digest;
use mirrorshift_plan::change::StepKind;
use rustix::fd::OwnedFd;
use rustix::fs::{
    RenameFlags, {self},
};
use rustix::io::Errno;

/// A step's two names, with their folders open.
pub(crate) struct SwapPaths<'a> {
    step: &'a StepRecord,
    there: OwnedFd,
    name: &'a str,
    aside: OwnedFd,
    copy: &'a str,
}

impl<'a> SwapPaths<'a> {
    pub(crate) fn open(root: &Root, step: &'a StepRecord) -> Result<Self, NodeError> {
        let (folder, name) = split(&step.target);
        let (beside, copy) = split(&step.beside);
        Ok(Self {
            step,
            there: root.folder(folder).map_err(NodeError::io("open", folder))?,
            name,
            aside: root.folder(beside).map_err(NodeError::io("open", beside))?,
            copy,
        })
    }

    /// Puts the new file in place. The displaced file must be the backed-up original; any other file is put back.
    ///
    /// # Errors
    /// [`NodeError::ModifiedExternally`] if another program modified the file. The modified file has its name again.
    pub(crate) fn swap_in(&self) -> Result<(), NodeError> {
        match self.step.kind() {
            StepKind::Create => self.put(),
            StepKind::Replace => {
                if self.exchange(|seen| self.is_before(seen))? && !self.is_before(&self.copy()?) {
                    self.put_back()?;
                    return Err(self.foreign("it changed while it was replaced"));
                }
                Ok(())
            }
            StepKind::Remove => self.take_aside(|seen| self.is_before(seen)),
        }
    }

    /// Puts the original file in place. The displaced file must be the new one; any other file is put back.
    ///
    /// # Errors
    /// As [`SwapPaths::swap_in`].
    pub(crate) fn swap_back(&self) -> Result<(), NodeError> {
        match self.step.kind() {
            StepKind::Create => self.take_aside(|seen| self.is_after(seen)),
            StepKind::Replace => {
                if self.exchange(|seen| self.is_after(seen))? && !self.is_after(&self.copy()?) {
                    self.put_back()?;
                    return Err(self.foreign("it changed while the original file was restored"));
                }
                Ok(())
            }
            StepKind::Remove => self.put(),
        }
    }

    /// Puts back the file that a swap displaced, if the file that the swap put in place is unmodified.
    ///
    /// # Errors
    /// [`NodeError::UnexpectedSibling`] if another program modified the file again since. Its last edit keeps the file's name, and
    /// the edit before it has the copy's name.
    pub(crate) fn put_back(&self) -> Result<(), NodeError> {
        let io = || NodeError::io("put back", self.step.path.as_str());
        let is_back = if self.step.kind() == StepKind::Replace {
            self.exchange_names().map_err(io())?;
            let copy = self.copy()?;
            let is_ours = self.is_before(&copy) || self.is_after(&copy);
            if !is_ours {
                self.exchange_names().map_err(io())?;
            }
            is_ours
        } else {
            match rename_to_free(&self.aside, self.copy, &self.there, self.name) {
                Err(Errno::EXIST) => false,
                other => other.map(|()| true).map_err(io())?,
            }
        };
        self.sync()?;
        if is_back {
            return Ok(());
        }
        Err(NodeError::UnexpectedSibling {
            path: self.step.path.clone(),
            beside: self.step.beside.clone(),
        })
    }

    fn exchange_names(&self) -> Result<(), Errno> {
        fs::renameat_with(&self.aside, self.copy, &self.there, self.name, RenameFlags::EXCHANGE)
    }

    /// Syncs both folders.
    pub(crate) fn sync(&self) -> Result<(), NodeError> {
        fs::fsync(&self.there).map_err(NodeError::io("sync the folder of", self.step.path.as_str()))?;
        if split(&self.step.target).0 != split(&self.step.beside).0 {
            fs::fsync(&self.aside).map_err(NodeError::io("sync the folder of", self.step.beside.as_str()))?;
        }
        Ok(())
    }

    /// Exchanges both files. Returns true if the displaced file now has the other name. Returns false if this file system cannot
    /// exchange files; then `is_expected` held immediately before a plain rename over the file.
    fn exchange(&self, is_expected: impl Fn(&PathStat) -> bool) -> Result<bool, NodeError> {
        let failed = || NodeError::io("replace", self.step.path.as_str());
        match self.exchange_names() {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS) => {
                // Such a file system leaves a window between this check and the rename.
                if !is_expected(&self.file()?) {
                    return Err(self.foreign("it changed before it was replaced"));
                }
                fs::renameat(&self.aside, self.copy, &self.there, self.name).map_err(failed())?;
                Ok(false)
            }
            Err(Errno::NOENT) => Err(self.foreign("it or the copy next to it was removed")),
            Err(error) => Err(failed()(error)),
        }
    }

    /// Renames the copy to the file's name, which must be free.
    fn put(&self) -> Result<(), NodeError> {
        match rename_to_free(&self.aside, self.copy, &self.there, self.name) {
            Err(Errno::EXIST) => Err(self.foreign("the file exists now")),
            other => other.map_err(NodeError::io("put in place", self.step.path.as_str())),
        }
    }

    /// Renames the file to the copy's name, which must be free, and checks it there. Nothing is deleted.
    fn take_aside(&self, is_expected: impl Fn(&PathStat) -> bool) -> Result<(), NodeError> {
        rename_to_free(&self.there, self.name, &self.aside, self.copy)
            .map_err(NodeError::io("remove", self.step.path.as_str()))?;
        if is_expected(&self.copy()?) {
            return Ok(());
        }
        self.put_back()?;
        Err(self.foreign("it changed while it was taken away"))
    }

    pub(crate) fn file(&self) -> Result<PathStat, NodeError> {
        stat_path(&self.there, self.name, &self.step.path)
    }

    pub(crate) fn copy(&self) -> Result<PathStat, NodeError> {
        stat_path(&self.aside, self.copy, &self.step.beside)
    }

    fn is_before(&self, seen: &PathStat) -> bool {
        matches!((seen, &self.step.before), (PathStat::File(now), Some(then)) if now.record.is_same_as(then))
    }

    fn is_after(&self, seen: &PathStat) -> bool {
        matches!((seen, &self.step.after), (PathStat::File(now), Some(then)) if Digest::of(&now.bytes) == *then)
    }

    fn foreign(&self, found: &str) -> NodeError {
        NodeError::ModifiedExternally {
            path: self.step.path.clone(),
            found: found.to_owned(),
        }
    }
}
