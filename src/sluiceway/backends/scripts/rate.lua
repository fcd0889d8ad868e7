-- A rate that many processes share. algorithms/rate_book.py tells what it does and does the same, line by line.
-- KEYS: a hash; workers seen; workers that wait; for each resource a log's stamps and its costs.
-- The hash has a field for each resource: level or use, next by pace, at, told, capacity, end of its last pause.
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if now > (tonumber(ask.expires) or now) then return {string.format('%.17g', now), '{"late":true}'} end
local EPSILON, SEEN, AHEAD, TRIES, AWAY = 1e-9, 10, 30, 32, 10
local specs, lag, horizon = ask.specs, ask.lag, ask.horizon
local n = #specs

local function text(x) return string.format('%.17g', x) end

-- ---------------------------------------------------------------- state
local names = {'told', 'until_', 'back'}
for i = 1, n do names[3 + i] = ask.specs[i][1] .. ask.names[i] end
local kept = redis.call('HMGET', KEYS[1], unpack(names))
local told, until_ = tonumber(kept[1] or nil) or 0, tonumber(kept[2] or nil) or 0
local back = tonumber(kept[3] or nil) or 0
local value, next_, at, seen, size, paused = {}, {}, {}, {}, {}, {}

local function stamps_key(i) return KEYS[2 + 2 * i] end
local function costs_key(i) return KEYS[3 + 2 * i] end

local function shift(i, delta)
  at[i], next_[i], paused[i] = at[i] + delta, next_[i] + delta, paused[i] + delta
  if specs[i][1] == 1 then
    for _, each in ipairs(redis.call('ZRANGE', stamps_key(i), 0, -1)) do
      redis.call('ZINCRBY', stamps_key(i), text(delta), each)
    end
  end
end

local function pause(i)
  if until_ > paused[i] then
    paused[i], at[i], next_[i] = until_, math.max(at[i], until_), math.max(next_[i], until_)
    if specs[i][1] == 0 then value[i] = math.min(value[i], 1) end
  end
end

local function add(i, stamp, cost)
  local granularity = specs[i][4]
  stamp = math.ceil(stamp / granularity) * granularity
  local name = text(stamp)
  redis.call('ZADD', stamps_key(i), name, name)
  redis.call('HINCRBYFLOAT', costs_key(i), name, text(cost))
  value[i] = value[i] + cost
end

local function cost_of(i, name) return tonumber(redis.call('HGET', costs_key(i), name) or 0) end

local function expire(i, limit)
  local gone = redis.call('ZRANGEBYSCORE', stamps_key(i), '-inf', text(limit))
  for _, name in ipairs(gone) do
    value[i] = value[i] - cost_of(i, name)
    redis.call('HDEL', costs_key(i), name)
    redis.call('ZREM', stamps_key(i), name)
  end
  if redis.call('EXISTS', stamps_key(i)) == 0 then value[i] = 0 end
end

local function correct(i, stamp, delta)
  local before = value[i]
  local tries = delta > 0 and 1 or TRIES
  local found = redis.call('ZREVRANGEBYSCORE', stamps_key(i), text(stamp + specs[i][4]), '-inf', 'LIMIT', 0, tries)
  for _, name in ipairs(found) do
    if delta == 0 then break end
    local change = math.max(delta, -cost_of(i, name))
    redis.call('HINCRBYFLOAT', costs_key(i), name, text(change))
    value[i] = value[i] + change
    delta = delta - change
  end
  return value[i] - before
end

local function when_free(i, excess)
  local from, stamp = 0, -math.huge
  while true do
    local found = redis.call('ZRANGE', stamps_key(i), from, from + 31, 'WITHSCORES')
    if #found == 0 then return stamp end
    for k = 1, #found, 2 do
      stamp = tonumber(found[k + 1])
      excess = excess - cost_of(i, found[k])
      if excess <= EPSILON * specs[i][2] / 2 then return stamp end
    end
    from = from + 32
  end
end

-- ---------------------------------------------------------------- time passes
if now < told then until_, back = until_ + now - told, back + now - told end
if ask.resume and now - back > AWAY then back = now end
local idle = lag > 0
for i = 1, n do
  local spec, fields = specs[i], {}
  for each in string.gmatch(kept[3 + i] or '', '%S+') do fields[#fields + 1] = tonumber(each) end
  if #fields == 0 then
    fields = {spec[1] == 0 and spec[4] or 0, 0, now - lag, now, spec[4], 0}
    redis.call('DEL', stamps_key(i), costs_key(i))
  end
  value[i], next_[i], at[i], seen[i], size[i], paused[i] = unpack(fields)
  if now < seen[i] then shift(i, now - seen[i]) end
  if spec[1] == 0 and size[i] ~= spec[4] then value[i] = math.min(value[i], spec[4]) end
  pause(i)
  local elapsed = now - at[i]
  idle = idle and elapsed >= lag
  if spec[1] == 0 then
    local rate, capacity = spec[2] / spec[3], spec[4]
    idle = idle and value[i] + rate * (elapsed - lag) >= capacity
    if elapsed > 0 and value[i] < capacity then value[i] = math.min(capacity, value[i] + rate * elapsed) end
    if ask.resume then value[i] = math.min(value[i], 0) end
  else
    expire(i, now - spec[3])
  end
  at[i] = math.max(at[i], now)
end

-- ---------------------------------------------------------------- what came back, what was settled, what was said
for _, change in ipairs(ask.changes) do
  for i = 1, n do
    local delta = change[2][i]
    if specs[i][1] == 1 then
      next_[i] = next_[i] + correct(i, change[1], delta) * specs[i][5]
    elseif delta > 0 then
      value[i] = value[i] - delta
    else
      local most = until_ > now and 1 or specs[i][4]
      value[i] = math.min(value[i] - delta, math.max(value[i], most))
    end
  end
end
for i, amount in ipairs(ask.used) do
  if specs[i][1] == 1 and amount > 0 then add(i, now, amount) end
end
for _, said in ipairs(ask.learn) do
  local i, remaining, raise_to = said[1] + 1, said[2], said[3]
  if specs[i][1] == 1 then
    local foreign = specs[i][2] - value[i] - remaining
    if foreign > 0 then add(i, now, foreign) end
  else
    local most = until_ > now and 1 or specs[i][2]
    value[i] = math.max(math.min(value[i], remaining), math.min(raise_to, most))
  end
end
if ask.pause > 0 and now + ask.pause > until_ then
  until_ = now + ask.pause
  for i = 1, n do pause(i) end
end

-- ---------------------------------------------------------------- who is there
local ahead = 0
for i = 1, n do
  if specs[i][1] == 0 then ahead = math.max(ahead, -value[i] * specs[i][3] / specs[i][2]) end
end
local function count(key, is_told, oldest)
  if is_told then redis.call('ZADD', key, text(now), ask.id) else redis.call('ZREM', key, ask.id) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - oldest))
  return math.max(1, redis.call('ZCARD', key))
