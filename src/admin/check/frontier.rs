//! Positions that are kept beside the log: whether one is beyond what is settled. What comes below it is given to nobody.
//!
//! en57 moves none so far. It happens where positions come from a newer backup than events, or were changed by hand. What
//! was lost before, in this or any other way, nothing tells any more: which events were given out is not kept.

use crate::dcb::codec;
use crate::dcb::error::{Result, SqlState};
use crate::dcb::query::Query;
use crate::read::frontier;
use crate::store::Datum;
use crate::store::log::partition::Access;
use crate::store::pg::fmgr;
use crate::store::pg::spi::{self, Type};
use crate::store::session::definitions::as_extension_owner;
use crate::upcast::Sought;

use super::{Finding, Severity, Sink};

/// Each gives object, partition, query, position and hint; `$1` is the partition, NULL for all.
const POSITIONS: [&str; 2] = [SUBSCRIPTIONS, PROJECTIONS];

const SUBSCRIPTIONS: &str = "
    SELECT format('subscription %s', s.name), s.partition, s.query, max(r.\"position\"),
           format('Call en57_reset_subscription(%L, ..) with the position of the last event that was handled.', s.name)
      FROM en57.subscriptions s JOIN en57.subscription_shards r ON r.subscription = s.id
     WHERE s.partition = coalesce($1, s.partition) GROUP BY s.id ORDER BY s.name";

const PROJECTIONS: &str = "
    SELECT format('projection %s', p.name), p.partition, p.query, p.\"position\",
           CASE WHEN p.document_table IS NULL THEN 'Drop it and create it again.' ELSE format('Call en57_rebuild(%L).', p.name) END
      FROM en57.projections p WHERE p.mode = 'async' AND p.partition = coalesce($1, p.partition) ORDER BY p.name";

/// Checks those of a partition, or of all.
///
/// # Errors
/// 55000 where a table is missing.
pub(super) fn check(partition: Option<&str>, sink: Sink) -> Result<()> {
    let partition = partition.map(|name| fmgr::make_varlena(name.as_bytes()));
    for positions in POSITIONS {
        for row in as_extension_owner(|| spi::run(positions, &[(Type::Text, partition)]))? {
            let text = |n: usize| row[n].map_or(Ok(""), |d: Datum| fmgr::text(d));
            let query =
                row[2].map_or(Ok(Query::everything()), |d| codec::decode(fmgr::varlena(d)))?;
            let position = row[3].map_or(0, |d| d.value() as i64);
            // It was looked up before, and does not go back.
            let Some(settled) = settled(query, text(1)?)? else {
                continue;
            };
            if position > settled {
                sink(Finding {
                    severity: Severity::Error,
                    object: text(0)?.to_owned(),
                    problem: format!(
                        "its position, {position}, is beyond what is settled, {settled}: it will not be given events up to there"
                    ),
                    hint: text(4)?.to_owned(),
                })?;
            }
        }
    }
    Ok(())
}

/// The frontier of a query; `None` where the partition is gone, or has none since logical replication fills it, which is told elsewhere.
fn settled(query: Query, partition: &str) -> Result<Option<i64>> {
    match frontier::settled(&Sought::now(query)?, Some(partition), Access::Own) {
        Err(e) if matches!(e.state, SqlState::UndefinedObject | SqlState::ObjectInUse) => Ok(None),
        settled => settled.map(Some),
    }
}
