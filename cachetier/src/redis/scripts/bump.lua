-- Drops KEYS[3..] (a hold stays, and is marked) and bumps the lane.
-- ARGV: the caller, channel, hashes of tags and prefixes, '1' for everything, body. Returns era, seq, how many held a ticket or a
-- value.
local call = caller()
local lane = standing(call.known, call.floor)
local held = 0
for i = 3, #KEYS do
  local found = kind(KEYS[i])
  if found == HOLD then
    touch(KEYS[i])
  else
    redis.call('DEL', KEYS[i])
    if found == TICKET or found == VALUE then
      held = held + 1
    end
  end
end
local era, seq = advance(lane, call, ARGV[6], ARGV[7] == '1', ARGV[5], ARGV[8])
return { era, seq, held }
