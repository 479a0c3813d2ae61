//! Values that travel as text: one way to give a type its serde form.

/// Serialises a type as its `Display` text and reads it through `FromStr`, so that parsing is the only way to make one.
macro_rules! serde_as_text {
    ($type:ty, $expected:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                // The value itself may be personal: the error names only what was expected.
                text.parse()
                    .map_err(|_| serde::de::Error::custom(concat!("not ", $expected)))
            }
        }
    };
}

pub(crate) use serde_as_text;
