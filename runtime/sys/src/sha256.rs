//! SHA-256 (FIPS 180-4) of sixteen messages at once, one in each 32-bit lane of the AVX-512 registers.
//!
//! The SHA instructions wait for themselves: each needs the result of the one before. Sixteen independent messages
//! leave nothing to wait for, and more than twice as many bytes a second go through one core. Who hashes one
//! message takes a library that uses the SHA instructions.

use std::arch::x86_64::{
    __m512i, _mm_set_epi64x, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_ror_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Messages at once.
pub const LANES: usize = 16;

/// A block of a message.
pub type Block = [u8; 64];

/// The state of sixteen messages: of each of the eight words, the lanes' values.
pub type States = [[u32; LANES]; 8];

/// The state of a message before its first block (FIPS 180-4, 5.3.3).
pub const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The constants of the rounds (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The proof that this processor, and its operating system, have what [`Wide::compress`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct Wide(());

impl Wide {
    /// Asks the processor.
    #[must_use]
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }

    /// Takes blocks into the states, as many of each message as the one with the fewest has.
    pub fn compress(self, states: &mut States, messages: &[&[Block]; LANES]) {
        // SAFETY: only `detect` makes a `Wide`, after it has found both features of the function.
        unsafe { compress(states, messages) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(states: &mut States, messages: &[&[Block]; LANES]) {
    let blocks = messages.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut state = [_mm512_setzero_si512(); 8];
    for (word, lanes) in state.iter_mut().zip(&*states) {
        // SAFETY: `lanes` has 16 words of 4 bytes, 64 in all, and the instruction wants no alignment.
        *word = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    for at in 0..blocks {
        let mut w = [_mm512_setzero_si512(); 16];
        for (words, blocks) in w.iter_mut().zip(messages) {
            // SAFETY: a block has 64 bytes, and the instruction wants no alignment.
            *words = unsafe { _mm512_loadu_si512(blocks[at].as_ptr().cast()) };
        }
        transpose(&mut w);
        rounds(&mut state, &mut w);
    }
    for (word, lanes) in state.into_iter().zip(states) {
        // SAFETY: `lanes` has 16 words of 4 bytes, 64 in all, and the instruction wants no alignment.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), word) };
    }
}

/// From the blocks of sixteen messages to their first, second, ... words, which are big-endian.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose(rows: &mut [__m512i; 16]) {
    let mut pairs = *rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..4 {
        let at = 4 * i;
        fours[at] = _mm512_unpacklo_epi64(pairs[at], pairs[at + 2]);
        fours[at + 1] = _mm512_unpackhi_epi64(pairs[at], pairs[at + 2]);
        fours[at + 2] = _mm512_unpacklo_epi64(pairs[at + 1], pairs[at + 3]);
        fours[at + 3] = _mm512_unpackhi_epi64(pairs[at + 1], pairs[at + 3]);
    }
    let swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    for column in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|below| fours[column + below]);
        let (even, odd) = (
            _mm512_shuffle_i32x4::<0x88>(a, b),
            _mm512_shuffle_i32x4::<0xdd>(a, b),
        );
        let (even2, odd2) = (
            _mm512_shuffle_i32x4::<0x88>(c, d),
            _mm512_shuffle_i32x4::<0xdd>(c, d),
        );
        rows[column] = _mm512_shuffle_i32x4::<0x88>(even, even2);
        rows[column + 4] = _mm512_shuffle_i32x4::<0x88>(odd, odd2);
        rows[column + 8] = _mm512_shuffle_i32x4::<0xdd>(even, even2);
        rows[column + 12] = _mm512_shuffle_i32x4::<0xdd>(odd, odd2);
    }
    for row in rows {
        *row = _mm512_shuffle_epi8(*row, swap);
    }
}

/// The 64 rounds on one block of each message (FIPS 180-4, 6.2.2). The immediates of the ternary logic are truth
/// tables: 0x96 exclusive or, 0xca choice, 0xe8 majority.
#[target_feature(enable = "avx512f")]
#[inline]
fn rounds(state: &mut [__m512i; 8], w: &mut [__m512i; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    // Macros, so that the index of each word is known where it is compiled and `w` stays in registers.
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $t:expr) => {{
            let k = _mm512_set1_epi32(K[$t].cast_signed());
            let sum1 = _mm512_ternarylogic_epi32::<0x96>(
                _mm512_ror_epi32::<6>($e),
                _mm512_ror_epi32::<11>($e),
                _mm512_ror_epi32::<25>($e),
            );
            let choice = _mm512_ternarylogic_epi32::<0xca>($e, $f, $g);
            let before = _mm512_add_epi32(_mm512_add_epi32($h, k), w[$t % 16]);
            let first = _mm512_add_epi32(before, _mm512_add_epi32(sum1, choice));
            let sum0 = _mm512_ternarylogic_epi32::<0x96>(
                _mm512_ror_epi32::<2>($a),
                _mm512_ror_epi32::<13>($a),
                _mm512_ror_epi32::<22>($a),
            );
            let majority = _mm512_ternarylogic_epi32::<0xe8>($a, $b, $c);
            $d = _mm512_add_epi32($d, first);
            $h = _mm512_add_epi32(first, _mm512_add_epi32(sum0, majority));
        }};
    }
    macro_rules! extend {
        ($($t:expr),*) => {$({
            let (x, y) = (w[($t + 1) % 16], w[($t + 14) % 16]);
            let sigma0 = _mm512_ternarylogic_epi32::<0x96>(
                _mm512_ror_epi32::<7>(x),
                _mm512_ror_epi32::<18>(x),
                _mm512_srli_epi32::<3>(x),
            );
            let sigma1 = _mm512_ternarylogic_epi32::<0x96>(
                _mm512_ror_epi32::<17>(y),
                _mm512_ror_epi32::<19>(y),
                _mm512_srli_epi32::<10>(y),
            );
            let old = _mm512_add_epi32(w[$t % 16], sigma0);
            w[$t % 16] = _mm512_add_epi32(old, _mm512_add_epi32(w[($t + 9) % 16], sigma1));
        })*};
    }
    macro_rules! eight {
        ($t:expr) => {{
            round!(a b c d e f g h, $t);
            round!(h a b c d e f g, $t + 1);
            round!(g h a b c d e f, $t + 2);
            round!(f g h a b c d e, $t + 3);
            round!(e f g h a b c d, $t + 4);
            round!(d e f g h a b c, $t + 5);
            round!(c d e f g h a b, $t + 6);
            round!(b c d e f g h a, $t + 7);
        }};
    }
    eight!(0);
    eight!(8);
    macro_rules! sixteen {
        ($($t:expr),*) => {$(
            extend!($t, $t + 1, $t + 2, $t + 3, $t + 4, $t + 5, $t + 6, $t + 7);
            eight!($t);
        )*};
    }
    sixteen!(16, 24, 32, 40, 48, 56);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = _mm512_add_epi32(*word, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    /// The processor's. Without it there is nothing to test, and nothing that a host could install.
    fn wide() -> Option<Wide> {
        let wide = Wide::detect();
        if wide.is_none() {
            eprintln!("skipped: this processor has no AVX-512");
        }
        wide
    }

    /// A message with its padding (FIPS 180-4, 5.1.1).
    fn padded(message: &[u8]) -> Vec<Block> {
        let mut bytes = message.to_vec();
        bytes.push(0x80);
        bytes.resize((bytes.len() + 8).next_multiple_of(64) - 8, 0);
        bytes.extend((message.len() as u64 * 8).to_be_bytes());
        bytes.as_chunks().0.to_vec()
    }

    /// All digests; the longest messages last, in lanes that shorter ones have left.
    fn digests(wide: Wide, messages: &[Vec<u8>; LANES]) -> [[u8; 32]; LANES] {
        let messages = messages.each_ref().map(|message| padded(message));
        let mut done = [0; LANES];
        let mut states = INITIAL.map(|word| [word; LANES]);
        let mut results = [[0; 32]; LANES];
        let idle = vec![[0; 64]; 64];
        loop {
            let left = |lane: usize| &messages[lane][done[lane]..];
            let busy: Vec<usize> = (0..LANES).filter(|lane| !left(*lane).is_empty()).collect();
            let Some(steps) = busy.iter().map(|lane| left(*lane).len().min(idle.len())).min() else {
                return results;
            };
            let data = std::array::from_fn(|lane| match left(lane) {
                [] => &idle[..steps],
                blocks => &blocks[..steps],
            });
            wide.compress(&mut states, &data);
            for lane in busy {
                done[lane] += steps;
                if done[lane] == messages[lane].len() {
                    for (bytes, word) in results[lane].chunks_exact_mut(4).zip(&states) {
                        bytes.copy_from_slice(&word[lane].to_be_bytes());
                    }
                }
            }
        }
    }

    fn expect(messages: &[Vec<u8>; LANES]) {
        let Some(wide) = wide() else { return };
        for (lane, (message, digest)) in messages.iter().zip(digests(wide, messages)).enumerate() {
            assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(message)), "lane {lane}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_lane_has_its_messages_digest(messages in prop::array::uniform16(prop::collection::vec(any::<u8>(), 0..1000))) {
            expect(&messages);
        }
    }

    #[test]
    fn every_length_around_the_ends_of_blocks() {
        for first in (0..200).step_by(LANES) {
            expect(&std::array::from_fn(|lane| vec![lane as u8 ^ 0xa5; first + lane]));
        }
    }

    /// The messages of FIPS 180-4's examples, of CAVP's SHA256ShortMsg and of RFC 6234.
    #[test]
    fn known_digests() {
        let Some(wide) = wide() else { return };
        let known: [(&[u8], &str); 5] = [
            (
                b"",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                b"\xd3",
                "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
            ),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                &vec![b'a'; 1_000_000],
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ];
        // Each in every lane, beside the others.
        for shift in 0..LANES {
            let at = |lane: usize| known[(lane + shift) % known.len()];
            let found = digests(wide, &std::array::from_fn(|lane| at(lane).0.to_vec()));
            for (lane, digest) in found.iter().enumerate() {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(hex, at(lane).1, "lane {lane}");
            }
        }
    }
}
