//! What en57 keeps beside the log: whether positions have their subscriptions, and projections their tables. No foreign
//! keys see to it, since a parallel restore would stumble over them.

use crate::dcb::error::Result;
use crate::store::Datum;
use crate::store::pg::fmgr;
use crate::store::pg::spi::{self, Type};
use crate::store::session::definitions::as_extension_owner;

use super::{Finding, Severity, Sink};

/// Each gives object, problem and hint; `$1` is the partition, NULL for all.
const QUESTIONS: [&str; 3] = [LOST_SHARDS, ORPHANS, TABLES];

const LOST_SHARDS: &str = "
    SELECT format('subscription %s', s.name),
           format('it has lost its position: %s of %s shards are there', count(r.shard), coalesce(s.shards, 1)),
           'Restore en57.subscription_shards from the dump. Or drop the subscription and create it again, with the position from which to go on as start.'
      FROM en57.subscriptions s
      LEFT JOIN en57.subscription_shards r ON r.subscription = s.id AND r.shard < coalesce(s.shards, 1)
     WHERE s.partition = coalesce($1, s.partition)
     GROUP BY s.id HAVING count(r.shard) <> coalesce(s.shards, 1) ORDER BY s.id";

/// Whose partition they were of is not known.
const ORPHANS: &str = "
    SELECT 'table en57.' || o.name, format('%s rows are of no subscription', count(*)),
           'If en57.subscriptions was not restored, restore it from the dump. Else delete the rows.'
      FROM (SELECT 'subscription_shards' AS name, subscription FROM en57.subscription_shards
            UNION ALL SELECT 'dead_letters', subscription FROM en57.dead_letters) o
     WHERE $1 IS NULL AND NOT EXISTS (SELECT FROM en57.subscriptions s WHERE s.id = o.subscription)
     GROUP BY o.name ORDER BY o.name DESC";

/// The number of a table that was dropped is what a dump restores: then it may be that of any other.
const TABLES: &str = "
    SELECT format('projection %s', p.name),
           CASE WHEN c.oid IS NULL THEN 'the table of its documents is missing'
                WHEN c.columns < 5 THEN format('table %s is not one of documents', p.document_table)
                ELSE format('table %s is that of another projection, too', p.document_table) END,
           'Call en57_drop_projection() with keep_table for it, and create it again. Do so before the next dump.'
      FROM (SELECT p.*, count(*) OVER (PARTITION BY p.document_table) AS shared
              FROM en57.projections p WHERE p.document_table IS NOT NULL) p
      LEFT JOIN (SELECT c.oid, (SELECT count(*) FROM pg_attribute a
                                 WHERE a.attrelid = c.oid AND NOT a.attisdropped
                                   AND a.attname = ANY ('{id,doc,version,position,updated_at}')) AS columns
                   FROM pg_class c) c ON c.oid = p.document_table
     WHERE p.partition = coalesce($1, p.partition) AND (c.oid IS NULL OR c.columns < 5 OR p.shared > 1)
     ORDER BY p.number";

/// Checks it for a partition, or for all of them.
///
/// # Errors
/// 55000 where a table is missing.
pub(super) fn check(partition: Option<&str>, sink: Sink) -> Result<()> {
    let partition = partition.map(|name| fmgr::make_varlena(name.as_bytes()));
    for question in QUESTIONS {
        for row in as_extension_owner(|| spi::run(question, &[(Type::Text, partition)]))? {
            let text = |n: usize| row[n].map_or(Ok(""), |d: Datum| fmgr::text(d));
            sink(Finding {
                severity: Severity::Error,
                object: text(0)?.to_owned(),
                problem: text(1)?.to_owned(),
                hint: text(2)?.to_owned(),
            })?;
        }
    }
    Ok(())
}
