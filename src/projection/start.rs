//! Where a projection begins.

use crate::dcb::error::{Result, invalid};
use crate::dcb::query::Query;
use crate::read;

/// How many digits a position may have, so that it is one.
const DIGITS: usize = 18;

/// Where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first event.
    Beginning,
    /// With what comes.
    End,
    /// After a position.
    After(i64),
}

impl Start {
    /// As it is written.
    ///
    /// # Errors
    /// 22023.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ if text.len() <= DIGITS && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map(Self::After).map_err(|_| Self::refused())
            }
            _ => Err(Self::refused()),
        }
    }

    fn refused() -> crate::dcb::error::Error {
        invalid("start must be 'beginning', 'end' or a position")
            .hint("en57_position_at() tells the position of a time.")
    }

    /// The position after which that is. Nobody appends to the partition of an inline projection.
    ///
    /// # Errors
    /// 22023 where it is beyond all events that there are.
    pub fn position(self, is_inline: bool, query: &Query, partition: &str) -> Result<i64> {
        if self == Self::Beginning {
            return Ok(0);
        }
        let head = if is_inline {
            super::manage::last_position()?
        } else {
            read::head(Some(query.clone()), Some(partition))?
        };
        match self {
            Self::After(position) if position > head => Err(invalid(format!(
                "position {position} is beyond the head, {head}"
            ))
            .detail("What is not there yet would never be handled.")),
            Self::After(position) => Ok(position),
            _ => Ok(head),
        }
    }
}
