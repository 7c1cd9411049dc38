//! Deleting: days are walked, marks grow, and nothing goes that is not over.

use std::collections::BTreeSet;

use domain::call::{Brought, CallRow, CallState, Finisher, NextStep};
use domain::delivery::{Channel, Next};
use domain::ids::BotId;
use domain::ports::{CallEntry, Owned, StoreError};
use domain::retention::{FIRST_DAY, Kind, Place, Progress};
use domain::secret::Personal;

use crate::calls::{row, terminal};
use crate::deliveries;
use crate::world::{World, at, new_bot_id, run};

async fn stored(world: &World, row: &CallRow) {
    world.stores.calls.create(row).await.unwrap();
}

async fn read(world: &World, row: &CallRow) -> Option<CallRow> {
    match world.stores.calls.get(row.call_id).await.unwrap() {
        Some(CallEntry::Call(row)) => Some(*row),
        _ => None,
    }
}

/// Ended, nothing left to do.
async fn ended(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let mut call = row();
    change(&mut call);
    stored(world, &call).await;
    let by = Finisher::Owner(call.owner.clone());
    assert_eq!(world.stores.calls.finish(call.call_id, &by, &terminal(), at(100)).await.unwrap(), Owned::Written);
    let taken = world.stores.calls.take_step(call.call_id, &[NextStep::Announce], None, at(0)).await.unwrap();
    assert_eq!(taken, Owned::Written);
    call
}

#[test]
fn a_bots_day_is_walked_to_its_end_and_past_what_was_deleted() {
    run(async |world| {
        let house = &world.stores.housekeeping;
        let bot = new_bot_id("day");
        let mut all = BTreeSet::new();
        for second in 0..11 {
            let call = ended(world, |row| (row.bot_id, row.started_at) = (bot.clone(), at(second))).await;
            all.insert(call.call_id);
        }
        let day = row().date();
        let mut seen = BTreeSet::new();
        for shard in 0..house.day_shards() {
            let mut after: Option<Place> = None;
            loop {
                let page = house.calls_of_day(&bot, day, shard, after.as_ref(), 2).await.unwrap();
                for place in &page {
                    assert!(after.is_none_or(|after| after.started_at <= place.started_at), "oldest first");
                    seen.insert(place.call_id);
                    // The place one stands at may be gone.
                    house.forget_call(place.call_id).await.unwrap();
                    after = Some(*place);
                }
                if page.len() < 2 {
                    break;
                }
            }
        }
        assert_eq!(seen, all);
        let other = house.calls_of_day(&new_bot_id("nobody"), day, 0, None, 10).await.unwrap();
        assert!(other.is_empty());
    });
}

#[test]
fn progress_is_kept_by_one_walker() {
    run(async |world| {
        let house = &world.stores.housekeeping;
        let bot = new_bot_id("progress");
        assert_eq!(house.progress(&bot, Kind::Call).await.unwrap(), None);
        let mut first = Progress::starting(FIRST_DAY);
        first.left.insert(row().call_id);
        first.after = Some(Place { started_at: at(1), call_id: row().call_id });
        assert_eq!(house.keep_progress(&bot, Kind::Call, &first).await.unwrap(), Owned::Written);
        assert_eq!(house.keep_progress(&bot, Kind::Call, &first).await.unwrap(), Owned::Lost);
        let read = house.progress(&bot, Kind::Call).await.unwrap().unwrap();
        assert_eq!(read, Progress { revision: 1, ..first });
        assert_eq!(house.keep_progress(&bot, Kind::Call, &read).await.unwrap(), Owned::Written);
        assert_eq!(house.progress(&bot, Kind::Recording).await.unwrap(), None);
    });
}

#[test]
fn a_bot_is_noted_once() {
    run(async |world| {
        let house = &world.stores.housekeeping;
        let bot = new_bot_id("noted");
        house.note_bot(&bot, FIRST_DAY).await.unwrap();
        house.note_bot(&bot, FIRST_DAY.tomorrow().unwrap()).await.unwrap();
        house.keep_progress(&bot, Kind::Call, &Progress::starting(FIRST_DAY)).await.unwrap();
        let noted = house.noted_bots().await.unwrap();
        let of_bot: Vec<_> = noted.iter().filter(|(id, _)| *id == bot).collect();
        assert_eq!(of_bot, [&(bot, FIRST_DAY)]);
    });
}

