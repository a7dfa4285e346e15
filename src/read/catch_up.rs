//! Looking at a long history while appends go on, before they are kept out for the rest.

use crate::dcb::error::Result;
use crate::store::log::partition::Access;
use crate::upcast::Sought;

use super::frontier;

/// So many positions are left to be looked at while appends are kept out.
const FEW: i64 = 2_000;
/// How often it is tried to come so near. Where appends are as quick, it cannot be done.
const ROUNDS: usize = 8;

/// Takes what is settled of a query behind a position, in rounds, until few positions are left: `take` is given each range.
/// Returns up to where all is taken.
///
/// # Errors
/// Those of reading, and of `take`.
pub fn take_most(
    sought: &Sought,
    partition: &str,
    mut position: i64,
    mut take: impl FnMut(i64, i64) -> Result<()>,
) -> Result<i64> {
    for _ in 0..ROUNDS {
        let head = frontier::settled(sought, Some(partition), Access::Own)?;
        if head - position < FEW {
            break;
        }
        take(position, head)?;
        position = head;
    }
    Ok(position)
}
