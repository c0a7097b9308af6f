//! Values of version 1, in which the spec is written, as values of version 2.

/// `cpu.shares` (2 to 262144, default 1024) as `cpu.weight` (1 to 10000, default 100).
///
/// The curve of newer runc (1.4) and crun (1.23), which maps both ends and the default onto each other:
/// with l = log2(shares), the weight is 10^((l² + 125 l) / 612 − 7/34), rounded up. Older versions draw a
/// straight line between the ends, which gives a container with default shares less than half the default
/// weight.
pub(super) fn weight_from_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The result is between 1 and 10000. What rounding errors add must not be rounded up to the next integer.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000), linear as in runc and crun.
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_points() {
        assert_eq!([2, 1024, 262_144].map(weight_from_shares), [1, 100, 10_000]);
        assert_eq!([10, 1000].map(io_weight), [1, 10_000]);
    }

    proptest::proptest! {
        #[test]
        fn monotonic_and_in_range(a in 2u64..=262_144, b in 2u64..=262_144, c in 10u16..=1000, d in 10u16..=1000) {
            proptest::prop_assert!((1..=10_000).contains(&weight_from_shares(a)));
            if a <= b {
                proptest::prop_assert!(weight_from_shares(a) <= weight_from_shares(b));
            }
            if c <= d {
                proptest::prop_assert!(io_weight(c) <= io_weight(d));
            }
        }
    }
}
