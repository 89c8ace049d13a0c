-- Plants a ticket in KEYS[3] whatever it holds (a hold stays, and is marked) and bumps the lane.
-- ARGV: era to begin if there is none, floor, channel, body, ticket, lease in ms. Returns era, seq, 1 if planted.
local era, previous = standing()
local planted = 0
if kind(KEYS[3]) == HOLD then
  touch(KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[6])
  planted = 1
end
local seq
era, seq = advance(era, previous, ARGV[1], ARGV[2], '', ARGV[3], ARGV[4])
return { era, seq, planted }
