//! Measures the load of thousands of agents on one API server; `benches/fleet-load` runs it.
//!
//! This is a measurement and not a test. The agents are real, with all of their API requests; only their nodes are
//! simulated, and a change of such a node takes a second. The API server and its etcd are real, with the project's
//! manifests, admission policy and audit log. All share one machine.

mod crowd; // simulated nodes, tokens and agents
mod figures; // the requests to the API server, and its resources

use crowd::Crowd;
use figures::{Figures, heading};
use mirrorshift_tests::lab::cluster::Part;
use mirrorshift_tests::lab::{ControlOptions, ControlPlane, ControlPlanes};
use std::error::Error;
use std::io::{
    Write, stderr, stdout, {self},
};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) const NAMESPACE: &str = "mirrorshift-system";
/// The time for which the API server is stopped.
const OUTAGE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(stderr(), "cannot measure: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Reads `SECONDS SLOTS AGENTS…`, and ignores the arguments that cargo adds.
fn run() -> Outcome<()> {
    let words: Vec<u32> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    let [seconds, slots, sizes @ ..] = words.as_slice() else {
        return Err("SECONDS SLOTS AGENTS… are missing".into());
    };
    let planes = ControlPlanes::open(env!("CARGO_BIN_EXE_lab-run")).map_err(|missing| missing.to_string())?;
    heading(&mut stdout())?;
    for size in sizes {
        let mut plane = planes.up(&ControlOptions {
            controllers: true,
            api_flags: vec!["--max-requests-inflight=400".to_owned()],
            ..ControlOptions::default()
        })?;
        plane.apply(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/observe"))?;
        measure(&mut plane, *size, *slots, Duration::from_secs((*seconds).into()))?;
    }
    Ok(())
}

fn measure(plane: &mut ControlPlane, size: u32, slots: u32, span: Duration) -> Outcome<()> {
    let crowd = Crowd::gather(plane, size)?;
    writeln!(stderr(), "{size} agents have told of their nodes")?;
    let tell = |name: &str, figures: &Figures| -> io::Result<()> { figures.row(&mut stdout(), size, name) };

    let figures = Figures::begin(plane)?;
    sleep(span);
    tell("at rest", &figures.end(plane)?)?;

    let figures = Figures::begin(plane)?;
    crowd.policy(&format!("mode: migrate\nrestart: {{maxConcurrent: {slots}}}\n"))?;
    sleep(span);
    tell("in a rollout", &figures.end(plane)?)?;

    let figures = Figures::begin(plane)?;
    plane.stop(Part::ApiServer);
    sleep(OUTAGE);
    plane.start(Part::ApiServer)?;
    sleep(span);
    tell("after an outage, in a rollout", &figures.end(plane)?)?;
    drop(crowd);
    Ok(())
}
