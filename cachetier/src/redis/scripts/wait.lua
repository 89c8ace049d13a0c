#!lua flags=allow-oom
-- Writes ARGV[1], the mailbox of an instance, behind the ticket that KEYS[1] holds: who fills it or gives it back tells that one. Returns for how
-- many ms the ticket lasts, or -1 where as many are told as can be; or what the key holds, if that is no ticket.
-- A full server may refuse to write: then nobody is told.
local held = redis.call('GET', KEYS[1])
if not held or string.byte(held) ~= 245 then
  return held
end
for at = 18, #held, 16 do
  if string.sub(held, at, at + 15) == ARGV[1] then
    return redis.call('PTTL', KEYS[1])
  end
end
if #held >= 17 + 64 * 16 then
  return -1
end
redis.call('SETRANGE', KEYS[1], #held, ARGV[1])
return redis.call('PTTL', KEYS[1])
