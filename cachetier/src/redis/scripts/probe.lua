#!lua
-- Returns what KEYS[1] holds, or plants the ticket ARGV[1] there for ARGV[2] ms where it holds nothing. In the place of
-- `SET .. NX GET`, which servers before 7.0 refuse; a full one plants nothing.
local found = redis.pcall('GET', KEYS[1])
if not found then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return found
