-- Deletes the ticket ARGV[1] (its stamp) from KEYS[1], and tells who waits: to look, or ARGV[3], why the load has
-- failed. Returns 1 if it was there.
local head = redis.call('GETRANGE', KEYS[1], '0', '1040')
local held, channels = ARGV[3], ARGV[2]
if string.sub(head, 1, 17) ~= '\245' .. ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
