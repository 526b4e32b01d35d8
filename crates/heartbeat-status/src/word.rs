//! Closed lists of words: one macro, so that the spelling in Rust, on the wire and in the documentation is one.

/// Declares an enum whose variants each have one spelling, with `ALL`, `as_str`, `Display`, `FromStr` and serde.
///
/// Serde is written here by hand and not derived at each type: these lists *are* the vocabulary of the wire.
macro_rules! closed_list {
    ($(#[$meta:meta])* $vis:vis enum $name:ident ($what:literal) {
        $($(#[doc = $doc:literal])+ $(#[default $($default:tt)?])? $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[doc = $doc])+ $(#[default $($default)?])? $variant),+ }

        impl $name {
            /// Every word of the list, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The one spelling of this word, as documents and configuration write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What this word means, in lines of one sentence: for `explain` and the reference.
            #[must_use]
            pub const fn meaning(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($doc),+]),+ }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::ParseWordError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::ParseWordError::new($what, text)),
                }
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
