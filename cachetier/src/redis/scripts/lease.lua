#!lua flags=allow-oom
-- The lease of the value stamped ARGV[1] in KEYS[1]: the right to refresh it, which leaves it where it is. With ARGV[4] it is taken for
-- ARGV[2] ms, if nobody has it; without, who is named by ARGV[3], from 1 to 255, has it for so long from now on, or ends it with 0 ms.
-- It stands in the value's header: when it is over, in ms after the value was created, with who has it in the place of the last eight bits.
-- Returns 1 if it is his, 0 if it has ended or is somebody else's, -1 if the key holds no such value, 2 if it could be taken and the value would
-- end before it.
local head = redis.call('GETRANGE', KEYS[1], '0', '39')
if #head < 40 or string.sub(head, 1, 17) ~= '\246' .. ARGV[1] then
  return -1
end
local high, low = struct.unpack('>I2I4', head, 23)
local hard, ends = struct.unpack('>I4I4', head, 33)
local who = tonumber(ARGV[3])
local time = redis.call('TIME')
local since = math.max(time[1] * 1000 + math.floor(time[2] / 1000) - (high * 4294967296 + low), 0)
local held = ends % 256
if ARGV[4] and ends - held > since or not ARGV[4] and held ~= who then
  return 0
end
if ARGV[4] and hard - since < tonumber(ARGV[2]) then
  return 2
end
local upto = '\0\0\0\0'
if ARGV[2] ~= '0' then
  local rounded = math.ceil((since + ARGV[2]) / 256) * 256
  upto = struct.pack('>I4', math.min(rounded, 4294967040) + who)
end
local written = redis.pcall('SETRANGE', KEYS[1], '36', upto)
if type(written) == 'table' then
  -- A full server before 7.0 lets a script write on that has begun with what needs no memory.
  redis.call('RENAME', KEYS[1], KEYS[1])
  redis.call('SETRANGE', KEYS[1], '36', upto)
end
return ARGV[2] ~= '0' and 1 or 0
