//! Runs one case on one containerd: the requests before, after and by the model are equal, or a mistake is detected.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use libtest_mimic::Failed;
use mirrorshift_containerd::{Cri, Version};
use mirrorshift_tests::lab::{
    Boot, Containerd, Files, Image, Job, Lab, RequestTarget, Round, RoundReport, compare, normalise,
};

use crate::case::{Case, Differs, Pull};
use crate::expected::World;
use crate::held::check;
use crate::migrate::{Migrated, migrated, node};
use crate::{Do, Tallies, Tally};

pub(crate) struct Run {
    pub(crate) lab: Arc<Lab>,
    pub(crate) case: Arc<Case>,
    pub(crate) containerd: Containerd,
    pub(crate) tallies: Tallies,
}

/// A case without its files.
struct Given {
    version: Version,
    files: Files,
    pulls: Vec<Pull>,
    images: Vec<Image>,
}

impl Run {
    /// Runs the function of the case, and counts a failure.
    pub(crate) fn counted(&self, run: Do) -> Result<(), Failed> {
        let outcome = run(self);
        if outcome.is_err() {
            self.count(|tally| tally.different += 1);
        }
        outcome
    }

    fn count(&self, add: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        add(tallies.entry(self.containerd.version.clone()).or_default());
    }

    fn given(&self) -> Result<Given, Failed> {
        let (pulls, images) = self.case.pulls()?.into_iter().unzip();
        Ok(Given {
            version: self.containerd.printed.parse()?,
            files: self.files("before")?.unwrap_or_default(),
            pulls,
            images,
        })
    }

    /// Returns a folder of the case as the node will have it.
    fn files(&self, folder: &str) -> Result<Option<Files>, Failed> {
        let Some(mut files) = self.case.files(folder)? else {
            return Ok(None);
        };
        for bytes in files.values_mut() {
            *bytes = self.lab.pki().fill(bytes);
        }
        Ok(Some(files))
    }

    /// Runs a round for each set of files, and compares it with the model.
    fn rounds(&self, given: &Given, sets: &[&Files]) -> Result<Vec<RoundReport>, Failed> {
        let scene = self.case.scene()?;
        let rounds = sets.iter().map(|files| Round {
            files: (*files).clone(),
            images: given.images.clone(),
        });
        let reports = self.lab.run(&Job {
            containerd: self.containerd.clone(),
            scene: scene.clone(),
            rounds: rounds.collect(),
        })?;
        self.count(|tally| {
            tally.pulls += reports.iter().map(|report| report.pulls.len()).sum::<usize>();
            tally.requests += reports.iter().map(|report| report.requests.len()).sum::<usize>();
        });
        let logins = self.case.logins()?;
        let world = World {
            scene: &scene,
            logins: &logins,
            pki: self.lab.pki(),
        };
        for (at, (files, report)) in sets.iter().zip(&reports).enumerate() {
            let node = node(&given.version, files);
            check(&world, &node, &given.images, report)
                .map_err(|text| format!("round {at}, the model against containerd\n{text}"))?;
        }
        Ok(reports)
    }

    /// Returns the files of the migrated node; `None` if the program refuses as the case expects.
    fn migrated(&self, given: &Given) -> Result<Option<Files>, Failed> {
        let migrated = migrated(&self.containerd.printed, &given.files, &self.case.wishes())?;
        let Migrated {
            outcome,
            files,
            printed,
        } = migrated;
        if outcome != self.case.plan {
            return Err(format!("it should be `{}` and is `{outcome}`: {printed}", self.case.plan).into());
        }
        Ok((!outcome.starts_with("refused")).then_some(files))
    }

