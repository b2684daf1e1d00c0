//! The order of syncs, which a kill does not show: contents are on the disk before a name refers to them, and names are on the
//! disk before the journal proceeds.
//!
//! One change is traced, and rules check the log. Then each fsync is removed from the log in turn: a rule must fail, otherwise
//! the fsync is not needed.

use crate::common::{CREATED, copy, example, old_root, show, skip, strace_works};
use crate::runtime::{FakeRuntime, OLD, plan};
use mirrorshift_node::{ChangeError, Root, Session};
use mirrorshift_plan::{Expect, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::env::{current_exe, var_os};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One successful system call: its name, its arguments and its result, with descriptors as `N</path>`.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    args: String,
    result: String,
}

fn parse(log: &str) -> Vec<Call> {
    log.lines()
        .filter_map(|line| {
            let (_, call) = line.split_once(' ')?;
            let (name, rest) = call.trim_start().split_once('(')?;
            let (args, result) = rest.rsplit_once("= ")?;
            let args = args.trim_end().strip_suffix(')')?;
            (!result.starts_with('-')).then(|| Call {
                name: name.to_owned(),
                args: args.to_owned(),
                result: result.to_owned(),
            })
        })
        .collect()
}

/// The number and the path of a descriptor such as `3</etc>`; strace writes ` (deleted)` for files without a name.
fn descriptor(text: &str) -> Option<(u32, String)> {
    let (number, rest) = text.split_once('<')?;
    let number = number.trim().parse().ok()?;
    Some((
        number,
        rest.split('>').next()?.trim_end_matches(" (deleted)").to_owned(),
    ))
}

/// Splits arguments such as `AT_FDCWD</here>, "/proc/self/fd/5", 4</etc>, "name", FLAGS`. The names in these tests have no
/// comma.
fn parts(args: &str) -> Vec<&str> {
    args.split(", ").map(|part| part.trim_matches('"')).collect()
}

/// Returns a description of every rule that the calls break.
fn broken_rules(calls: &[Call]) -> Vec<String> {
    let mut broken = Vec::new();
    let made: BTreeSet<String> = calls
        .iter()
        .filter(|call| call.name == "mkdirat")
        .filter_map(subject)
        .collect();
    // Open files whose contents or attributes are newer than their last fsync, by descriptor.
    let mut unsynced_files = BTreeMap::<u32, String>::new();
    // The same for files that have a name, by path.
    let mut unsynced_paths = BTreeSet::<String>::new();
    // Folders whose names or attributes are newer than their last fsync.
    let mut unsynced_folders = BTreeMap::<String, String>::new();
    for call in calls {
        let parts = parts(&call.args);
        let effect = matches!(
            call.name.as_str(),
            "linkat" | "renameat" | "renameat2" | "mkdirat" | "unlinkat"
        );
        if effect && unsynced_folders.values().any(|why| why.ends_with("\"journal.json\"")) {
            broken.push(format!(
                "{} {} happens before the journal is synced",
                call.name, call.args
            ));
        }
        match call.name.as_str() {
            // The number is now the descriptor of another file.
            "openat" | "openat2" => {
                if let Some((number, _)) = descriptor(&call.result) {
                    unsynced_files.remove(&number);
                }
            }
            "write" | "fallocate" | "fchmod" | "fchown" | "fsetxattr" | "fremovexattr" => {
                let Some((number, path)) = descriptor(parts[0]).filter(|(number, _)| *number > 2) else {
                    continue;
                };
                // The text of the lock is only for a message, and the reserve only occupies space.
                if path.ends_with("/lock") || path.ends_with("/reserve") {
                    continue;
                }
                if made.contains(&path) {
                    unsynced_folders.insert(path, format!("{} {}", call.name, call.args));
                    continue;
                }
                unsynced_files.insert(number, path.clone());
                unsynced_paths.insert(path);
            }
            "fsync" => {
                let Some((number, path)) = descriptor(parts[0]) else {
                    continue;
                };
                unsynced_files.remove(&number);
                unsynced_paths.remove(&path);
                unsynced_folders.remove(&path);
            }
            "linkat" | "renameat" | "renameat2" => {
                let (Some((from, name)), Some((to, _))) = (named(&parts, 0), named(&parts, 2)) else {
                    // The file has no name yet: it is known by its descriptor.
                    let number = parts[1].rsplit('/').next().and_then(|number| number.parse().ok());
                    if number.is_some_and(|number| unsynced_files.contains_key(&number)) {
                        broken.push(format!("data is not synced before {} {}", call.name, call.args));
                    }
                    if let Some((folder, _)) = named(&parts, 2) {
                        unsynced_folders.insert(folder, call.args.clone());
                    }
                    continue;
                };
                let source = format!("{from}/{name}");
                if unsynced_paths.contains(&source) {
                    broken.push(format!("data is not synced before {} {}", call.name, call.args));
                }
                if parts[3] == "journal.json" {
                    for path in unsynced_paths.iter().filter(|path| **path != source) {
                        broken.push(format!("{path} is not synced before the journal proceeds"));
                    }
                    for (folder, why) in &unsynced_folders {
                        broken.push(format!("{folder} is not synced before the journal proceeds: {why}"));
                    }
                }
                let outer = |folder: &&String| made.contains(&to) && to.starts_with(&format!("{folder}/"));
                for folder in unsynced_folders.keys().filter(outer) {
                    broken.push(format!(
                        "{folder} is not synced with the name of {to}, and {} adds a file to it",
                        call.args
                    ));
                }
                unsynced_folders.insert(from, call.args.clone());
                unsynced_folders.insert(to, call.args.clone());
            }
            "mkdirat" | "unlinkat" => {
                let Some((folder, _)) = named(&parts, 0) else { continue };
                let what = format!("{} {}", call.name, call.args);
                if let ("unlinkat", Some(gone)) = (call.name.as_str(), subject(call)) {
                    // A removed folder needs no sync.
                    unsynced_folders.remove(&gone);
                }
                unsynced_folders.insert(folder, what);
            }
            _ => {}
        }
    }
    for (folder, why) in unsynced_folders {
        broken.push(format!("{folder} is not synced at the end: {why}"));
    }
    // One missing sync breaks a rule again at every journal write that follows.
    broken.sort();
    broken.dedup();
    broken
}

