//! A bot's calls of a day, from the newest back, over all shards.

use domain::call::CallRow;
use domain::call_list::CallPosition;
use domain::ids::{BotId, CallId};
use domain::ports::Claim;
use futures_util::future::join_all;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::calls::{fence_of, row};
use crate::world::{World, new_bot_id, new_call_id, run};

const DAY: &str = "2031-05-01";

fn ms(text: &str) -> Timestamp {
    format!("{DAY}T{text}Z").parse().unwrap()
}

fn day() -> Date {
    DAY.parse().unwrap()
}

/// Puts calls that started at these moments; answers their positions, newest first.
async fn calls(world: &World, bot: &BotId, starts: impl IntoIterator<Item = Timestamp>) -> Vec<CallPosition> {
    let rows: Vec<CallRow> = starts
        .into_iter()
        .map(|started_at| CallRow { call_id: new_call_id(), bot_id: bot.clone(), started_at, ..row() })
        .collect();
    for claim in join_all(rows.iter().map(|row| world.stores.calls.create(row))).await {
        assert_eq!(claim.unwrap(), Claim::Claimed);
    }
    let mut positions: Vec<CallPosition> = rows.iter().map(CallPosition::of).collect();
    positions.sort_by(|a, b| b.cmp(a));
    positions
}

fn end() -> CallPosition {
    CallPosition::start_of_day(day().tomorrow().unwrap())
}

/// The whole day, page by page.
async fn whole_day(world: &World, bot: &BotId, limit: u32) -> Vec<CallPosition> {
    let mut found = Vec::new();
    let mut before = end();
    loop {
        let page = world.stores.calls.of_day(bot, day(), &before, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        let Some(last) = page.last() else { return found };
        before = *last;
        found.extend(page);
    }
}

#[test]
fn a_day_is_listed_newest_first_and_goes_on_where_it_stopped() {
    run(async |world| {
        let bot = new_bot_id("listed");
        let expect = calls(world, &bot, (0..40).map(|index| ms(&format!("10:00:{index:02}.5")))).await;
        calls(world, &new_bot_id("other"), [ms("11:00:00")]).await;
        calls(world, &bot, [ms("00:00:00") - std::time::Duration::from_millis(1)]).await;
        for limit in [1, 7, 40, 100] {
            assert_eq!(whole_day(world, &bot, limit).await, expect, "pages of {limit}");
        }
        let middle = CallPosition::start_of(ms("10:00:20.5"));
        let page = world.stores.calls.of_day(&bot, day(), &middle, 100).await.unwrap();
        assert_eq!(page, expect[20..], "the moment itself is not before it");
    });
}

#[test]
fn calls_of_one_millisecond_are_told_apart_by_id() {
    run(async |world| {
        let bot = new_bot_id("burst");
        let starts = (0..60).map(|index| ms(if index < 50 { "10:00:00.001" } else { "10:00:00.002" }));
        let expect = calls(world, &bot, starts).await;
        assert_eq!(whole_day(world, &bot, 4).await, expect);
    });
}

#[test]
fn an_empty_day_is_empty() {
    run(async |world| {
        let found = world.stores.calls.of_day(&new_bot_id("nobody"), day(), &end(), 10).await.unwrap();
        assert_eq!(found, []);
    });
}

#[test]
fn rows_are_read_by_id_and_fences_are_none() {
    run(async |world| {
        let bot = new_bot_id("rows");
        let positions = calls(world, &bot, (0..120).map(|_| ms("12:00:00"))).await;
        let mut ids: Vec<CallId> = positions.iter().map(|position| position.call_id).collect();
        let fenced = new_call_id();
        world.stores.calls.fence(&fence_of(fenced)).await.unwrap();
        let asked = [ids.clone(), vec![fenced, new_call_id()]].concat();
        let mut found: Vec<CallId> =
            world.stores.calls.of_ids(&asked).await.unwrap().iter().map(|row| row.call_id).collect();
        found.sort();
        ids.sort();
        assert_eq!(found, ids);
        assert!(world.stores.calls.of_ids(&[]).await.unwrap().is_empty());
    });
}
