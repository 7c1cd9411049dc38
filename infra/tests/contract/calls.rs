//! Calls: claims, steps forward, ends that are written once, and what is due.

use std::sync::Arc;

use domain::call::{
    Advance, AnalysisStatus, CallRow, CallState, Direction, FenceRow, Finisher, MAX_WARNINGS, NextStep,
    RecordingStatus, Terminal,
};
use domain::ids::{CallId, Epoch, KeyId, Owner, ServerId, TrunkId};
use domain::outcome::EndReason;
use domain::ports::{CallEntry, Calls, Claim, Entropy, Owned, StoreError};
use domain::secret::Personal;
use futures_util::future::join_all;
use infra::clock::OsEntropy;

use crate::world::{at, new_bot_id, new_call_id, run};

fn owner(epoch: u64) -> Owner {
    owner_on("server", epoch)
}

fn owner_on(server: &str, epoch: u64) -> Owner {
    Owner { server_id: ServerId::parse(server).unwrap(), epoch: Epoch(epoch) }
}

fn new_server() -> String {
    format!("s-{:08x}", OsEntropy.dice())
}

pub(crate) fn row() -> CallRow {
    CallRow {
        call_id: new_call_id(),
        bot_id: new_bot_id("bot"),
        bot_version: 3,
        trunk_id: Some(TrunkId::parse("trunk").unwrap()),
        direction: Direction::Outbound,
        to_number: Personal("+911234567890".into()),
        from_number: Personal("+911234567891".into()),
        key_id: Some(KeyId::parse("key").unwrap()),
        state: CallState::Accepted,
        owner: owner(1),
        started_at: at(0),
        deadline: at(900),
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        end_reason: None,
        sip_code: None,
        duration_ms: 0,
        recording_status: RecordingStatus::None,
        recording_token: "0123456789abcdef".into(),
        checkpoints: 0,
        analysis_status: AnalysisStatus::Pending,
        disposition: None,
        next_step: None,
        due_at: None,
        step_tries: 0,
        warnings: vec!["unknown field `x`".into()],
        expired: Default::default(),
        erased_at: None,
        brought: None,
    }
}

pub(crate) fn terminal() -> Terminal {
    Terminal {
        ended_at: at(60),
        answered_at: Some(at(10)),
        end_reason: EndReason::CustomerHangup,
        sip_code: Some(200),
        duration_ms: 50_000,
        recording_status: RecordingStatus::Pending,
        warnings: vec!["late".into()],
    }
}

pub(crate) fn fence_of(call_id: CallId) -> FenceRow {
    FenceRow { call_id, refused: true, fenced_at: at(5) }
}

async fn created(calls: &Arc<dyn Calls>) -> CallRow {
    let row = row();
    assert_eq!(calls.create(&row).await.unwrap(), Claim::Claimed);
    row
}

async fn ended(calls: &Arc<dyn Calls>) -> CallRow {
    let row = created(calls).await;
    assert_eq!(
        calls.finish(row.call_id, &Finisher::Owner(owner(1)), &terminal(), at(60)).await.unwrap(),
        Owned::Written
    );
    row
}

async fn read(calls: &Arc<dyn Calls>, id: CallId) -> CallRow {
    match calls.get(id).await.unwrap() {
        Some(CallEntry::Call(row)) => *row,
        other => panic!("no call: {other:?}"),
    }
}

#[test]
fn a_row_is_read_as_it_was_put() {
    run(async |world| {
        let calls = &world.stores.calls;
        let bare = CallRow { trunk_id: None, key_id: None, warnings: Vec::new(), ..row() };
        let full = CallRow { ringing_at: Some(at(1)), disposition: Some("PAID".into()), ..row() };
        for row in [bare, full] {
            assert_eq!(calls.create(&row).await.unwrap(), Claim::Claimed);
            assert_eq!(calls.get(row.call_id).await.unwrap(), Some(CallEntry::Call(Box::new(row))));
        }
        assert_eq!(calls.get(new_call_id()).await.unwrap(), None);
    });
}

