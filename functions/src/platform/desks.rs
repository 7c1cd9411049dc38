//! What each function is given, cut out of the whole platform: for the process that serves all of them.
//! It must never be used by a function's own main: that builds what its function uses, and nothing else.

use super::Platform;
use crate::result::Archive;
use crate::{
    admin, analyze, auth, calls, dialout, erase, fleet_health, forget, push, reap, reseal, retain, salvage, spend,
    sweep,
};

/// `Desk::from(&platform)`, by naming the members.
macro_rules! desks {
    ($($desk:ty: |$platform:ident| { $($member:ident: $value:expr,)* })*) => {
        $(impl From<&Platform> for $desk {
            fn from($platform: &Platform) -> Self {
                Self { $($member: $value,)* }
            }
        })*
    };
}

desks! {
    auth::Desk: |p| {
        api_keys: p.tables.api_keys.clone(),
        clock: p.outside.clock.clone(),
        trusted_proxies: p.settings.trusted_proxies.as_slice().into(),
        doorman: p.doorman.clone(),
        turns: p.turns.clone(),
    }
    spend::Desk: |p| {
        spend: p.tables.spend.clone(),
        clock: p.outside.clock.clone(),
        prices: p.settings.prices.clone(),
    }
    Archive: |p| {
        objects: p.outside.objects.clone(),
        public_url: p.settings.public_url.as_str().into(),
    }
    salvage::Desk: |p| {
        objects: p.outside.objects.clone(),
        bots: p.tables.bots.clone(),
    }
    forget::Desk: |p| {
        clock: p.outside.clock.clone(),
        deliveries: p.tables.deliveries.clone(),
        housekeeping: p.tables.housekeeping.clone(),
        objects: p.outside.objects.clone(),
    }
    erase::Desk: |p| {
        calls: p.tables.calls.clone(),
        housekeeping: p.tables.housekeeping.clone(),
        forget: p.into(),
    }
    reseal::Desk: |p| {
        sealed_rows: p.tables.sealed_rows.clone(),
        seal: p.outside.seal.clone(),
    }
    push::Holding: |p| {
        deliveries: p.tables.deliveries.clone(),
        entropy: p.outside.entropy.clone(),
        schedule: p.settings.schedule.clone(),
        breaker: p.settings.breaker.clone(),
    }
    push::resend::Desk: |p| {
        clock: p.outside.clock.clone(),
        bots: p.tables.bots.clone(),
        deliveries: p.tables.deliveries.clone(),
        endpoints: p.tables.endpoints.clone(),
        objects: p.outside.objects.clone(),
        queues: p.outside.queues.clone(),
    }
    calls::list::Desk: |p| {
        clock: p.outside.clock.clone(),
        bots: p.tables.bots.clone(),
        calls: p.tables.calls.clone(),
        public_url: p.settings.public_url.as_str().into(),
    }
    admin::keys::Desk: |p| {
        api_keys: p.tables.api_keys.clone(),
        clock: p.outside.clock.clone(),
        entropy: p.outside.entropy.clone(),
    }
}

// One for each function.
desks! {
    dialout::Desk: |p| {
        auth: p.into(),
        clock: p.outside.clock.clone(),
        entropy: p.outside.entropy.clone(),
        bots: p.tables.bots.clone(),
        trunks: p.tables.trunks.clone(),
        calls: p.tables.calls.clone(),
        idempotency: p.tables.idempotency.clone(),
        servers: p.tables.servers.clone(),
        fleet: p.outside.fleet.clone(),
        spend: p.into(),
        turns: p.turns.clone(),
        memory: p.memory.clone(),
        placing: p.settings.placing.clone(),
    }
    calls::Desk: |p| {
        auth: p.into(),
        calls: p.tables.calls.clone(),
        servers: p.tables.servers.clone(),
        fleet: p.outside.fleet.clone(),
        archive: p.into(),
        list: p.into(),
    }
    admin::Desk: |p| {
        auth: p.into(),
        clock: p.outside.clock.clone(),
        entropy: p.outside.entropy.clone(),
        bots: p.tables.bots.clone(),
        trunks: p.tables.trunks.clone(),
        calls: p.tables.calls.clone(),
        deliveries: p.tables.deliveries.clone(),
        endpoints: p.tables.endpoints.clone(),
        housekeeping: p.tables.housekeeping.clone(),
        servers: p.tables.servers.clone(),
        memory: p.memory.clone(),
        egress: p.outside.egress.clone(),
        fleet: p.outside.fleet.clone(),
        secrets: p.outside.secrets.clone(),
        seal: p.outside.seal.clone(),
        archive: p.into(),
        keys: p.into(),
        list: p.into(),
        resend: p.into(),
        erase: p.into(),
        reseal: p.into(),
        ws_public_url: p.settings.ws_public_url.clone(),
    }
    fleet_health::Desk: |p| {
        auth: p.into(),
        clock: p.outside.clock.clone(),
        servers: p.tables.servers.clone(),
        memory: p.memory.clone(),
    }
    analyze::Desk: |p| {
        clock: p.outside.clock.clone(),
        bots: p.tables.bots.clone(),
        calls: p.tables.calls.clone(),
        servers: p.tables.servers.clone(),
        queues: p.outside.queues.clone(),
        outbound: p.outside.outbound.clone(),
        seal: p.outside.seal.clone(),
        secrets: p.outside.secrets.clone(),
        archive: p.into(),
        salvage: p.into(),
        spend: p.into(),
        analysis_model: p.settings.analysis_model.clone(),
        analysis: p.settings.analysis.clone(),
        reap: p.settings.reap.clone(),
        sweep: p.settings.sweep.clone(),
    }
    push::Desk: |p| {
        clock: p.outside.clock.clone(),
        entropy: p.outside.entropy.clone(),
        bots: p.tables.bots.clone(),
        calls: p.tables.calls.clone(),
        deliveries: p.tables.deliveries.clone(),
        endpoints: p.tables.endpoints.clone(),
        queues: p.outside.queues.clone(),
        outbound: p.outside.outbound.clone(),
        seal: p.outside.seal.clone(),
        archive: p.into(),
        salvage: p.into(),
        holding: p.into(),
        delivery: p.settings.delivery.clone(),
        analysis: p.settings.analysis.clone(),
        reap: p.settings.reap.clone(),
        sweep: p.settings.sweep.clone(),
    }
    sweep::Desk: |p| {
        clock: p.outside.clock.clone(),
        calls: p.tables.calls.clone(),
        deliveries: p.tables.deliveries.clone(),
        endpoints: p.tables.endpoints.clone(),
        queues: p.outside.queues.clone(),
        holding: p.into(),
        spend: p.into(),
        sweep: p.settings.sweep.clone(),
    }
    reap::Desk: |p| {
        clock: p.outside.clock.clone(),
        calls: p.tables.calls.clone(),
        servers: p.tables.servers.clone(),
        fleet: p.outside.fleet.clone(),
        queues: p.outside.queues.clone(),
        salvage: p.into(),
        reap: p.settings.reap.clone(),
    }
    retain::Desk: |p| {
        clock: p.outside.clock.clone(),
        entropy: p.outside.entropy.clone(),
        bots: p.tables.bots.clone(),
        calls: p.tables.calls.clone(),
        housekeeping: p.tables.housekeeping.clone(),
        forget: p.into(),
        retain: p.settings.retain.clone(),
    }
}
