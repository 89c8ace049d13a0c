#!lua
-- Swaps what begins with ARGV[1] in KEYS[1] for the value that lies in KEYS[2] and begins with ARGV[3], for ARGV[2] ms. Returns 1 if the
-- value stands there. The value does not pass through here: an argument of ten kilobytes costs a script more than everything else it does.
local head = redis.call('GETRANGE', KEYS[1], '0', '16')
if head == ARGV[1] then
  redis.call('RENAME', KEYS[2], KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
redis.call('UNLINK', KEYS[2])
if head == ARGV[3] then
  return 1
end
return 0
