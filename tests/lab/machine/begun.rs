//! A program that goes on by itself in a machine, so that the machine can be stopped or cut off in the middle of it. All times
//! are the machine's own: it does the same in a second of its time, however busy the one below is.

use std::io;
use std::time::Duration;

use super::{Machine, port};
use crate::tool::Ran;

/// Where what it says is kept.
const FOLDER: &str = "/run/lab/begun";
/// Says that it goes on; no program of the suite ends with it.
const GOES_ON: i32 = 250;

/// How a program ended that was begun.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its end.
    pub ran: Ran,
    /// How long it took.
    pub took: Duration,
}

/// How far a program had come when its machine was cut off.
#[derive(Clone, Debug)]
pub struct CutOff {
    /// The exit code, when it had ended.
    pub code: Option<i32>,
    /// What it had written to standard error.
    pub said: String,
}

impl Machine {
    /// Starts a program that goes on by itself. One at a time.
    ///
    /// # Errors
    ///
    /// When the machine does not answer.
    pub fn begin(&mut self, command: &[&str]) -> io::Result<()> {
        // Whoever waits for its end waits at the pipe, which costs the one processor nothing.
        let script = format!(
            "rm -rf {FOLDER}; mkdir -p {FOLDER}; cd {FOLDER}; mkfifo over; : > err
             read -r began rest < /proc/uptime; echo $began > began
             ( ({}) > out 2> err < /dev/null; code=$?; read -r ended rest < /proc/uptime
               echo \"$began $ended $code\" > end.new; mv end.new end; : > over ) > /dev/null 2>&1 &",
            port::script(command)
        );
        self.run(&["sh", "-c", &script])?.ok().map(drop)
    }

    /// Waits until what was begun has said this word on standard error; how long that took.
    ///
    /// # Errors
    ///
    /// When it ends before.
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

    /// Waits for the end of what was begun.
    ///
    /// # Errors
    ///
    /// When it does not end within two minutes.
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

    /// Cuts the power so long after now, and says how far what was begun had come.
    ///
    /// # Errors
    ///
    /// When the machine does not answer, or the emulator does not end.
    pub fn cut_in(&mut self, after: Duration) -> io::Result<CutOff> {
        // Nothing but the shell itself runs between the sleep and the answer.
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
    io::Error::other(format!("the machine says `{said}`"))
}
