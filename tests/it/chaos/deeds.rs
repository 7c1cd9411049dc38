//! What is done to the world, one deed after the other, each undone again.

use std::time::Duration;

use anyhow::Result;
use ringfleet_tests::dice::Dice;
use ringfleet_tests::platform::Platform;
use tokio::time::Instant;

use super::{CHANGEABLE, STORM, World};

/// Starts of the functions in bad weather.
const STARTS: u32 = 6;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    /// kill -9, and a new process after so long.
    Kill {
        host: usize,
        away: Duration,
    },
    /// `SIGSTOP`, and `SIGCONT` after so long.
    Freeze {
        host: usize,
        still: Duration,
    },
    /// A server without its stores.
    CutOff {
        host: usize,
        away: Duration,
    },
    /// A server that the functions can't reach, though its heartbeats say that it is well.
    Unreachable {
        host: usize,
        away: Duration,
    },
    /// Not a byte left for the spool.
    FullDisk {
        host: usize,
        full: Duration,
    },
    /// A server whose clock is wrong.
    Skew {
        host: usize,
        seconds: i64,
    },
    KillFunctions {
        away: Duration,
    },
    FreezeFunctions {
        still: Duration,
    },
    CutOffFunctions {
        away: Duration,
    },
    /// Everything is slow, throttled and cut.
    Storm {
        lasts: Duration,
    },
    /// A power cut.
    KillAll,
}

/// Each kind once, in an order and with times that the dice give.
pub(crate) fn round(world: &World, dice: &mut Dice) -> Vec<Deed> {
    let hosts = world.hosts.len() as u64;
    let host = |dice: &mut Dice| usize::try_from(dice.below(hosts)).unwrap_or(0);
    let time = |dice: &mut Dice, from: u64, to: u64| Duration::from_millis(dice.between(from, to));
    let mut deeds = vec![
        Deed::Kill { host: host(dice), away: time(dice, 0, 3000) },
        Deed::Kill { host: host(dice), away: time(dice, 0, 9000) },
        Deed::Freeze { host: host(dice), still: time(dice, 500, 9000) },
        Deed::CutOff { host: host(dice), away: time(dice, 1000, 12_000) },
        Deed::Unreachable { host: host(dice), away: time(dice, 1000, 5000) },
        Deed::FullDisk { host: host(dice), full: time(dice, 2000, 6000) },
        Deed::Skew {
            host: host(dice),
            seconds: if dice.chance(500) { 7 } else { -7 } * dice.between(1, 3).cast_signed(),
        },
        Deed::KillFunctions { away: time(dice, 0, 2000) },
        Deed::FreezeFunctions { still: time(dice, 500, 4000) },
        Deed::CutOffFunctions { away: time(dice, 500, 5000) },
        Deed::Storm { lasts: time(dice, 3000, 6000) },
        Deed::KillAll,
    ];
    for at in (1..deeds.len()).rev() {
        deeds.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap_or(0));
    }
    deeds
}

impl World {
    /// Does it, and undoes it.
    pub(crate) async fn commit(&mut self, deed: Deed) -> Result<()> {
        let begun = Instant::now();
        let (functions, hosts) = (&mut self.cluster.functions, &mut self.hosts);
        match deed {
            Deed::Kill { host, away } => {
                hosts[host].server.kill().await?;
                tokio::time::sleep(away).await;
                hosts[host].again(functions).await?;
            }
            Deed::Freeze { host, still } => {
                hosts[host].server.signal("STOP")?;
                tokio::time::sleep(still).await;
                hosts[host].server.signal("CONT")?;
            }
            Deed::CutOff { host, away } => {
                hosts[host].aws.cut_off(true);
                tokio::time::sleep(away).await;
                hosts[host].aws.cut_off(false);
            }
            Deed::Unreachable { host, away } => {
                hosts[host].private.cut_off(true);
                tokio::time::sleep(away).await;
                hosts[host].private.cut_off(false);
            }
            Deed::FullDisk { host, full } => {
                if hosts[host].fill_disk()? {
                    tokio::time::sleep(full).await;
                    hosts[host].free_disk();
                }
            }
            Deed::Skew { host, seconds } => {
                hosts[host].skew(seconds)?;
                hosts[host].again(functions).await?;
            }
            Deed::KillFunctions { away } => {
                functions.kill().await?;
                tokio::time::sleep(away).await;
                functions_again(functions).await?;
            }
            Deed::FreezeFunctions { still } => {
                functions.signal("STOP")?;
                tokio::time::sleep(still).await;
                functions.signal("CONT")?;
            }
            Deed::CutOffFunctions { away } => {
                self.functions.cut_off(true);
                tokio::time::sleep(away).await;
                self.functions.cut_off(false);
            }
            Deed::Storm { lasts } => {
                self.set_weather(STORM);
                tokio::time::sleep(lasts).await;
                self.set_weather(CHANGEABLE);
            }
            Deed::KillAll => self.kill_all().await?,
        }
        if deed.is_to_functions() {
            self.disturbed.push((begun, Instant::now()));
        }
        Ok(())
    }

    async fn kill_all(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            host.server.kill().await?;
        }
        self.cluster.functions.kill().await?;
        self.cluster.stores.kill().await?;
        self.cluster.stores.again().await?;
        functions_again(&mut self.cluster.functions).await?;
        for host in &mut self.hosts {
            host.again(&self.cluster.functions).await?;
        }
        Ok(())
    }
}

impl Deed {
    fn is_to_functions(self) -> bool {
        matches!(
            self,
            Self::KillFunctions { .. }
                | Self::FreezeFunctions { .. }
                | Self::CutOffFunctions { .. }
                | Self::Storm { .. }
                | Self::KillAll
        )
    }
}

async fn functions_again(functions: &mut Platform) -> Result<()> {
    for _ in 1..STARTS {
        if functions.again_with(None).await.is_ok() {
            return Ok(());
        }
    }
    functions.again_with(None).await
}
