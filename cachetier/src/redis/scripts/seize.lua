-- Plants a ticket in KEYS[3] whatever it holds (a hold stays, and is marked) and bumps the lane.
-- ARGV: the caller, channel, body, ticket, lease in ms. Returns era, seq, 1 if planted.
local call = caller()
local lane = standing(call.known, call.floor)
local planted = 0
if kind(KEYS[3]) == HOLD then
  touch(KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[7], 'PX', ARGV[8])
  planted = 1
end
local era, seq = advance(lane, call, '', false, ARGV[5], ARGV[6])
return { era, seq, planted }
