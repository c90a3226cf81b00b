//! What was read of an annotation's text, kept under that very text, so that nothing kept can be out of date.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Texts kept: one per namespace that has pods here, of which a node (110 pods) has fewer.
pub(super) const KEPT: usize = 128;

/// A bounded memory of readings.
#[derive(Debug)]
pub(super) struct Memo<T> {
    /// A lock, because a decision is a question (`&self`); the index is its one asker, so nobody ever waits.
    kept: Mutex<HashMap<Box<str>, Arc<T>>>,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
        }
    }
}

impl<T> Memo<T> {
    /// What `read` makes of the text; it is asked only once while the text is kept.
    pub(super) fn get(&self, text: &str, read: impl FnOnce(&str) -> T) -> Arc<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(text) {
            return Arc::clone(known);
        }
        let value = Arc::new(read(text));
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(text.into(), Arc::clone(&value));
        value
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}
