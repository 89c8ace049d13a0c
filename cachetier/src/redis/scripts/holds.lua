-- What the scripts of write guards share: put between what they share of the lane and each of them.
-- ARGV[4]: the guard's name.
-- A hold: its kind; a byte that is 0 until somebody other than its one guard bumps the key; for each guard its name (16 bytes)
-- and its deadline (8 bytes, milliseconds of this server's clock).
local NAME, RECORD = 16, 24
local MOST = 64

local guard, time = ARGV[4], math.floor(now() / 1000)

local function record(name, deadline)
  return name .. struct.pack('>I8', deadline)
end

-- What stands in a key: the records of others than the caller's guard that have not ended, the latest of their deadlines, whether the
-- guard's own stands, and whether the hold was touched.
local function hold(key)
  local found = { others = '', latest = 0, own = false, touched = true }
  if redis.pcall('GETRANGE', key, '0', '0') ~= HOLD then
    return found
  end
  local slot = call('GET', key)
  found.touched = string.sub(slot, 2, 2) ~= '\0'
  for at = 3, #slot - RECORD + 1, RECORD do
    local name, deadline = string.sub(slot, at, at + NAME - 1), struct.unpack('>I8', slot, at + NAME)
    if deadline > time then
      if name == guard then
        found.own = true
      else
        found.others = found.others .. record(name, deadline)
        found.latest = math.max(found.latest, deadline)
      end
    end
  end
  return found
end

-- Holds may stand until then, and the state will say so. One that is new says more than that.
local function guard_until(deadline)
  if guarded and guarded < deadline then
    guarded, found = deadline, nil
  end
end

-- Makes a key a hold with these records, or empties it where there are none.
local function put(key, touched, records, latest)
  if records == '' then
    call('DEL', key)
  else
    call('SET', key, HOLD .. (touched and '\1' or '\0') .. records, 'PX', string.format('%.0f', latest - time))
  end
end
