//! The program under test, run as an operator does, and the files that it changes.

use crate::lab::Files;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{fs, io};

/// Runs `mirrorshift` for one offline root.
pub struct Tool {
    root: PathBuf,
    version: String,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; -1 when a signal ended the program.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Returns itself if the exit code is 0, and an error with the output otherwise.
    pub fn ok(self) -> io::Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        let Self { code, stdout, stderr } = self;
        Err(io::Error::other(format!("exit code {code}: {stdout}{stderr}")))
    }
}

impl From<Output> for Ran {
    /// A program that was ended by a signal has the code -1.
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Tool {
    /// For the files under `root` and a containerd of `version`.
    pub fn new(root: &Path, version: &str) -> Self {
        Self {
            root: root.to_owned(),
            version: version.to_owned(),
        }
    }

    /// Returns the program, built from the current sources, or the program that `MIRRORSHIFT_PROGRAM` names.
    pub fn program() -> io::Result<&'static Path> {
        static GIVEN: OnceLock<Option<PathBuf>> = OnceLock::new();
        match GIVEN.get_or_init(|| std::env::var_os("MIRRORSHIFT_PROGRAM").map(PathBuf::from)) {
            Some(given) => Ok(given),
            None => Self::built(),
        }
    }

    /// Returns the program, built from the current sources and linked dynamically, as cargo does by default.
    pub fn built() -> io::Result<&'static Path> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match BUILT.get_or_init(|| build("--bin", "mirrorshift")) {
            Ok(program) => Ok(program),
            Err(why) => Err(io::Error::other(why.clone())),
        }
    }

    /// Runs a command with `--root` and `--containerd-version`.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Ran> {
        let program = Self::program()?;
        let output = Command::new(program)
            .args(arguments)
            .arg("--root")
            .arg(&self.root)
            .args(["--containerd-version", &self.version])
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {}: {error}", program.display())))?;
        Ok(output.into())
    }
}

/// Returns the program as a static executable, as it is shipped: the file that `MIRRORSHIFT_PROGRAM` names, or a
/// program that is built with the settings of the stage `package` of `tests/run`, without the optimisations that take
/// minutes.
pub fn static_program() -> io::Result<PathBuf> {
    if let Some(given) = std::env::var_os("MIRRORSHIFT_PROGRAM") {
        return Ok(given.into());
    }
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let own = std::env::current_exe()?;
    let folder = own.ancestors().find(|folder| folder.ends_with("debug"));
    let folder = folder
        .and_then(Path::parent)
        .ok_or_else(|| io::Error::other("not built by cargo"))?;
    let built = cargo(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "mirrorshift",
            "--target",
            &target,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_TARGET_DIR", folder.join("package"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if !built.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&built.stderr).into_owned()));
    }
    Ok(folder.join("package").join(target).join("release/mirrorshift"))
}

/// Returns an example program of the workspace, built from the current sources.
pub fn built_example(name: &str) -> io::Result<PathBuf> {
    build("--example", name).map_err(io::Error::other)
}

/// A cargo command without the variables that cargo sets for a test. Build scripts that depend on them would run
/// again, and everything that depends on those would be compiled again, now and at the next run of the suite.
fn cargo(program: OsString) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name
            .to_str()
            .is_some_and(|name| told.iter().any(|start| name.starts_with(start)))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Builds a program from the current sources. Cargo only builds the programs of the package under test, so without
/// this an outdated program would be tested. If the test was not started by cargo, the existing program is used.
fn build(kind: &str, name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = own.ancestors().find(|folder| folder.join("deps").is_dir());
    let profile = profile.ok_or_else(|| format!("{} was not built by cargo", own.display()))?;
    if let Some(program) = std::env::var_os("CARGO") {
        let folder = profile.file_name().unwrap_or_default();
        let named = if folder == "debug" { "dev".as_ref() } else { folder };
        // The whole workspace is selected as in `tests/run`, so that dependencies get the same features.
        let built = cargo(program)
            .args(["build", "--quiet", "--workspace", kind, name, "--profile"])
            .arg(named)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if !built.status.success() {
            return Err(String::from_utf8_lossy(&built.stderr).into_owned());
        }
    }
    let folder = if kind == "--example" { "examples" } else { "" };
    Ok(profile.join(folder).join(name))
}

/// The folder of a file.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Returns everything under a folder: kind, mode, size, modification time, inode, and contents or target.
pub fn snapshot(root: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    walk(root, &mut |path, metadata| {
        let content = if metadata.is_file() {
            format!("{:?}", fs::read(path)?)
        } else if metadata.is_symlink() {
            fs::read_link(path)?.to_string_lossy().into_owned()
        } else {
            String::new()
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        found.insert(
            path.to_owned(),
            format!(
                "{:o} {} {time:?} {} {content}",
                metadata.mode(),
                metadata.uid(),
                metadata.ino()
            ),
        );
        Ok(())
    })?;
    Ok(found)
}

/// Returns the regular files in `folder` under `root`, by their path in the node.
pub fn files_below(root: &Path, folder: &str) -> io::Result<Files> {
    let mut files = Files::new();
    walk(&root.join(folder.trim_start_matches('/')), &mut |path, metadata| {
        if metadata.is_file() {
            let inside = path.strip_prefix(root).unwrap_or(path);
            files.insert(format!("/{}", inside.display()), fs::read(path)?);
        }
        Ok(())
    })?;
    Ok(files)
}

fn walk(at: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(at)?;
    visit(at, &metadata)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(at)? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}
