//! Random numbers from a seed, so that what failed can be run again: `EN57_TEST_SEED=n`.

use std::sync::OnceLock;

/// A small generator (splitmix64). Good enough to choose test data, for nothing else.
pub struct Random(u64);

impl Random {
    /// The `n`th generator of this run.
    pub fn new(n: u64) -> Self {
        let mut random = Self(seed() ^ n.wrapping_mul(0xA076_1D64_78BD_642F));
        random.next();
        random
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0, below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number from `first` to `last`.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// Whether something happens that happens `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

/// The seed of this run. One that was not given is printed.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("EN57_TEST_SEED") {
        Ok(given) => given.parse().expect("EN57_TEST_SEED is a number"),
        Err(_) => {
            let seed = u64::from(std::process::id());
            eprintln!("EN57_TEST_SEED={seed}");
            seed
        }
    })
}

/// How much longer than usual the tests are to run: `EN57_TEST_SCALE`, 1 by default.
pub fn scaled(n: usize) -> usize {
    static SCALE: OnceLock<f64> = OnceLock::new();
    let scale = SCALE.get_or_init(|| {
        std::env::var("EN57_TEST_SCALE")
            .map_or(1.0, |s| s.parse().expect("EN57_TEST_SCALE is a number"))
    });
    ((n as f64 * scale) as usize).max(1)
}
