#!lua flags=allow-oom
-- Takes the lease of the value stamped ARGV[1] in KEYS[1] for ARGV[2] ms: the right to refresh it, which leaves it where it is. Lengthens, or
-- with 0 ms ends, the lease that is over ARGV[3] ms after the value was created ('0' for none). Returns when it is over now, counted so;
-- 0 if it has ended or is somebody else's, -1 if the key holds no such value.
local head = redis.call('GETRANGE', KEYS[1], '0', '39')
if #head < 40 or string.sub(head, 1, 17) ~= '\246' .. ARGV[1] then
  return -1
end
local high, low = struct.unpack('>I2I4', head, 23)
local ends, own = struct.unpack('>I4', head, 37), tonumber(ARGV[3])
local time = redis.call('TIME')
local since = math.max(time[1] * 1000 + math.floor(time[2] / 1000) - (high * 4294967296 + low), 0)
if ends ~= own and ends > since then
  return 0
end
local upto = 0
if ARGV[2] ~= '0' then
  upto = math.min(since + ARGV[2], 4294967295)
elseif ends ~= own then
  return 0
end
redis.call('SETRANGE', KEYS[1], '36', struct.pack('>I4', upto))
return upto
