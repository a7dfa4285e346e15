//! Waiting until a subscription is done with what is in the log.

use crate::dcb::codec;
use crate::dcb::error::{Error, Result, SqlState, invalid, missing, required};
use crate::dcb::query::Query;
use crate::dcb::shard::Shard;
use crate::read::{self, Options, Reading, frontier};
use crate::store::Datum;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::xmin::XminRelease;
use crate::store::pg::{fmgr, rights};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::sleep;
use crate::upcast::Sought;

/// How far a subscription is.
struct Standing {
    query: Query,
    partition: String,
    /// Of each shard, in their order.
    positions: Vec<i64>,
}

/// Sleeps until all events of a subscription up to a position (by default: all that there are) are acknowledged or
/// dead letters, or the time is over; returns whether they are.
///
/// # Errors
/// 22004, 22023, 42501, 42704; N5706 where the session's own last append does not become readable.
pub fn wait(
    name: Option<&str>,
    upto: Option<i64>,
    timeout_ms: u64,
    leave: XminRelease,
) -> Result<bool> {
    let name = required(name, "name")?;
    let Standing {
        query, partition, ..
    } = standing(name)?;
    if upto.is_some_and(|p| p < 0) {
        return Err(invalid("position must not be negative"));
    }
    // Also where a position is given: who may not read is told so before he waits.
    let upto = match upto {
        Some(position) => {
            let sought = Sought::now(query)?;
            frontier::settled_in_all(&sought, Some(&partition))?;
            position
        }
        None => read::head(Some(query), Some(&partition))?,
    };
    sleep::wait_until(Some(timeout_ms), leave, || standing(name)?.is_done(upto))
}

/// As it is now, whatever the isolation level.
fn standing(name: &str) -> Result<Standing> {
    const SQL: &str = "SELECT s.query, s.partition, s.owner, en57.is_owner($2, s.owner), s.id FROM en57.subscriptions s WHERE s.name = $1";
    const POSITIONS: &str = "SELECT t.position FROM en57.subscription_shards t WHERE t.subscription = $1 ORDER BY t.shard";
    let role = (Type::Oid, Some(Datum::from(rights::current_role())));
    as_extension_owner(|| {
        let found = spi::run(SQL, &[text(name), role])?;
        let Some([query, partition, owner, is_owner, id]) = found.first().map(Vec::as_slice) else {
            return Err(missing("subscription", name));
        };
        let word = |datum: &Option<Datum>| datum.map_or(Ok(""), fmgr::text).map(str::to_owned);
        if is_owner.is_none_or(|is| is.value() == 0) {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("permission denied for subscription \"{name}\""),
            )
            .hint(format!(
                "It belongs to {}: this is for members of that role.",
                word(owner)?
            )));
        }
        // Integer and bigint are passed alike.
        let rows = spi::run(POSITIONS, &[(Type::Bigint, *id)])?;
        Ok(Standing {
            query: query.map_or(Ok(Query::everything()), |d| codec::decode(fmgr::varlena(d)))?,
            partition: word(partition)?,
            positions: rows
                .iter()
                .filter_map(|row| row[0])
                .map(|p| p.value() as i64)
                .collect(),
        })
    })
}

impl Standing {
    /// Whether nothing up to a position is left. A shard's position need not be there: it stays where nothing was found.
    fn is_done(&self, upto: i64) -> Result<bool> {
        let Some(after) = self.positions.iter().copied().min() else {
            return Ok(false);
        };
        if after >= upto {
            return Ok(true);
        }
        let partition = Some(self.partition.as_str());
        let sought = Sought::now(self.query.clone())?;
        let frontier = frontier::settled_in_all(&sought, partition)?;
        if frontier < upto {
            return Ok(false);
        }
        let options = Options {
            after,
            upto,
            ..Options::default()
        };
        let shards = Shard::new(0, self.positions.len() as i32)?;
        let mut reading = Reading::settled(self.query.clone(), options, partition, frontier)?;
        let (mut is_left, mut more) = (false, true);
        while more && !is_left {
            more = reading.fill_rows(100, &mut |row| {
                let shard = match shards.is_all() {
                    true => 0,
                    false => super::key(row)?.shard_of(shards),
                };
                is_left |= row.position() > self.positions[shard as usize];
                Ok(())
            })?;
        }
        Ok(!is_left)
    }
}
