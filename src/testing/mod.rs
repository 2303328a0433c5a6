//! Local clusters of real Redis servers, faults and a history checker, for tests of services that use the lock.
