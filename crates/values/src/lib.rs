//! Values that cannot be wrong: a value that exists was parsed, and parsing is the only way to make one.
//!
//! Division codes (GB/T 2260), identity numbers (GB 11643), credit codes (GB 32100), names, money, areas, dates, and the
//! protocol's instants with the clock they come from. No I/O but [`SystemClock`]. How departments write such values in
//! their files is `sanku-records`' matter; here stands the one canonical form of each.

mod amount;
mod credit_code;
mod date;
mod division;
mod federation;
mod identity;
mod name;
mod text;
mod time;

pub use amount::{Area, BasisPoints, Fen, INTEGER_BOUND, OutOfRange};
pub use credit_code::{CreditCode, NotACreditCode};
pub use date::{Date, Month, NotADate, Year};
pub use division::{DivisionCode, Level, NotADivisionCode};
pub use federation::{FederationName, NotAFederationName};
pub use identity::{IdentityKind, IdentityNumber, NotAnIdentityNumber};
pub use name::{NotAName, PersonName};
pub use time::{Clock, FixedClock, NotATime, SystemClock, Time};
