//! The programs of AWS and of the emulators, as `tests/run --aws` installs them.
//! It must never take one from elsewhere: their versions are pinned.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::process::command;

/// Two folders, since the emulators and the SAM CLI want different versions of the same libraries.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Those in the folder that `RINGFLEET_AWS_TOOLS` names, or where `tests/run --aws` puts them.
    ///
    /// # Errors
    /// They are not there.
    pub fn find() -> Result<Self> {
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/aws-tools");
        let folder = std::env::var_os("RINGFLEET_AWS_TOOLS").map_or(usual, PathBuf::from);
        for program in ["emulators/bin/ministack", "emulators/bin/moto_server", "sam/bin/sam"] {
            let path = folder.join(program);
            ensure!(path.is_file(), "there is no {}: `tests/run --aws` installs it", path.display());
        }
        Ok(Self { folder })
    }

    /// An emulator, by the name of its program.
    pub fn emulator(&self, program: &str) -> Command {
        Command::new(self.folder.join("emulators/bin").join(program))
    }

    /// Where the emulators' programs lie.
    pub fn emulators(&self) -> PathBuf {
        self.folder.join("emulators/bin")
    }

    /// `sam`, `cargo-lambda` or a `python3` with boto3, with the others on its path.
    pub fn sam(&self, program: &str) -> Command {
        let folder = self.folder.join("sam/bin");
        let mut command = command(&folder.join(program));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(folder).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).unwrap_or(path));
        command.env("SAM_CLI_TELEMETRY", "0");
        command
    }
}