#[test]
fn of_a_hundred_claims_of_one_id_one_holds_and_the_rest_see_it() {
    run(async |world| {
        let calls = &world.stores.calls;
        let base = row();
        let claims = (0..100).map(|index| {
            let (calls, base) = (Arc::clone(calls), base.clone());
            tokio::spawn(async move {
                if index % 2 == 0 {
                    calls.create(&CallRow { owner: owner(index), ..base }).await.unwrap()
                } else {
                    calls.fence(&fence_of(base.call_id)).await.unwrap()
                }
            })
        });
        let claims: Vec<Claim> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(claims.iter().filter(|claim| **claim == Claim::Claimed).count(), 1);
        let winner = calls.get(base.call_id).await.unwrap().unwrap();
        assert!(claims.iter().all(|claim| *claim == Claim::Claimed || *claim == Claim::Exists(winner.clone())));
    });
}

#[test]
fn a_fenced_id_is_no_call() {
    run(async |world| {
        let calls = &world.stores.calls;
        let row = row();
        let fence = fence_of(row.call_id);
        assert_eq!(calls.fence(&fence).await.unwrap(), Claim::Claimed);
        assert_eq!(calls.create(&row).await.unwrap(), Claim::Exists(CallEntry::Fenced(fence.clone())));
        assert_eq!(calls.get(row.call_id).await.unwrap(), Some(CallEntry::Fenced(fence)));
        assert_eq!(calls.advance(row.call_id, &owner(1), &Advance::Dialing).await.unwrap(), Owned::Lost);
        let finished = calls.finish(row.call_id, &Finisher::Owner(owner(1)), &terminal(), at(60)).await.unwrap();
        assert_eq!(finished, Owned::Lost);
        assert!(matches!(calls.warn(row.call_id, &["w".into()]).await, Err(StoreError::Refused { .. })));
    });
}

#[test]
fn a_call_moves_forwards_and_for_its_owner_only() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = created(calls).await.call_id;
        let check = async |by: Owner, step: Advance, expect: Owned| {
            assert_eq!(calls.advance(id, &by, &step).await.unwrap(), expect, "{by:?} {step:?}");
        };
        check(owner(2), Advance::Dialing, Owned::Lost).await;
        check(owner(0), Advance::Dialing, Owned::Lost).await;
        check(owner_on("other", 1), Advance::Dialing, Owned::Lost).await;
        check(owner(1), Advance::Dialing, Owned::Written).await;
        check(owner(1), Advance::Dialing, Owned::Lost).await;
        check(owner(1), Advance::Ringing { at: at(5) }, Owned::Written).await;
        check(owner(1), Advance::Dialing, Owned::Lost).await;
        check(owner(1), Advance::Answered { at: at(10) }, Owned::Written).await;
        check(owner(1), Advance::Ringing { at: at(11) }, Owned::Lost).await;
        check(owner(1), Advance::Checkpoint { count: 1 }, Owned::Written).await;
        check(owner(2), Advance::Checkpoint { count: 2 }, Owned::Lost).await;
        check(owner(1), Advance::Checkpoint { count: 3 }, Owned::Written).await;
        check(owner(1), Advance::Checkpoint { count: 2 }, Owned::Lost).await;
        let row = read(calls, id).await;
        assert_eq!((row.state, row.ringing_at, row.answered_at), (CallState::Answered, Some(at(5)), Some(at(10))));
        assert_eq!(row.checkpoints, 3);
        let unknown = calls.advance(new_call_id(), &owner(1), &Advance::Dialing).await.unwrap();
        assert_eq!(unknown, Owned::Lost);
    });
}

#[test]
fn an_answer_may_come_without_ringing() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = created(calls).await.call_id;
        assert_eq!(calls.advance(id, &owner(1), &Advance::Answered { at: at(1) }).await.unwrap(), Owned::Written);
    });
}

#[test]
fn owner_and_reaper_race_for_the_end_and_one_wins() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = created(calls).await.call_id;
        let lost = Terminal {
            end_reason: EndReason::ServerLost,
            answered_at: None,
            sip_code: None,
            recording_status: RecordingStatus::Partial,
            ..terminal()
        };
        let ends = (0..40).map(|index| {
            let (calls, lost) = (Arc::clone(calls), lost.clone());
            tokio::spawn(async move {
                let (by, terminal) = match index % 2 {
                    0 => (Finisher::Owner(owner(1)), terminal()),
                    _ => (Finisher::Reaper { dead: owner(1) }, lost),
                };
                calls.finish(id, &by, &terminal, at(61)).await.unwrap()
            })
        });
        let ends: Vec<Owned> = join_all(ends).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<usize> = (0..40).filter(|index| ends[*index] == Owned::Written).collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let expect = if winners[0].is_multiple_of(2) { terminal() } else { lost };

        let row = read(calls, id).await;
        assert_eq!(row.state, CallState::Ended);
        assert_eq!((row.end_reason, row.sip_code), (Some(expect.end_reason), expect.sip_code));
        assert_eq!((row.ended_at, row.answered_at), (Some(at(60)), expect.answered_at));
        assert_eq!((row.duration_ms, row.recording_status), (50_000, expect.recording_status));
        assert_eq!((row.next_step, row.due_at, row.step_tries), (Some(NextStep::Announce), Some(at(61)), 0));
        assert_eq!(row.warnings, ["unknown field `x`", "late"]);
    });
}