end
local workers = count(KEYS[2], not ask.bye, SEEN)
local short = count(KEYS[3], #ask.calls > 0, math.max(2, 2 * ahead, 4 * horizon))

-- ---------------------------------------------------------------- promises
local grants, again = {}, -1

local function note(wait, j)
  local last = grants[#grants]
  if last and last[3] == j and math.abs(last[2] - wait) < 1e-6 then
    last[1] = last[1] + 1
  else
    grants[#grants + 1] = {1, wait, j}
  end
end

local function slot_of(costs)
  local slot = math.max(now, until_)
  for i = 1, n do
    local cost, spec = costs[i], specs[i]
    if cost > 0 and spec[1] == 0 then
      local missing = math.min(cost, spec[4]) - value[i]
      if missing > EPSILON * spec[2] / spec[3] then slot = math.max(slot, at[i] + missing * spec[3] / spec[2]) end
    elseif cost > 0 then
      slot = math.max(slot, next_[i])
      local excess = value[i] + cost - spec[2]
      if excess > EPSILON * spec[2] then slot = math.max(slot, when_free(i, excess) + spec[3]) end
    end
  end
  return slot
end

local function book(costs, slot)
  for i = 1, n do
    if specs[i][1] == 0 then
      value[i] = value[i] - costs[i]
    elseif costs[i] > 0 then
      add(i, slot, costs[i])
      next_[i] = math.max(next_[i], slot - specs[i][6]) + costs[i] * specs[i][5]
    end
  end
end

local function promise()
  local room = {}
  for i = 1, n do
    local spec = specs[i]
    local stock = value[i]
    if spec[1] == 1 then stock = spec[5] > 0 and 0 or spec[2] - value[i] end
    room[i] = horizon > 0 and (math.max(0, stock) + spec[2] / spec[3] * horizon) / short - ask.held[i] or 0
  end
  local must = ask.must
  for j, call in ipairs(ask.calls) do
    local costs = call[2]
    for _ = 1, call[1] do
      if not must then
        for i = 1, n do if costs[i] > room[i] + EPSILON then return -1 end end
      end
      must = false
      local slot = slot_of(costs)
      if slot - now > AHEAD then return slot - now - AHEAD end
      book(costs, slot)
      for i = 1, n do room[i] = room[i] - costs[i] end
      note(slot - now, j - 1)
    end
  end
  if #ask.more > 0 and #ask.calls == 0 and until_ <= now then
    for _ = 1, ask.more[1] do
      for i = 1, n do
        local whole = specs[i][1] == 0 and specs[i][4] or specs[i][2]
        local left = specs[i][1] == 0 and value[i] or specs[i][2] - value[i]
        if left - ask.more[2][i] < whole / 2 then return -1 end
      end
      book(ask.more[2], now)
      note(0, -1)
    end
  end
  return -1
end

if not ask.bye then
  again = promise()
  if idle and #grants > 0 then
    for i = 1, n do at[i] = math.max(at[i], now + lag) end
  end
end

-- ---------------------------------------------------------------- and back into the book
local fields = {'told', text(now), 'until_', text(until_), 'back', text(back)}
local longest, left = 60, {}
for i = 1, n do
  local state = {text(value[i]), text(next_[i]), text(at[i]), text(now), text(specs[i][4]), text(paused[i])}
  fields[#fields + 1], fields[#fields + 2] = names[3 + i], table.concat(state, ' ')
  longest = math.max(longest, 2 * specs[i][3])
  left[i] = specs[i][1] == 0 and value[i] or specs[i][2] - value[i]
end
redis.call('HSET', KEYS[1], unpack(fields))
local ttl = math.ceil(longest + ahead + math.max(0, until_ - now))
for _, key in ipairs(KEYS) do
  if redis.call('TTL', key) < ttl then redis.call('EXPIRE', key, ttl) end  -- another may have longer windows
end
return {text(now), cjson.encode({
  workers = workers, short = short, paused = math.max(0, until_ - now), levels = left, again = again,
  back = math.min(AWAY, now - back), grants = grants
})}
