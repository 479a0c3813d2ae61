//! Amounts: whole numbers below 2^53 of a small unit, so that no sum is ever rounded.

use std::fmt;

/// 2^53: JSON readers everywhere hold integers below it exactly.
pub const INTEGER_BOUND: i64 = 1 << 53;

/// The number is too large, or negative where that has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("数值超出范围 the number is out of range")]
pub struct OutOfRange;

macro_rules! whole_number {
    ($(#[$doc:meta])* $name:ident, $low:expr, $high:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl $name {
            /// The number in its unit.
            pub const fn number(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfRange;

            fn try_from(number: i64) -> Result<Self, OutOfRange> {
                if ($low..$high).contains(&number) { Ok(Self(number)) } else { Err(OutOfRange) }
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

whole_number!(
    /// Money in fen (分). Negative for what is owed. A secret: `Debug` shows nothing.
    Fen, -INTEGER_BOUND + 1, INTEGER_BOUND
);
whole_number!(
    /// An area in units of 0.01 m² (平方米).
    Area, 0, INTEGER_BOUND
);
whole_number!(
    /// A share in basis points (万分之一), 0 to 10,000.
    BasisPoints, 0, 10_001
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        assert!(Fen::try_from(INTEGER_BOUND).is_err());
        assert!(Fen::try_from(INTEGER_BOUND - 1).is_ok());
        assert!(Fen::try_from(-INTEGER_BOUND).is_err());
        assert!(Area::try_from(-1).is_err());
        assert!(BasisPoints::try_from(10_000).is_ok());
        assert!(BasisPoints::try_from(10_001).is_err());
        assert_eq!(format!("{:?}", Fen::try_from(12).unwrap()), "Fen(…)");
    }
}
