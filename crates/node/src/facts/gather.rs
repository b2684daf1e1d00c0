//! Observes a running node, and returns its facts as one value.

use crate::containerd::cri::{Container, PodSandbox};
use crate::containerd::peer;
use crate::containerd::socket::{CallError, Socket};
use crate::error_text::error_chain;
use crate::facts::boot::boot_id;
use crate::facts::daemons::{self, Daemon, Shim};
use crate::facts::distribution::{DetectionInput, Marker, owner};
use crate::facts::fact::Fact;
use crate::facts::node_facts::{Containerd, Cri, Facts, ObserveError, ObserveOptions, Serving};
use crate::facts::path_facts::{FileFact, PathInspector};
use crate::facts::started::Started;
use crate::facts::{log_fifos, mounts, started};
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::Root;
use crate::systemd::bus::Bus;
use crate::systemd::error::BusError;
use crate::systemd::job::Job;
use crate::systemd::unit::Unit;
use mirrorshift_containerd::Entry;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The usual socket of CRI.
const ADDRESS: &str = "/run/containerd/containerd.sock";
/// The unit of every containerd package. It is observed if no daemon serves CRI.
const UNIT: &str = "containerd.service";
const ETC: &str = "/etc/containerd";

/// Observes the running machine. Nothing is changed, started or stopped.
///
/// Each fact is either a value or the reason why it is unavailable, so that one program that does not answer does not
/// hide the other facts.
///
/// # Assumptions
/// `root` is the machine's own `/`.
///
/// # Errors
/// [`ObserveError::NotLive`] if `root` is another folder.
///
/// # Examples
///
/// ```no_run
/// use mirrorshift_node::{ObserveOptions, Root, observe};
///
/// let root = Root::open("/")?;
/// let facts = observe(&root, &ObserveOptions::default())?;
/// match facts.containerd.version.value() {
///     Some(version) => println!("containerd {version}"),
///     None => println!("containerd does not answer"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn observe(root: &Root, options: &ObserveOptions) -> Result<Facts, ObserveError> {
    if !root.is_live() {
        return Err(ObserveError::NotLive);
    }
    let proc = Path::new("/proc");
    let (daemons, shims) = match daemons::find(proc) {
        Ok((daemons, shims)) => (Fact::Value(daemons), Fact::Value(shims)),
        Err(error) => (
            Fact::unavailable(error_chain(&error)),
            Fact::unavailable(error_chain(&error)),
        ),
    };
    let serving = observe_serving(options, &daemons);
    let pid = serving.as_ref().and_then(|serving| serving.pid.clone());
    let daemon = daemons
        .value()
        .and_then(|all| all.iter().find(|daemon| Some(&daemon.pid) == pid.value()));

    let (systemd, unit, jobs) = observe_systemd(options.call_timeout, pid.value().copied());
    let started_by_systemd = unit
        .value()
        .filter(|unit| unit.main_pid.as_ref() == pid.value())
        .and_then(|unit| unit.main_started);
    let outputs = pid.clone().and_then(|pid| log_fifos::read_by(proc, pid).into());
    let started = pid.and_then(|pid| started::start_time(proc, pid, started_by_systemd).into());
    let shims_in_unit = shims.as_ref().and_then(|shims| shims_in(shims, &serving, &unit));

    let address = serving.as_ref().map(|serving| serving.address.clone());
    let (containerd, cri) = match address.and_then(|address| Socket::connect(&address, options.call_timeout).into()) {
        Fact::Value(mut socket) => observe_containerd(&mut socket, options.images),
        Fact::Unavailable(why) => unavailable_containerd(&why),
    };

    let config = match (daemon, unit.value().and_then(Unit::launch)) {
        (Some(daemon), _) => daemon.launch.config_path().to_owned(),
        (None, Some(launch)) => launch.config_path().to_owned(),
        (None, None) => format!("{ETC}/config.toml"),
    };
    let inspector = inspector(root, &started);
    let files = file_facts(&inspector, &config, &options.files);
    let mut folders = vec![inspector.folder(ETC)];
    let (config_folder, _) = crate::files::root::split(&config);
    let others = [Some(config_folder.to_owned()), containerd.root.value().cloned()];
    folders.extend(
        others
            .iter()
            .flatten()
            .filter(|path| *path != ETC)
            .map(|path| inspector.folder(path)),
    );

    let version = containerd.version.value().cloned();
    let evidence = detection_input(root, config, unit.value().map(|unit| unit.id.clone()), version);
    Ok(Facts {
        boot_id: boot_id().into(),
        systemd,
        daemons,
        serving,
        unit,
        jobs,
        started,
        containerd,
        cri,
        outputs,
        shims,
        shims_in_unit,
        files,
        folders,
        owner: owner(&evidence),
        evidence,
    })
}

