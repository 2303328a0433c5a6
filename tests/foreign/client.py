"""A client of the nodes by another implementation of Redlock, told by lines what to do.

    client.py IMPLEMENTATION URL...

    lock RESOURCE TTL_MS    one attempt; answers `held ASKED_AT ACQUIRED_AT TOKEN` or `denied`
    unlock                  gives back what is held, be it expired; answers `released ASKED_AT`

Moments are nanoseconds of CLOCK_MONOTONIC, the same for all processes of the machine, and taken as close to the
library's call as can be. Each library is used as its own documentation does it. What a library promises a holder is
written at its class; only that is tested.
"""

import asyncio
import contextlib
import faulthandler
import logging
import sys
import time

import pottery
import redis
import redis.asyncio
import redlock
from redis.backoff import NoBackoff
from redis.retry import Retry

# Longer than any answer takes on a busy machine. A client that hangs prints where, and ends.
HANGS_AFTER_S = 30

# None of the libraries has time limits of its own. With half a second, a busy machine made the libraries give up
# healthy nodes. Failed commands are not repeated (NoBackoff), because redis-py would repeat them for seconds.
NODE_TIMEOUT_S = 5


def node_options(retry):
    return {"socket_timeout": NODE_TIMEOUT_S, "socket_connect_timeout": NODE_TIMEOUT_S, "retry": retry}


class Pottery:
    """Promises exclusion from `acquire` until `TTL - (1 % of it + 2 ms)` after the acquisition began, and that
    `release` removes its own key only. It returns at a quorum, and its other commands go on in threads, over other
    connections, so that a SET may be overtaken by the release: a key of its own may stay until its TTL has passed."""

    def __init__(self, urls):
        options = node_options(Retry(NoBackoff(), 0))
        self.masters = {redis.Redis.from_url(url, **options) for url in urls}

    def lock(self, resource, ttl_ms):
        key, ttl = without_prefix(resource), ttl_ms / 1000
        lock = pottery.Redlock(key=key, masters=self.masters, auto_release_time=ttl)
        return lock if lock.acquire(blocking=False) else None

    def unlock(self, lock):
        with contextlib.suppress(pottery.ReleaseUnlockedLock):  # it had expired
            lock.release()

    def token(self, lock):
        return lock._uuid


class PotteryAsync:
    """Code of its own, with the promises of `Pottery`; it waits for all nodes."""

    def __init__(self, urls):
        options = node_options(redis.asyncio.retry.Retry(NoBackoff(), 0))
        self.loop = asyncio.new_event_loop()
        self.masters = {redis.asyncio.Redis.from_url(url, **options) for url in urls}

    def lock(self, resource, ttl_ms):
        key, ttl = without_prefix(resource), ttl_ms / 1000
        lock = pottery.AIORedlock(key=key, masters=self.masters, auto_release_time=ttl)
        return lock if self.loop.run_until_complete(lock.acquire(blocking=False)) else None

    def unlock(self, lock):
        with contextlib.suppress(pottery.ReleaseUnlockedLock):
            self.loop.run_until_complete(lock.release())

    def token(self, lock):
        return lock._uuid


class RedlockPy:
    """Promises exclusion for the `validity` that it returns, which it computes as pottery does, and that `unlock`
    removes its own key only. When a node fails it raises although it holds a quorum, and leaves the keys to their TTL;
    that is no hold for us, but it keeps others out for so long."""

    def __init__(self, urls):
        options = node_options(Retry(NoBackoff(), 0))
        clients = [redis.Redis.from_url(url, **options) for url in urls]
        # The library reads 0 as "the default". The pause after the only attempt has no effect.
        self.manager = redlock.Redlock(clients, retry_count=1, retry_delay=0.000001)

    def lock(self, resource, ttl_ms):
        try:
            return self.manager.lock(resource, ttl_ms) or None
        except redlock.MultipleRedlockException:
            return None

    def unlock(self, lock):
        self.manager.unlock(lock)

    def token(self, lock):
        return lock.key.decode()


IMPLEMENTATIONS = {"pottery": Pottery, "pottery-async": PotteryAsync, "redlock-py": RedlockPy}


def without_prefix(resource):
    """The name of a lock to pottery, which puts its prefix before it."""
    prefix, name = resource.split(":", 1)
    assert prefix == pottery.Redlock._KEY_PREFIX == pottery.AIORedlock._KEY_PREFIX == "redlock"
    return name


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def main():
    # The libraries log every failure of a node, and nodes do fail here.
    logging.disable(logging.CRITICAL)
    client = IMPLEMENTATIONS[sys.argv[1]](sys.argv[2:])
    held = None
    for line in sys.stdin:
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        match line.split():
            case ["lock", resource, ttl_ms]:
                asked_at = now()
                held = client.lock(resource, int(ttl_ms))
                acquired_at = now()
                answer = "denied" if held is None else f"held {asked_at} {acquired_at} {client.token(held)}"
            case ["unlock"]:
                asked_at = now()
                client.unlock(held)
                answer = f"released {asked_at}"
        print(answer, flush=True)
        faulthandler.cancel_dump_traceback_later()


main()
