//! A fleet server with a network, a disk and a clock of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ringfleet_tests::cluster::{Cluster, left_in};
use ringfleet_tests::dice::Dice;
use ringfleet_tests::fault::Proxy;
use ringfleet_tests::history::History;
use ringfleet_tests::platform::{FleetServer, Platform, ServerSetup};
use ringfleet_tests::wait::until;
use ringfleet_tests::{ports, tools};

/// Room for the spool of many calls, and for the server to be willing to take one.
const DISK: &str = "size=48m";
/// In bad weather a start may need more than one.
const STARTS: u32 = 6;
const SPOOL_EMPTY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) server: FleetServer,
    /// Between it and the stores.
    pub(crate) aws: Proxy,
    /// Between the functions and its private port.
    pub(crate) private: Proxy,
    disk: Disk,
    skewed: bool,
}

impl Host {
    pub(crate) async fn start(
        cluster: &Cluster,
        number: usize,
        slots: u32,
        stores: SocketAddr,
        dice: &mut Dice,
        history: &History,
    ) -> Result<Self> {
        let id = format!("host-{number}");
        let http = ports::one()?;
        let aws = Proxy::start(&format!("{id} aws"), stores, dice.split(), history).await?;
        let private =
            Proxy::start(&format!("{id} private"), SocketAddr::from(([127, 0, 0, 1], http)), dice.split(), history)
                .await?;
        let disk = Disk::mount(&cluster.functions.folder().join(format!("disk-{id}")))?;
        let setup = ServerSetup {
            set: vec![format!("fleet.max_calls={slots}"), format!("fleet.http_advertised={}", private.address)],
            http,
            environment: vec![("AWS_ENDPOINT_URL".to_owned(), format!("http://{}", aws.address))],
            spool: Some(disk.folder.join("spool")),
            ..ServerSetup::default()
        };
        let server = cluster.functions.fleet_server_with(&id, setup).await?;
        Ok(Self { id, server, aws, private, disk, skewed: false })
    }

    /// Starts the next process, as often as it takes.
    pub(crate) async fn again(&mut self, functions: &Platform) -> Result<()> {
        for _ in 1..STARTS {
            if self.server.again_with(functions, None).await.is_ok() {
                return Ok(());
            }
        }
        self.server.again_with(functions, None).await
    }

    /// Its next processes have a clock that is wrong by so many seconds.
    pub(crate) fn skew(&mut self, seconds: i64) -> Result<()> {
        let environment = &mut self.server.setup().environment;
        environment.retain(|(name, _)| name.starts_with("AWS_"));
        self.skewed = seconds != 0;
        if self.skewed {
            let library = faketime().context("libfaketime is missing; tests/run installs it")?;
            let set = |name: &str, value: String| (name.to_owned(), value);
            environment.push(set("LD_PRELOAD", library.display().to_string()));
            environment.push(set("FAKETIME", format!("{seconds:+}s")));
            // What is wrong is the clock on the wall: how time passes is not.
            environment.push(set("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn fill_disk(&self) -> Result<bool> {
        self.disk.fill()
    }

    pub(crate) fn free_disk(&self) {
        self.disk.free();
    }

    pub(crate) async fn calm(&mut self, functions: &Platform) -> Result<()> {
        self.disk.free();
        if self.skewed {
            self.skew(0)?;
            self.again(functions).await?;
        }
        Ok(())
    }

    /// Everything is told, so nothing is left on disk; then its end.
    pub(crate) async fn end(mut self) -> Result<()> {
        let spool = self.disk.folder.join("spool");
        until(format!("an empty spool of {}", self.id), SPOOL_EMPTY, || async {
            Ok(left_in(&spool).is_empty().then_some(()))
        })
        .await?;
        self.server.stop().await
    }
}

fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.is_file())
}

/// A small file system, where one can be mounted.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    mounted: bool,
}

impl Disk {
    fn mount(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.display().to_string();
        let mounted = tools::runs("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs", &path]);
        if !mounted {
            tools::note("no small disk can be mounted here (that takes root): no disk will be full");
        }
        Ok(Self { folder: folder.to_owned(), mounted })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Leaves no byte; false where the disk is everybody's.
    fn fill(&self) -> Result<bool> {
        if self.mounted {
            let mut ballast = std::fs::File::create(self.ballast())?;
            let block = vec![0; 64 * 1024];
            while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
        }
        Ok(self.mounted)
    }

    fn free(&self) {
        // Not there: it was not full.
        let _ = std::fs::remove_file(self.ballast());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            tools::runs("umount", &["--lazy", &self.folder.display().to_string()]);
        }
    }
}
