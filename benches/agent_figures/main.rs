//! Measures what the agent costs a node and its cluster; `benches/agent-figures` runs it.
//!
//! This is a measurement and not a test. In a real cluster of four nodes, each with another release of containerd,
//! the agents first have nothing to do for a while. Then they get the policy to migrate, and then a policy that changes a
//! single hosts.toml.

mod process; // the process of an agent

use mirrorshift_tests::agents::{AgentImage, NAMESPACE, World};
use mirrorshift_tests::lab::Clusters;
use mirrorshift_tests::lab::cluster::{Mark, endpoint};
use process::Process;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Longer than the work of an agent at its start.
const SETTLE: Duration = Duration::from_secs(30);
/// No node of the lab has a mirror for this registry by name, so each gets a new file for it.
const REGISTRY: &str = "quay.io";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(stderr(), "cannot measure: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Reads `SECONDS`, and ignores the arguments that cargo adds.
fn run() -> Outcome<()> {
    let seconds = std::env::args().skip(1).find(|word| word != "--bench");
    let rest = Duration::from_secs(seconds.ok_or("SECONDS are missing")?.parse()?);
    let clusters = Clusters::open(env!("CARGO_BIN_EXE_lab-run")).map_err(|missing| missing.to_string())?;
    let image = AgentImage::made()?;
    let names = ["n16", "n17", "n21", "n24"];
    let world = World::of(&clusters, &image, &names).map_err(to_error)?;
    world.apply("observe").map_err(to_error)?;
    world.all("Pending").map_err(to_error)?;
    sleep(SETTLE);

    let mut out = stdout();
    writeln!(
        out,
        "| when | seconds | node | resident (of it private), most ever | processor time | requests |\n|---|---|---|---|---|---|"
    )?;
    let figures = Figures::begin(&world, &names)?;
    sleep(rest);
    figures.end(&world, "at rest", &mut out)?;

    let figures = Figures::begin(&world, &names)?;
    let began = Instant::now();
    world.apply("migrate").map_err(to_error)?;
    world.all("Migrated").map_err(to_error)?;
    let migrated = began.elapsed();
    figures.end(&world, "in a rollout", &mut out)?;
    writeln!(
        out,
        "\nFrom `kubectl apply` until all are migrated, one at a time: {:.1} s.",
        migrated.as_secs_f64()
    )?;

    world
        .policy(&format!(
            "mode: migrate\nregistries:\n  - host: {REGISTRY}\n    mirrors: [{{url: \"{}\"}}]\n    tags: upstream\n",
            endpoint("all")
        ))
        .map_err(to_error)?;
    for name in names {
        let (brought, written) = in_force(&world, name)?;
        writeln!(
            out,
            "{name}: another policy is in force {:.0} ms after the kubelet brought it.",
            (written - brought) * 1e3
        )?;
    }
    Ok(())
}

/// Returns when a node's kubelet delivered a policy and when the resulting file existed, in seconds of one clock.
fn in_force(world: &World, name: &str) -> Outcome<(f64, f64)> {
    let look = format!(
        "grep -q '{}' /etc/containerd/certs.d/{REGISTRY}/hosts.toml && \
         stat -c %.9Y /var/lib/kubelet/pods/*/volumes/kubernetes.io~configmap/policy/..data /etc/containerd/certs.d/{REGISTRY}/hosts.toml",
        endpoint("all")
    );
    let there = world.until("the policy is not in force", |world| {
        let ran = world.cluster.node(name)?.run(&["sh", "-c", &look])?;
        Ok((ran.code == 0).then_some(ran.stdout))
    });
    let there = there.map_err(to_error)?;
    let times: Vec<f64> = there.lines().map(str::parse).collect::<Result<_, _>>()?;
    match times[..] {
        [brought, written] => Ok((brought, written)),
        _ => Err(format!("{name}: {there}").into()),
    }
}

/// A measurement that is in progress.
struct Figures {
    mark: Mark,
    began: Instant,
    processes: BTreeMap<String, Process>,
}

impl Figures {
    fn begin(world: &World, names: &[&str]) -> Outcome<Self> {
        let process = |name: &&str| Ok(((*name).to_owned(), Process::of_agent(world.cluster.node(name)?)?));
        Ok(Self {
            mark: world.cluster.plane.audit().mark()?,
            began: Instant::now(),
            processes: names.iter().map(process).collect::<Outcome<_>>()?,
        })
    }

    fn end(&self, world: &World, when: &str, out: &mut impl Write) -> Outcome<()> {
        let seconds = self.began.elapsed().as_secs();
        // The audit log is written a moment after the answer.
        sleep(Duration::from_millis(500));
        let by = format!("system:serviceaccount:{NAMESPACE}:");
        let mut requests = BTreeMap::<&str, BTreeMap<String, u32>>::new();
        let events = world.cluster.plane.audit().since(self.mark)?;
        for event in events.iter().filter(|event| event.user.username.starts_with(&by)) {
            // A watch is counted when it begins.
            if let Some(node) = event
                .node()
                .filter(|_| (event.stage == "ResponseComplete") != (event.verb == "watch"))
            {
                let what = format!("{} {}", event.verb, event.object_ref.resource);
                *requests.entry(node).or_default().entry(what).or_default() += 1;
            }
        }
        for (name, before) in &self.processes {
            let now = Process::of_agent(world.cluster.node(name)?)?;
            let asked = requests.get(name.as_str()).into_iter().flatten();
            let asked: Vec<String> = asked.map(|(what, count)| format!("{count} {what}")).collect();
            writeln!(
                out,
                "| {when} | {seconds} | {name} | {:.1} ({:.1}), {:.1} MiB | {} ms | {} |",
                mebibytes(now.resident),
                mebibytes(now.private),
                mebibytes(now.most),
                now.processor.saturating_sub(before.processor).as_millis(),
                if asked.is_empty() {
                    "none".to_owned()
                } else {
                    asked.join(", ")
                },
            )?;
        }
        Ok(())
    }
}

fn mebibytes(kibibytes: u32) -> f64 {
    f64::from(kibibytes) / 1024.0
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn to_error(failed: libtest_mimic::Failed) -> Box<dyn Error> {
    failed.message().unwrap_or("it failed").into()
}
