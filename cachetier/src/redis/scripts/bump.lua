-- Drops KEYS[3..] and bumps the lane. A hold stays, and is marked: they are looked for only while any may stand.
-- Counts how many keys held anything else.
local done = 0
if not stands or guarded > 0 then
  for i = 3, #KEYS do
    if redis.pcall('GETRANGE', KEYS[i], '0', '0') == HOLD then
      call('SETRANGE', KEYS[i], '1', '\1')
    else
      done = done + call('DEL', KEYS[i])
    end
  end
elseif KEYS[3] then
  done = call('DEL', unpack(KEYS, 3))
end
