//! The process's one ONNX Runtime, loaded from the library that came with the speech models.
//! It must never start threads that spin: they would starve the calls of the same machine.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::error::{Detail, ProviderError};

/// Loads a model to be run by one thread at a time; each run stays on the thread that asks for it.
///
/// The first `runtime` that loads stays for the life of the process.
pub(super) fn load(vendor: &'static str, runtime: &Path, model: &Path) -> Result<Session, ProviderError> {
    let environment = environment(runtime).map_err(|detail| {
        let doing = "loading the ONNX Runtime";
        ProviderError::Engine { vendor, doing, detail }
    })?;
    let unloadable = |e: ort::Error| ProviderError::engine(vendor, "loading its model", e);
    let builder = Session::builder(&environment).map_err(unloadable)?;
    quiet(builder).map_err(unloadable)?.commit_from_file(model).map_err(unloadable)
}

/// One thread for each run, which sleeps when it waits.
fn quiet(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder.with_intra_threads(1)?.with_inter_threads(1)?.with_intra_op_spinning(false)?)
}

fn environment(runtime: &Path) -> Result<Environment, Detail> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let builder = ort::init_from(runtime).map_err(|e| Detail::new(&e.to_string()))?;
    let started = builder.with_name("ringfleet").with_telemetry(false).build();
    Ok(environment.insert(started.map_err(|e| Detail::new(&e.to_string()))?).clone())
}
