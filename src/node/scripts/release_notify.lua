
-- The rest of release.lua, for a lock that a client waits for. The library puts release.lua and notify.lua in front of
-- this file.
--
-- If this script removed the lock, an earlier notification was answered: the notified client had taken the lock. If the
-- lock was absent already, a notified client may still be about to take the lock.
if removed == 0 and expected_for(queue, tonumber(ARGV[2])) > 0 then
  return 0
end
return call_next(queue, KEYS[1]) and removed + 2 or removed
