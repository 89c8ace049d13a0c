#!lua flags=allow-oom
-- Deletes those of KEYS whose value is doomed; reads of each no more than its header and tags. Tickets and holds stay.
-- ARGV: '1' if every value goes, else '0'; era and seq of the point before which the load of one that goes began; the tag (eight
-- bytes) that it carries, or nothing. Returns how many went and the bytes of these, then how many stayed: newer ones, tickets,
-- holds, values that cannot be read, what is not ours.
local PREFIX, HEADER, MOST = 17, 64, 32
local TICKET, VALUE, HOLD = '\245', '\246', '\247'
local all, era, seq, tag = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local last = tostring(HEADER + 8 * MOST - 1)

-- Era, seq and number of tags; nothing where another release has laid the value out, or it is cut short.
local function header(head)
  -- Flags that are known: 1, 2 and 8.
  if #head < HEADER or string.byte(head, 18) ~= 1 or string.byte(head, 19) % 8 > 3 or string.byte(head, 19) > 11 then
    return nil
  end
  local count = string.byte(head, 21)
  if count > MOST or #head < HEADER + 8 * count then
    return nil
  end
  local born, at = struct.unpack('>I4I8', head, 41)
  return born, at, count
end

local function carries(head, count)
  for i = 0, count - 1 do
    if string.sub(head, HEADER + 8 * i + 1, HEADER + 8 * i + 8) == tag then
      return true
    end
  end
  return false
end

local gone, bytes, newer, tickets, holds, unread, foreign = 0, 0, 0, 0, 0, 0, 0
for i = 1, #KEYS do
  local head = redis.pcall('GETRANGE', KEYS[i], '0', last)
  local kind = type(head) == 'string' and string.sub(head, 1, 1)
  if kind == HOLD then
    holds = holds + 1
  elseif kind == TICKET and #head >= PREFIX then
    tickets = tickets + 1
  elseif kind == VALUE and #head >= PREFIX then
    local born, at, count = header(head)
    local old = not born or born ~= era or at < seq
    if tag ~= '' and not born then
      unread = unread + 1
    elseif tag ~= '' and not carries(head, count) then
      -- Not its business.
    elseif all or old then
      bytes = bytes + redis.call('STRLEN', KEYS[i])
      gone = gone + redis.call('UNLINK', KEYS[i])
    else
      newer = newer + 1
    end
  elseif kind ~= '' then
    -- Of another type, as well: then there is no kind.
    foreign = foreign + 1
  end
end
return { gone, bytes, newer, tickets, holds, unread, foreign }
