//! Who uses which handle of the kernels.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use tract_nnef::internal::*;

/// Handles that serve one call at a time. As many are made as calls run at once, and all are kept: a
/// plan that many threads share has a copy of the packed weights for each thread that was busy at the
/// same time as others, not for each session.
pub struct Handles<T> {
    free: Mutex<Vec<T>>,
    #[allow(clippy::type_complexity)]
    make: Box<dyn Fn() -> TractResult<T> + Send + Sync>,
}

impl<T> Handles<T> {
    /// The first handle is made at once: what is wrong with a weight is told at load.
    pub fn new(
        make: impl Fn() -> TractResult<T> + Send + Sync + 'static,
    ) -> TractResult<Handles<T>> {
        let first = make()?;
        Ok(Handles { free: Mutex::new(vec![first]), make: Box::new(make) })
    }

    pub fn take(&self) -> TractResult<Taken<'_, T>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let handle = match free {
            Some(handle) => handle,
            None => (self.make)()?,
        };
        Ok(Taken { handle: Some(handle), home: self })
    }
}

impl<T> std::fmt::Debug for Handles<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Handles")
    }
}

/// A handle that goes back when it is dropped.
pub struct Taken<'a, T> {
    handle: Option<T>,
    home: &'a Handles<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.handle.as_ref().expect("a handle is there until it is dropped")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.handle.as_mut().expect("a handle is there until it is dropped")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.home.free.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
    }
}
