
-- The rest of release.lua, behind notify.lua: somebody waits.
--
-- A lock that was there had been taken by whoever was called before. One that was not may still be about to be taken.
if removed == 0 and expected_for(queue, tonumber(ARGV[2])) > 0 then
  return 0
end
return call_next(queue, KEYS[1]) and removed + 2 or removed
