//! From what each call noted to one object of figures.

use std::time::Duration;

use serde::Serialize;

use super::dialler::Told;
use super::machine::Usage;
use super::{Arguments, Reading};

/// Names and units as the SIP load generator has them; `lateness_*` is ours.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    label: String,
    mode: &'static str,
    calls_wanted: usize,
    calls_up: usize,
    /// The first few reasons of calls that failed.
    failures: Vec<String>,
    setup_p50_ms: f64,
    setup_p99_ms: f64,
    setup_max_ms: f64,
    peer_cpu_cores: f64,
    cpu_ms_per_call_second: f64,
    peer_ctx_switches_per_s: f64,
    threads_idle: u64,
    threads_load: u64,
    rss_per_call_kib: f64,
    /// Frames of the window that came, of those that a clock would have sent.
    rx_share_of_50pps: f64,
    rx_lost: u64,
    /// The distance between a call's frames, less 20 ms.
    pacing_stddev_ms: f64,
    pacing_abs_p99_ms: f64,
    pacing_abs_p999_ms: f64,
    max_gap_ms: f64,
    /// How much later a frame came than its stream's own schedule says: frame `n` is due `n` × 20 ms after the first,
    /// and the schedule is laid so that the fastest frame of the call is on time. What the load side itself adds is in it.
    lateness_p50_ms: f64,
    lateness_p99_ms: f64,
    lateness_p999_ms: f64,
    lateness_max_ms: f64,
    tx_worst_late_ms: f64,
    load_cpu_cores: f64,
}

pub(crate) fn report(
    arguments: &Arguments,
    told: &[Told],
    failures: &[String],
    [idle, from, to]: [&Usage; 3],
    (began, ended): (&Reading, &Reading),
) -> Report {
    let seconds = ended.at.duration_since(began.at).as_secs_f64();
    let up = told.len().max(1) as f64;
    let mut set_up: Vec<f64> = told.iter().map(|call| ms(call.set_up)).collect();
    let mut late: Vec<f64> = told.iter().flat_map(|call| lateness(&call.frames)).collect();
    let gaps: Vec<f64> = told.iter().flat_map(|call| gaps(&call.frames)).collect();
    let mut off: Vec<f64> = gaps.iter().map(|gap| (gap - 20.0).abs()).collect();
    for figures in [&mut set_up, &mut late, &mut off] {
        figures.sort_by(f64::total_cmp);
    }
    let frames: usize = told.iter().map(|call| call.frames.len()).sum();
    let wanted = told.len() as u64 * arguments.hold * 50;
    // One frame may lie on either side of the window's border.
    let lost = told.iter().map(|call| (arguments.hold * 50).saturating_sub(call.frames.len() as u64 + 1)).sum();
    let cpu = to.cpu.seconds_since(from.cpu) / seconds;
    let variance = gaps.iter().map(|gap| (gap - 20.0).powi(2)).sum::<f64>() / gaps.len().max(1) as f64;
    Report {
        label: arguments.label.clone(),
        mode: "media",
        calls_wanted: arguments.calls,
        calls_up: told.len(),
        failures: failures.iter().take(5).cloned().collect(),
        setup_p50_ms: quantile(&set_up, 0.5),
        setup_p99_ms: quantile(&set_up, 0.99),
        setup_max_ms: quantile(&set_up, 1.0),
        peer_cpu_cores: cpu,
        cpu_ms_per_call_second: cpu * 1000.0 / up,
        peer_ctx_switches_per_s: to.context_switches.saturating_sub(from.context_switches) as f64 / seconds,
        threads_idle: idle.threads,
        threads_load: to.threads,
        rss_per_call_kib: to.rss_kib.saturating_sub(idle.rss_kib) as f64 / up,
        rx_share_of_50pps: frames as f64 / wanted.max(1) as f64,
        rx_lost: lost,
        pacing_stddev_ms: variance.sqrt(),
        pacing_abs_p99_ms: quantile(&off, 0.99),
        pacing_abs_p999_ms: quantile(&off, 0.999),
        max_gap_ms: gaps.iter().copied().fold(0.0, f64::max),
        lateness_p50_ms: quantile(&late, 0.5),
        lateness_p99_ms: quantile(&late, 0.99),
        lateness_p999_ms: quantile(&late, 0.999),
        lateness_max_ms: quantile(&late, 1.0),
        tx_worst_late_ms: told.iter().map(|call| ms(call.sent_late)).fold(0.0, f64::max),
        load_cpu_cores: ended.own.seconds_since(began.own) / seconds,
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn lateness(frames: &[Duration]) -> Vec<f64> {
    let offsets: Vec<f64> = frames.iter().enumerate().map(|(n, at)| ms(*at) - 20.0 * n as f64).collect();
    let fastest = offsets.iter().copied().fold(f64::MAX, f64::min);
    offsets.into_iter().map(|offset| offset - fastest).collect()
}

fn gaps(frames: &[Duration]) -> Vec<f64> {
    frames.windows(2).map(|pair| ms(pair[1] - pair[0])).collect()
}

/// Of sorted figures; 0 of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = ((sorted.len().saturating_sub(1)) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}
