-- Plants the hold of a guard in KEYS[3..], beside those of other guards, in the place of anything else, and bumps the lane.
-- ARGV: the caller, channel, body, the guard's name, its time in ms. Returns era, seq, 1; or thrice 0,
-- having done nothing, where too many guards hold one of the keys.
local call = caller()
local lane = standing(call.known, call.floor)
local guard, time = ARGV[7], millis()
local deadline = time + ARGV[8]
local before = {}
for i = 3, #KEYS do
  before[i] = hold(KEYS[i], guard, time)
  if #before[i].others >= MOST * RECORD then
    return { 0, 0, 0 }
  end
end
for i = 3, #KEYS do
  local others, latest = before[i].others, before[i].latest
  put(KEYS[i], others ~= '', others .. record(guard, deadline), math.max(latest, deadline), time)
end
local era, seq = advance(lane, call, '', false, ARGV[5], ARGV[6])
return { era, seq, 1 }
