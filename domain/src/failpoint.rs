//! Places between two writes where a test may make the process die: a macro that names the place, and the one hook that
//! is told when it is reached. It must never exist in a release build, nor do anything by itself.

/// Names a place where whatever stands so far must be enough for somebody to finish the work. A name is `area.place` and
/// stands in the code once: a test takes the list of all of them from the sources and dies at each.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::reached($name);
    };
}

#[cfg(debug_assertions)]
static HOOK: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Tells `hook` of every place that is reached from now on. The first hook of a process stays.
#[cfg(debug_assertions)]
pub fn watch(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}

/// What [`failpoint!`](crate::failpoint!) calls.
#[cfg(debug_assertions)]
pub fn reached(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}
