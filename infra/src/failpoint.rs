//! Arms one failpoint of this process: `RINGFLEET_FAILPOINT=NAME[:N][=abort|stop]`, in debug builds only.
//! It must never be armed but by a test, nor let anything run on after an abort: that is what makes it a crash.

use thiserror::Error;

/// Why the variable is no failpoint.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("RINGFLEET_FAILPOINT `{0}` is no failpoint: write NAME, NAME:N, NAME=stop or NAME:N=stop, with N from 1")]
pub struct FailpointError(String);

/// Arms what `RINGFLEET_FAILPOINT` names; a release build has no failpoints and reads no variable.
///
/// # Errors
/// It names none.
#[cfg(not(debug_assertions))]
pub fn arm() -> Result<(), FailpointError> {
    Ok(())
}

#[cfg(debug_assertions)]
pub use armed::arm;

#[cfg(debug_assertions)]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::FailpointError;

    const VARIABLE: &str = "RINGFLEET_FAILPOINT";

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Act {
        /// The process is gone at once: no destructor, no buffer, no farewell.
        Abort,
        /// The process stands still (`SIGSTOP`) until somebody lets it go on.
        Stop,
    }

    #[derive(Debug)]
    struct Armed {
        name: String,
        /// 1-based.
        nth: u32,
        act: Act,
        seen: AtomicU32,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Arms what `RINGFLEET_FAILPOINT` names.
    ///
    /// # Errors
    /// It names none.
    pub fn arm() -> Result<(), FailpointError> {
        let Some(text) = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) else { return Ok(()) };
        let armed = read(&text)?;
        tracing::warn!(name = armed.name, nth = armed.nth, act = ?armed.act, "a failpoint is armed");
        if ARMED.set(armed).is_ok() {
            domain::failpoint::watch(reached);
        }
        Ok(())
    }

    fn read(text: &str) -> Result<Armed, FailpointError> {
        let wrong = || FailpointError(text.to_owned());
        let (place, act) = match text.split_once('=') {
            None | Some((_, "abort")) => (text.split('=').next().unwrap_or_default(), Act::Abort),
            Some((place, "stop")) => (place, Act::Stop),
            Some(_) => return Err(wrong()),
        };
        let (name, nth) = match place.split_once(':') {
            None => (place, 1),
            Some((name, nth)) => (name, nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(wrong)?),
        };
        if name.is_empty() {
            return Err(wrong());
        }
        Ok(Armed { name: name.to_owned(), nth, act, seen: AtomicU32::new(0) })
    }

    fn reached(name: &'static str) {
        let Some(armed) = ARMED.get().filter(|armed| armed.name == name) else { return };
        if armed.seen.fetch_add(1, Ordering::SeqCst) + 1 != armed.nth {
            return;
        }
        let _ = writeln!(std::io::stderr(), "failpoint {name}: {:?}", armed.act);
        match armed.act {
            Act::Abort => std::process::abort(),
            Act::Stop => {
                let this = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-STOP", &this]).status();
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_failpoint_is_read() {
            let check = |text: &str, expect: Option<(&str, u32, Act)>| {
                let got = read(text).ok();
                let got = got.as_ref().map(|armed| (armed.name.as_str(), armed.nth, armed.act));
                assert_eq!(got, expect, "{text}");
            };
            check("finish.terminal", Some(("finish.terminal", 1, Act::Abort)));
            check("finish.terminal=abort", Some(("finish.terminal", 1, Act::Abort)));
            check("finish.terminal:3", Some(("finish.terminal", 3, Act::Abort)));
            check("accept.begun:2=stop", Some(("accept.begun", 2, Act::Stop)));
            for wrong in ["=stop", ":2", "a:0", "a:x", "a=explode", "a:2=explode"] {
                check(wrong, None);
            }
        }
    }
}
