-- Drops KEYS[3..] (a hold stays, and is marked) and bumps the lane.
-- ARGV: era to begin if there is none, floor, channel, cells, body. Returns era, seq, how many held a ticket or a value.
local era, previous = standing()
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
local seq
era, seq = advance(era, previous, ARGV[1], ARGV[2], ARGV[4], ARGV[3], ARGV[5])
return { era, seq, held }
