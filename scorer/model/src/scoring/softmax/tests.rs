//! Shares against plain ones in `f64`, over ragged edges, one tile after another.

use rand::SeedableRng as _;

use super::*;

const PANELS: usize = KEYS / COLUMNS;

fn random_tiles(random: &mut impl rand::Rng) -> Vec<Tile> {
    (0..PANELS).map(|_| Tile(std::array::from_fn(|_| std::array::from_fn(|_| random.random_range(-20.0..20.0))))).collect()
}

fn score(tiles: &[Tile], row: usize, key: usize) -> f32 {
    tiles[key / COLUMNS].0[row][key % COLUMNS]
}

/// The share of a key in a row's words, whose numbers lie half a tile apart.
fn share_of(words: &[u32], key: usize) -> f32 {
    let word = words[key / COLUMNS * LANES + key % LANES];
    f32::from_bits(if key % COLUMNS < LANES { word << 16 } else { word & 0xffff_0000 })
}

/// How many keys a row sees, of those that `panels` hold: every edge that there is, in turn.
fn ragged(panels: usize) -> [usize; ROWS] {
    let edges = [0, 1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128];
    std::array::from_fn(|row| edges[row % edges.len()].min(panels * COLUMNS))
}

#[test]
fn powers_of_two_are_as_near_as_they_say() {
    let powers: [fn(f32) -> f32; 2] = [exp2::<true>, exp2::<false>];
    for power in powers {
        for step in 0..=400_000_i32 {
            let x = step as f32 / -4000.0;
            let off = f64::from(power(x)) / f64::from(x).exp2() - 1.0;
            assert!(off.abs() < 1e-5, "2^{x} is off by {off}");
        }
        let exact = [power(0.0), power(-0.0), power(-100.0), power(-1e30), power(f32::NEG_INFINITY)].map(f32::to_bits);
        let least = 2.0_f32.powi(-100).to_bits();
        assert_eq!(exact, [1.0_f32.to_bits(), 1.0_f32.to_bits(), least, least, least]);
        assert!(power(f32::NAN).is_nan() && power(-f32::NAN).is_nan());
    }
}

/// One tile after another: shares against the largest score so far, what fades, and the sums.
#[test]
fn shares_in_halves_are_those_of_plain_sums() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for panels in 1..=PANELS {
        let seen = ragged(panels);
        let mut states = [State::NOTHING; ROWS];
        let (mut most, mut sums) = ([f64::NEG_INFINITY; ROWS], [0.0_f64; ROWS]);
        for _ in 0..3 {
            let tiles = &random_tiles(&mut random)[..panels];
            let mut words = vec![9; ROWS * panels * LANES];
            let faded = soften_tiles(Precision::Bf16, &mut words, tiles, &seen, &mut states);
            for (row, words) in words.chunks_exact(panels * LANES).enumerate() {
                let before = most[row];
                most[row] = (0..seen[row]).fold(before, |most, key| most.max(f64::from(score(tiles, row, key))));
                let plain = |key: usize| (f64::from(score(tiles, row, key)) - most[row]).exp2();
                let fades = if seen[row] == 0 { 1.0 } else { (before - most[row]).exp2() };
                sums[row] = sums[row] * fades + (0..seen[row]).map(plain).sum::<f64>();
                assert!((f64::from(faded[row]) - fades).abs() < 1e-5, "row {row} fades by {}, not {fades}", faded[row]);
                for key in 0..panels * COLUMNS {
                    let expected = if key < seen[row] { plain(key) } else { 0.0 };
                    let found = f64::from(share_of(words, key));
                    // Half a unit of the last of eight bits.
                    assert!((found - expected).abs() <= expected / 250.0, "key {key} of row {row}, which sees {}: {found}", seen[row]);
                    assert!(key < seen[row] || found.to_bits() == 0);
                }
            }
        }
        for (row, state) in states.iter().enumerate() {
            assert!((f64::from(state.sum) - sums[row]).abs() <= sums[row] * 1e-5, "row {row}: {} for {}", state.sum, sums[row]);
        }
    }
}

