-- Says where the lane stands, beginning an era if it has none, and growing its table to the size that the caller wants at least.
-- A state that another run of the server has left, or another server, may lack what was acknowledged after it was saved: unless the
-- caller takes it as it is, another era begins.
-- ARGV: the caller, the run that he was told on this connection or 0, '1' to take the state as it is. Returns era, seq, the server's
-- clock in ms, cells of the table, run.

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

local call, time, run = caller(), now(), tonumber(ARGV[5])
if run == 0 then
  run = this_run()
end
local state = redis.call('HMGET', KEYS[1], 'run', 'trusted', 'seq')
if (state[2] or '0') ~= ARGV[6] then
  redis.call('HSET', KEYS[1], 'trusted', ARGV[6])
end
local lane, left = standing(call.known, call.floor), tonumber(state[1] or '0')
if lane and run > 0 and left ~= run then
  if left > 0 and ARGV[6] ~= '1' then
    lane = nil
  else
    redis.call('HSET', KEYS[1], 'run', text(run))
  end
end
if lane and text(lane.seq) ~= state[3] then
  redis.call('HSET', KEYS[1], 'seq', text(lane.seq))
end
if not lane then
  lane = begin(call.fresh, math.max(time, tonumber(call.floor) + 1), call.cells)
elseif lane.cells < tonumber(call.cells) then
  grow(lane, tonumber(call.cells))
end
return { lane.era, lane.seq, math.floor(time / 1000), lane.cells, run }
