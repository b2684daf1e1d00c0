//! Configuration files from public repositories, if the corpus is next to the project: the program plans, migrates,
//! migrates again and rolls back each, and real containerd loads the result.

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{Boot, Containerd, Files, LINES, Lab};
use mirrorshift_tests::{Tool, folder_of};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// The results for the files on one release.
#[derive(Default)]
struct Row {
    planned: usize,
    empty: usize,
    refused: BTreeMap<String, Vec<String>>,
    loads: usize,
    as_before: usize,
}

type Table = Arc<Mutex<BTreeMap<String, Row>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(corpus) = mirrorshift_tests::corpus() else {
        return mirrorshift_tests::all_skipped("corpus", "the corpus is not next to the project");
    };
    let table = Table::default();
    let mut trials = Vec::new();
    for (line, containerd) in LINES.into_iter().zip(Containerd::all()) {
        let ready = containerd
            .map_err(|missing| missing.to_string())
            .and_then(|containerd| {
                let lab = Lab::open(env!("CARGO_BIN_EXE_lab-run")).map_err(|missing| missing.to_string())?;
                Ok((containerd, lab))
            });
        let name = format!("corpus::{line}");
        let (corpus, table) = (corpus.clone(), Arc::clone(&table));
        trials.push(match ready {
            Ok((containerd, lab)) => Trial::test(name, move || one_release(&corpus, &containerd, &lab, &table)),
            Err(why) => mirrorshift_tests::skipped(&name, &why),
        });
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    print(&table);
    conclusion.exit_code()
}

fn files(corpus: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(corpus)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

fn one_release(corpus: &Path, containerd: &Containerd, lab: &Lab, table: &Table) -> Result<(), Failed> {
    let mut row = Row::default();
    let (mut before, mut after, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for file in files(corpus)? {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let migrated = one_file(&file, &containerd.printed, &mut row)
            .map_err(|why| format!("{name}: {}", why.message().unwrap_or_default()))?;
        if let Some((old, new)) = migrated {
            names.push(name);
            before.push(old);
            after.push(new);
        }
    }
    let booted = lab
        .boots(containerd, &after)
        .into_iter()
        .zip(lab.boots(containerd, &before));
    let mut dead = Vec::new();
    for (((new, old), name), files) in booted.zip(&names).zip(before.iter().zip(&after)) {
        match (new?, old?) {
            (Boot::CriOk, _) => row.loads += 1,
            // If CRI did not load before for the same reason, this machine lacks a plugin, an address or a file.
            (new, old) if same_trouble(&new, &old) || is_by_chance(lab, containerd, files, &new) => row.as_before += 1,
            (new, old) => dead.push(format!("{name}: {new}; before: {old}")),
        }
    }
    if let Ok(mut table) = table.lock() {
        table.insert(containerd.version.clone(), row);
    }
    if dead.is_empty() {
        Ok(())
    } else {
        Err(dead.join("\n").into())
    }
}

/// Tries both files again, and returns whether the old files have the same error, or the new files none. A containerd
/// that ends may or may not have answered for CRI a moment before.
fn is_by_chance(lab: &Lab, containerd: &Containerd, (old, new): (&Files, &Files), trouble: &Boot) -> bool {
    let again = |files: &Files| lab.boots(containerd, &vec![files.clone(); 5]);
    let had = again(old).iter().flatten().any(|old| same_trouble(trouble, old));
    had || again(new).iter().flatten().any(|new| matches!(new, Boot::CriOk))
}

fn same_trouble(new: &Boot, old: &Boot) -> bool {
    let about_registries = |boot: &Boot| boot.to_string().contains("config_path");
    std::mem::discriminant(new) == std::mem::discriminant(old) && !about_registries(new)
}

/// Plans, migrates twice and rolls back one file. Returns the files before and after, if it was migrated.
fn one_file(file: &Path, version: &str, row: &mut Row) -> Result<Option<(Files, Files)>, Failed> {
    let root = tempfile::tempdir()?;
    let config = root.path().join("etc/containerd/config.toml");
    fs::create_dir_all(folder_of(&config))?;
    let original = fs::read(file)?;
    fs::write(&config, &original)?;
    let tool = Tool::new(root.path(), version);
    let untouched = mirrorshift_tests::snapshot(root.path())?;
    let plan = tool.run(&["plan", "--exit-code", "--output", "json"])?;
    if mirrorshift_tests::snapshot(root.path())? != untouched {
        return Err("`plan` wrote something".into());
    }
    match plan.code {
        0 => row.empty += 1,
        3 => {
            let answer: serde_json::Value = serde_json::from_str(&plan.stdout)?;
            let reason = answer["error"]["reason"].as_str().ok_or("a refusal without a reason")?;
            let name = file
                .file_stem()
                .map(|stem| stem.to_string_lossy().chars().take(3).collect())
                .unwrap_or_default();
            row.refused.entry(reason.to_owned()).or_default().push(name);
        }
        7 => row.planned += 1,
        code => return Err(format!("`plan` exits {code}: {}", plan.stderr).into()),
    }
    let migrate = tool.run(&["migrate", "--no-restart"])?;
    let wanted = if plan.code == 3 { 3 } else { 0 };
    if migrate.code != wanted {
        return Err(format!("`migrate` exits {}: {}", migrate.code, migrate.stderr).into());
    }
    let migrated = mirrorshift_tests::snapshot(root.path())?;
    if plan.code != 7 {
        return if migrated == untouched {
            Ok(None)
        } else {
            Err("nothing to do, and something was written".into())
        };
    }
    let new = mirrorshift_tests::files_below(root.path(), "/etc")?;
    let again = tool.run(&["migrate", "--no-restart"])?;
    if again.code != 0 || mirrorshift_tests::snapshot(root.path())? != migrated {
        return Err(format!(
            "the second `migrate` exits {} or changed something: {}",
            again.code, again.stderr
        )
        .into());
    }
    let rollback = tool.run(&["rollback", "--no-restart"])?;
    if rollback.code != 0 {
        return Err(format!("`rollback` exits {}: {}", rollback.code, rollback.stderr).into());
    }
    let old = mirrorshift_tests::files_below(root.path(), "/etc")?;
    let only_config = Files::from([("/etc/containerd/config.toml".to_owned(), original)]);
    if old != only_config {
        return Err(format!("`rollback` left {:?}", old.keys().collect::<Vec<_>>()).into());
    }
    Ok(Some((only_config, new)))
}

#[expect(clippy::print_stdout, reason = "a test program's output is its report")]
fn print(table: &Table) {
    let Ok(table) = table.lock() else { return };
    println!("corpus    files planned empty refused | CRI loads  as before  dead");
    for (version, row) in table.iter() {
        let refused: usize = row.refused.values().map(Vec::len).sum();
        let files = row.planned + row.empty + refused;
        println!(
            "{version:<9} {files:>5} {:>7} {:>5} {refused:>7} | {:>9}  {:>9}  {:>4}",
            row.planned,
            row.empty,
            row.loads,
            row.as_before,
            row.planned - row.loads - row.as_before
        );
        for (reason, names) in &row.refused {
            println!("          refused, {reason}: {}", names.join(" "));
        }
    }
}
