//! Entries of an index, their order, and the kinds of index that hold them.

use pgrx::pg_sys::ItemPointerData;

/// An entry of an index, one row under one key, or a bound of entries: key, position, and where the row is. They are in
/// this order. An index on position alone has the key 0 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The key, 0 in the index on position.
    pub key: i64,
    /// The position.
    pub position: i64,
    /// Block and offset of the row in one number.
    pub tid: u64,
}

impl Entry {
    /// Before everything.
    pub const MIN: Self = Self {
        key: i64::MIN,
        position: i64::MIN,
        tid: 0,
    };
    /// After everything.
    pub const MAX: Self = Self {
        key: i64::MAX,
        position: i64::MAX,
        tid: u64::MAX,
    };

    /// Before every row of the position under the key.
    pub fn first(key: i64, position: i64) -> Self {
        Self {
            key,
            position,
            tid: 0,
        }
    }

    /// After every row of the position under the key.
    pub fn last(key: i64, position: i64) -> Self {
        Self {
            key,
            position,
            tid: u64::MAX,
        }
    }

    /// Before every row of an id.
    pub fn of_id(id: &[u8; 16]) -> Self {
        let half = |at: usize| std::array::from_fn(|i| id[at + i]);
        Self::first(id_half(half(0)), id_half(half(8)))
    }

    /// The id that [`Self::of_id`] was given.
    pub fn id(&self) -> [u8; 16] {
        let half = |half: i64| u128::from(half as u64 ^ (1 << 63));
        (half(self.key) << 64 | half(self.position)).to_be_bytes()
    }

    /// The greatest entry before this one.
    pub(super) fn before(self) -> Self {
        if self.tid > 0 {
            Self {
                tid: self.tid - 1,
                ..self
            }
        } else if self.position > i64::MIN {
            Self {
                position: self.position - 1,
                tid: u64::MAX,
                ..self
            }
        } else {
            Self {
                key: self.key.saturating_sub(1),
                position: i64::MAX,
                tid: u64::MAX,
            }
        }
    }
}

/// Where a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To greater positions.
    Forward,
    /// To smaller ones.
    Backward,
}

impl Direction {
    /// The other one.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Backward,
            Self::Backward => Self::Forward,
        }
    }
}

/// What an index of nbtree's holds, and so how its tuples are read. Every entry is a [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Tree {
    /// The key index: key and position.
    Keys,
    /// The index on position; the key is 0 throughout.
    Positions,
    /// The index on id: key and position are the halves of the uuid, as numbers of the same order.
    Ids,
}

/// Half of a uuid as a number of the same order: uuids are ordered as bytes.
pub(in crate::store) fn id_half(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// The tid of a row as indexes order it: block and offset in one number.
pub fn tid_number(tid: &ItemPointerData) -> u64 {
    let block = u64::from(tid.ip_blkid.bi_hi) << 16 | u64::from(tid.ip_blkid.bi_lo);
    block << 16 | u64::from(tid.ip_posid)
}
