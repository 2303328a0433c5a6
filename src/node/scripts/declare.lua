-- Declares a node new, on an operator's word: nobody holds a lock on it. Refuses where that can be seen to be wrong.
--
-- KEYS[1]  the node's record; scripts/write_record.lua says what is in it
-- ARGV[1]  what the library's own keys begin with
-- ARGV[2]  how many keys are looked at; a node with more is not new
-- Returns  'declared'; 'again', it was before; 'older', its memory has been broken since clients first met it; 'held',
--          some key may be a lock: it is not the library's own, and expires; 'large', it has too many keys to be looked at
local record = KEYS[1]
local known = redis.call('HMGET', record, 'made', 'whole', 'declared', 'sequence')
if known[3] then
  return 'again'
end
if known[1] ~= known[2] then
  return 'older'
end
local cursor, seen = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    if string.sub(key, 1, #ARGV[1]) ~= ARGV[1] and redis.call('PTTL', key) > 0 then
      return 'held'
    end
  end
  seen = seen + #page[2]
  if seen > tonumber(ARGV[2]) then
    return 'large'
  end
until cursor == '0'
redis.call('HSET', record, 'declared', 1, 'sequence', (known[4] or 0) + 1)
return 'declared'
