//! Programs that run in the background of a machine, so that the machine can be stopped or its power cut while they
//! run. All times are measured by the machine's clock, which is independent of the load of the test's machine.

use std::io;
use std::time::Duration;

use super::{VirtualMachine, port};
use crate::tool::Ran;

/// The folder of the program's output.
const FOLDER: &str = "/run/lab/begun";
/// The exit code of a script that reports that the program still runs; no program of the suite ends with it.
const GOES_ON: i32 = 250;

/// The result of a program that ran in the background.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code and output.
    pub ran: Ran,
    pub took: Duration,
}

/// The progress of a program when the power of its machine was cut.
#[derive(Clone, Debug)]
pub struct CutOff {
    /// The exit code, if it had ended.
    pub code: Option<i32>,
    /// The standard error until then.
    pub said: String,
}

impl VirtualMachine {
    /// Starts a program in the background. Only one can run at a time.
    pub fn begin(&mut self, command: &[&str]) -> io::Result<()> {
        // A pipe is used to wait for its end, because polling would cost time of the only processor.
        let script = format!(
            "rm -rf {FOLDER}; mkdir -p {FOLDER}; cd {FOLDER}; mkfifo over; : > err
             read -r began rest < /proc/uptime; echo $began > began
             ( ({}) > out 2> err < /dev/null; code=$?; read -r ended rest < /proc/uptime
               echo \"$began $ended $code\" > end.new; mv end.new end; : > over ) > /dev/null 2>&1 &",
            port::script(command)
        );
        self.run(&["sh", "-c", &script])?.ok().map(drop)
    }

    /// Waits until the program has written this word to standard error, and returns how long that took.
    pub fn said(&mut self, word: &str) -> io::Result<Duration> {
        let script = format!(
            "cd {FOLDER}; until grep -qw '{word}' err; do [ -e end ] && {{ cat err >&2; exit 1; }}; sleep 0.05; done
             read -r now rest < /proc/uptime; read -r began < began; echo $began $now"
        );
        let said = self.run(&["sh", "-c", &script])?.ok()?.stdout;
        let (began, now) = said.split_once(' ').unwrap_or_default();
        match (seconds(began), seconds(now)) {
            (Some(began), Some(now)) => Ok(now.saturating_sub(began)),
            _ => Err(unread(&said)),
        }
    }

    /// Waits at most two minutes for the end of the program.
    pub fn ended(&mut self) -> io::Result<Ended> {
        let script = format!("cd {FOLDER}; [ -e end ] || cat over; cat end; cat out; cat err >&2");
        let ran = self.run(&["sh", "-c", &script])?.ok()?;
        let (end, stdout) = ran.stdout.split_once('\n').unwrap_or_default();
        let words: Vec<&str> = end.split(' ').collect();
        let [began, ended, code] = words[..] else {
            return Err(unread(end));
        };
        let (Some(began), Some(ended), Ok(code)) = (seconds(began), seconds(ended), code.parse()) else {
            return Err(unread(end));
        };
        Ok(Ended {
            took: ended.saturating_sub(began),
            ran: Ran {
                code,
                stdout: stdout.to_owned(),
                stderr: ran.stderr,
            },
        })
    }

    /// Cuts the power after this time, and returns the progress of the program.
    pub fn cut_in(&mut self, after: Duration) -> io::Result<CutOff> {
        // Only the shell runs between the sleep and the answer.
        let script = format!(
            "sleep {:.3}; cd {FOLDER}; code={GOES_ON}; [ -e end ] && read -r began ended code < end
             while IFS= read -r line; do printf '%s\\n' \"$line\"; done < err; exit $code",
            after.as_secs_f64()
        );
        let Ran { code, stdout, .. } = self.answer(&script)?;
        self.cut()?;
        Ok(CutOff {
            code: (code != GOES_ON).then_some(code),
            said: stdout,
        })
    }
}

fn seconds(word: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(word.trim().parse().ok()?).ok()
}

fn unread(said: &str) -> io::Error {
    io::Error::other(format!("the machine answers `{said}`"))
}
