-- Drops KEYS[3..] (a hold stays, and is marked) and bumps the lane.
-- Counts how many keys held a ticket or a value.
local done = 0
for i = 3, #KEYS do
  local key = KEYS[i]
  local kind = redis.pcall('GETRANGE', key, '0', '0')
  if kind == HOLD then
    call('SETRANGE', key, '1', '\1')
  else
    call('DEL', key)
    if kind == TICKET or kind == VALUE then
      done = done + 1
    end
  end
end
