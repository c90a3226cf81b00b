//! Text that must not be seen: no `Debug`, no `Display`, wiped when dropped. What may be shown is never of this type.

use zeroize::Zeroizing;

/// A secret string. It can be neither formatted nor serialised; [`Secret::expose`] is the one way in, easy to grep for.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes ownership of a secret.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The secret itself, for the one who must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
