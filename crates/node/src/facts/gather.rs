//! Gathers the facts of a running node in one go.

use crate::containerd::cri::{Container, PodSandbox};
use crate::containerd::peer;
use crate::containerd::socket::{CallError, Socket};
use crate::facts::daemons::{
    Daemon, Shim, {self},
};
use crate::facts::distribution::{DetectionInput, Marker, owner};
use crate::facts::fact::{Fact, chain};
use crate::facts::node_facts::{Containerd, Cri, Facts, ObserveError, ObserveOptions, Serving};
use crate::facts::path_facts::PathInspector;
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

/// Where CRI is served unless a configuration says otherwise.
const ADDRESS: &str = "/run/containerd/containerd.sock";
/// The unit of every package, looked at when no daemon tells its own.
const UNIT: &str = "containerd.service";
const ETC: &str = "/etc/containerd";

/// Observes the running machine. Nothing is changed, started or stopped; `root` must be its own `/`.
pub fn observe(root: &Root, ask: &ObserveOptions) -> Result<Facts, ObserveError> {
    if !root.is_live() {
        return Err(ObserveError::NotLive);
    }
    let proc = Path::new("/proc");
    let (daemons, shims) = match daemons::find(proc) {
        Ok((daemons, shims)) => (Fact::Value(daemons), Fact::Value(shims)),
        Err(error) => (Fact::unknown(chain(&error)), Fact::unknown(chain(&error))),
    };
    let serving = serving(ask, &daemons);
    let pid = serving.as_ref().and_then(|serving| serving.pid.clone());
    let daemon = daemons
        .known()
        .and_then(|all| all.iter().find(|one| Some(&one.pid) == pid.known()));

    let (systemd, unit, jobs) = systemd(ask.patience, pid.known().copied());
    let noted = unit
        .known()
        .filter(|unit| unit.main_pid.as_ref() == pid.known())
        .and_then(|unit| unit.main_started);
    let outputs = pid.clone().and_then(|pid| log_fifos::of(proc, pid).into());
    let started = pid.and_then(|pid| started::of(proc, pid, noted).into());
    let shims_in_unit = shims.as_ref().and_then(|shims| shims_in(shims, &serving, &unit));

    let address = serving.as_ref().map(|serving| serving.address.clone());
    let (containerd, cri) = match address.and_then(|address| Socket::connect(&address, ask.patience).into()) {
        Fact::Value(mut socket) => asked(&mut socket),
        Fact::Unavailable(why) => silent(&why),
    };

    let config = match (daemon, unit.known().and_then(Unit::launch)) {
        (Some(daemon), _) => daemon.launch.config_path().to_owned(),
        (None, Some(launch)) => launch.config_path().to_owned(),
        (None, None) => format!("{ETC}/config.toml"),
    };
    let surveyor = PathInspector {
        root,
        mounts: fs::read_to_string("/proc/self/mountinfo")
            .map(|text| mounts::parse(&text))
            .into(),
        started: started.clone(),
        now_us: time_of_day_us(),
    };
    let files = std::iter::once(&config)
        .chain(&ask.files)
        .map(|path| surveyor.file(path))
        .collect();
    let mut folders = vec![surveyor.folder(ETC)];
    let (home, _) = crate::files::root::split(&config);
    let others = [Some(home.to_owned()), containerd.root.known().cloned()];
    folders.extend(
        others
            .iter()
            .flatten()
            .filter(|path| *path != ETC)
            .map(|path| surveyor.folder(path)),
    );

    let version = containerd.version.known().cloned();
    let evidence = evidence(root, config, unit.known().map(|unit| unit.id.clone()), version);
    Ok(Facts {
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .into(),
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

/// Microseconds since 1970; a clock before that stands at 0.
fn time_of_day_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The socket that was asked for, else the usual one, else that of the only daemon of the node.
fn serving(ask: &ObserveOptions, daemons: &Fact<Vec<Daemon>>) -> Fact<Serving> {
    let serving = |address: &str| {
        let pid = match peer::listener(Path::new(address)) {
            Ok(Some(pid)) => Fact::Value(pid),
            Ok(None) => Fact::unknown("it is in a PID namespace that is not seen from here"),
            Err(error) => return Fact::unknown(format!("`{address}`: {}", chain(&error))),
        };
        Fact::Value(Serving {
            address: address.to_owned(),
            pid,
        })
    };
    let usual = serving(ask.address.as_deref().unwrap_or(ADDRESS));
    if usual.known().is_some() || ask.address.is_some() {
        return usual;
    }
    let own = daemons
        .known()
        .into_iter()
        .flatten()
        .filter(|daemon| daemon.of_the_node != Fact::Value(false));
    let sockets: Vec<&String> = own
        .filter_map(|daemon| daemon.listens.known())
        .flatten()
        // Beside it lie the socket of its shims and the one for debugging.
        .filter(|path| path.ends_with("/containerd.sock"))
        .collect();
    match sockets[..] {
        [only] => serving(only),
        _ => usual,
    }
}

fn systemd(patience: Duration, pid: Option<u32>) -> (Fact<String>, Fact<Unit>, Fact<Vec<Job>>) {
    let bus = match Bus::connect(patience) {
        Ok(bus) => bus,
        Err(error) => {
            let why = format!("{} ({})", chain(&error), error.hint());
            let version = match error {
                BusError::TooOld(version) => Fact::Value(version),
                _ => Fact::unknown(&why),
            };
            return (version, Fact::unknown(&why), Fact::Unavailable(why));
        }
    };
    let name = match pid.map(|pid| bus.unit_of(pid)) {
        None => Fact::Value(UNIT.to_owned()),
        Some(Ok(Some(name))) => Fact::Value(name),
        Some(Ok(None)) => Fact::unknown("the daemon that serves CRI belongs to no unit"),
        Some(Err(error)) => Err(error).into(),
    };
    let unit = name.and_then(|name| bus.unit(&name).into());
    (Fact::Value(bus.version().to_owned()), unit, bus.jobs().into())
}

fn asked(socket: &mut Socket) -> (Containerd, Cri) {
    let version = socket.version().into();
    let (plugins, root, has_deprecations) = match socket.loaded() {
        Ok(loaded) => (Fact::Value(loaded.plugins), loaded.root, loaded.has_deprecations),
        Err(error) => (Fact::unknown(error.to_string()), Fact::unknown(error.to_string()), true),
    };
    let deprecations = if has_deprecations {
        socket.deprecations().into()
    } else {
        Fact::unknown("this containerd keeps no list of deprecations")
    };
    // CRI before the tasks: one stopped shim holds up the list of all tasks.
    // Before what CRI lists, so that what is finished in between is not taken for unfinished.
    let begun = socket.begun();
    let status = socket.cri_status();
    let served = match &status {
        Ok(_) => Fact::Value(true),
        Err(CallError::NotServed { .. }) => Fact::Value(false),
        Err(error) => Fact::unknown(error.to_string()),
    };
    let (sandboxes, containers) = (socket.sandboxes(), socket.containers());
    let cri = Cri {
        served,
        status: status.into(),
        version: socket.cri_version().into(),
        in_creation: in_creation(begun, &sandboxes, &containers),
        sandboxes: sandboxes.into(),
        containers: containers.into(),
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

fn in_creation(
    begun: Result<Vec<String>, CallError>,
    sandboxes: &Result<Vec<PodSandbox>, CallError>,
    containers: &Result<Vec<Container>, CallError>,
) -> Fact<Vec<String>> {
    match (begun, sandboxes, containers) {
        (Ok(mut begun), Ok(sandboxes), Ok(containers)) => {
            begun
                .retain(|id| !sandboxes.iter().any(|one| one.id == *id) && !containers.iter().any(|one| one.id == *id));
            Fact::Value(begun)
        }
        (Err(error), _, _) => Fact::unknown(error.to_string()),
        (_, Err(error), _) | (_, _, Err(error)) => Fact::unknown(error.to_string()),
    }
}

fn silent(why: &str) -> (Containerd, Cri) {
    let daemon = Containerd {
        version: Fact::unknown(why),
        plugins: Fact::unknown(why),
        deprecations: Fact::unknown(why),
        ingests: Fact::unknown(why),
        tasks: Fact::unknown(why),
        root: Fact::unknown(why),
    };
    let cri = Cri {
        served: Fact::unknown(why),
        status: Fact::unknown(why),
        version: Fact::unknown(why),
        sandboxes: Fact::unknown(why),
        containers: Fact::unknown(why),
        in_creation: Fact::unknown(why),
    };
    (daemon, cri)
}

/// The serving daemon's shims in the unit's control group. One that cannot be told makes the whole unknown.
fn shims_in(shims: &[Shim], serving: &Fact<Serving>, unit: &Fact<Unit>) -> Fact<Vec<u32>> {
    let (serving, unit) = match (serving, unit) {
        (Fact::Value(serving), Fact::Value(unit)) => (serving, unit),
        (Fact::Unavailable(why), _) | (_, Fact::Unavailable(why)) => return Fact::Unavailable(why.clone()),
    };
    let mut inside = Vec::new();
    for shim in shims {
        // Another containerd's, such as Docker's.
        if shim.address.as_ref().is_some_and(|address| *address != serving.address) {
            continue;
        }
        match shim.is_inside(&unit.control_group) {
            Fact::Value(true) => inside.push(shim.pid),
            Fact::Value(false) => {}
            Fact::Unavailable(why) => return Fact::unknown(format!("shim {}: {why}", shim.pid)),
        }
    }
    Fact::Value(inside)
}

fn evidence(root: &Root, config: String, unit: Option<String>, version: Option<String>) -> DetectionInput {
    let landing = |path: &str| match resolve(root, path) {
        Ok(ResolvedPath::Found(real)) => Some(real),
        _ => None,
    };
    let text = |path: &str| match root.entry(path) {
        Entry::File(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    DetectionInput {
        config_real: landing(&config),
        markers: Marker::markers(&text(&config)),
        os: os(&text("/etc/os-release")),
        present: Marker::paths()
            .into_iter()
            .filter(|path| landing(path).is_some())
            .map(str::to_owned)
            .collect(),
        config,
        unit,
        version,
    }
}

/// `ID` of `os-release(5)`.
fn os(text: &str) -> Option<String> {
    let id = text.lines().find_map(|line| line.trim().strip_prefix("ID="))?;
    Some(id.trim_matches(['"', '\'']).to_owned())
}