#[test]
fn marks_grow_on_ended_calls_only() {
    run(async |world| {
        let house = &world.stores.housekeeping;
        let live = row();
        stored(world, &live).await;
        let recording = BTreeSet::from([Kind::Recording]);
        assert!(matches!(house.mark_expired(live.call_id, &recording).await, Err(StoreError::Refused { .. })));
        assert!(matches!(house.forget_call(live.call_id).await, Err(StoreError::Refused { .. })));
        assert_eq!(house.anonymise(live.call_id, at(0)).await.unwrap(), Owned::Lost);
        assert_eq!(read(world, &live).await.unwrap().state, CallState::Accepted);

        let brought = Brought { variables: Some(Personal(r#"{"lead":"7"}"#.into())), custom: None };
        let call = ended(world, |row| row.brought = Some(brought.clone())).await;
        house.mark_expired(call.call_id, &recording).await.unwrap();
        assert_eq!(read(world, &call).await.unwrap().brought, Some(brought));
        house.mark_expired(call.call_id, &BTreeSet::from([Kind::Transcript, Kind::Variables])).await.unwrap();
        house.mark_expired(call.call_id, &BTreeSet::new()).await.unwrap();
        let expect = BTreeSet::from([Kind::Recording, Kind::Transcript, Kind::Variables]);
        let marked = read(world, &call).await.unwrap();
        assert_eq!((marked.expired, marked.brought), (expect, None));
        house.forget_call(call.call_id).await.unwrap();
        house.forget_call(call.call_id).await.unwrap();
        assert_eq!(read(world, &call).await, None);
    });
}

#[test]
fn answers_are_blanked_and_deliveries_go_with_their_attempts() {
    run(async |world| {
        let (house, deliveries) = (&world.stores.housekeeping, &world.stores.deliveries);
        let id = row().call_id;
        deliveries.create(&deliveries::row(id, Channel::Push)).await.unwrap();
        for n in 0..3 {
            deliveries
                .begin_try(id, Channel::Push, n, at(i64::from(n) * 100 + 1), at(i64::from(n) * 100 + 50))
                .await
                .unwrap();
            let attempt = deliveries::attempt(id, Channel::Push, n + 1, Some(500));
            let next = Next::Again { due_at: at(i64::from(n) * 100 + 60) };
            deliveries.end_try(&attempt, &next).await.unwrap();
        }
        house.blank_answers(id, Channel::Push).await.unwrap();
        let attempts = deliveries.attempts(id, Channel::Push).await.unwrap();
        assert_eq!(attempts.len(), 3);
        assert!(attempts.iter().all(|attempt| attempt.answer.is_empty() && attempt.status == Some(500)));
        house.forget_delivery(id, Channel::Push).await.unwrap();
        house.forget_delivery(id, Channel::Push).await.unwrap();
        assert_eq!(deliveries.get(id, Channel::Push).await.unwrap(), None);
        assert!(deliveries.attempts(id, Channel::Push).await.unwrap().is_empty());
        let due = deliveries.due(at(100_000), 10_000).await.unwrap();
        assert!(!due.iter().any(|(call, _)| *call == id), "nor is it due any more");
    });
}

#[test]
fn calls_are_found_by_any_spelling_and_lose_the_person() {
    run(async |world| {
        let house = &world.stores.housekeeping;
        let bot: BotId = new_bot_id("person");
        let number = format!("+9198{:08}", i64::from(std::process::id()));
        let typed = number.replacen("+91", "0", 1);
        let out = ended(world, |row| (row.bot_id, row.to_number) = (bot.clone(), Personal(number.clone()))).await;
        let inbound = ended(world, |row| {
            row.direction = domain::call::Direction::Inbound;
            row.from_number = Personal(typed.clone());
        })
        .await;
        let find = async |limit: u32| {
            let (mut found, mut after, mut pages) = (BTreeSet::new(), None, 0);
            loop {
                let page = house.with_number(&[number.clone(), typed.clone()], after, limit).await.unwrap();
                found.extend(page.calls);
                pages += 1;
                after = page.next;
                if after.is_none() {
                    return (found, pages);
                }
            }
        };
        let (found, pages) = find(1).await;
        assert_eq!(found, BTreeSet::from([out.call_id, inbound.call_id]));
        assert!(pages >= 2);
        for call in [&out, &inbound] {
            assert_eq!(house.anonymise(call.call_id, at(7)).await.unwrap(), Owned::Written);
        }
        assert_eq!(find(100).await.0, BTreeSet::new());
        let row = read(world, &out).await.unwrap();
        assert_eq!((row.to_number.0.as_str(), row.from_number), ("erased", out.from_number));
        assert_eq!((row.recording_token.as_str(), row.erased_at, row.warnings.len()), ("", Some(at(7)), 0));
        assert_eq!(read(world, &inbound).await.unwrap().from_number.0, "erased");
    });
}
