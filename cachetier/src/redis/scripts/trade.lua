-- Swaps the hold in KEYS[3] for a ticket if its guard has been alone on the key all the time, else takes the guard out of it as a
-- release does; bumps the lane either way.
-- ARGV: the caller, channel, body, the guard's name, ticket, lease in ms. Returns era, seq, 1 if planted.
local call = caller()
local lane = standing(call.known, call.floor)
local guard, time = ARGV[7], millis()
local before = hold(KEYS[3], guard, time)
local planted = 0
if before.own and before.others == '' and not before.touched then
  redis.call('SET', KEYS[3], ARGV[8], 'PX', ARGV[9])
  planted = 1
else
  put(KEYS[3], true, before.others, before.latest, time)
end
local era, seq = advance(lane, call, '', false, ARGV[5], ARGV[6])
return { era, seq, planted }
