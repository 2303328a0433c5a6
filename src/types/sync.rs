//! The primitives through which threads share state where the order of their steps matters. They are those of the
//! standard library and of tokio. The tests of `make schedules` (a build with `--cfg redlock_shuttle`) run on those of
//! shuttle instead, where shuttle decides before each step which thread takes it.

#[cfg(not(all(test, redlock_shuttle)))]
pub(crate) use real::*;
#[cfg(all(test, redlock_shuttle))]
pub(crate) use scheduled::*;

#[cfg(not(all(test, redlock_shuttle)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard};

    use tokio::runtime::Handle;
    pub(crate) use tokio::sync::Notify;

    /// Runs a task of the client in the background.
    pub(crate) fn spawn_on(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        runtime.spawn(task);
    }
}

#[cfg(all(test, redlock_shuttle))]
mod scheduled {
    use std::sync::atomic::Ordering;

    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
    use tokio::runtime::Handle;
    use tokio::sync::futures::Notified;

    pub(crate) fn spawn_on(_: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        drop(shuttle::future::spawn(task));
    }

    /// Lets shuttle choose the thread that goes on. Shuttle itself does so before each step on a primitive of its own.
    fn choose() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }

    /// Tokio's, each of whose methods is one step.
    #[derive(Debug, Default)]
    pub(crate) struct Notify(tokio::sync::Notify);

    impl Notify {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) const fn const_new() -> Self {
            Self(tokio::sync::Notify::const_new())
        }

        pub(crate) fn notified(&self) -> Notified<'_> {
            choose();
            self.0.notified()
        }

        pub(crate) fn notify_one(&self) {
            choose();
            self.0.notify_one();
        }

        pub(crate) fn notify_waiters(&self) {
            choose();
            self.0.notify_waiters();
        }
    }

    /// The standard library's, each of whose methods is one step.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T>(std::sync::OnceLock<T>);

    impl<T> OnceLock<T> {
        pub(crate) const fn new() -> Self {
            Self(std::sync::OnceLock::new())
        }

        pub(crate) fn get(&self) -> Option<&T> {
            choose();
            self.0.get()
        }

        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            choose();
            self.0.get_or_init(init)
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            choose();
            self.0.set(value)
        }
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }
}
