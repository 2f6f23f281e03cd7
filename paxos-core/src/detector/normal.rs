//! The upper tail of the normal distribution, on a logarithmic scale.
//!
//! Computed with `+ - * /` alone, in a fixed order, so that every machine gets the same bits; the
//! logarithms and exponentials of mathematical libraries differ in the last place. It neither
//! underflows nor loses digits far out, where the probability itself would be 0.

use std::f64::consts::{LN_2, LN_10, SQRT_2};

/// The root of 2 pi, and its natural logarithm.
const ROOT_2_PI: f64 = 2.506_628_274_631_000_5;
const LN_ROOT_2_PI: f64 = 0.918_938_533_204_672_8;

/// Below, the power series is used; from here on the continued fraction, which converges the faster
/// the further out.
const FAR: f64 = 3.0;

/// Terms of either.
const TERMS: u32 = 48;

/// The negative decimal logarithm of the probability that a standard normal variable exceeds `z`:
/// 1 means one in ten, 8 means one in a hundred million. Below three sigma under the mean it stays
/// at what it is there, 0.0006: nobody acts on less.
///
/// Up to three sigma by the power series of the distribution function (Abramowitz & Stegun,
/// 26.2.10), beyond by Laplace's continued fraction for the tail (26.2.14).
pub fn tail(z: f64) -> f64 {
    let ln = if z < FAR {
        -ln(0.5 - central(z.max(-FAR)) / ROOT_2_PI)
    } else {
        z * z / 2.0 + LN_ROOT_2_PI + ln(fraction(z))
    };
    ln / LN_10
}

/// The least `z`, in millionths and rounded up, with a [`tail`] of at least this.
pub fn quantile(least: f64) -> u64 {
    // The tail of 64 sigma is 892.
    let (mut below, mut above) = (0, 64_000_000);
    while below < above {
        let middle = (below + above) / 2;
        match tail(middle as f64 / 1e6) < least {
            true => below = middle + 1,
            false => above = middle,
        }
    }
    below
}

/// The sum of (-1)^n z^(2n+1) / (n! 2^n (2n+1)).
fn central(z: f64) -> f64 {
    let (mut power, mut sum) = (z, z);
    for n in 1..=TERMS {
        power *= -z * z / f64::from(2 * n);
        sum += power / f64::from(2 * n + 1);
    }
    sum
}

/// z + 1/(z + 2/(z + 3/(z + ..))).
fn fraction(z: f64) -> f64 {
    (1..=TERMS).rev().fold(z, |below, n| z + f64::from(n) / below)
}

/// The natural logarithm: powers of two apart, by the series of its inverse hyperbolic tangent.
fn ln(mut x: f64) -> f64 {
    let mut twos = 0.0;
    while x > SQRT_2 {
        x /= 2.0;
        twos += 1.0;
    }
    while x < SQRT_2 / 2.0 {
        x *= 2.0;
        twos -= 1.0;
    }
    let s = (x - 1.0) / (x + 1.0);
    let (mut power, mut sum) = (s, s);
    for n in 1..12 {
        power *= s * s;
        sum += power / f64::from(2 * n + 1);
    }
    twos * LN_2 + 2.0 * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::LOG10_2;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn the_tail_is_that_of_the_tables() {
        // -log10 of Q(z) from tables of 20 digits: Q(1) = 0.15865525393145705,
        // Q(3) = 0.0013498980316300946, Q(5) = 2.8665157187919391e-7,
        // Q(10) = 7.6198530241605261e-24, Q(0) = 1/2, Q(-1) = 1 - Q(1).
        for (z, expected) in [
            (0.0, LOG10_2),
            (1.0, 0.799_545_541_491_969_4),
            (-1.0, 0.075_026_012_957_818_02),
            (2.0, 1.643_016_080_140_936_8),
            (3.0, 2.869_699_035_929_369),
            (5.0, 6.542_645_672_390_654),
            (10.0, 23.118_053_405_486_073),
        ] {
            assert!(near(tail(z), expected), "{z}: {} is not {expected}", tail(z));
        }
    }

    #[test]
    fn it_grows_everywhere_and_goes_on_where_the_probability_is_0() {
        let tails: Vec<_> = (-400..6400).map(|z| tail(f64::from(z) / 100.0)).collect();
        assert!(tails.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(tails.iter().all(|tail| tail.is_finite()));
        assert!(tail(-100.0) > 0.0 && tail(-100.0) < 0.001);
        // ln Q(40) = -(800 + 0.918939 + 3.689503), and ln 10 = 2.302585: e^-804 is 0 in a double.
        assert!((tail(40.0) - 349.437_0).abs() < 1e-3, "{}", tail(40.0));
    }

    #[test]
    fn a_quantile_is_the_first_that_is_far_enough() {
        // Q(5.612001) = 1e-8, from tables.
        assert_eq!(quantile(8.0), 5_612_002);
        for least in [0.5, 1.0, 3.0, 8.0, 64.0] {
            let z = quantile(least);
            assert!(tail(z as f64 / 1e6) >= least);
            assert!(tail((z - 1) as f64 / 1e6) < least);
        }
    }
}
