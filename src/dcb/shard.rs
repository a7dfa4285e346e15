//! Shards: they split the events of a subscription among workers. All events of one key are in one shard, in order.
//!
//! **Invariant:** while the number of shards stays, the shard of a key never changes, because a position is stored for each
//! shard.

use super::error::{Result, invalid};
use super::key::{Namespace, key};

/// The most shards of a subscription. Each shard reads past the events of all others, so more would be a mistake.
pub const MOST: i32 = 1024;

/// One of several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: u64,
    of: u64,
}

impl Shard {
    /// The shard with this number, from 0, when there are `of` shards.
    ///
    /// # Errors
    /// 22023 where there is no such shard.
    pub fn new(number: i32, of: i32) -> Result<Self> {
        if !(1..=MOST).contains(&of) {
            return Err(invalid(format!("shards must be from 1 to {MOST}")));
        }
        if !(0..of).contains(&number) {
            return Err(invalid(format!("no shard {number}"))
                .detail(format!("With {of} shards they are 0 to {}.", of - 1)));
        }
        Ok(Self {
            number: number as u64,
            of: of as u64,
        })
    }

    /// Whether it is the only shard.
    pub fn is_all(self) -> bool {
        self.of == 1
    }

    /// Whether the events of this key are in it.
    pub fn has(self, key: Key) -> bool {
        key.shard(self.of) == self.number
    }
}

/// What decides an event's shard: its stream, or its first tag, or its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    namespace: Namespace,
    text: &'a [u8],
}

impl<'a> Key<'a> {
    /// The key of an event.
    pub fn of(stream: Option<&'a [u8]>, first_tag: Option<&'a [u8]>, event_type: &'a [u8]) -> Self {
        let (namespace, text) = match (stream, first_tag) {
            (Some(stream), _) => (Namespace::Stream, stream),
            (None, Some(tag)) => (Namespace::Tag, tag),
            (None, None) => (Namespace::Type, event_type),
        };
        Self { namespace, text }
    }

    /// A key as `en57.event_key` writes it: `stream:`, `tag:` or `type:` and the text.
    ///
    /// # Errors
    /// 22023 where it is of another form.
    pub fn parse(written: &'a str) -> Result<Self> {
        let namespace = |kind| match kind {
            "stream" => Some(Namespace::Stream),
            "tag" => Some(Namespace::Tag),
            "type" => Some(Namespace::Type),
            _ => None,
        };
        written
            .split_once(':')
            .and_then(|(kind, text)| {
                Some(Self {
                    namespace: namespace(kind)?,
                    text: text.as_bytes(),
                })
            })
            .ok_or_else(|| invalid("not the key of an event"))
    }

    fn shard(self, of: u64) -> u64 {
        key(self.namespace, self.text) as u64 % of
    }

    /// The number of its shard, when there are as many as of `shards`.
    pub fn shard_of(self, shards: Shard) -> i32 {
        self.shard(shards.of) as i32
    }
}