    /// Checks that the requests before, after and by the model are equal, or differ as the policy requires.
    pub(crate) fn same(&self) -> Result<(), Failed> {
        let given = self.given()?;
        let before = node(&given.version, &given.files);
        let Some(after) = self.migrated(&given)? else {
            let reports = self.rounds(&given, &[&given.files])?;
            if reports[0].boot == Boot::CriOk {
                hold_all_literally(&given, &reports[0])?;
            }
            self.count(|tally| tally.refused += 1);
            return Ok(());
        };
        let dead = before
            .config
            .as_ref()
            .is_ok_and(|config| !matches!(config.cri, Cri::Loads));
        let meant = if dead { self.files("meant")? } else { None };
        let sets: Vec<&Files> = [&given.files, &after].into_iter().chain(&meant).collect();
        let reports = self.rounds(&given, &sets)?;
        let (first, new) = (&reports[0], &reports[1]);
        // Nothing was pulled while CRI did not serve. So the migrated node is compared with the meaning of its old
        // files, or else with the hosts that the case specifies.
        let old = if dead { reports.get(2) } else { Some(first) };
        if old.is_none() && given.pulls.iter().any(|pull| pull.contacted.is_none()) {
            return Err("CRI does not serve before, and the case does not specify the contacted hosts".into());
        }
        if new.boot != Boot::CriOk && given.files != after {
            return Err(format!("after the migration: {}\n{}", new.boot, new.log).into());
        }
        match old.map(|old| compare(old, new)) {
            Some(Some(difference)) if self.case.differs.is_none() => {
                return Err(shown(&difference, &given.files, &after));
            }
            Some(None) if self.case.differs.is_some() => return Err("the requests of the case do not differ".into()),
            _ => {}
        }
        hold_all_literally(&given, new)?;
        self.count(|tally| {
            tally.cases += 1;
            tally.requested += usize::from(self.case.differs == Some(Differs::Requested));
            tally.unavoidable += usize::from(self.case.differs == Some(Differs::Unavoidable));
        });
        Ok(())
    }

    /// Checks that the folder `after` differs from a right migration, and that both the comparison and the model
    /// detect it.
    pub(crate) fn caught(&self) -> Result<(), Failed> {
        let given = self.given()?;
        let before = node(&given.version, &given.files);
        let right = self.migrated(&given)?.ok_or("the program migrates nothing")?;
        let wrong = self.files("after")?.ok_or("no folder `after`")?;
        let reports = self.rounds(&given, &[&given.files, &right, &wrong])?;
        if let Some(difference) = compare(&reports[0], &reports[1]) {
            return Err(shown(&difference, &given.files, &right));
        }
        if compare(&reports[0], &reports[2]).is_none() {
            return Err("the comparison did not detect the mistake".into());
        }
        let (scene, logins) = (self.case.scene()?, self.case.logins()?);
        let world = World {
            scene: &scene,
            logins: &logins,
            pki: self.lab.pki(),
        };
        if check(&world, &before, &given.images, &reports[2]).is_ok() {
            return Err("the model did not detect the mistake".into());
        }
        self.count(|tally| tally.caught += 1);
        Ok(())
    }
}

fn hold_all_literally(given: &Given, report: &RoundReport) -> Result<(), Failed> {
    let pulls = given.pulls.iter().zip(&given.images);
    pulls.into_iter().try_for_each(|pull| hold_literally(pull, report))
}

/// Compares the requests with the hosts that the case specifies, whatever the model predicts.
fn hold_literally((pull, image): (&Pull, &Image), report: &RoundReport) -> Result<(), Failed> {
    let asks = normalise(&report.requests);
    let of = |wanted: fn(&RequestTarget) -> bool| {
        let mut lists = asks
            .iter()
            .filter(|((of, thing), _)| *of == image.reference && wanted(thing));
        let mut hosts: Vec<String> = lists
            .next()
            .into_iter()
            .flat_map(|(_, list)| list.iter().map(|sent| sent.at.clone()))
            .collect();
        hosts.dedup();
        hosts
    };
    let by_name = if image.reference.contains('@') {
        // Looked up by its digest and then fetched by it from the same hosts.
        let mut hosts = of(|thing| matches!(thing, RequestTarget::Digest(_)));
        let half = hosts.len() / 2;
        if hosts[..half] == hosts[half..] {
            hosts.truncate(half);
        }
        hosts
    } else {
        of(|thing| matches!(thing, RequestTarget::Tag(_)))
    };
    let blobs = of(|thing| matches!(thing, RequestTarget::Blob(_)));
    for (what, said, seen) in [("manifest", &pull.contacted, by_name), ("layers", &pull.layers, blobs)] {
        if said.as_ref().is_some_and(|said| *said != seen) {
            return Err(format!(
                "{}: {what}: the case specifies {said:?}, containerd contacted {seen:?}",
                image.reference
            )
            .into());
        }
    }
    Ok(())
}

/// Returns a difference with the files that caused it.
fn shown(difference: &str, before: &Files, after: &Files) -> Failed {
    let mut text = format!("{difference}\n");
    for (path, bytes) in after.iter().filter(|(path, bytes)| before.get(*path) != Some(*bytes)) {
        let _ = writeln!(text, "--- {path}\n{}", String::from_utf8_lossy(bytes));
    }
    text.into()
}
