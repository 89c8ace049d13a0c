-- Swaps what begins with ARGV[1] in KEYS[1] for the value that lies in KEYS[2] and begins with ARGV[3], for ARGV[2] ms, and tells who waits to
-- look. Returns 1 if the value stands there. The value does not pass through here: an argument of ten kilobytes costs a script more than
-- everything else it does.
local head = redis.call('GETRANGE', KEYS[1], '0', '1040')
local seen, held, channels = string.sub(head, 1, 17), '', ARGV[4]
if seen ~= ARGV[1] then
  redis.call('UNLINK', KEYS[2])
  return seen == ARGV[3] and 1 or 0
end
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
