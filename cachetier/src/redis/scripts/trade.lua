-- Swaps the hold in KEYS[3] for a ticket if its guard has been alone on the key all the time, else takes the guard out of it as a
-- release does; bumps the lane either way.
-- ARGV: era to begin if there is none, floor, channel, body, the guard's name, ticket, lease in ms. Returns era, seq, 1 if planted.
local era, previous = standing()
local guard, time = ARGV[5], millis()
local before = hold(KEYS[3], guard, time)
local planted = 0
if before.own and before.others == '' and not before.touched then
  redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[7])
  planted = 1
else
  put(KEYS[3], true, before.others, before.latest, time)
end
local seq
era, seq = advance(era, previous, ARGV[1], ARGV[2], '', ARGV[3], ARGV[4])
return { era, seq, planted }
