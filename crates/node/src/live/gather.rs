//! Gathers the facts of a running node in one go.

use super::bus::{Bus, BusError, Job, Unit};
use super::cri::{Container, Sandbox};
use super::daemons::{self, Daemon, Shim};
use super::facts::{Ask, Containerd, Cri, Facts, ObserveError, Serving};
use super::known::{Known, chain};
use super::mounts;
use super::outputs;
use super::owner::{Evidence, Sign, owner};
use super::peer;
use super::place::Surveyor;
use super::socket::{CallError, Socket};
use super::started;
use crate::resolve::{Landing, resolve};
use crate::root::Root;
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
pub fn observe(root: &Root, ask: &Ask) -> Result<Facts, ObserveError> {
    if !root.is_live() {
        return Err(ObserveError::NotLive);
    }
    let proc = Path::new("/proc");
    let (daemons, shims) = match daemons::find(proc) {
        Ok((daemons, shims)) => (Known::Known(daemons), Known::Known(shims)),
        Err(error) => (Known::unknown(chain(&error)), Known::unknown(chain(&error))),
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
    let outputs = pid.clone().and_then(|pid| outputs::of(proc, pid).into());
    let started = pid.and_then(|pid| started::of(proc, pid, noted).into());
    let shims_in_unit = shims.as_ref().and_then(|shims| shims_in(shims, &serving, &unit));

    let address = serving.as_ref().map(|serving| serving.address.clone());
    let (containerd, cri) = match address.and_then(|address| Socket::connect(&address, ask.patience).into()) {
        Known::Known(mut socket) => asked(&mut socket),
        Known::Unknown(why) => silent(&why),
    };

    let config = match (daemon, unit.known().and_then(Unit::launch)) {
        (Some(daemon), _) => daemon.launch.config_path().to_owned(),
        (None, Some(launch)) => launch.config_path().to_owned(),
        (None, None) => format!("{ETC}/config.toml"),
    };
    let surveyor = Surveyor {
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
    let (home, _) = crate::root::split(&config);
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
fn serving(ask: &Ask, daemons: &Known<Vec<Daemon>>) -> Known<Serving> {
    let serving = |address: &str| {
        let pid = match peer::listener(Path::new(address)) {
            Ok(Some(pid)) => Known::Known(pid),
            Ok(None) => Known::unknown("it is in a PID namespace that is not seen from here"),
            Err(error) => return Known::unknown(format!("`{address}`: {}", chain(&error))),
        };
        Known::Known(Serving {
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
        .filter(|daemon| daemon.of_the_node != Known::Known(false));
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

fn systemd(patience: Duration, pid: Option<u32>) -> (Known<String>, Known<Unit>, Known<Vec<Job>>) {
    let bus = match Bus::connect(patience) {
        Ok(bus) => bus,
        Err(error) => {
            let why = format!("{} ({})", chain(&error), error.hint());
            let version = match error {
                BusError::TooOld(version) => Known::Known(version),
                _ => Known::unknown(&why),
            };
            return (version, Known::unknown(&why), Known::Unknown(why));
        }
    };
    let name = match pid.map(|pid| bus.unit_of(pid)) {
        None => Known::Known(UNIT.to_owned()),
        Some(Ok(Some(name))) => Known::Known(name),
        Some(Ok(None)) => Known::unknown("the daemon that serves CRI belongs to no unit"),
        Some(Err(error)) => Err(error).into(),
    };
    let unit = name.and_then(|name| bus.unit(&name).into());
    (Known::Known(bus.version().to_owned()), unit, bus.jobs().into())
}

fn asked(socket: &mut Socket) -> (Containerd, Cri) {
    let version = socket.version().into();
    let (plugins, root, has_deprecations) = match socket.loaded() {
        Ok(loaded) => (Known::Known(loaded.plugins), loaded.root, loaded.has_deprecations),
        Err(error) => (
            Known::unknown(error.to_string()),
            Known::unknown(error.to_string()),
            true,
        ),
    };
    let deprecations = if has_deprecations {
        socket.deprecations().into()
    } else {
        Known::unknown("this containerd keeps no list of deprecations")
    };
    // CRI before the tasks: one stopped shim holds up the list of all tasks.
    // Before what CRI lists, so that what is finished in between is not taken for unfinished.
    let begun = socket.begun();
    let status = socket.cri_status();
    let served = match &status {
        Ok(_) => Known::Known(true),
        Err(CallError::NotServed { .. }) => Known::Known(false),
        Err(error) => Known::unknown(error.to_string()),
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
    sandboxes: &Result<Vec<Sandbox>, CallError>,
    containers: &Result<Vec<Container>, CallError>,
) -> Known<Vec<String>> {
    match (begun, sandboxes, containers) {
        (Ok(mut begun), Ok(sandboxes), Ok(containers)) => {
            begun
                .retain(|id| !sandboxes.iter().any(|one| one.id == *id) && !containers.iter().any(|one| one.id == *id));
            Known::Known(begun)
        }
        (Err(error), _, _) => Known::unknown(error.to_string()),
        (_, Err(error), _) | (_, _, Err(error)) => Known::unknown(error.to_string()),
    }
}

fn silent(why: &str) -> (Containerd, Cri) {
    let daemon = Containerd {
        version: Known::unknown(why),
        plugins: Known::unknown(why),
        deprecations: Known::unknown(why),
        ingests: Known::unknown(why),
        tasks: Known::unknown(why),
        root: Known::unknown(why),
    };
    let cri = Cri {
        served: Known::unknown(why),
        status: Known::unknown(why),
        version: Known::unknown(why),
        sandboxes: Known::unknown(why),
        containers: Known::unknown(why),
        in_creation: Known::unknown(why),
    };
    (daemon, cri)
}

/// The serving daemon's shims in the unit's control group. One that cannot be told makes the whole unknown.
fn shims_in(shims: &[Shim], serving: &Known<Serving>, unit: &Known<Unit>) -> Known<Vec<u32>> {
    let (serving, unit) = match (serving, unit) {
        (Known::Known(serving), Known::Known(unit)) => (serving, unit),
        (Known::Unknown(why), _) | (_, Known::Unknown(why)) => return Known::Unknown(why.clone()),
    };
    let mut inside = Vec::new();
    for shim in shims {
        // Another containerd's, such as Docker's.
        if shim.address.as_ref().is_some_and(|address| *address != serving.address) {
            continue;
        }
        match shim.is_inside(&unit.control_group) {
            Known::Known(true) => inside.push(shim.pid),
            Known::Known(false) => {}
            Known::Unknown(why) => return Known::unknown(format!("shim {}: {why}", shim.pid)),
        }
    }
    Known::Known(inside)
}

fn evidence(root: &Root, config: String, unit: Option<String>, version: Option<String>) -> Evidence {
    let landing = |path: &str| match resolve(root, path) {
        Ok(Landing::Found(real)) => Some(real),
        _ => None,
    };
    let text = |path: &str| match root.entry(path) {
        Entry::File(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    Evidence {
        config_real: landing(&config),
        markers: Sign::markers(&text(&config)),
        os: os(&text("/etc/os-release")),
        present: Sign::paths()
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