/// Replaces the facts of files by those of config.toml and `files`, as they are now. All other facts stay as observed.
///
/// A caller that plans from the facts knows the files of its plan only afterwards.
pub fn inspect_files(root: &Root, facts: &mut Facts, files: &[String]) {
    let inspector = inspector(root, &facts.started);
    facts.files = file_facts(&inspector, &facts.evidence.config, files);
}

/// Lists the references of the images on the running machine, with one call to CRI and no other observation. Only the
/// deadline and the address of `options` are used.
///
/// # Errors
/// [`ObserveError::NotLive`] if `root` is another folder.
pub fn list_images(root: &Root, options: &ObserveOptions) -> Result<Fact<Vec<String>>, ObserveError> {
    if !root.is_live() {
        return Err(ObserveError::NotLive);
    }
    let daemons = match daemons::find(Path::new("/proc")) {
        Ok((daemons, _)) => Fact::Value(daemons),
        Err(error) => Fact::unavailable(error_chain(&error)),
    };
    let serving = observe_serving(options, &daemons);
    let socket = serving.and_then(|serving| Socket::connect(&serving.address, options.call_timeout).into());
    Ok(socket.and_then(|mut socket| socket.image_references().into()))
}

fn inspector<'r>(root: &'r Root, started: &Fact<Started>) -> PathInspector<'r> {
    PathInspector {
        root,
        mounts: fs::read_to_string("/proc/self/mountinfo")
            .map(|text| mounts::parse(&text))
            .into(),
        started: started.clone(),
        now_us: time_of_day_us(),
    }
}

fn file_facts(inspector: &PathInspector<'_>, config: &String, files: &[String]) -> Vec<FileFact> {
    std::iter::once(config)
        .chain(files)
        .map(|path| inspector.file(path))
        .collect()
}

/// Returns the time of day in microseconds since 1970, and 0 for an earlier time.
fn time_of_day_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Finds the socket of CRI: the requested one, or else the usual one, or else the socket of the node's only daemon.
fn observe_serving(options: &ObserveOptions, daemons: &Fact<Vec<Daemon>>) -> Fact<Serving> {
    let serving = |address: &str| {
        let pid = match peer::listener(Path::new(address)) {
            Ok(Some(pid)) => Fact::Value(pid),
            Ok(None) => Fact::unavailable("it is in a PID namespace that is not visible from here"),
            Err(error) => return Fact::unavailable(format!("`{address}`: {}", error_chain(&error))),
        };
        Fact::Value(Serving {
            address: address.to_owned(),
            pid,
        })
    };
    let usual = serving(options.address.as_deref().unwrap_or(ADDRESS));
    if usual.value().is_some() || options.address.is_some() {
        return usual;
    }
    let own = daemons
        .value()
        .into_iter()
        .flatten()
        .filter(|daemon| daemon.of_the_node != Fact::Value(false));
    let sockets: Vec<&String> = own
        .filter_map(|daemon| daemon.listens.value())
        .flatten()
        // The same process also listens at a socket for its shims and at one for debugging.
        .filter(|path| path.ends_with("/containerd.sock"))
        .collect();
    match sockets[..] {
        [only] => serving(only),
        _ => usual,
    }
}

fn observe_systemd(timeout: Duration, pid: Option<u32>) -> (Fact<String>, Fact<Unit>, Fact<Vec<Job>>) {
    let bus = match Bus::connect(timeout) {
        Ok(bus) => bus,
        Err(error) => {
            let why = format!("{} ({})", error_chain(&error), error.hint());
            let version = match error {
                BusError::TooOld(version) => Fact::Value(version),
                _ => Fact::unavailable(&why),
            };
            return (version, Fact::unavailable(&why), Fact::Unavailable(why));
        }
    };
    let name = match pid.map(|pid| bus.unit_of_process(pid)) {
        None => Fact::Value(UNIT.to_owned()),
        Some(Ok(Some(name))) => Fact::Value(name),
        Some(Ok(None)) => Fact::unavailable("the daemon that serves CRI belongs to no unit"),
        Some(Err(error)) => Err(error).into(),
    };
    let unit = name.and_then(|name| bus.unit(&name).into());
    (Fact::Value(bus.version().to_owned()), unit, bus.jobs().into())
}