/// Whether a block holds such a row depends on what else is in a batch: it must not move a bit.
#[test]
fn a_row_that_sees_nothing_of_a_tile_stays_as_it_was() {
    for state in [State { most: 3.7, sum: 2.3 }, State { most: -1e30, sum: 1.0 }, State::NOTHING] {
        let tiles = [Tile([[9.0; COLUMNS]; ROWS])];
        let (mut words, mut states) = (vec![9; 2 * LANES], [state, state]);
        let faded = soften_tiles(Precision::Bf16, &mut words, &tiles, &[0, 1], &mut states);
        assert_eq!((faded[0].to_bits(), states[0].most.to_bits()), (1.0_f32.to_bits(), state.most.to_bits()));
        assert_eq!((states[0].sum.to_bits(), &words[..LANES]), (state.sum.to_bits(), &[0; LANES][..]));
        assert!((share_of(&words[LANES..], 0) - 1.0).abs() < f32::EPSILON);
    }
}

/// Nor may a tile that ends in keys which it does not see.
#[test]
fn hidden_keys_move_no_bit() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let tiles = random_tiles(&mut random);
    for seen in [1, 20, 31, 32] {
        let [(short, one), (long, all)] = [1, PANELS].map(|panels| {
            let (mut words, mut state) = (vec![9; panels * LANES], [State { most: 1.0, sum: 0.3 }]);
            let faded = soften_tiles(Precision::Bf16, &mut words, &tiles[..panels], &[seen], &mut state);
            (words, [faded[0], state[0].most, state[0].sum].map(f32::to_bits))
        });
        assert_eq!((one, &short[..]), (all, &long[..LANES]));
        assert!(long[LANES..].iter().all(|&word| word == 0));
    }
}

#[test]
fn what_is_no_number_stays_none_where_it_is_seen() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
        for key in [0, 15, 16, 40, 127] {
            let mut tiles = vec![Tile([[0.5; COLUMNS]; ROWS]); PANELS];
            tiles[key / COLUMNS].0[1][key % COLUMNS] = bad;
            let (mut words, mut states) = (vec![0; 3 * PANELS * LANES], [State::NOTHING; 3]);
            soften_tiles(Precision::Bf16, &mut words, &tiles, &[KEYS, KEYS, KEYS], &mut states);
            assert_eq!(states.map(|state| state.sum.is_nan()), [false, true, false], "{bad} at {key}");
            states = [State::NOTHING; 3];
            soften_tiles(Precision::Bf16, &mut words, &tiles, &[KEYS, key, KEYS], &mut states);
            assert!(states.iter().all(|state| !state.sum.is_nan()), "{bad} behind {key}");
        }
    }
}

/// Bit for bit what the pass that learns makes of them.
#[test]
fn shares_in_f32_are_those_of_rows_that_lie_together() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    for panels in 1..=PANELS {
        let (seen, mut states) = (ragged(panels), [State::NOTHING; ROWS]);
        let mut expected = states;
        for _ in 0..2 {
            let tiles = &random_tiles(&mut random)[..panels];
            let mut words = vec![9; ROWS * panels * COLUMNS];
            let faded = soften_tiles(Precision::F32, &mut words, tiles, &seen, &mut states);
            for (row, words) in words.chunks_exact(panels * COLUMNS).enumerate() {
                let mut scores: Vec<f32> = (0..panels * COLUMNS).map(|key| score(tiles, row, key)).collect();
                assert_eq!(faded[row].to_bits(), soften(&mut scores, seen[row], &mut expected[row]).to_bits());
                assert!(scores.iter().zip(words).all(|(score, &word)| score.to_bits() == word));
                assert_eq!(states[row].sum.to_bits(), expected[row].sum.to_bits());
            }
        }
    }
}
