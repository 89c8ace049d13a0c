-- Says where the lane stands, beginning an era if it has none, and growing its table to the size that the caller wants at least.
-- ARGV: the caller. Returns era, seq, the server's clock in ms, cells of the table.

-- A tag's cells in a table of twice the size are those of the smaller one, or stand as far behind them as that was large: so the
-- larger table is the smaller one, repeated.
local function grow(lane, cells)
  if lane.written then
    local old = redis.call('GET', KEYS[2])
    local first = HEAD + 8 + 8 * pages(lane.cells)
    local whole = first + 8 * lane.cells
    old = old .. string.rep('\0', whole - #old)
    local times = pages(cells) / pages(lane.cells)
    redis.call('SET', KEYS[2], table.concat({
      head(lane.era, cells),
      string.sub(old, HEAD + 1, HEAD + 8),
      string.rep(string.sub(old, HEAD + 9, first), times),
      string.rep(string.sub(old, first + 1), cells / lane.cells),
    }))
  end
  redis.call('HSET', KEYS[1], 'cells', text(cells))
  lane.cells = cells
end

local call, time = caller(), now()
local lane = standing(call.known, call.floor)
if not lane then
  lane = begin(call.fresh, math.max(time, tonumber(call.floor) + 1), call.cells)
elseif lane.cells < tonumber(call.cells) then
  grow(lane, tonumber(call.cells))
end
return { lane.era, lane.seq, math.floor(time / 1000), lane.cells }