fn observe_containerd(socket: &mut Socket, with_images: bool) -> (Containerd, Cri) {
    let version = socket.version().into();
    let (plugins, root, has_deprecations) = match socket.plugin_report() {
        Ok(report) => {
            let root = match report.root {
                Some(root) => Fact::Value(root),
                None => Fact::unavailable("containerd does not report the path of its database"),
            };
            (Fact::Value(report.plugins), root, report.has_deprecations)
        }
        Err(error) => {
            let why = error.to_string();
            (Fact::unavailable(&why), Fact::unavailable(&why), true)
        }
    };
    let deprecations = if has_deprecations {
        socket.deprecations().into()
    } else {
        Fact::unavailable("this containerd release keeps no list of deprecations")
    };
    // The order of the calls matters. The ids are listed before CRI's lists, so that a sandbox that is finished in
    // between is not taken for an unfinished sandbox. CRI is called before the tasks, because one stopped shim delays
    // the list of all tasks.
    let created_ids = socket.created_ids();
    let status = socket.cri_status();
    let served = match &status {
        Ok(_) => Fact::Value(true),
        Err(CallError::NotServed { .. }) => Fact::Value(false),
        Err(error) => Fact::unavailable(error.to_string()),
    };
    let (sandboxes, containers) = (socket.sandboxes(), socket.containers());
    let images = match (&served, with_images) {
        (_, false) => Fact::unavailable("the images were not requested"),
        (Fact::Value(true), true) => socket.image_references().into(),
        (Fact::Value(false), true) => Fact::unavailable("containerd does not serve CRI"),
        (Fact::Unavailable(why), true) => Fact::unavailable(why),
    };
    let cri = Cri {
        served,
        status: status.into(),
        version: socket.cri_version().into(),
        in_creation: in_creation(created_ids, &sandboxes, &containers),
        sandboxes: sandboxes.into(),
        containers: containers.into(),
        images,
    };
    let daemon = Containerd {
        version,
        plugins,
        deprecations,
        ingests: socket.ingests().into(),
        tasks: socket.tasks().into(),
        root,
    };
    (daemon, cri)
}

/// Returns the ids that CRI has begun to create and does not list yet.
fn in_creation(
    created_ids: Result<Vec<String>, CallError>,
    sandboxes: &Result<Vec<PodSandbox>, CallError>,
    containers: &Result<Vec<Container>, CallError>,
) -> Fact<Vec<String>> {
    match (created_ids, sandboxes, containers) {
        (Ok(mut ids), Ok(sandboxes), Ok(containers)) => {
            ids.retain(|id| {
                !sandboxes.iter().any(|sandbox| sandbox.id == *id)
                    && !containers.iter().any(|container| container.id == *id)
            });
            Fact::Value(ids)
        }
        (Err(error), _, _) => Fact::unavailable(error.to_string()),
        (_, Err(error), _) | (_, _, Err(error)) => Fact::unavailable(error.to_string()),
    }
}

fn unavailable_containerd(why: &str) -> (Containerd, Cri) {
    let daemon = Containerd {
        version: Fact::unavailable(why),
        plugins: Fact::unavailable(why),
        deprecations: Fact::unavailable(why),
        ingests: Fact::unavailable(why),
        tasks: Fact::unavailable(why),
        root: Fact::unavailable(why),
    };
    let cri = Cri {
        served: Fact::unavailable(why),
        status: Fact::unavailable(why),
        version: Fact::unavailable(why),
        sandboxes: Fact::unavailable(why),
        containers: Fact::unavailable(why),
        in_creation: Fact::unavailable(why),
        images: Fact::unavailable(why),
    };
    (daemon, cri)
}

/// Returns the serving daemon's shims in the unit's control group. One shim whose groups are unknown makes the result
/// unavailable.
fn shims_in(shims: &[Shim], serving: &Fact<Serving>, unit: &Fact<Unit>) -> Fact<Vec<u32>> {
    let (serving, unit) = match (serving, unit) {
        (Fact::Value(serving), Fact::Value(unit)) => (serving, unit),
        (Fact::Unavailable(why), _) | (_, Fact::Unavailable(why)) => return Fact::Unavailable(why.clone()),
    };
    let mut inside = Vec::new();
    for shim in shims {
        // The shim of another containerd, such as Docker's.
        if shim.address.as_ref().is_some_and(|address| *address != serving.address) {
            continue;
        }
        match shim.is_inside(&unit.control_group) {
            Fact::Value(true) => inside.push(shim.pid),
            Fact::Value(false) => {}
            Fact::Unavailable(why) => return Fact::unavailable(format!("shim {}: {why}", shim.pid)),
        }
    }
    Fact::Value(inside)
}

fn detection_input(root: &Root, config: String, unit: Option<String>, version: Option<String>) -> DetectionInput {
    let real_path = |path: &str| match resolve(root, path) {
        Ok(ResolvedPath::Found(real)) => Some(real),
        _ => None,
    };
    let text = |path: &str| match root.entry(path) {
        Entry::File(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    DetectionInput {
        config_real: real_path(&config),
        markers: Marker::markers(&text(&config)),
        os: os_id(&text("/etc/os-release")),
        present: Marker::paths()
            .into_iter()
            .filter(|path| real_path(path).is_some())
            .map(str::to_owned)
            .collect(),
        config,
        unit,
        version,
    }
}

/// Returns the `ID` of `os-release(5)`.
fn os_id(text: &str) -> Option<String> {
    let id = text.lines().find_map(|line| line.trim().strip_prefix("ID="))?;
    Some(id.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests;