/// Returns the folder of the descriptor at index `at`, and the name in that folder.
fn named(parts: &[&str], at: usize) -> Option<(String, String)> {
    let name = parts.get(at + 1)?;
    let (_, folder) = descriptor(parts.get(at)?)?;
    (!name.starts_with('/')).then(|| (folder, (*name).to_owned()))
}

/// Returns the path that a `mkdirat` created or an `unlinkat` removed.
fn subject(call: &Call) -> Option<String> {
    let (folder, name) = named(&parts(&call.args), 0)?;
    Some(format!("{folder}/{name}"))
}

fn trace(program: &mut Command, log: &Path) -> Vec<Call> {
    let calls = "trace=openat,openat2,write,fallocate,fchmod,fchown,fsetxattr,fremovexattr,fsync,fdatasync,linkat,\
                 rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";
    let status = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "0", "-e", calls, "-o"])
        .arg(log)
        .arg(program.get_program())
        .args(program.get_args())
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    // `-s 0` keeps the contents of files out of the log. It does not shorten paths.
    parse(&fs::read_to_string(log).unwrap())
}

#[test]
fn every_fsync_is_present_and_needed() {
    if !strace_works() {
        return skip("the trace of fsync", "strace is missing or not permitted");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("node");
    let old = dir.path().join("old");
    old_root(&old);
    copy(&old, &root);
    let example = example();
    for command in ["apply", "rollback"] {
        let calls = trace(Command::new(&example).arg(command).arg(&root), &dir.path().join("log"));
        assert_eq!(broken_rules(&calls), Vec::<String>::new(), "{command}");
        let syncs: Vec<_> = (0..calls.len()).filter(|at| calls[*at].name == "fsync").collect();
        for at in &syncs {
            let mut without = calls.clone();
            let removed = without.remove(*at);
            let before: Vec<_> = calls[at.saturating_sub(4)..*at]
                .iter()
                .map(|call| format!("{} {}", call.name, call.args))
                .collect();
            assert!(
                !broken_rules(&without).is_empty(),
                "{command}: {removed:?} is not needed, after {before:#?}"
            );
        }
        show(&format!(
            "fsync in `{command}`: {} of {} needed by the rules",
            syncs.len(),
            syncs.len()
        ));
        assert!(syncs.len() > 20, "{}", syncs.len());
    }
}

/// The variable with the root for [`change_that_fails_its_verification_is_undone`] when it is traced.
const TRACED_ROOT: &str = "MIRRORSHIFT_TRACED_ROOT";

#[test]
fn change_that_fails_its_verification_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let node = var_os(TRACED_ROOT).map_or_else(|| dir.path().to_owned(), PathBuf::from);
    old_root(&node);
    let mut plan = plan();
    let made = Step {
        path: format!("/{CREATED}"),
        expect: Expect::Absent,
        content: Some(b"server = \"https://registry-1.docker.io\"\n".to_vec()),
        why: "a test".to_owned(),
    };
    plan.steps.insert(0, made);
    let root = Root::open(&node).unwrap();
    let mut containerd = FakeRuntime::new(&node, &[OLD]);
    let session = Session::open(&root, 1, "one").unwrap();
    let undone = session.with_runtime(&mut containerd).apply(&plan);
    assert!(matches!(undone, Err(ChangeError::Undone { .. })), "{undone:?}");
    assert!(!node.join(CREATED).exists());
}

/// After the journal announces a restart, no session removes copies or folders. Therefore their removal by the undo must be on
/// the disk before that.
#[test]
fn undo_syncs_before_the_journal_proceeds() {
    if !strace_works() {
        return skip("the trace of an undo", "strace is missing or not permitted");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut program = Command::new(current_exe().unwrap());
    program.args(["--exact", "trace::change_that_fails_its_verification_is_undone"]);
    program.env(TRACED_ROOT, dir.path().join("node"));
    let node = dir.path().join("node").display().to_string();
    let calls: Vec<Call> = trace(&mut program, &dir.path().join("log"))
        .into_iter()
        // The test itself writes files there first.
        .skip_while(|call| !(call.name == "mkdirat" && call.args.contains(&node)))
        .collect();
    let journals = calls
        .iter()
        .filter(|call| call.args.contains("\"journal.json\""))
        .count();
    assert!(journals > 10, "the journal was written {journals} times");
    assert_eq!(broken_rules(&calls), Vec::<String>::new());
}
