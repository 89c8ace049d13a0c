-- Takes a guard out of the holds in KEYS[3..], or lets it end after a lag, and bumps the lane. A key in which no guard is left is
-- emptied, whatever it holds: where the guard's hold was lost, an old value may have been filled.
-- ARGV: the caller, channel, body, the guard's name, the lag in ms. Returns era, seq, in how many of the
-- keys the guard still stood.
local call = caller()
local lane = standing(call.known, call.floor)
local guard, time = ARGV[7], millis()
local lag = tonumber(ARGV[8])
local stood = 0
for i = 3, #KEYS do
  local before = hold(KEYS[i], guard, time)
  if before.own then
    stood = stood + 1
  end
  if lag > 0 then
    put(KEYS[i], true, before.others .. record(guard, time + lag), math.max(before.latest, time + lag), time)
  else
    put(KEYS[i], true, before.others, before.latest, time)
  end
end
local era, seq = advance(lane, call, '', false, ARGV[5], ARGV[6])
return { era, seq, stood }
