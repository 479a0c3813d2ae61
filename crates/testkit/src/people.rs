//! People of the simulated federation. Their numbers are valid and belong to nobody.

use sanku_values::{Date, IdentityNumber, PersonName};

/// Somebody.
#[derive(Clone, Copy, Debug)]
pub struct Human {
    /// Identity number.
    pub number: &'static str,
    /// Name.
    pub name: &'static str,
}

/// The head of the planted household.
pub const HEAD: Human = Human {
    number: "11010519491231002X",
    name: "张三",
};

/// A child of the planted household.
pub const CHILD: Human = Human {
    number: "440524188001010014",
    name: "张小四",
};

/// Somebody whom nobody asks about.
pub const STRANGER: Human = Human {
    number: "420106198001010015",
    name: "陌生人",
};

impl Human {
    /// The number as a value.
    pub fn number(&self) -> IdentityNumber {
        IdentityNumber::parse(self.number, Date::new(2026, 9, 1).unwrap()).unwrap()
    }

    /// The name as a value.
    pub fn name(&self) -> PersonName {
        PersonName::parse(self.name).unwrap()
    }

    /// The same number under another name.
    #[must_use]
    pub const fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}