#[test]
fn what_has_ended_stays_as_it_ended() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = ended(calls).await.call_id;
        for step in [Advance::Dialing, Advance::Answered { at: at(70) }, Advance::Checkpoint { count: 9 }] {
            assert_eq!(calls.advance(id, &owner(1), &step).await.unwrap(), Owned::Lost, "{step:?}");
        }
        for by in [Finisher::Owner(owner(2)), Finisher::Owner(owner(1)), Finisher::Reaper { dead: owner(1) }] {
            assert_eq!(calls.finish(id, &by, &terminal(), at(99)).await.unwrap(), Owned::Lost, "{by:?}");
        }
        let live = created(calls).await.call_id;
        let stranger = Finisher::Reaper { dead: owner(2) };
        assert_eq!(calls.finish(live, &stranger, &terminal(), at(60)).await.unwrap(), Owned::Lost);
    });
}

#[test]
fn a_recording_is_settled_once() {
    run(async |world| {
        let calls = &world.stores.calls;
        let live = created(calls).await.call_id;
        assert_eq!(calls.settle_recording(live, RecordingStatus::Complete).await.unwrap(), Owned::Lost);
        let id = ended(calls).await.call_id;
        assert_eq!(calls.settle_recording(id, RecordingStatus::Complete).await.unwrap(), Owned::Written);
        assert_eq!(calls.settle_recording(id, RecordingStatus::Lost).await.unwrap(), Owned::Lost);
        assert_eq!(read(calls, id).await.recording_status, RecordingStatus::Complete);
    });
}

#[test]
fn steps_are_taken_from_where_the_call_is() {
    use NextStep::{Analyze, Announce, Push};
    run(async |world| {
        let calls = &world.stores.calls;
        let live = created(calls).await.call_id;
        assert_eq!(calls.take_step(live, NextStep::ALL, Some(Push), at(0)).await.unwrap(), Owned::Lost);
        assert_eq!(calls.defer_step(live, Announce, at(0)).await.unwrap(), None);

        let id = ended(calls).await.call_id;
        assert_eq!(calls.defer_step(id, Announce, at(100)).await.unwrap(), Some(1));
        assert_eq!(calls.defer_step(id, Announce, at(200)).await.unwrap(), Some(2));
        assert_eq!(calls.defer_step(id, Push, at(300)).await.unwrap(), None);
        assert_eq!(read(calls, id).await.due_at, Some(at(200)));
        assert_eq!(calls.take_step(id, &[Analyze], Some(Push), at(300)).await.unwrap(), Owned::Lost);
        assert_eq!(calls.take_step(id, &[], Some(Push), at(300)).await.unwrap(), Owned::Lost);
        assert_eq!(calls.take_step(id, &[Announce, Analyze], Some(Push), at(300)).await.unwrap(), Owned::Written);
        let row = read(calls, id).await;
        assert_eq!((row.next_step, row.due_at, row.step_tries), (Some(Push), Some(at(300)), 0));
        assert_eq!(calls.take_step(id, &[Push], None, at(400)).await.unwrap(), Owned::Written);
        let row = read(calls, id).await;
        assert_eq!((row.next_step, row.due_at), (None, None));
        assert_eq!(calls.take_step(id, NextStep::ALL, Some(Push), at(500)).await.unwrap(), Owned::Lost);
        assert_eq!(calls.defer_step(id, Push, at(500)).await.unwrap(), None);
    });
}

#[test]
fn of_twenty_takers_of_a_step_one_has_it() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = ended(calls).await.call_id;
        let take = (0..20).map(|_| calls.take_step(id, &[NextStep::Announce], Some(NextStep::Push), at(70)));
        let taken: Vec<Owned> = join_all(take).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(taken.iter().filter(|taken| **taken == Owned::Written).count(), 1);
    });
}

