//! Rows with sealed text: all of them are found, and only what was read is replaced.

use std::collections::BTreeMap;

use domain::bot::Bot;
use domain::ids::TrunkId;
use domain::ports::{SealedCursor, SealedPlace, SealedRow};
use domain::trunk::Trunk;
use serde_json::json;

use crate::bots::bot;
use crate::world::{World, new_bot_id, run};

async fn walk(world: &World, limit: u32) -> BTreeMap<SealedPlace, SealedRow> {
    let mut found = BTreeMap::new();
    let mut cursor = Some(SealedCursor::default());
    while let Some(from) = cursor {
        let (rows, next) = world.stores.sealed_rows.page(&from, limit).await.unwrap();
        assert!(rows.len() <= limit as usize);
        found.extend(rows.into_iter().map(|row| (row.place.clone(), row)));
        cursor = next;
    }
    found
}

#[test]
fn every_version_of_every_bot_and_trunk_is_found_and_replaced_as_it_was_read() {
    run(async |world| {
        let (bots, rows) = (&world.stores.bots, &world.stores.sealed_rows);
        let (id, gone) = (new_bot_id("sealed"), new_bot_id("sealed-gone"));
        bots.put(&bot(&id, 1, &[]), None).await.unwrap();
        bots.put(&bot(&id, 2, &[]), Some(1)).await.unwrap();
        bots.put(&bot(&gone, 1, &[]), None).await.unwrap();
        bots.delete(&gone, None).await.unwrap();
        let trunk_id = TrunkId::parse(id.as_str()).unwrap();
        let trunk: Trunk = serde_json::from_value(json!({
            "trunk_id": trunk_id, "version": 1, "name": "T", "host": "sip.example.com", "default_number": "+911234567890"}))
        .unwrap();
        world.stores.trunks.put(&trunk, None).await.unwrap();

        let places = [
            SealedPlace::Bot(id.clone()),
            SealedPlace::Version(id.clone(), 1),
            SealedPlace::Version(id.clone(), 2),
            SealedPlace::Version(gone.clone(), 1),
            SealedPlace::Trunk(trunk_id.clone()),
        ];
        for limit in [1, 100] {
            let found = walk(world, limit).await;
            assert!(places.iter().all(|place| found.contains_key(place)), "{limit}");
            assert!(!found.contains_key(&SealedPlace::Bot(gone.clone())));
        }

        for place in &places {
            let row = walk(world, 100).await.remove(place).unwrap();
            let renamed = row.document.replacen("\"name\":\"", "\"name\":\"New ", 1);
            assert!(rows.reseal(&row, &renamed).await.unwrap(), "{place:?}");
            assert!(!rows.reseal(&row, "{}").await.unwrap(), "{place:?} is not what it was");
            assert_eq!(walk(world, 100).await[place].document, renamed);
        }
        let renamed = |version| Bot { name: "New Collections".into(), ..bot(&id, version, &[]) };
        assert_eq!(bots.get(&id).await.unwrap(), Some(renamed(2)));
        assert_eq!(bots.version(&id, 1).await.unwrap(), Some(renamed(1)));
        assert_eq!(world.stores.trunks.get(&trunk_id).await.unwrap().unwrap().name, "New T");

        // A replacement in between wins, whichever came first.
        let row = walk(world, 100).await.remove(&places[0]).unwrap();
        bots.put(&bot(&id, 3, &[]), Some(2)).await.unwrap();
        assert!(!rows.reseal(&row, "{}").await.unwrap());
        let missing = SealedRow { place: SealedPlace::Bot(gone.clone()), ..row };
        assert!(!rows.reseal(&missing, "{}").await.unwrap(), "nothing is made");
        assert_eq!(bots.get(&gone).await.unwrap(), None);
    });
}