#[test]
fn due_steps_are_found_in_order_over_all_shards() {
    run(async |world| {
        let calls = &world.stores.calls;
        // Other tests' calls are due from at(60) on: these were due long before.
        let mut ids = Vec::new();
        for index in 0..12 {
            let id = ended(calls).await.call_id;
            let due = at(-100_000 + index * 10);
            assert_eq!(
                calls.take_step(id, &[NextStep::Announce], Some(NextStep::Analyze), due).await.unwrap(),
                Owned::Written
            );
            ids.push(id);
        }
        let due = async |step, seconds: i64, limit| calls.due(step, at(seconds), limit).await.unwrap();
        assert_eq!(due(NextStep::Analyze, -100_000 + 110, 100).await, ids);
        assert_eq!(due(NextStep::Analyze, -100_000 + 109, 100).await, ids[..11]);
        assert_eq!(due(NextStep::Analyze, -100_000 + 110, 5).await, ids[..5]);
        assert_eq!(due(NextStep::Push, -100_000 + 110, 100).await, []);
        calls.take_step(ids[0], &[NextStep::Analyze], None, at(0)).await.unwrap();
        calls.defer_step(ids[1], NextStep::Analyze, at(0)).await.unwrap();
        assert_eq!(due(NextStep::Analyze, -100_000 + 110, 100).await, ids[2..]);
    });
}

#[test]
fn the_analysis_is_noted_on_ended_calls() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = ended(calls).await.call_id;
        calls.note_analysis(id, AnalysisStatus::Failed, None).await.unwrap();
        calls.note_analysis(id, AnalysisStatus::Done, Some("PAID")).await.unwrap();
        let row = read(calls, id).await;
        assert_eq!((row.analysis_status, row.disposition.as_deref()), (AnalysisStatus::Done, Some("PAID")));
        let nobody = calls.note_analysis(new_call_id(), AnalysisStatus::Done, None).await;
        assert!(matches!(nobody, Err(StoreError::Refused { .. })), "{nobody:?}");
    });
}

#[test]
fn warnings_stop_at_the_ceiling() {
    run(async |world| {
        let calls = &world.stores.calls;
        let id = created(calls).await.call_id;
        let words = |count: usize| (0..count).map(|index| format!("w{index}")).collect::<Vec<_>>();
        let check = async |add: usize, expect: usize| {
            calls.warn(id, &words(add)).await.unwrap();
            assert_eq!(read(calls, id).await.warnings.len(), expect, "after {add} more");
        };
        check(0, 1).await;
        check(2, 3).await;
        check(45, 48).await;
        check(7, MAX_WARNINGS).await;
        check(7, MAX_WARNINGS).await;
        let other = created(calls).await.call_id;
        calls.warn(other, &words(500)).await.unwrap();
        assert_eq!(read(calls, other).await.warnings.len(), MAX_WARNINGS);
    });
}

#[test]
fn live_calls_are_found_by_server() {
    run(async |world| {
        let calls = &world.stores.calls;
        let (server, other) = (new_server(), new_server());
        // More than one batch of reads.
        let rows: Vec<CallRow> =
            (0..130).map(|index| CallRow { owner: owner_on(&server, 1 + index % 2), ..row() }).collect();
        for claim in join_all(rows.iter().map(|row| calls.create(row))).await {
            assert_eq!(claim.unwrap(), Claim::Claimed);
        }
        calls.create(&CallRow { owner: owner_on(&other, 1), ..row() }).await.unwrap();
        let ended = Finisher::Owner(rows[0].owner.clone());
        assert_eq!(calls.finish(rows[0].call_id, &ended, &terminal(), at(60)).await.unwrap(), Owned::Written);

        let open = calls.open_on(&ServerId::parse(&*server).unwrap()).await.unwrap();
        let ids = |rows: &[CallRow]| {
            let mut ids: Vec<CallId> = rows.iter().map(|row| row.call_id).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&open), ids(&rows[1..]));
        assert!(calls.open_on(&ServerId::parse("nobody").unwrap()).await.unwrap().is_empty());

        let owners = calls.owners_of_open().await.unwrap();
        let of = |server: &str| {
            owners.iter().filter(|owner| owner.server_id.as_str() == server).map(|o| o.epoch.0).collect::<Vec<_>>()
        };
        assert_eq!(of(&server), [1, 2], "each owner once");
        assert_eq!(of(&other), [1]);
    });
}
